"""The JSON report (schema imds-check/1)."""

from __future__ import annotations

import json
from typing import Any, Dict

from ..diagnosis import Diagnosis
from ..facts import to_json
from ..fixes.commands import Fix

SCHEMA = "imds-check/1"


def as_json(diagnosis: Diagnosis) -> str:
    """One JSON object, ASCII, one line end at its end."""
    return json.dumps(as_object(diagnosis), indent=1, ensure_ascii=True) + "\n"


def as_object(diagnosis: Diagnosis) -> Dict[str, Any]:
    facts, primary = diagnosis.facts, diagnosis.model.primary_nic
    answers = diagnosis.model.answers
    return {
        "schema": SCHEMA,
        "tool": {"name": "imds-check", "version": facts.tool_version},
        "host": facts.host,
        "vm_id": answers.instance.vm_id if answers.instance else None,
        "system": facts.system,
        "redacted": facts.redacted,
        "collected_at": facts.collected_at,
        "host_date": answers.metadata.date if answers.metadata else None,
        "elapsed_s": facts.elapsed_s,
        "verdict": diagnosis.verdict.value,
        "cause": diagnosis.cause,
        "exit": diagnosis.exit_code,
        "primary_nic": primary
        and {
            "name": primary.adapter.name,
            "mac": primary.adapter.mac,
            "ip": primary.ip,
            "known_from": primary.known_from.value,
        },
        "findings": [
            {
                "cause": finding.cause,
                "severity": finding.severity.value,
                "title": finding.title,
                "detail": finding.detail,
                "fix": [_fix(fix) for fix in finding.fix],
                "doc": finding.doc,
            }
            for finding in diagnosis.findings
        ],
        "checks": to_json(diagnosis.checks),
        "facts": to_json(facts),
    }


def _fix(fix: Fix) -> Dict[str, Any]:
    found: Dict[str, Any] = {"kind": fix.kind.value}
    if fix.shell and fix.run_on:
        found.update(shell=fix.shell.value, run_on=fix.run_on.value)
    found["text"] = fix.text
    if fix.harmless:
        found["harmless"] = fix.harmless
    return found
