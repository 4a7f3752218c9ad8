"""The firewall of the VM: which rule drops the requests, by name."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence

from ..facts import (
    HOST_PLUGIN_PORT,
    IMDS_ADDRESS,
    WIRESERVER_ADDRESS,
    FirewallMatch,
    FirewallPlace,
    FirewallProfile,
    FirewallRule,
    MatchField,
    Outcome,
    RuleVerdict,
)
from ..firewall.packet import HTTP_PORT, request
from ..firewall.verdict import Match
from ..fixes.remedies import let_pass, remedies
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.words import capital, listed, quoted, short
from .finding import Fix, Kind, Seen, Severity, Verdict, advice, rule

FIXES = 12  # lines
SENDER = {
    MatchField.PROGRAM: "the program",
    MatchField.SERVICE: "the service",
    MatchField.USER: "the user",
    MatchField.GROUP: "the group",
    MatchField.PACKAGE: "the app",
}
PLACES = {
    FirewallPlace.LOCAL: "local policy",
    FirewallPlace.GROUP_POLICY: "Group Policy",
    FirewallPlace.MDM: "device management",
    FirewallPlace.APP_ISOLATION: "Windows' own restriction of services and apps",
}
VERBS = {
    RuleVerdict.DROP: "drops",
    RuleVerdict.REJECT: "rejects",
    RuleVerdict.REDIRECT: "redirects",
}


def described(match: Match) -> str:
    """What matches, in a sentence: ``the outbound rule "Block web" (local policy)``"""
    if match.profile:
        return _default_described(match.profile)
    if match.chain:
        return f"the policy of the chain {quoted(match.chain.id)}"
    if match.rule:
        return _rule_described(match.rule)
    return "nothing"


def _default_described(profile: FirewallProfile) -> str:
    where = PLACES.get(profile.default_place, profile.default_place.value)
    return f"the default outbound action ({where}, {profile.name} profile)"


def _rule_described(rule: FirewallRule) -> str:
    name = quoted(rule.name or rule.id)
    if rule.place in PLACES:
        return f"the outbound rule {name} ({PLACES[rule.place]})"
    if rule.place is FirewallPlace.WFP:
        if not rule.provider:
            return f"the filter {name}"
        return f"the filter {name}, provider {short(rule.provider)}"
    if rule.place is FirewallPlace.NFTABLES:
        text = f"rule {short(rule.id)} of the nftables chain {quoted(rule.chain or '?')}"
    else:
        text = f'the rule "{rule.place.value} {short(rule.id, 160)}"'
    if rule.name:
        text += f" ({quoted(rule.name)})"
    return text


def suspected_filters(model: Model) -> List[FirewallRule]:
    """The filters of the Windows Filtering Platform that may have forbidden the connection."""
    filters = model.facts.wfp_filters
    if not filters:
        return []
    # here: the script for Linux does not carry it
    from ..firewall.windows import suspects

    return suspects(filters, request(IMDS_ADDRESS))


def _does(match: Match) -> str:
    if match.rule:
        return VERBS.get(match.rule.action, "blocks")
    return "drops" if match.chain else "blocks"


def _whom(conditions: Sequence[FirewallMatch]) -> str:
    """Whom conditions on programs, services and users hit: ``only the program curl.exe``"""
    if not conditions:
        return "all but the user 0"
    texts = []
    for condition in conditions:
        values = [short(value.rpartition("\\")[2] or value, 60) for value in condition.values]
        who = SENDER.get(condition.field, condition.field.value)
        which = {True: "all but", False: "only"}[condition.negated]
        texts.append(f"{which} {who} {listed(values, 2)}")
    return " and ".join(texts)


def _why_unsure(match: Match) -> str:
    conditions = [
        short(f"{condition.field.value} {listed(condition.values)}".strip(), 60)
        for condition in match.undecided
    ]
    if conditions:
        return f" (not evaluated here: {listed(conditions, 2)})"
    if match.doubt:
        return f" ({match.doubt})"
    return ""


def _counted(match: Match) -> str:
    """How many packets a rule's counter has seen; empty where it has none."""
    if match.rule is None or match.rule.packets is None:
        return ""
    return f"packets matched so far: {match.rule.packets}"


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
        return _blocked(model, model.filtering.stopped_by)
    suspected = (*found.blocked, *found.possible)
    if suspected:
        return _may_be_blocked(model, suspected, bool(found.blocked))
    limited = sorted(found.limited, key=lambda match: not _names_a_destination(match))
    if not limited:
        return None
    named = [f"{described(match)} applies to {_whom(match.undecided)}" for match in limited]
    severity = Severity.WARN if _names_a_destination(limited[0]) else Severity.INFO
    return Seen(f"For 169.254.169.254 port 80, {listed(named, 2)}.", (), severity)


