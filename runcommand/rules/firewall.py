"""The firewall of the VM: which rule drops the requests, by name."""

from __future__ import annotations

from typing import List, Optional, Sequence

from ..facts import (
    IMDS_ADDRESS,
    WIRESERVER_ADDRESS,
    Exchange,
    FirewallMatch,
    MatchField,
    Outcome,
    RuleVerdict,
)
from .case import Case
from .filtering import Obstacle, described
from .finding import Fix, Seen, Severity, Verdict, advice, listed, rule, short
from .remedies import let_pass, remedies

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
        verb = {RuleVerdict.DROP: "drops", RuleVerdict.REJECT: "rejects"}.get(rule.action, "blocks")
    return verb


def _whom(matches: Sequence[FirewallMatch]) -> str:
    """Whom conditions on programs, services and users hit: ``only the program curl.exe``"""
    texts = [] if matches else ["all but the user 0"]
    for match in matches:
        values = listed([short(value.rpartition("\\")[2] or value, 60) for value in match.values], 2)
        texts.append(f"{'all but ' if match.negated else 'only '}{WHOM.get(match.field, match.field.value)} {values}")
    return " and ".join(texts)


def _why_unsure(obstacle: Obstacle) -> str:
    conditions = [short(f"{match.field.value} {listed(match.values)}".strip(), 60) for match in obstacle.unless]
    if conditions:
        return f" (not decided here: {listed(conditions, 2)})"
    return f" ({obstacle.doubt})" if obstacle.doubt else ""


def _counted(obstacle: Obstacle) -> str:
    packets = obstacle.rule.packets if obstacle.rule else None
    return f" Packets that it has met: {packets}." if packets is not None else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@rule(Verdict.BROKEN)
def firewall_blocks_imds(case: Case) -> Optional[Seen]:
    """The VM's firewall blocks IMDS

    A rule of the VM's own firewall drops or rejects connections to 169.254.169.254 port 80: an outbound rule of the
    Windows firewall, an nftables or iptables rule, or a default that lets nothing out and no rule that allows it.

    Recognised by: an active rule matches TCP 80 to 169.254.169.254 for every program (or the default blocks and none
    allows; block wins over allow), and the connect ends as it does then: forbidden by Windows' firewall, timed out where
    it is dropped, refused or unreachable where it is rejected. A rule that cannot be decided, or that hits one program,
    service or user only, is a warning.

    Mended by: taking the address out of the rule where it lives: the local policy, Group Policy, nftables, iptables.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/windows-vm-imds-connection
    """
    found = case.imds_filtering
    if found is None:
        return None
    if found.blocked and not case.proof and _fits(found.blocked, case.answer):
        where = "the answers of" if found.blocked.incoming else "connections to"
        detail = f"{_capital(described(found.blocked))} {_does(found.blocked)} {where} 169.254.169.254 port 80.{_counted(found.blocked)}"
        return Seen(
            detail + _and_the_wireserver(case, found.blocked),
            let_pass(case, found.blocked, _addresses(case, found.blocked)),
        )
    suspects = [*([found.blocked] if found.blocked else []), *found.possible]
    if suspects:
        named = listed(
            [described(obstacle) + ("" if obstacle.is_sure else _why_unsure(obstacle)) for obstacle in suspects], 2
        )
        still = " IMDS answers all the same." if case.imds_answers else ""
        if found.blocked and not case.imds_answers and case.answer:
            still = f" But the request ended otherwise: {case.in_words(case.answer)}."
        does = "redirect" if suspects[0].rule and suspects[0].rule.action is RuleVerdict.REDIRECT else "block"
        return Seen(f"{_capital(named)} may {does} 169.254.169.254 port 80.{still}", (), Severity.WARN)
    limited = sorted(found.limited, key=lambda obstacle: not _names_a_destination(obstacle))
    if not limited:
        return None
    named = listed([f"{described(obstacle)} hits {_whom(obstacle.unless)}" for obstacle in limited], 2)
    severity = Severity.WARN if _names_a_destination(limited[0]) else Severity.INFO
    return Seen(f"For 169.254.169.254 port 80, {named}.", (), severity)


def _fits(obstacle: Obstacle, answer: Optional[Exchange]) -> bool:
    """Whether a connect that the obstacle stops ends as this one did."""
    action = RuleVerdict.BLOCK if obstacle.profile else RuleVerdict.DROP
    if obstacle.rule and not obstacle.incoming:
        action = obstacle.rule.action
    return answer is not None and answer.connection.outcome in _ENDS[action]


