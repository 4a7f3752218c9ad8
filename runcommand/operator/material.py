"""The facts of a VM, from the raw material that the PowerShell script brought: by the collectors of
the exe, which ask the material instead of Windows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Mapping, Sequence

from ..collect import Collector, RunOptions, collect, now
from ..facts import (
    Expected,
    Facts,
    Instant,
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
    options = RunOptions(
        RecordedWindows.name,
        host[:HOST_LIMIT] or "unknown",
        READING_S,
    )
    facts = collect(options, _collectors(material, collected_at))
    elapsed = 0.0
    if seconds:
        elapsed = probes.seconds_of(seconds)
    return replace(
        facts,
        collected_at=collected_at,
        elapsed_s=elapsed,
        deadline_s=0.0,
        tool_version=version or facts.tool_version,
        expected=_expected(material),
    )


def _collectors(material: Material, at: Instant) -> Mapping[str, Collector]:
    system = RecordedWindows(material)
    tries = Tries(
        material.of("try"),
        material.of("document", 2),
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


def _expected(material: Material) -> Expected:
    mac, ip = material.first("given", 2)
    return Expected(if_valid(parse_nic_mac, mac), if_valid(parse_address, ip))
