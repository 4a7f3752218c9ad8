"""The facts of a VM, from the raw material that the PowerShell script brought: by the collectors of
the exe, which ask the material instead of Windows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import List, Mapping, Sequence, Tuple

from ..collect import Collector, RunOptions, collect, now
from ..facts import (
    Expected,
    Facts,
    Instant,
    Note,
    if_valid,
    parse_address,
    parse_instant,
    parse_nic_mac,
)
from ..probes import recorded as probes
from ..probes.recorded import Tries
from ..system.recorded import Material, Record, RecordedWindows

READING_S = 60.0  # nothing here waits for anything but another collector
HOST_LIMIT = 63  # characters


def facts_of(records: Sequence[Record]) -> Facts:
    """Everything that the records tell; what they do not tell is unavailable, with the reason."""
    material = Material(records)
    version, host, began, seconds, _ = material.first("run", 5)
    collected_at = now()
    if if_valid(parse_instant, began) is not None:
        collected_at = Instant(began)
    expected, not_used = _expected(material)
    options = RunOptions(
        RecordedWindows.name,
        host[:HOST_LIMIT] or "unknown",
        READING_S,
    )
    facts = collect(options, _collectors(material, collected_at))
    return replace(
        facts,
        collected_at=collected_at,
        elapsed_s=if_valid(probes.seconds_of, seconds) or 0.0,
        deadline_s=0.0,
        tool_version=version or facts.tool_version,
        expected=expected,
        notes=(*facts.notes, *not_used),
    )


def _collectors(material: Material, at: Instant) -> Mapping[str, Collector]:
    system = RecordedWindows(material)
    tries = Tries(
        material.lists("try"),
        material.lists("document", 2),
        system.signer(),
        material.left_out("document"),
        material.why_missing("imds"),
    )
    return {
        "imds": tries.imds,
        "wireserver": tries.wireserver,
        "differential": tries.differential,
        "proxy_trials": tries.proxy_trials,
        "pac_files": probes.pac_files,
        "certificate_chains": partial(probes.certificate_chains, system, tries.embedded, at),
        "endpoints": probes.endpoints,
        **system.collectors(),
    }


def _expected(material: Material) -> Tuple[Expected, List[Note]]:
    """What the operator said of the primary NIC, and a note for each word that is no address."""
    mac, ip = material.first("given", 2)
    expected = Expected(if_valid(parse_nic_mac, mac), if_valid(parse_address, ip))
    notes: List[Note] = []
    if mac and expected.mac is None:
        notes.append(Note("expected", f"ExpectedMac was not used: no MAC address: {mac}"))
    if ip and expected.ip is None:
        notes.append(Note("expected", f"ExpectedIp was not used: no IPv4 address: {ip}"))
    return expected, notes
