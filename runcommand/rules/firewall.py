"""The firewall of the VM: which rule drops the requests, by name."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence

from ..facts import (
    HOST_PLUGIN_PORT,
    IMDS_ADDRESS,
    WIRESERVER_ADDRESS,
    FirewallMatch,
    MatchField,
    Outcome,
    RuleVerdict,
)
from ..firewall.conditions import HTTP_PORT
from ..firewall.filtering import Obstacle, described
from ..fixes.remedies import let_pass, remedies
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.words import capital, listed, short
from .finding import Fix, Kind, Seen, Severity, Verdict, advice, rule

FIXES = 12  # lines
WHOM = {
    MatchField.PROGRAM: "the program",
    MatchField.SERVICE: "the service",
    MatchField.USER: "the user",
    MatchField.GROUP: "the group",
    MatchField.PACKAGE: "the app",
}


def _does(obstacle: Obstacle) -> str:
    rule = obstacle.rule
    if rule is None:
        verb = "drops" if obstacle.chain else "blocks"
    else:
        verbs = {
            RuleVerdict.DROP: "drops",
            RuleVerdict.REJECT: "rejects",
            RuleVerdict.REDIRECT: "redirects",
        }
        verb = verbs.get(rule.action, "blocks")
    return verb


def _whom(matches: Sequence[FirewallMatch]) -> str:
    """Whom conditions on programs, services and users hit: ``only the program curl.exe``"""
    texts = [] if matches else ["all but the user 0"]
    for match in matches:
        values = listed(
            [short(value.rpartition("\\")[2] or value, 60) for value in match.values], 2
        )
        texts.append(
            f"{'all but ' if match.negated else 'only '}{WHOM.get(match.field, match.field.value)} {values}"
        )
    return " and ".join(texts)


def _why_unsure(obstacle: Obstacle) -> str:
    conditions = [
        short(f"{match.field.value} {listed(match.values)}".strip(), 60)
        for match in obstacle.unless
    ]
    if conditions:
        return f" (not decided here: {listed(conditions, 2)})"
    return f" ({obstacle.doubt})" if obstacle.doubt else ""


def _counted(obstacle: Obstacle) -> str:
    """How many packets a rule's counter has seen, as a sentence; empty where it has none."""
    packets = obstacle.rule.packets if obstacle.rule else None
    return f" Packets that it has met: {packets}." if packets is not None else ""


def _met(obstacle: Obstacle) -> str:
    """The same within a sentence."""
    packets = obstacle.rule.packets if obstacle.rule else None
    return f" (packets that it has met: {packets})" if packets is not None else ""


@rule(Verdict.BROKEN, after="route-missing", shown_by="firewall.imds")
def firewall_blocks_imds(model: Model) -> Optional[Seen]:
    """The VM's firewall blocks IMDS

    The VM's own firewall drops or rejects connections to 169.254.169.254 port 80: by an outbound
    rule of Windows Firewall, by an nftables or iptables rule, or because outbound traffic is
    blocked by default and no rule allows this connection.

    Recognised by: an active rule matches TCP port 80 to 169.254.169.254 for every program (or the
    default blocks and nothing allows; block rules win over allow rules), and the connection fails
    the way such a rule would make it fail: forbidden by Windows Firewall, timed out if dropped,
    refused or unreachable if rejected. A rule that cannot be evaluated, or that applies to one
    program, service or user only, is a warning.

    Fix: exclude the address from the rule where it is defined: local policy, Group Policy, nftables
    or iptables.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    found = model.filtering.to_imds
    if found is None:
        return None
    if model.filtering.stopped_by:
        first, *others = model.filtering.stopped_by
        where = "the answers of" if first.incoming else "connections to"
        detail = f"{capital(described(first))} {_does(first)} {where} 169.254.169.254 port 80.{_counted(first)}"
        detail += (
            f" After it there is {listed([described(item) for item in others], 2)}."
            if others
            else ""
        )
        fixes = dict.fromkeys(
            fix
            for item in model.filtering.stopped_by
            for fix in let_pass(model, item, _addresses(model, item))
        )
        return Seen(
            detail + _and_the_wireserver(model, model.filtering.stopped_by), tuple(fixes)[:FIXES]
        )
    suspects = (*found.blocked, *found.possible)
    if suspects:
        named = listed(
            [described(item) + ("" if item.is_sure else _why_unsure(item)) for item in suspects], 2
        )
        still = " IMDS answers all the same." if model.answers.imds_gives_metadata else ""
        if found.blocked and not model.answers.imds_gives_metadata and model.answers.imds:
            still = (
                f" But the request ended otherwise: {model.answers.in_words(model.answers.imds)}."
            )
        does = (
            "redirect"
            if suspects[0].rule and suspects[0].rule.action is RuleVerdict.REDIRECT
            else "block"
        )
        return Seen(
            f"{capital(named)} may {does} 169.254.169.254 port 80.{still}", (), Severity.WARN
        )
    limited = sorted(found.limited, key=lambda obstacle: not _names_a_destination(obstacle))
    if not limited:
        return None
    named = listed(
        [f"{described(obstacle)} hits {_whom(obstacle.unless)}" for obstacle in limited], 2
    )
    severity = Severity.WARN if _names_a_destination(limited[0]) else Severity.INFO
    return Seen(f"For 169.254.169.254 port 80, {named}.", (), severity)


def _names_a_destination(obstacle: Obstacle) -> bool:
    matches = obstacle.rule.matches if obstacle.rule else ()
    return any(match.field is MatchField.DESTINATION and not match.negated for match in matches)


def _addresses(model: Model, obstacle: Obstacle) -> List[str]:
    """The platform's addresses that one obstacle stands before."""
    others = [
        item for found in model.filtering.to_wireserver.values() if found for item in found.blocked
    ]
    both = any(_is_same(obstacle, item) for item in others)
    return [IMDS_ADDRESS, WIRESERVER_ADDRESS] if both else [IMDS_ADDRESS]


