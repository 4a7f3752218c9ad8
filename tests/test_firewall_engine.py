"""The firewall engine alone: packets and rules in, verdicts out; and the record of all rules."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

import runcommand.firewall
from runcommand.facts import (
    Firewall,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallProfile,
    FirewallRule,
    MatchField,
    RuleVerdict,
    to_json,
)
from runcommand.facts.decoding import facts_from_json
from runcommand.firewall import netfilter, record
from runcommand.firewall.netfilter import Netfilter
from runcommand.firewall.packet import Packet, reply_to, request
from runcommand.firewall.record import INBOUND, OFF, Everything, all_rules, recorded
from runcommand.firewall.windows import WindowsFirewall, reachable as reachable_on_windows
from runcommand.redaction import redacted

from .facts_of import LINUX

IMDS = "169.254.169.254"
TO_IMDS = replace(request(IMDS), source="10.1.0.5", interface_out="eth0", uid=0)
V = RuleVerdict


def chain(name="OUTPUT", hook="output", policy=V.ACCEPT, kind="filter", priority=0):
    return FirewallChain(name, FirewallPlace.NFTABLES, hook, kind, priority, policy)


def rule(id, action, *conditions, chain="OUTPUT", target=None, **more):
    place = FirewallPlace.NFTABLES
    return FirewallRule(id, place, action, chain=chain, target=target, matches=conditions, **more)


def on(field, *values, negated=False):
    return FirewallMatch(field, values, negated)


TO_ADDRESS = on(MatchField.DESTINATION, IMDS)
UNKNOWN = on(MatchField.OTHER, "string GET")
FROM_ROOT = on(MatchField.USER, "0")


def verdict(*rules, chains=(), packet=TO_IMDS, policy=V.ACCEPT):
    wall = Firewall(tuple(rules), (chain(policy=policy), *chains))
    return Netfilter(wall).verdict(packet)


def ids(matches):
    return [match.rule.id if match.rule else "policy" for match in matches]


def test_the_engine_imports_nothing_but_the_facts():
    folder = Path(runcommand.firewall.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level > 1:
                assert node.level == 2, path.name
                assert node.module.partition(".")[0] in ("facts", "frozen"), path.name


# --- nftables and iptables ---


def test_a_rule_that_drops_the_packet_blocks_it():
    found = verdict(rule("1", V.DROP, TO_ADDRESS))
    assert ids(found.blocked) == ["1"] and found.blocked[0].is_sure
    assert not found.possible and not found.limited and found.redirected is None


def test_another_destination_is_not_blocked():
    found = verdict(rule("1", V.DROP, TO_ADDRESS), packet=replace(TO_IMDS, destination="10.0.0.9"))
    assert found == type(found)()


def test_an_undecided_condition_is_named():
    (match,) = verdict(rule("1", V.DROP, TO_ADDRESS, UNKNOWN)).possible
    assert not match.is_sure and match.undecided == (UNKNOWN,)


def test_after_a_rule_that_may_accept_nothing_is_certain():
    found = verdict(rule("1", V.ACCEPT, UNKNOWN), rule("2", V.DROP))
    (match,) = found.possible
    assert not found.blocked and match.undecided == () and match.doubt == netfilter.UNDECIDED


@pytest.mark.parametrize(
    "source, expected",
    [("10.1.0.5", "blocked"), ("10.1.0.9", ""), (None, "possible")],
)
def test_a_source_that_is_not_known_leaves_the_rule_undecided(source, expected):
    packet = replace(TO_IMDS, source=source)
    found = verdict(rule("1", V.DROP, on(MatchField.SOURCE, "10.1.0.5/32")), packet=packet)
    assert [name for name in ("blocked", "possible") if getattr(found, name)] == (
        [expected] if expected else []
    )


# Chains a and b, reached by jumps.
INNER = (chain("a", hook=None), chain("b", hook=None))


def test_a_jump_of_depth_two_ends_in_the_chain_that_drops():
    found = verdict(
        rule("1", V.JUMP, TO_ADDRESS, target="a"),
        rule("2", V.JUMP, chain="a", target="b"),
        rule("3", V.DROP, TO_ADDRESS, chain="b"),
        chains=INNER,
    )
    assert ids(found.blocked) == ["3"]


@pytest.mark.parametrize(
    "first, second, last, expected",
    [
        # accepted two jumps deep: the base chain ends there too
        (V.JUMP, V.JUMP, V.ACCEPT, []),
        (V.GOTO, V.GOTO, V.ACCEPT, []),
        # returns step by step to the base chain, whose next rule drops
        (V.JUMP, V.JUMP, V.RETURN, ["9"]),
        # a goto is not returned to: what it came from ends
        (V.GOTO, V.JUMP, V.RETURN, []),
        # the inner goto ends chain a, and the packet is back in the base chain
        (V.JUMP, V.GOTO, V.RETURN, ["9"]),
    ],
)
def test_how_a_chain_two_jumps_deep_ends(first, second, last, expected):
    found = verdict(
        rule("1", first, target="a"),
        rule("2", second, chain="a", target="b"),
        rule("3", last, chain="b"),
        rule("9", V.DROP),
        chains=INNER,
    )
    assert ids(found.blocked) == expected and not found.possible


def test_after_a_goto_the_next_rule_of_its_chain_is_not_met():
    found = verdict(
        rule("1", V.JUMP, target="a"),
        rule("2", V.GOTO, chain="a", target="b"),
        rule("3", V.DROP, chain="a"),
        chains=INNER,
    )
    assert not found.blocked


def test_a_jump_that_is_undecided_leaves_what_is_two_deep_undecided():
    found = verdict(
        rule("1", V.JUMP, UNKNOWN, target="a"),
        rule("2", V.JUMP, chain="a", target="b"),
        rule("3", V.DROP, chain="b"),
        chains=INNER,
    )
    assert not found.blocked and ids(found.possible) == ["3"]


def test_a_doubtful_return_two_deep_leaves_the_next_rule_there_undecided():
    found = verdict(
        rule("1", V.JUMP, target="a"),
        rule("2", V.JUMP, chain="a", target="b"),
        rule("3", V.RETURN, UNKNOWN, chain="b"),
        rule("4", V.DROP, chain="b"),
        rule("9", V.REJECT),
        chains=INNER,
    )
    assert (ids(found.possible), ids(found.blocked)) == (["4"], ["9"])


@pytest.mark.parametrize(
    "jumps, is_blocked", [(netfilter.DEPTH, True), (netfilter.DEPTH + 1, False)]
)
def test_jumps_deeper_than_the_kernel_takes_are_undecided(jumps, is_blocked):
    names = ["OUTPUT", *(f"c{n}" for n in range(jumps))]
    rules = [rule(a, V.JUMP, chain=a, target=b) for a, b in zip(names, names[1:])]
    found = verdict(
        *rules,
        rule("last", V.DROP, chain=names[-1]),
        rule("after", V.DROP),
        chains=[chain(name, hook=None) for name in names[1:]],
    )
    assert ids(found.blocked) == (["last", "after"] if is_blocked else [])
    assert ids(found.possible) == ([] if is_blocked else ["after"])


def test_the_policy_drops_what_no_rule_accepts():
    assert ids(verdict(policy=V.DROP).blocked) == ["policy"]
    assert not verdict(rule("1", V.ACCEPT, TO_ADDRESS), policy=V.DROP).blocked


def test_chains_of_one_hook_are_walked_by_priority():
    late = chain("late", priority=10)
    rules = (
        rule("1", V.DROP, chain="late"),
        rule("2", V.MARK, target="mark"),
        rule("3", V.DROP, on(MatchField.MARK, "0x1"), chain="late"),
    )
    found = Netfilter(Firewall(rules, (late, chain()))).verdict(TO_IMDS)
    assert (ids(found.blocked), ids(found.possible)) == (["1"], ["3"])
    early = replace(late, priority=-10)
    found = Netfilter(Firewall(rules, (early, chain()))).verdict(TO_IMDS)
    assert (ids(found.blocked), ids(found.possible)) == (["1"], [])


def test_what_hits_other_users_only_is_limited():
    others = on(MatchField.USER, "0", negated=True)
    found = verdict(rule("1", V.DROP, others))
    assert not found.blocked and ids(found.limited) == ["1"]
    found = verdict(rule("1", V.ACCEPT, FROM_ROOT), rule("2", V.DROP))
    assert not found.blocked and ids(found.limited) == ["2"]
    assert found.limited[0].undecided == ()


def test_of_an_unknown_user_no_rule_for_users_is_certain():
    found = verdict(rule("1", V.DROP, FROM_ROOT), packet=replace(TO_IMDS, uid=None))
    assert not found.blocked and ids(found.possible) == ["1"]
    assert found.possible[0].is_for_some


def test_an_answer_that_is_dropped_blocks_too_and_is_incoming():
    rules = (rule("1", V.DROP, on(MatchField.SOURCE, IMDS), chain="IN"),)
    wall = Firewall(rules, (chain(), chain("IN", "input")))
    (match,) = Netfilter(wall).verdict(TO_IMDS).blocked
    assert match.incoming


def test_a_reply_comes_back_from_the_destination():
    assert reply_to(TO_IMDS) == Packet(
        source=IMDS,
        destination="10.1.0.5",
        source_port=80,
        interface_in="eth0",
        state="established",
    )


NAT = chain("nat", kind="nat", priority=-100)


def test_destination_nat_is_a_rewrite_that_ends_the_walk():
    rules = (
        rule("1", V.REDIRECT, TO_ADDRESS, chain="nat", target="127.0.0.1 port 8181"),
        rule("2", V.DROP, TO_ADDRESS),
    )
    found = Netfilter(Firewall(rules, (NAT, chain()))).verdict(TO_IMDS)
    assert found.redirected == rules[0] and not found.blocked


def test_destination_nat_that_is_undecided_may_be():
    rules = (rule("1", V.REDIRECT, TO_ADDRESS, UNKNOWN, chain="nat", target="10.0.0.1"),)
    found = Netfilter(Firewall(rules, (NAT,))).verdict(TO_IMDS)
    assert found.redirected is None and ids(found.possible) == ["1"]


POSTROUTING = chain("post", "postrouting", kind="nat", priority=100)
CONTAINERS = on(MatchField.SOURCE, "172.17.0.0/16")


@pytest.mark.parametrize(
    "conditions, is_rewritten",
    [((), True), ((TO_ADDRESS,), True), ((CONTAINERS,), False), ((UNKNOWN,), False)],
)
def test_source_nat_that_hits_the_packet_for_certain_is_a_rewrite(conditions, is_rewritten):
    nat = rule("1", V.OTHER, *conditions, chain="post", target="source of the interface")
    everything = Everything((chain(), POSTROUTING), (nat,))
    wall = recorded(Firewall(chains=(chain(),)), everything, [])
    found = Netfilter(wall).verdict(TO_IMDS)
    assert found.source_rewritten == (nat if is_rewritten else None)
    assert not found.blocked and not found.possible


def test_source_nat_after_an_accept_that_may_match_is_not_certain():
    rules = (
        rule("1", V.ACCEPT, UNKNOWN, chain="post"),
        rule("2", V.OTHER, chain="post", target="source 10.1.0.9"),
    )
    wall = Firewall(rules, (POSTROUTING,))
    assert Netfilter(wall).verdict(TO_IMDS).source_rewritten is None


def test_where_rules_were_cut_off_nothing_is_certain():
    wall = Firewall((rule("1", V.DROP), rule("2", V.REJECT, UNKNOWN)), (chain(),), cut_off=7)
    found = Netfilter(wall).verdict(TO_IMDS)
    assert not found.blocked and ids(found.possible) == ["1", "2"]
    assert found.possible[0].doubt == "7 rules were cut off"


# --- Windows ---


def outbound(id, action=V.BLOCK, *conditions, place=FirewallPlace.LOCAL):
    return FirewallRule(id, place, action, id, matches=conditions)


PUBLIC = FirewallProfile("public", enabled=True, active=True, default_outbound=V.ALLOW)


def on_windows(*rules, is_running=True, profiles=(PUBLIC,), **more):
    wall = Firewall(tuple(rules), profiles=profiles, active_from="test", **more)
    return WindowsFirewall(wall, is_running).verdict(replace(request(IMDS), uid=0))


def test_block_wins_over_allow_and_a_bypass_puts_both_in_doubt():
    block, allow = outbound("block", V.BLOCK, TO_ADDRESS), outbound("allow", V.ALLOW)
    assert ids(on_windows(block, allow).blocked) == ["block"]
    (match,) = on_windows(block, outbound("by", V.BYPASS)).possible
    assert match.rule == block and "allow-bypass" in match.doubt


def test_a_service_that_does_not_run_filters_nothing_and_an_unknown_one_is_a_doubt():
    block = outbound("block", V.BLOCK, TO_ADDRESS)
    assert not on_windows(block, is_running=False).blocked
    (match,) = on_windows(block, is_running=None).possible
    assert "service" in match.doubt


def test_a_rule_for_one_program_is_limited_but_not_windows_own():
    program = on(MatchField.PROGRAM, r"C:\curl.exe")
    assert ids(on_windows(outbound("a", V.BLOCK, program)).limited) == ["a"]
    own = outbound("a", V.BLOCK, program, place=FirewallPlace.APP_ISOLATION)
    assert not on_windows(own).limited


def test_a_profile_that_blocks_by_default_is_the_match():
    blocking = replace(PUBLIC, default_outbound=V.BLOCK)
    (match,) = on_windows(profiles=(blocking,)).blocked
    assert (match.profile, match.rule) == (blocking, None)
    assert not on_windows(outbound("a", V.ALLOW), profiles=(blocking,)).blocked


# --- the record of all rules ---

ALL = (
    rule("1", V.DROP, TO_ADDRESS, packets=4),
    rule("2", V.DROP, on(MatchField.DESTINATION, "10.0.0.0/8", "@bad", negated=True)),
    rule("3", V.JUMP, on(MatchField.PROTOCOL, "udp"), target="a"),
    rule("4", V.DROP, on(MatchField.DESTINATION, "10.0.0.1"), name="for, \"x\" = 'y'"),
    rule("5", V.ACCEPT, on(MatchField.OTHER), chain="forward", is_name_unique=False),
)
CHAINS = (chain(), chain("forward", "forward", V.DROP, "filter", -5), chain("a", None))


def test_a_line_holds_all_of_a_rule_and_of_a_chain():
    for one in ALL:
        assert record.read_rule(record.rule_line(one)) == one
    for one in CHAINS:
        assert record.read_chain(record.chain_line(one)) == one


def test_every_rule_is_recorded_and_read_back_in_its_order():
    wall = recorded(Firewall(), Everything(CHAINS, ALL), [0, 1])
    assert wall.rules == ALL[:2] and (wall.cut_off, wall.lines_cut) == (0, 0)
    facts = facts_from_json(
        json.loads(json.dumps(to_json(replace(LINUX.healthy(), firewall=wall))))
    )
    found = all_rules(facts.firewall)
    assert (tuple(found.chains), tuple(found.rules)) == (CHAINS, ALL)


def test_an_old_run_is_judged_again_by_rules_that_were_thought_not_to_matter():
    """As if the version that recorded it had believed that only rule 3 could match."""
    wall = recorded(Firewall(chains=CHAINS[:1]), Everything(CHAINS, ALL), [2])
    assert "1" not in ids(Netfilter(replace(wall, lines=())).verdict(TO_IMDS).blocked)
    assert ids(Netfilter(wall).verdict(TO_IMDS).blocked) == ["1", "2"]


def test_rules_of_windows_that_are_off_or_inbound_are_recorded_and_not_judged():
    rules = [outbound("a"), outbound("b"), outbound("c"), outbound("d", V.OTHER)]
    everything = Everything([], rules, ["", OFF, INBOUND, ""])
    met = reachable_on_windows(everything)
    wall = recorded(Firewall(profiles=(PUBLIC,), active_from="x"), everything, met)
    assert [item.id for item in wall.rules] == ["a"]
    found = all_rules(wall)
    assert (found.rules, found.states) == (rules, ["", OFF, INBOUND, ""])
    assert ids(WindowsFirewall(wall, True).verdict(TO_IMDS).blocked) == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "#",
        "#9",
        "#x",
        "chain\tx",
        "\t1\tnftables\tdrop",
        "\t1\tnowhere\tdrop\t\t\t\t\t",
        "\t1\tnftables\tdrop\t\t\t\t\tx",
        "\t1\tnftables\tdrop\t\t\t\t\t\tquux\n1",
    ],
)
def test_where_a_line_makes_no_sense_the_rules_in_full_count(line):
    wall = recorded(Firewall(chains=CHAINS[:1]), Everything(CHAINS, ALL), [0])
    broken = replace(wall, lines=(*wall.lines, line))
    assert all_rules(broken) is None
    assert ids(Netfilter(broken).verdict(TO_IMDS).blocked) == ["1"]


def test_secrets_in_the_texts_of_a_rule_are_not_recorded():
    made = rule(
        '-t filter -A OUTPUT -m comment --comment "password=hunter2" -j DROP',
        V.DROP,
        on(MatchField.DESTINATION, "10.0.0.9"),
        on(MatchField.OTHER, "--string token=hunter2"),
        name="password=hunter2",
    )
    wall = recorded(Firewall(), Everything(CHAINS, [made, ALL[1]]), [])
    found = all_rules(wall).rules
    assert "hunter2" not in str(wall) and found[0].matches[0] == made.matches[0]
    assert found[1] == ALL[1]


def test_separators_in_a_name_do_not_break_a_line():
    odd = rule("1", V.DROP, on(MatchField.OTHER, "a\tb\nc"), name="x\ty\nz")
    read = record.read_rule(record.rule_line(odd))
    assert (read.name, read.matches[0].values) == ("x y z", ("a b c",))


def test_lines_that_do_not_fit_are_counted_and_rules_in_full_are_always_kept(monkeypatch):
    monkeypatch.setattr(record, "BYTES", 900)
    many = [rule(str(n), V.DROP, on(MatchField.DESTINATION, f"10.0.0.{n}")) for n in range(20)]
    wall = recorded(Firewall(), Everything(CHAINS[:1], [*many, ALL[0]]), [20])
    size = len(json.dumps(wall.lines, indent=4))
    assert 0 < wall.lines_cut < 20 and size < 400 and wall.lines[-1] == "#0"
    assert wall.lines_cut + len(wall.lines) == 22


def test_of_more_than_fit_in_full_blocks_come_first_and_the_rest_are_lines(monkeypatch):
    monkeypatch.setattr(record, "RULES", 2)
    rules = [outbound("a", V.ALLOW), outbound("b", V.ALLOW), outbound("c")]
    wall = recorded(Firewall(), Everything([], rules, [""] * 3), [0, 1, 2])
    assert ([item.id for item in wall.rules], wall.cut_off) == (["c", "a"], 1)
    assert all_rules(wall).rules == rules


def test_redaction_makes_the_same_of_a_line_as_of_a_rule():
    private = rule("7", V.DROP, on(MatchField.DESTINATION, "10.9.8.7"), name="Contoso HQ")
    wall = recorded(Firewall(), Everything(CHAINS, [private, private]), [0])
    made = redacted(replace(LINUX.healthy(), firewall=wall)).firewall
    assert all_rules(made).rules[1] == made.rules[0] != private
    assert "10.9.8.7" not in str(made.lines) and "Contoso" not in str(made.lines)


def test_of_many_lines_a_part_is_redacted_and_the_rest_is_counted():
    wall = recorded(Firewall(), Everything(CHAINS, ALL), [4])
    short = record.shortened(wall, 4)
    assert short.lines == (*wall.lines[:4], "#0") and short.lines_cut == 3
    assert record.shortened(wall, 1000) == wall
    many = recorded(Firewall(), Everything(CHAINS, [*ALL] * 300), [0])
    made = redacted(replace(LINUX.healthy(), firewall=many)).firewall
    assert (len(made.lines), made.lines_cut) == (1001, 502)