def _blocked(model: Model, matches: Sequence[Match]) -> Seen:
    first, *others = matches
    where = "answers from" if first.incoming else "connections to"
    detail = f"{capital(described(first))} {_does(first)} {where} 169.254.169.254 port 80."
    counted = _counted(first)
    if counted:
        detail += f" {capital(counted)}."
    if others:
        detail += f" Next in line: {listed([described(match) for match in others], 2)}."
    if any(len(_addresses(model, match)) > 1 for match in matches):
        detail += " It also blocks the WireServer, 168.63.129.16."
    fixes: Dict[Fix, None] = {}
    for match in matches:
        fixes.update(dict.fromkeys(let_pass(model, match, _addresses(model, match))))
    return Seen(detail, tuple(fixes)[:FIXES])


def _may_be_blocked(model: Model, matches: Sequence[Match], is_blocked: bool) -> Seen:
    """A warning: undecided, or the request did not end as it would."""
    named = []
    for match in matches:
        why = ""
        if not match.is_sure:
            why = _why_unsure(match)
        named.append(described(match) + why)
    still = ""
    if model.answers.imds_gives_metadata:
        still = " IMDS answers nonetheless."
    elif is_blocked and model.answers.imds:
        still = f" But the request ended differently: {model.answers.in_words(model.answers.imds)}."
    does = "block"
    if _does(matches[0]) == "redirects":
        does = "redirect"
    text = f"{capital(listed(named, 2))} may {does} 169.254.169.254 port 80.{still}"
    return Seen(text, (), Severity.WARN)


def _names_a_destination(match: Match) -> bool:
    if match.rule is None:
        return False
    return any(
        condition.field is MatchField.DESTINATION and not condition.negated
        for condition in match.rule.matches
    )


def _addresses(model: Model, match: Match) -> List[str]:
    """The platform's addresses that one rule or policy blocks."""
    for found in model.filtering.to_wireserver.values():
        if found and any(_is_same(match, other) for other in found.blocked):
            return [IMDS_ADDRESS, WIRESERVER_ADDRESS]
    return [IMDS_ADDRESS]


def _is_same(one: Match, other: Match) -> bool:
    return (one.rule, one.chain, one.profile) == (other.rule, other.chain, other.profile)


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
    server = model.facts.wireserver
    if server is None or not model.answers.wireserver_is_conclusive:
        return None
    answers = {
        HTTP_PORT: model.answers.wireserver_gives_versions,
        HOST_PLUGIN_PORT: server.host_plugin.outcome is Outcome.ANSWERED,
    }
    ports = _before_wireserver(model, answers)
    if not ports:
        return None
    texts = []
    fixes: Dict[Fix, None] = {}
    for match, own in ports.items():
        is_harmless = all(answers[port] for port in own)
        does = _does(match)
        if not match.is_sure:
            does = f"may block{_why_unsure(match)}"
        text = f"{described(match)} {does} 168.63.129.16 port {' and '.join(map(str, own))}"
        if is_harmless:
            text += " (which answers nonetheless)"
        counted = _counted(match)
        if counted:
            text += f" ({counted})"
        texts.append(text)
        if match.is_sure and not is_harmless:
            fixes.update(dict.fromkeys(let_pass(model, match, [WIRESERVER_ADDRESS])))
    return Seen(f"{capital(listed(texts))}.", tuple(fixes)[:FIXES], Severity.WARN)


def _before_wireserver(model: Model, answers: Dict[int, bool]) -> Dict[Match, List[int]]:
    """What blocks ports of the WireServer, or may where they do not answer, and does not stop the
    requests to IMDS.
    """
    ports: Dict[Match, List[int]] = {}
    for port, found in model.filtering.to_wireserver.items():
        if found is None:
            continue
        matches = list(found.blocked)
        if found.redirected:
            matches.append(Match(found.redirected))
        if not answers[port]:
            matches += found.possible
        for match in matches:
            if not any(_is_same(match, known) for known in model.filtering.stopped_by):
                ports.setdefault(match, []).append(port)
    return ports


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
    read = model.facts.wfp_filters
    named = [Match(item) for item in suspected_filters(model)]
    detail = ""
    if model.facts.firewall is not None:
        detail += " No rule that could be read explains it."
    if read is not None and not named:
        detail += " Nor does a filter of the Windows Filtering Platform."
    if not named and model.filtering.to_imds:
        named = list(model.filtering.to_imds.limited)
    if named:
        detail += f" It may be {listed([described(match) for match in named], 2)}."
    fixes: List[Fix] = [
        advice(
            "Allow TCP port 80 to 169.254.169.254 for every program in this VM's firewall or "
            "security product. Ask its owner first: the block may be deliberate."
        )
    ]
    if not named:
        fixes += remedies(model).show_firewall()
    error = error_in_words(answer.connection.error or "EACCES", model.facts.system)
    by_whom = "a firewall or security product"
    found = f"Connecting was forbidden on this VM itself, with {error}, by {by_whom}."
    return Seen(found + detail, tuple(fixes))
