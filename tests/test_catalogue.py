"""The catalogue of rules: one order out of what each rule says of itself, and for each rule a
scenario, a recorded report, a check and a lab VM, or the reason why there is none.
"""

import ast
import json
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest

import build
from runcommand.rules import catalogue
from runcommand.rules.catalogue import (
    BY_CAUSE,
    EXPLAINS,
    FAMILIES,
    RESIDUAL,
    RULES,
    WrongOrder,
    in_order,
    rules_of,
    shown_by,
)
from runcommand.rules.checks import CHECKS
from runcommand.rules.finding import Kind, Seen, Verdict, rule
from runcommand.simulator.scenarios import BY_NAME

from .command import ROOT
from .lab.linux import LINUX
from .lab.windows import shown
from .snapshots import FOLDER

ORDER = [rule.cause for rule in RULES]
CHECK_IDS = [check.id for check in CHECKS]
EVERY_CAUSE = pytest.mark.parametrize("cause", ORDER)

# --- what a rule may lack, and why ---

# Found beside another fault, or on a VM that is healthy: the scenario in which it is.
SCENARIO_OF_ANOTHER_NAME = {
    "proxy-intercepts-wireserver": "proxy-wireserver",
    "nic-dhcp-disabled": "nic-ip-mismatch",
    "route-not-specific": "healthy-default-route",
    "cert-endpoints-blocked": "cert-intermediate-missing",
}
NO_CHECK = {
    "tool-failed": "the line of whatever failed says so itself: its status is error",
}
CHECK_STAYS_OK = {
    cause: "only information: nothing has to be done"
    for cause in (
        "route-not-specific",
        "proxy-pac-present",
        "cert-fetched-from-aia",
        "attested-unverifiable",
    )
}
NO_LAB_VM = {
    "tool-failed": "a fault of the program, not of a VM; tests/test_collect.py makes such faults",
    "route-stale-persistent": "only Windows has them: tests/test_exe.py stores one in the registry",
}


@lru_cache(maxsize=None)
def recorded(scenario):
    return json.loads((FOLDER / f"{scenario}.json").read_text("ascii"))


def scenario_of(cause):
    return SCENARIO_OF_ANOTHER_NAME.get(cause, cause)


def finding_of(cause):
    """The finding in the recorded report of the cause's scenario."""
    (found,) = [item for item in recorded(scenario_of(cause))["findings"] if item["cause"] == cause]
    return found


def lab_causes():
    """Every cause that some lab VM must be found to have."""
    scenarios = [*LINUX, *shown()]
    return {item.cause for item in scenarios} | {cause for item in scenarios for cause in item.also}


@EVERY_CAUSE
def test_every_rule_has_a_scenario_of_its_name_or_a_named_one(cause):
    assert scenario_of(cause) in BY_NAME
    assert (cause in BY_NAME) == (cause not in SCENARIO_OF_ANOTHER_NAME)


@EVERY_CAUSE
def test_every_rule_is_in_the_recorded_report_of_its_scenario(cause):
    finding = finding_of(cause)
    may = {verdict.value for verdict in BY_CAUSE[cause].verdicts}
    assert (finding["severity"] == "fail") == bool(may)
    if may and recorded(scenario_of(cause))["cause"] == cause:
        assert recorded(scenario_of(cause))["verdict"] in may


@EVERY_CAUSE
def test_the_check_of_every_rule_turns_with_it(cause):
    check = BY_CAUSE[cause].shown_by
    assert (check is None) == (cause in NO_CHECK)
    if check is None:
        return
    seen = set()
    for report in map(recorded, BY_NAME):
        severities = {item["cause"]: item["severity"] for item in report["findings"]}
        statuses = {item["id"]: item["status"] for item in report["checks"]}
        seen.add((severities.get(cause), statuses[check]))
    if cause in CHECK_STAYS_OK:
        assert ("info", "ok") in seen
    elif BY_CAUSE[cause].verdicts:
        assert ("fail", "fail") in seen
    else:
        assert seen & {("warn", "warn"), ("warn", "fail")}


@EVERY_CAUSE
def test_every_rule_has_a_lab_vm_or_says_why_not(cause):
    assert (cause in lab_causes()) == (cause not in NO_LAB_VM)