def _is_same(one: Obstacle, other: Obstacle) -> bool:
    return (one.rule, one.chain, one.profile) == (other.rule, other.chain, other.profile)


def _and_the_wireserver(model: Model, obstacles: Sequence[Obstacle]) -> str:
    both = any(len(_addresses(model, item)) > 1 for item in obstacles)
    return " It also blocks the WireServer, 168.63.129.16." if both else ""


@rule(after="cert-intermediate-missing", shown_by="firewall.wireserver")
def firewall_blocks_wireserver(model: Model) -> Optional[Seen]:
    """The VM's firewall blocks the WireServer

    A rule of the VM's own firewall blocks 168.63.129.16 port 80 or 32526, which the guest agent
    needs. The rules by which the Azure Linux agent restricts that address to root do not count.

    Recognised by: the same checks as firewall-blocks-imds, for that address. This is a warning; the
    effect is reported as wireserver-unreachable.

    Fix: exclude the address from the rule where it is defined.
    https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
    """
    if not model.answers.wireserver_is_conclusive:
        return None
    server = model.facts.wireserver
    answers = {
        HTTP_PORT: model.answers.wireserver_gives_versions,
        HOST_PLUGIN_PORT: server is not None and server.host_plugin.outcome is Outcome.ANSWERED,
    }
    ports: Dict[Obstacle, List[int]] = {}
    for port, found in model.filtering.to_wireserver.items():
        if found is None:
            continue
        redirected = [Obstacle(found.redirected)] if found.redirected else []
        may = () if answers[port] else found.possible
        for obstacle in (*found.blocked, *redirected, *may):
            if not any(_is_same(obstacle, item) for item in model.filtering.stopped_by):
                ports.setdefault(obstacle, []).append(port)
    if not ports:
        return None
    texts = []
    for obstacle, own in ports.items():
        does = _does(obstacle) if obstacle.is_sure else f"may block{_why_unsure(obstacle)}"
        still = " (which answers all the same)" if all(answers[port] for port in own) else ""
        where = f"168.63.129.16 port {' and '.join(map(str, own))}"
        texts.append(f"{described(obstacle)} {does} {where}{still}{_met(obstacle)}")
    harmful = [
        item
        for item, own in ports.items()
        if item.is_sure and not all(answers[port] for port in own)
    ]
    fixes = dict.fromkeys(
        fix for item in harmful for fix in let_pass(model, item, [WIRESERVER_ADDRESS])
    )
    return Seen(f"{capital(listed(texts))}.", tuple(fixes)[:FIXES], Severity.WARN)


@rule(Verdict.BROKEN, after="imds-not-imds", kind=Kind.RESIDUAL, shown_by="firewall.imds")
def firewall_unknown(model: Model) -> Optional[Seen]:
    """Connecting to IMDS is forbidden on this VM

    The operating system refused the connection (WSAEACCES, EACCES, EPERM) before any packet left. A
    firewall or security product on the VM filters it, but not by any rule that could be read.

    Recognised by: the error from connect, when no route or rule explains it. On Windows, the
    filters of the Windows Filtering Platform are then listed, and the likely one is named with its
    provider.

    Fix: allow TCP port 80 to 169.254.169.254 in that product.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    answer = model.answers.imds
    if not answer or answer.outcome is not Outcome.FORBIDDEN:
        return None
    filters = [Obstacle(item) for item in model.facts.wfp_filters or ()]
    limited = list(model.filtering.to_imds.limited) if model.filtering.to_imds else []
    suspects = filters or limited
    named = (
        f" It may be {listed([described(suspect) for suspect in suspects], 2)}." if suspects else ""
    )
    unread = model.facts.firewall is None
    looked = "" if unread else " No rule that was read explains it."
    looked += (
        " Nor does a filter of the Windows Filtering Platform."
        if model.facts.wfp_filters == ()
        else ""
    )
    fixes: List[Fix] = [
        advice(
            "Allow TCP port 80 to 169.254.169.254 in the firewall or security product of this VM, for every program, once "
            "whoever looks after it agrees: it may be set on purpose."
        )
    ]
    error = error_in_words(answer.connection.error or "EACCES", model.facts.system)
    return Seen(
        f"This VM itself forbade the connection, with {error}: a firewall or security product on it.{looked}{named}",
        (*fixes, *(remedies(model).show_firewall() if not suspects else ())),
    )
