"""The help pages are whole, and name the facts that a check really looks at."""

import re
from dataclasses import MISSING, fields, replace
from functools import lru_cache

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import Expected, Facts, Unavailable
from runcommand.model.model import Model
from runcommand.report import explain, recorded as recorded_report
from runcommand.rules.catalogue import BY_CAUSE, EXPLAINS, RESIDUAL, RULES
from runcommand.rules.checks import CHECKS

from .snapshots import FOLDER

IDS = [check.id for check in CHECKS]
EMPTY = {field.name: field.default for field in fields(Facts) if field.default is not MISSING}
EMPTY["expected"] = Expected()


@lru_cache(maxsize=None)
def recorded():
    return [
        recorded_report.facts_of_report(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))
    ]


def facts_on_page(check):
    (names,) = re.findall(r"^Facts: (.+)$", check.text, re.MULTILINE)
    return names.split(", ")


def depends_on(check, name):
    """Whether some recorded VM's line for this check reads otherwise once the fact is gone."""
    for facts in recorded():
        if getattr(facts, name) != EMPTY[name]:
            without = replace(facts, **{name: EMPTY[name]})
            if check.evaluate(Model(facts)) != check.evaluate(Model(without)):
                return True
    return False


@pytest.mark.parametrize("check", CHECKS, ids=IDS)
def test_the_page_of_a_check_has_its_question_its_text_and_its_causes(check):
    page = explain.page(check.id)
    assert page.startswith(f"{check.id}: {check.title}\n=") and check.title.endswith("?")
    assert check.text in page
    for cause in check.causes:
        assert re.search(rf"^  {cause} +\S", page, re.MULTILINE)
    assert ("Causes that it shows:" in page) == bool(check.causes)


@pytest.mark.parametrize("check", CHECKS, ids=IDS)
def test_the_facts_on_the_page_of_a_check_are_those_that_it_looks_at(check):
    named = facts_on_page(check)
    assert set(check.facts) <= set(named)
    for name in set(named) - set(check.facts):
        assert depends_on(check, name), name


@pytest.mark.parametrize("check", CHECKS, ids=IDS)
def test_a_fact_on_the_page_of_a_check_matters_to_it(check):
    assert any(depends_on(check, name) for name in facts_on_page(check))


@pytest.mark.parametrize("rule", RULES, ids=[rule.cause for rule in RULES])
def test_the_page_of_a_cause_names_the_check_that_shows_it(rule):
    page = explain.page(rule.cause)
    shown_by = re.findall(r"^Check: (.+)$", page, re.MULTILINE)
    assert shown_by == [check.id for check in CHECKS if rule.cause in check.causes]


@pytest.mark.parametrize("rule", RULES, ids=[rule.cause for rule in RULES])
def test_the_page_of_a_cause_names_what_it_explains(rule):
    page = explain.page(rule.cause)
    said = re.findall(r"^Explains: ((?:.*\n)(?:  .*\n)*)", page, re.MULTILINE)
    named = re.split(r",\s+", said[0].strip()) if said else []
    assert set(named) == set(EXPLAINS.get(rule.cause, ()))
    assert named == sorted(named, key=list(BY_CAUSE).index)
    assert ("\nExplained by: any failure" in page) == (rule.cause in RESIDUAL)


def test_no_cause_and_check_share_an_id():
    assert len(set(explain.names())) == len(explain.names()) == len(RULES) + len(CHECKS)


def test_what_has_no_page_has_none():
    for name in ("no-such-cause", "facts.", "facts.no_such_fact", "routes"):
        assert explain.page(name) is None


def test_every_line_of_checks_in_a_report_has_a_page():
    """Also those that stand for a fact which could not be collected."""
    ids = {check.id for facts in recorded() for check in diagnose(facts).checks}
    missing = Facts("linux", "here", "2026-11-23T01:44:05Z", unavailable=(Unavailable("raw", "x"),))
    ids |= {check.id for check in diagnose(missing).checks}
    assert {"imds.reachable", "facts.raw"} <= ids
    for name in ids:
        assert explain.page(name).startswith(f"{name}: "), name


def test_no_line_of_the_table_ends_with_a_blank():
    assert not re.search(r" $", explain.table(), re.MULTILINE)


@pytest.mark.parametrize("name", explain.names())
def test_a_help_page_fits_a_terminal(name):
    lines = explain.page(name).splitlines()
    assert all(len(line) <= 100 for line in lines if not line.startswith("https://"))