# How a connect ends that is blocked (Windows: WSAEACCES), dropped or rejected (icmp(7), tcp(7)).
_ENDS = {
    RuleVerdict.BLOCK: (Outcome.FORBIDDEN,),
    RuleVerdict.DROP: (Outcome.TIMED_OUT, Outcome.FORBIDDEN),
    RuleVerdict.REJECT: (Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.FORBIDDEN, Outcome.RESET),
}


def _names_a_destination(obstacle: Obstacle) -> bool:
    matches = obstacle.rule.matches if obstacle.rule else ()
    return any(match.field is MatchField.DESTINATION and not match.negated for match in matches)


def _addresses(case: Case, obstacle: Obstacle) -> List[str]:
    """The platform's addresses that one obstacle stands before."""
    others = case.wireserver_filtering
    same = [item.blocked for item in others.values() if item and item.blocked]
    return [IMDS_ADDRESS, WIRESERVER_ADDRESS] if any(_is_same(obstacle, item) for item in same) else [IMDS_ADDRESS]


def _is_same(one: Obstacle, other: Obstacle) -> bool:
    return (one.rule, one.chain, one.profile) == (other.rule, other.chain, other.profile)


def _and_the_wireserver(case: Case, obstacle: Obstacle) -> str:
    return " So it does to the WireServer, 168.63.129.16." if len(_addresses(case, obstacle)) > 1 else ""


@rule()
def firewall_blocks_wireserver(case: Case) -> Optional[Seen]:
    """The VM's firewall blocks the WireServer

    A rule of the VM's own firewall blocks 168.63.129.16 port 80 or 32526, which the guest agent needs. The rules with which
    the Azure Linux agent keeps that address to root are none.

    Recognised by: as firewall-blocks-imds, for that address. A warning beside wireserver-unreachable, which says what it does.

    Mended by: taking the address out of the rule where it lives.
    https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
    """
    if not case.wireserver_can_be_judged:
        return None
    server, imds = case.facts.wireserver, case.imds_filtering
    answers = {80: case.wireserver_speaks, 32526: server is not None and server.host_plugin.outcome is Outcome.ANSWERED}
    blocked = {port: item.blocked for port, item in case.wireserver_filtering.items() if item and item.blocked}
    if imds and imds.blocked:
        blocked = {port: item for port, item in blocked.items() if not _is_same(imds.blocked, item)}
    if not blocked:
        return None
    obstacles = list(dict.fromkeys(blocked.values()))
    texts = []
    for obstacle in obstacles:
        ports = [port for port, item in blocked.items() if item == obstacle]
        still = " (which answers all the same)" if all(answers[port] for port in ports) else ""
        texts.append(
            f"{described(obstacle)} {_does(obstacle)} 168.63.129.16 port {' and '.join(map(str, ports))}{still}"
        )
    fixes = [fix for obstacle in obstacles for fix in let_pass(case, obstacle, [WIRESERVER_ADDRESS])]
    works = all(answers[port] for port in blocked)
    return Seen(f"{_capital('; '.join(texts))}.", () if works else tuple(dict.fromkeys(fixes)), Severity.WARN)


@rule(Verdict.BROKEN)
def firewall_unknown(case: Case) -> Optional[Seen]:
    """Connecting to IMDS is forbidden on this VM

    The system itself refused the connection (WSAEACCES, EACCES, EPERM) before any packet left: a firewall or security
    product on the VM filters it, by none of the rules that could be read.

    Recognised by: the error of the connect, when no route or rule explains it. On Windows the filters of the Windows
    Filtering Platform are then asked for, and the one that may be it is named with its provider.

    Mended by: allowing TCP port 80 to 169.254.169.254 in that product.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    answer = case.answer
    if not answer or answer.outcome is not Outcome.FORBIDDEN:
        return None
    filters = [Obstacle(item) for item in case.facts.wfp_filters or ()]
    limited = list(case.imds_filtering.limited) if case.imds_filtering else []
    suspects = filters or limited
    named = f" It may be {listed([described(suspect) for suspect in suspects], 2)}." if suspects else ""
    unread = case.facts.firewall is None
    looked = "" if unread else " No rule that was read explains it."
    fixes: List[Fix] = [
        advice(
            "Allow TCP port 80 to 169.254.169.254 in the firewall or security product of this VM, for every program."
        )
    ]
    return Seen(
        f"This VM itself forbade the connection ({short(answer.connection.error or 'EACCES', 100)}): a firewall or security "
        f"product on it.{looked}{named}",
        (*fixes, *(remedies(case).show_firewall() if not suspects else ())),
    )
