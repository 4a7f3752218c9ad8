"""What could not be looked at is said before anything is concluded without it, and nobody is sent
to redeploy for it.
"""

from dataclasses import replace

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import Note, Outcome, Unavailable
from runcommand.report import text
from runcommand.report.recorded import facts_of_report
from runcommand.rules.unseen import EXPLAINING

from .facts_of import BOTH, WINDOWS, metadata, wireserver
from .snapshots import FOLDER

ON_BOTH = pytest.mark.parametrize("side", BOTH, ids=["windows", "linux"])

REASONS = (
    "not finished when the time was up",
    "not begun when the time was up: x",
    "MemoryError:  at x.py:1",
    "EACCES",
)


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
    assert lacking.main.detail.startswith(f"Could not check: {EXPLAINING[fact]} ({reason}). ")
    assert texts(lacking.main)[0].startswith("Run this again with --deadline 60")
    assert not redeploys(lacking.main)
    assert "Could not check" not in whole.main.detail


@ON_BOTH
def test_neither_service_answers_and_facts_are_missing(side):
    facts = replace(side.dark(proof=False), wireserver=wireserver(side.ip, Outcome.TIMED_OUT))
    assert diagnose(facts).cause == "platform-unreachable" and redeploys(diagnose(facts).main)
    found = diagnose(without(facts, REASONS[0], "routes", "firewall")).main
    assert found.detail.startswith(
        f"Could not check: routes, firewall ({REASONS[0]}). "
    ) and not redeploys(found)


@ON_BOTH
def test_a_program_that_is_not_on_the_vm_is_no_reason_to_run_again(side):
    found = diagnose(
        without(side.dark(proof=False), "iptables-save: not found; nft: not found", "firewall")
    ).main
    assert "Could not check" not in found.detail and redeploys(found)


@ON_BOTH
@pytest.mark.parametrize(
    "reason",
    [
        "iptables-save -c: exit status 1: iptables-save: line 3: modprobe: not found",
        "nft: not found; iptables-save -c: exit status 127: x: not found",
        "iptables-save : exit status 1: not found",
    ],
)
def test_what_a_program_says_is_not_taken_for_its_absence(side, reason):
    found = diagnose(without(side.dark(proof=False), reason, "firewall")).main
    assert found.detail.startswith("Could not check: firewall (") and not redeploys(found)


HALF_READ = [
    "nft -j list ruleset: not finished in 5 s",
    "nft -j list ruleset: exit status 1: x: not found",
    "iptables-save -c: Too many open files",
    "7 rules cannot be read or are beyond the first 20,000, and are left out",
]


@ON_BOTH
@pytest.mark.parametrize("note", HALF_READ)
@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.REFUSED])
def test_a_firewall_that_was_read_by_half_is_not_without_fault(side, note, outcome):
    facts = side.dark(proof=False, outcome=outcome)
    whole = diagnose(facts).main
    assert redeploys(whole)
    found = diagnose(replace(facts, notes=(Note("firewall", note),))).main
    assert found.detail.startswith(
        f"Could not check: all of the firewall ({note}). "
    ) and not redeploys(found)
    assert texts(found)[0].startswith("Run this again with --deadline 60")
    if "No fault found in:" in whole.detail:
        right = found.detail.partition("No fault found in: ")[2].partition(".")[0]
        assert "firewall" not in right and "Not checked: all of the firewall" in found.detail


@ON_BOTH
def test_rules_that_were_cut_off_were_not_looked_at(side):
    facts = side.dark(proof=False)
    found = diagnose(replace(facts, firewall=replace(facts.firewall, cut_off=7))).main
    assert found.detail.startswith("Could not check: all of the firewall (7 rules are left out). ")
    assert not redeploys(found)


@ON_BOTH
@pytest.mark.parametrize(
    "note", [Note("firewall", "the active profile is not known: x; y"), Note("routes", "x")]
)
def test_a_note_on_something_else_is_no_half_read_firewall(side, note):
    found = diagnose(replace(side.dark(proof=False), notes=(note,))).main
    assert "Could not check" not in found.detail and redeploys(found)


@ON_BOTH
def test_a_silent_wireserver_is_no_reason_to_redeploy_where_the_firewall_was_read_by_half(side):
    facts = replace(
        side.answers(metadata(side.ip, side.vm)), wireserver=wireserver(side.ip, Outcome.TIMED_OUT)
    )
    whole = diagnose(facts)
    half = diagnose(replace(facts, notes=(Note("firewall", HALF_READ[0]),)))
    assert whole.cause == half.cause == "wireserver-unreachable"
    assert [
        len([text for text in texts(each.main) if "redeploy" in text]) for each in (whole, half)
    ] == [1, 0]