def test_a_reason_is_of_a_rule_that_is_there():
    for reasons in (SCENARIO_OF_ANOTHER_NAME, NO_CHECK, CHECK_STAYS_OK, NO_LAB_VM):
        assert set(reasons) <= set(ORDER)


# --- rules are found ---


def test_every_file_that_declares_a_rule_is_a_family():
    declaring = set()
    for path in (ROOT / "runcommand" / "rules").rglob("*.py"):
        functions = [
            node
            for node in ast.walk(ast.parse(path.read_text("ascii")))
            if isinstance(node, ast.FunctionDef)
        ]
        decorators = [ast.unparse(word) for node in functions for word in node.decorator_list]
        if any(text.startswith("rule(") for text in decorators):
            declaring.add(path.stem)
    assert declaring == {family.__name__.rpartition(".")[2] for family in FAMILIES}


def test_every_family_has_rules_and_no_rule_has_two_families():
    for family in FAMILIES:
        assert rules_of([family]), family.__name__
    assert len(rules_of(FAMILIES)) == len(RULES) == len(set(ORDER))


def test_every_check_that_a_rule_names_is_there():
    for item in RULES:
        assert item.shown_by is None or item.shown_by in CHECK_IDS, item.cause
    assert [cause for id in CHECK_IDS for cause in shown_by(id)]


def test_every_cause_that_a_rule_explains_is_there():
    for item in RULES:
        for explained in item.explains:
            assert explained in BY_CAUSE or explained in set(Kind), item.cause


# --- their order ---


def comes_before(first, second):
    return ORDER.index(first) < ORDER.index(second)


def test_a_machine_that_is_not_azure_is_told_first():
    assert ORDER[0] == "not-azure"


@pytest.mark.parametrize(
    "first, second",
    [
        ("nic-down", "route-missing"),  # a NIC that is down has no routes
        ("route-link-local-shadow", "route-wrong-interface"),  # the more exact of the two
        ("route-wrong-interface", "route-wrong-gateway"),
        ("firewall-blocks-imds", "firewall-unknown"),  # what is named, before what is not
        ("guest-proxy-agent-failing", "imds-access-denied"),  # the agent itself, before its answer
        ("platform-unreachable", "imds-refused"),
        ("platform-unreachable", "imds-no-answer"),
        ("clock-skew", "attested-document-expired"),  # by a wrong clock, anything has expired
        ("clock-skew", "cert-expired"),
        ("attested-signature-invalid", "attested-vm-mismatch"),
        ("cert-chain-rejected", "cert-intermediate-missing"),
    ],
)
def test_of_two_causes_the_one_that_brings_the_other_comes_first(first, second):
    assert comes_before(first, second)


def test_a_rule_explains_only_what_comes_after_it():
    for cause, explained in EXPLAINS.items():
        assert explained
        for other in explained:
            assert comes_before(cause, other), (cause, other)


@pytest.mark.parametrize(
    "cause, explained",
    [
        ("nic-down", {"route-missing"}),
        ("route-link-local-shadow", {"route-wrong-interface", "route-wrong-gateway"}),
    ],
)
def test_one_fault_seen_from_another_side_is_explained(cause, explained):
    assert explained <= EXPLAINS[cause]


def test_an_answer_to_the_wrong_sender_is_explained_by_what_made_it_the_sender():
    answers = {"imds-not-imds", "imds-access-denied", "imds-rejects-request", "imds-unavailable"}
    assert answers == {item.cause for item in RULES if item.kind is Kind.ANSWER}
    explaining = {cause for cause, explained in EXPLAINS.items() if answers <= explained}
    assert explaining == {
        "address-claimed-locally",
        "guest-proxy-agent-failing",
        "route-link-local-shadow",
        "route-wrong-interface",
        "source-not-primary-ip",
    }


def test_what_nothing_on_the_vm_explains_is_residual():
    assert {
        "firewall-unknown",
        "imds-no-answer",
        "imds-refused",
        "platform-unreachable",
    } == RESIDUAL


def test_what_is_on_the_vm_comes_before_what_is_left_when_nothing_is():
    on_the_vm = [
        item.cause
        for item in RULES
        if item.cause.startswith(("nic-", "route-", "address-", "source-", "firewall-blocks-imds"))
        and Verdict.BROKEN in item.verdicts
    ]
    assert len(on_the_vm) == 10 and RESIDUAL
    for cause in on_the_vm:
        for residual in RESIDUAL:
            assert comes_before(cause, residual), (cause, residual)


