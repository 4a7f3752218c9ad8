"""The README keeps its word: its sample is the real output, its table has every cause, its commands exist."""

import re

from runcommand.report.explain import verdict_of
from runcommand.rules import RULES

from .command import ROOT, imds_check
from .snapshots import FOLDER

TEXT = (ROOT / "README.md").read_text("utf-8")


def test_the_sample_is_the_recorded_report():
    recorded = (FOLDER / "route-wrong-interface.txt").read_text("ascii")
    assert recorded.replace("none (replay)", "none (demo)") in TEXT


def test_the_table_has_every_cause():
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z -]+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert rows == [(rule.cause, verdict_of(rule), rule.title) for rule in RULES]


def test_every_option_it_names_exists():
    helped = imds_check("check", "--help").out
    options = set(re.findall(r"`(--[a-z-]+)", TEXT)) - {"--list"}
    assert options and all(option in helped for option in options)


def test_every_option_that_exists_is_named():
    helped = imds_check("check", "--help").out
    assert set(re.findall(r"(--[a-z-]+)", helped)) - {"--help"} <= set(re.findall(r"(--[a-z-]+)", TEXT))