@ON_BOTH
def test_without_rights_it_is_said_first_and_run_again_with_them(side):
    facts = side.dark(proof=False)
    found = diagnose(replace(facts, machine=replace(facts.machine, elevated=False))).main
    who = "an administrator" if side is WINDOWS else "root"
    assert found.detail.startswith(f"This was not run as {who}, so ") and not redeploys(found)
    assert texts(found)[0].startswith(
        "Run this again in an elevated prompt" if side is WINDOWS else "Run this again as root"
    )


@ON_BOTH
def test_without_rights_a_run_that_failed_says_so_first(side):
    facts = side.dark(proof=False)
    facts = replace(facts, imds=None, machine=replace(facts.machine, elevated=False))
    found = diagnose(facts).main
    assert found.cause == "tool-failed" and found.detail.startswith("This was not run as ")
    assert texts(found)[0].startswith("Run this again ")


@ON_BOTH
def test_without_rights_a_healthy_vm_is_healthy_and_what_was_not_looked_at_is_said(side):
    facts = side.answers(metadata(side.ip, side.vm))
    diagnosis = diagnose(replace(facts, machine=replace(facts.machine, elevated=False)))
    assert diagnosis.cause is None
    who = "an administrator" if side is WINDOWS else "root"
    for report in (text.portal(diagnosis), text.full(diagnosis)):
        said = report.splitlines()[1:3]
        assert said[0] == "VERDICT  HEALTHY" and said[1].startswith(
            f"  This was not run as {who}, so "
        )
    assert "This was not run as" not in text.portal(diagnose(facts))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_without_rights_every_failing_verdict_says_so_first(path):
    whole = facts_of_report(path.read_bytes())
    if whole.machine is None:
        pytest.skip("nothing is known of the machine")
    diagnosis = diagnose(replace(whole, machine=replace(whole.machine, elevated=False)))
    if diagnosis.main is None:
        return
    assert diagnosis.main.detail.startswith("This was not run as ")
    assert texts(diagnosis.main)[0].startswith("Run this again ")
    assert "This was not run as" in "".join(text.portal(diagnosis).splitlines()[2])


@ON_BOTH
def test_an_interrupted_run_is_to_be_let_finish_and_is_no_fault_of_this_program(side):
    facts = without(
        side.dark(proof=False),
        "the run was interrupted",
        "imds",
        "machine",
        "wireserver",
        *EXPLAINING,
    )
    diagnosis = diagnose(replace(facts, interrupted=True))
    assert diagnosis.cause == "tool-failed" and texts(diagnosis.main) == [
        "Run again and let it finish."
    ]
    azure = next(check for check in diagnosis.checks if check.id == "vm.azure")
    assert (azure.status, azure.summary) == ("error", "the run was interrupted")


@ON_BOTH
def test_an_interrupted_run_that_lacks_what_may_explain_it_is_to_be_let_finish(side):
    facts = without(side.dark(proof=False), "the run was interrupted", "routes")
    found = diagnose(replace(facts, interrupted=True)).main
    assert found.detail.startswith(
        "Could not check: routes (the run was interrupted). "
    ) and not redeploys(found)
    assert texts(found)[0].startswith("Run this again and let it finish")


def test_nothing_of_azure_is_missed_where_it_could_not_be_looked_for():
    facts = replace(
        WINDOWS.dark(proof=False),
        machine=None,
        adapters=None,
        routes=None,
        services=None,
        lookups=None,
    )
    facts = replace(facts, wireserver=None)
    assert diagnose(facts).cause == "not-azure"
    assert (
        diagnose(without(facts, REASONS[0], "adapters", "routes", "services")).cause
        == "imds-no-answer"
    )


@ON_BOTH
def test_a_wireserver_that_could_not_be_asked_is_not_silent(side):
    facts = replace(side.dark(proof=False), wireserver=wireserver(side.ip, Outcome.FAILED))
    assert diagnose(facts).cause == "imds-no-answer"


@ON_BOTH
def test_of_several_reasons_the_first_is_said_and_every_fact_is(side):
    facts = without(side.dark(proof=False), "x" * 300, *EXPLAINING)
    unlike = tuple(replace(item, reason=f"{item.fact} {item.reason}") for item in facts.unavailable)
    detail = diagnose(replace(facts, unavailable=unlike)).main.detail
    assert detail.startswith(
        "Could not check: NICs, routes, neighbours, firewall, services, proxies (NICs: adapters xxx"
    )
