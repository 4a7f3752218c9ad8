"""What a report says of a diagnosis: all sections, made of blocks, in their order."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from ..diagnosis import Diagnosis
from ..facts import Machine
from ..model.words import short
from ..rules.finding import Severity
from ..rules.unseen import without_rights
from .blocks import Depth, End, Head, KeyValues, Line, Paragraph, RawText, Report, Room, Section
from .checks import checks
from .evidence import evidence
from .fix import also, fix
from .path import path

UNKNOWN_VERSION = "?"
INSTANCE = (
    ("azEnvironment", "az_environment"),
    ("location", "location"),
    ("name", "name"),
    ("offer", "offer"),
    ("sku", "sku"),
    ("licenseType", "license_type"),
    ("isHostCompatibilityLayerVm", "is_host_compatibility_layer_vm"),
)


def report(diagnosis: Diagnosis, files: str) -> Report:
    """
    :param files: where the files of this run are, or why there are none
    """
    model = diagnosis.model
    sections = [
        verdict(diagnosis),
        *redaction(diagnosis),
        *fix(diagnosis),
        Section("PATH", beside=path(model), room=Room.FIRST),
        Section("VM", vm(diagnosis)),
        Section("MACHINE", machine(diagnosis), depth=Depth.FULL),
        Section("ALSO", also(diagnosis)),
        Section("CHECKS", checks(diagnosis.checks)),
        Section("EVIDENCE", evidence(model)),
        Section("NOT COLLECTED", not_collected(diagnosis), depth=Depth.FULL),
        *outputs(diagnosis),
        Section("FILES", beside=short(files, 240), room=Room.FIRST),
    ]
    return Report(head(diagnosis), tuple(sections), end(diagnosis))


def head(diagnosis: Diagnosis) -> Head:
    facts = diagnosis.facts
    version = facts.tool_version or UNKNOWN_VERSION
    return Head(version, facts.host, facts.collected_at, facts.elapsed_s)


def end(diagnosis: Diagnosis) -> End:
    facts = diagnosis.facts
    return End(
        diagnosis.verdict.value,
        diagnosis.cause or "",
        diagnosis.exit_code,
        facts.host,
        facts.collected_at,
        facts.tool_version or UNKNOWN_VERSION,
    )


def verdict(diagnosis: Diagnosis) -> Section:
    main = diagnosis.main
    if main:
        title, text = f"{diagnosis.verdict.value.upper()}: {main.cause}", main.detail
    else:
        title, text = "HEALTHY", _healthy(diagnosis)
    return Section("VERDICT", (Paragraph(text),), title, Room.WHOLE)


def _healthy(diagnosis: Diagnosis) -> str:
    rights = without_rights(diagnosis.model)
    if any(finding.severity is Severity.WARN for finding in diagnosis.findings):
        rest = "See ALSO for what may affect other clients; the full report has more."
    elif rights:
        rest = "Nothing that was checked needs fixing."
    else:
        rest = "Nothing needs fixing."
    return f"{rights} IMDS answers this VM's requests. {rest}".strip()


def redaction(diagnosis: Diagnosis) -> List[Section]:
    """That what stands here is not what it is called on the VM."""
    if not diagnosis.facts.redacted:
        return []
    text = "Names, ids and addresses are pseudonyms: commands cannot be pasted as they stand."
    return [Section("REDACTED", beside=text, room=Room.WHOLE)]


def vm(diagnosis: Diagnosis) -> Tuple[KeyValues, ...]:
    """What IMDS said of this VM."""
    instance = diagnosis.model.answers.instance
    if instance is None:
        return ()
    pairs = [(key, short(getattr(instance, field), 64) or "-") for key, field in INSTANCE]
    return (KeyValues(tuple(pairs)),)


def machine(diagnosis: Diagnosis) -> Tuple[KeyValues, ...]:
    """The operating system, the chassis, and what the operator said of the VM."""
    facts = diagnosis.facts
    found = facts.machine or Machine()
    values: Dict[str, Optional[str]] = {
        "os": found.os_name,
        "id": found.os_id,
        "version": found.os_version,
        "edition": found.edition,
        "build": found.build,
        "kernel": found.kernel,
        "architecture": found.architecture,
        "vendor": found.vendor,
        "product": found.product,
        "assetTag": found.asset_tag,
        "smbiosUuid": found.smbios_uuid,
        "elevated": {True: "true", False: "false", None: None}[found.elevated],
        "activation": facts.activation,
        "expectedMac": facts.expected.mac,
        "expectedIp": facts.expected.ip,
    }
    pairs = tuple((name, short(value, 64)) for name, value in values.items() if value)
    if not pairs:
        return ()
    return (KeyValues(pairs),)


def not_collected(diagnosis: Diagnosis) -> Tuple[Line, ...]:
    return tuple(Line(f"{item.fact}: {item.reason}") for item in diagnosis.facts.unavailable)


def outputs(diagnosis: Diagnosis) -> List[Section]:
    """What the system's own programs printed."""
    sections = []
    for item in diagnosis.facts.raw or ():
        block = RawText(item.text, item.truncated)
        sections.append(Section(f"OUTPUT of {short(item.command)}", (block,), depth=Depth.FULL))
    return sections
