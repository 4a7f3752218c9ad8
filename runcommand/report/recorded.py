"""A ``report.json`` of an earlier run, read for replay."""

from __future__ import annotations

import json

from ..facts import Facts, parse_json
from ..facts.decoding import FactsError, facts_from_json
from ..text_file import text_of
from .json_report import SCHEMA

SIZE_LIMIT = 32 * 1024 * 1024  # bytes of a report


def facts_of_report(content: bytes) -> Facts:
    """The facts in a ``report.json``. Raises ``FactsError``, whose message is for the operator."""
    try:
        text = text_of(content)
    except UnicodeDecodeError:
        raise FactsError("not JSON: it is neither UTF-8 nor UTF-16 text") from None
    if not text.strip():
        raise FactsError("it is empty")
    try:
        report = parse_json(text)
    except ValueError as error:
        raise FactsError(f"not JSON, or cut off: {error}") from None
    if not isinstance(report, dict):
        raise FactsError("not a report: expected a JSON object")
    schema = report.get("schema")
    if schema != SCHEMA:
        raise FactsError(f"not a report of schema {SCHEMA}: schema is {json.dumps(schema)[:60]}")
    if "facts" not in report:
        raise FactsError("facts: missing")
    return facts_from_json(report["facts"])