def test_warnings_and_information_come_last():
    without = [not item.verdicts for item in RULES]
    assert without == sorted(without) and any(without)


# --- what a rule may say of its place ---


def named(cause, **place):
    """A rule with this cause."""

    def function(case):
        """The title

        The text.
        https://learn.microsoft.com/azure
        """
        return Seen("seen")

    function.__name__ = cause.replace("-", "_")
    return rule(**place)(function)


def causes(*rules):
    return [item.cause for item in in_order(rules)]


def test_rules_are_sorted_wherever_they_stand():
    first, second, third = named("x"), named("a", after="x"), named("m", after="a")
    assert causes(third, first, second) == causes(second, third, first) == ["x", "a", "m"]


def test_a_rule_goes_between_two_others_and_neither_is_edited():
    rules = [named("a"), named("b", after="a"), named("new", after="a", before="b")]
    assert causes(*rules) == ["a", "new", "b"]


def test_two_rules_may_both_say_which_comes_first():
    assert causes(named("b", after="a"), named("a", before="b")) == ["a", "b"]


def test_a_rule_goes_before_the_first():
    assert causes(named("a"), named("new", before="a")) == ["new", "a"]


@pytest.mark.parametrize(
    "rules, message",
    [
        ([named("a"), named("b", after="x-y")], "b names a rule that does not exist: x-y."),
        ([named("a", before="x-y")], "a names a rule that does not exist: x-y."),
        (
            [named("a"), named("b", after="a"), named("new-one", after="a")],
            "Rules claim the same place: b, new-one. "
            "Give one of them before= the other, or another after=.",
        ),
        (
            [named("a"), named("new-one")],
            "Rules claim the same place: a, new-one. "
            "Give one of them before= the other, or another after=.",
        ),
        (
            [
                named("a"),
                named("b", after="d"),
                named("c", after="b"),
                named("d", after="c"),
                named("e", after="d"),
            ],
            "Rules form a circle: b after d after c after b.",
        ),
        ([named("a", after="a")], "Rules form a circle: a after a."),
        (
            [named("a"), named("b", after="a", before="a")],
            "Rules form a circle: a after b after a.",
        ),
        ([named("a"), named("a")], "Two rules are called a."),
    ],
)
def test_a_wrong_order_names_the_rules_that_are_wrong(rules, message):
    for given in (rules, rules[::-1]):
        with pytest.raises(WrongOrder) as error:
            in_order(given)
        assert str(error.value) == message


def test_two_files_cannot_have_a_rule_of_one_name():
    first, second = ModuleType("first"), ModuleType("second")
    first.a, second.a = named("a"), named("a")
    with pytest.raises(WrongOrder, match="Two rules are called a"):
        in_order(rules_of([first, second]))


def test_the_order_is_checked_when_the_program_starts():
    """``RULES`` is what this very function makes of all families."""
    assert in_order(rules_of(catalogue.FAMILIES)) == RULES


# --- their help pages ---


def test_a_rule_without_its_help_page_is_refused():
    def bare(case):
        return None

    with pytest.raises(RuntimeError, match="bare: its docstring"):
        rule()(bare)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_the_script_for_linux_keeps_title_and_address_of_every_rule(family):
    """``build.slim`` knows a rule by its decorator, however many lines that has."""
    slim = ast.parse(build.slim(Path(family.__file__).read_text("ascii")))
    functions = [node for node in slim.body if isinstance(node, ast.FunctionDef)]
    kept = {node.name: ast.get_docstring(node) for node in functions if ast.get_docstring(node)}
    assert kept == {
        item.recognise.__name__: f"{item.title}\n\n-\n{item.doc}" for item in rules_of([family])
    }


@EVERY_CAUSE
def test_a_help_page_has_a_title_a_text_and_an_address(cause):
    item = BY_CAUSE[cause]
    lines = item.recognise.__doc__.strip().splitlines()
    assert item.title == lines[0].strip() and not item.title.endswith(".")
    assert item.doc == lines[-1].strip() and item.doc.startswith("https://learn.microsoft.com/")
    assert item.text and not item.text.startswith(" ") and "https://" not in item.text[-200:]
