"""What could not be looked at is said before anything is concluded without it, and nobody is sent to redeploy for it."""

from dataclasses import replace

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import Outcome, Unavailable
from runcommand.rules.unseen import EXPLAINING

from .facts_of import BOTH, WINDOWS, metadata, wireserver

ON_BOTH = pytest.mark.parametrize("side", BOTH, ids=["windows", "linux"])

REASONS = ("not finished when the time was up", "not begun when the time was up: x", "MemoryError:  at x.py:1", "EACCES")


def without(facts, reason, *names):
    missing = tuple(Unavailable(name, reason) for name in names)
    return replace(facts, unavailable=missing, **{name: None for name in names})


def texts(finding):
    return [fix.text for fix in finding.fix]


def redeploys(finding):
    return any("Redeploy the VM" in text for text in texts(finding))


@ON_BOTH
@pytest.mark.parametrize("fact", EXPLAINING)
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.REFUSED, Outcome.FORBIDDEN])
def test_a_fact_that_may_explain_it_is_missing(side, fact, reason, outcome):
    whole = diagnose(side.dark(proof=False, outcome=outcome))
    lacking = diagnose(without(side.dark(proof=False, outcome=outcome), reason, fact))
    assert lacking.main.detail.startswith(f"Could not look at: {EXPLAINING[fact]} ({reason}). ")
    assert texts(lacking.main)[0].startswith("Run this again with --deadline 60")
    assert not redeploys(lacking.main)
    assert "Could not look at" not in whole.main.detail


@ON_BOTH
def test_neither_service_answers_and_facts_are_missing(side):
    facts = replace(side.dark(proof=False), wireserver=wireserver(side.ip, Outcome.TIMED_OUT))
    assert diagnose(facts).cause == "platform-unreachable" and redeploys(diagnose(facts).main)
    found = diagnose(without(facts, REASONS[0], "routes", "firewall")).main
    assert found.detail.startswith(f"Could not look at: routes, firewall ({REASONS[0]}). ") and not redeploys(found)


@ON_BOTH
def test_a_program_that_is_not_on_the_vm_is_no_reason_to_run_again(side):
    found = diagnose(without(side.dark(proof=False), "iptables-save: not found; nft: not found", "firewall")).main
    assert "Could not look at" not in found.detail and redeploys(found)


@ON_BOTH
def test_without_rights_it_is_said_first_and_run_again_with_them(side):
    facts = side.dark(proof=False)
    found = diagnose(replace(facts, machine=replace(facts.machine, elevated=False))).main
    who = "an administrator" if side is WINDOWS else "root"
    assert found.detail.startswith(f"This was not run as {who}: ") and not redeploys(found)
    assert texts(found)[0].startswith("Run this again in an elevated prompt" if side is WINDOWS else "Run this again as root")


@ON_BOTH
def test_without_rights_a_run_that_failed_says_so_first(side):
    facts = side.dark(proof=False)
    facts = replace(facts, imds=None, machine=replace(facts.machine, elevated=False))
    found = diagnose(facts).main
    assert found.cause == "tool-failed" and found.detail.startswith("This was not run as ")
    assert texts(found)[0].startswith("Run this again ")


@ON_BOTH
def test_without_rights_a_healthy_vm_is_healthy(side):
    facts = side.answers(metadata(side.ip, side.vm))
    assert diagnose(replace(facts, machine=replace(facts.machine, elevated=False))).cause is None


def test_nothing_of_azure_is_missed_where_it_could_not_be_looked_for():
    facts = replace(WINDOWS.dark(proof=False), machine=None, adapters=None, routes=None, services=None, lookups=None)
    facts = replace(facts, wireserver=None)
    assert diagnose(facts).cause == "not-azure"
    assert diagnose(without(facts, REASONS[0], "adapters", "routes", "services")).cause == "imds-no-answer"


@ON_BOTH
def test_a_wireserver_that_could_not_be_asked_is_not_silent(side):
    facts = replace(side.dark(proof=False), wireserver=wireserver(side.ip, Outcome.FAILED))
    assert diagnose(facts).cause == "imds-no-answer"


@ON_BOTH
def test_of_several_reasons_the_first_is_said_and_every_fact_is(side):
    facts = without(side.dark(proof=False), "x" * 300, *EXPLAINING)
    unlike = tuple(replace(item, reason=f"{item.fact} {item.reason}") for item in facts.unavailable)
    detail = diagnose(replace(facts, unavailable=unlike)).main.detail
    assert detail.startswith("Could not look at: NICs, routes, neighbours, firewall, services, proxies (NICs: adapters xxx")
