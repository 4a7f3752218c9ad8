"""``python -m tests.snapshots`` makes ``samples/reports`` anew: each scenario of the demo, run for
real, with its times settled.

Of every scenario there are the JSON report and the portal's report that ``replay`` makes of it.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Dict, List

from runcommand.diagnosis import Diagnosis, diagnose
from runcommand.facts import (
    CertificateChain,
    Facts,
    IssuerFetch,
    instant,
    parse_instant,
    to_json,
)
from runcommand.facts.decoding import facts_from_json
from runcommand.report import json_report, text
from runcommand.simulator.scenarios import SCENARIOS
from runcommand.simulator.world import Scenario, simulate

FOLDER = Path(__file__).resolve().parents[1] / "samples" / "reports"
THEN = "2026-11-23T01:44:05Z"
FILES = "none (replay)"  # what replay says


def settled(facts: Facts) -> Facts:
    """The same facts as they would be in a run of even times, so that two recordings differ only
    where something changed.
    """
    chains = tuple(_first_host_won(chain) for chain in facts.certificate_chains or ())
    document = to_json(replace(facts, certificate_chains=chains or facts.certificate_chains))
    return facts_from_json(_settle(document, min(_times(document), default=parse_instant(THEN))))


def _first_host_won(chain: CertificateChain) -> CertificateChain:
    """Several hosts offer the same issuer, and chance decides which one answers first: here it is
    always the one that the certificate names first.
    """
    fetched = [fetch.certificate for fetch in chain.fetches if fetch.certificate]
    first = {}
    for certificate in (*chain.certificates, *fetched):
        for url in certificate.issuer_urls:
            first[url] = certificate.issuer_urls[0]
    fetches: Dict[IssuerFetch, None] = {}
    for fetch in chain.fetches:
        if fetch.certificate:
            fetch = replace(fetch, url=first[fetch.url])
        fetches[fetch] = None
    return replace(chain, fetches=tuple(fetches))


def _times(value: Any) -> List[datetime]:
    """Every moment at which an answer was read."""
    if isinstance(value, dict):
        own = [parse_instant(value["read_at"])] if value.get("read_at") else []
        return own + [time for item in value.values() for time in _times(item)]
    return [time for item in value for time in _times(item)] if isinstance(value, list) else []


def _settle(value: Any, began: datetime, key: str = "") -> Any:
    if isinstance(value, list):
        return [_settle(item, began) for item in value]
    if isinstance(value, dict):
        made = {name: _settle(item, began, name) for name, item in value.items()}
        if made.get("date") and made.get("read_at"):
            ahead = (parse_instant(value["read_at"]) - parse_instant(value["date"])).total_seconds()
            made["date"] = instant(
                parse_instant(made["read_at"]) - timedelta(seconds=60 * round(ahead / 60))
            )
        return made
    if key in ("read_at", "created_on", "expires_on", "judged_at") and value:
        # all but read_at have whole seconds, and fall on either side of one
        step = 1 if key == "read_at" else 60
        passed = (parse_instant(value) - began).total_seconds()
        return instant(parse_instant(THEN) + timedelta(seconds=step * round(passed / step)))
    if key == "elapsed_s":
        # in half seconds; a busy machine adds to a time, and takes little off
        return 0.004 if value < 0.3 else int(value * 2 + 0.4) / 2
    if key == "allowed_s":
        return round(value, 1)
    if key == "collected_at":
        return THEN
    if key == "pkcs7":
        return ""  # signed anew each time, around another nonce
    if key in ("asked_nonce", "nonce"):
        return re.sub(r"\d{10}", "1234567890", value or "") or value
    return re.sub(r"nonce=\d+", "nonce=1234567890", value) if isinstance(value, str) else value


def record(scenario: Scenario) -> Diagnosis:
    return diagnose(settled(simulate(scenario).facts))


def main() -> None:
    made = {}
    with ThreadPoolExecutor(8) as pool:
        for scenario, diagnosis in zip(SCENARIOS, pool.map(record, SCENARIOS)):
            assert diagnosis.cause == scenario.cause, f"{scenario.name}: {diagnosis.cause}"
            made[f"{scenario.name}.json"] = json_report.as_json(diagnosis)
            made[f"{scenario.name}.txt"] = text.portal(diagnosis, FILES)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for name, content in made.items():
        (FOLDER / name).write_text(content, "ascii")
    print(
        f"{len(SCENARIOS)} reports in {FOLDER.name}, "
        f"{sum(path.stat().st_size for path in FOLDER.iterdir()) >> 10} KiB"
    )


if __name__ == "__main__":
    main()
