"""The recorded reports under ``samples/reports``: judged again by this version, they read as they
stand there.

After a change of wording or of rules: ``python -m tests.snapshots``, and read the difference.
"""

import json

import pytest

from runcommand.diagnosis import diagnose
from runcommand.report import json_report, recorded as recorded_report, text
from runcommand.rules.catalogue import BY_CAUSE
from runcommand.simulator.scenarios import BY_NAME, SCENARIOS

from .command import imds_check
from .snapshots import FILES, FOLDER

NAMES = [scenario.name for scenario in SCENARIOS]


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_run_gives_the_recorded_report(name):
    content = (FOLDER / f"{name}.json").read_bytes()
    diagnosis = diagnose(recorded_report.facts_of_report(content))
    assert text.portal(diagnosis, FILES) == (FOLDER / f"{name}.txt").read_text("ascii")
    assert json_report.as_object(diagnosis) == json.loads(content)
    assert diagnosis.cause == BY_NAME[name].cause


def test_there_is_a_sample_for_every_scenario_and_none_left_over():
    assert {path.stem for path in FOLDER.iterdir()} == set(NAMES)


def test_there_is_a_sample_for_every_cause():
    shown = {
        finding["cause"]
        for path in FOLDER.glob("*.json")
        for finding in json.loads(path.read_text())["findings"]
    }
    assert shown == set(BY_CAUSE)


def test_replay_prints_the_sample():
    path = FOLDER / "route-wrong-interface.json"
    assert imds_check("replay", path).out == path.with_suffix(".txt").read_text()
