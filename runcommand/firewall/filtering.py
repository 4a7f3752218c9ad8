"""What the firewall does with a connect to the platform: what blocks it for certain, what may, what
hits only others.

Linux: the chains of the hooks that a packet passes are walked as the kernel does
(https://wiki.nftables.org). Windows: block wins over allow, a bypass over both, the default decides
last ([MS-FASP] 2.2.34).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Dict, Iterable, List, Optional, Tuple

from ..facts import (
    PLATFORM_ADDRESSES,
    Firewall,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallProfile,
    FirewallRule,
    MatchField,
    Outcome,
    RuleVerdict,
    ServiceState,
    contains,
)
from ..model.words import quoted, short
from .conditions import Packet, applies, reply, request, undecided

if TYPE_CHECKING:
    from ..model.filtering import PlatformFiltering

ONLY_THEM = (
    MatchField.PROGRAM,
    MatchField.SERVICE,
    MatchField.USER,
    MatchField.GROUP,
    MatchField.PACKAGE,
)
UNDECIDED = "a rule before it cannot be decided here"
DEPTH, STEPS = (
    16,
    20_000,
)  # of jumps, of rules looked at: the kernel knows no loops, a recorded run may
PLACES = {
    FirewallPlace.LOCAL: "local policy",
    FirewallPlace.GROUP_POLICY: "Group Policy",
    FirewallPlace.MDM: "device management",
    FirewallPlace.APP_ISOLATION: "Windows' own restriction of services and apps",
}
HOOKS_OUT, HOOKS_IN = ("output", "postrouting"), ("prerouting", "input")
NOBODY_IN_PARTICULAR = 2**32 - 2  # a user that no rule names (the highest number that is one)
LOST = (RuleVerdict.DROP, RuleVerdict.REJECT)


@dataclass(frozen=True)
class Obstacle:
    """What stands in the way of a packet: a rule, or the policy of a chain or of a profile."""

    rule: Optional[FirewallRule] = None
    chain: Optional[FirewallChain] = None
    profile: Optional[FirewallProfile] = None
    is_sure: bool = True
    unless: Tuple[FirewallMatch, ...] = ()  # the conditions that cannot be decided
    doubt: str = ""  # what else keeps it from being sure
    incoming: bool = False  # it stops the answer

    @property
    def place(self) -> FirewallPlace:
        if self.rule:
            return self.rule.place
        return (
            self.chain.place
            if self.chain
            else self.profile.default_place
            if self.profile
            else FirewallPlace.LOCAL
        )


def described(obstacle: Obstacle) -> str:
    """An obstacle in a sentence: ``the outbound rule "Block web" (local policy)``"""
    rule, chain, profile = obstacle.rule, obstacle.chain, obstacle.profile
    if profile:
        where = PLACES.get(obstacle.place, obstacle.place.value)
        return f"the default outbound action ({where}, {profile.name} profile)"
    if chain:
        return f"the policy of the chain {quoted(chain.id)}"
    if rule is None:
        return "nothing"
    if rule.place in PLACES:
        return f"the outbound rule {quoted(rule.name or rule.id)} ({PLACES[rule.place]})"
    if rule.place is FirewallPlace.WFP:
        provider = f", provider {short(rule.provider)}" if rule.provider else ""
        return f"the filter {quoted(rule.name or rule.id)}{provider}"
    if rule.place is FirewallPlace.NFTABLES:
        text = f"rule {short(rule.id)} of the nftables chain {quoted(rule.chain or '?')}"
    else:
        text = f'the rule "{rule.place.value} {short(rule.id, 160)}"'
    note = f" ({quoted(rule.name)})" if rule.name else ""
    return f"{text}{note}"


@dataclass(frozen=True)
class Filtering:
    """What becomes of connects to one port of one address."""

    blocked: Tuple[
        Obstacle, ...
    ] = ()  # for certain, whoever connects: each would stop what the others let pass
    possible: Tuple[Obstacle, ...] = ()  # it may be, and it cannot be said
    limited: Tuple[Obstacle, ...] = ()  # only for one program, service or user
    redirected: Optional[FirewallRule] = None  # to another address


def filtering(model: PlatformFiltering, address: str, port: int) -> Optional[Filtering]:
    """What the firewall does with a connect of SYSTEM or root; None where the firewall is not
    known.
    """
    firewall = model.facts.firewall
    if firewall is None:
        return None
    outgoing = _outgoing(model, address, port)
    if model.facts.system == "windows":
        found = _on_windows(model, firewall, outgoing)
    else:
        found = _on_linux(
            firewall, outgoing, replace(reply(address, port), destination=outgoing.source)
        )
    if not firewall.cut_off:
        return found
    doubt = f"{firewall.cut_off} rules were cut off"
    doubtful = tuple(replace(item, is_sure=False, doubt=doubt) for item in found.blocked)
    return replace(found, blocked=(), possible=(*doubtful, *found.possible), redirected=None)


# How a connect ends that is blocked (Windows: WSAEACCES), dropped or rejected (icmp(7), tcp(7)).
_ENDS = {
    RuleVerdict.BLOCK: (Outcome.FORBIDDEN,),
    RuleVerdict.DROP: (Outcome.TIMED_OUT, Outcome.FORBIDDEN),
    RuleVerdict.REJECT: (Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.FORBIDDEN, Outcome.RESET),
}


def fits(obstacle: Obstacle, outcome: Outcome) -> bool:
    """Whether a connect that the obstacle stops ends so."""
    action = RuleVerdict.BLOCK if obstacle.profile else RuleVerdict.DROP
    if obstacle.rule and not obstacle.incoming:
        action = obstacle.rule.action
    return outcome in _ENDS[action]


def _outgoing(model: PlatformFiltering, address: str, port: int) -> Packet:
    lookup = (
        model.routing.to_imds if address == PLATFORM_ADDRESSES[0] else model.routing.to_wireserver
    )
    adapter = model.adapters.egress(lookup.route)
    machine = model.facts.machine
    return replace(
        request(address, port),
        source=lookup.source,
        interface_out=adapter.name if adapter else None,
        uid=0 if machine and machine.elevated else None,
        keywords=_keywords(model, address),
    )


# --- Linux
# ----------------------------------------------------------------------------------------------------------


def _on_linux(firewall: Firewall, outgoing: Packet, back: Packet) -> Filtering:
    walk = _Walk(firewall, outgoing, HOOKS_OUT)
    obstacles = list(walk.obstacles)
    if not walk.redirected:
        back = replace(back, interface_in=outgoing.interface_out)
        obstacles += _Walk(firewall, back, HOOKS_IN, incoming=True).obstacles
    some = [
        o
        for o in _Walk(firewall, replace(outgoing, uid=None), HOOKS_OUT).obstacles
        if _hits_only_some(o)
    ]
    another = _Walk(firewall, replace(outgoing, uid=NOBODY_IN_PARTICULAR), HOOKS_OUT).obstacles
    others = [o for o in another if o.is_sure and outgoing.uid == 0]
    known = [(o.rule, o.chain) for o in obstacles]
    limited: Dict[object, Obstacle] = {}
    for obstacle in (*some, *others):
        if (obstacle.rule, obstacle.chain) not in known:
            limited.setdefault((obstacle.rule, obstacle.chain), obstacle)
    return Filtering(
        tuple(obstacle for obstacle in obstacles if obstacle.is_sure),
        tuple(obstacle for obstacle in obstacles if not obstacle.is_sure),
        tuple(limited.values()),
        walk.redirected,
    )


def _hits_only_some(obstacle: Obstacle) -> bool:
    return bool(obstacle.unless) and all(match.field in ONLY_THEM for match in obstacle.unless)


class _Walk:
    """One packet's way through the chains of some hooks, as if each rule that stops it were taken
    away in its turn.
    """

    def __init__(
        self, firewall: Firewall, packet: Packet, hooks: Tuple[str, ...], incoming: bool = False
    ) -> None:
        self.obstacles: List[Obstacle] = []
        self.redirected: Optional[FirewallRule] = None
        self._packet, self._incoming = packet, incoming
        self._rules: Dict[str, List[FirewallRule]] = {}
        self._steps = 0
        self._may_be_accepted = False  # in the base chain that is walked now
        for rule in firewall.rules:
            self._rules.setdefault(rule.chain or "", []).append(rule)
        for hook in hooks:
            for chain in sorted(firewall.chains, key=lambda chain: chain.priority):
                translates_answers = chain.kind == "nat" and (incoming or hook == "postrouting")
                if chain.hook == hook and not self.redirected and not translates_answers:
                    self._base_chain(chain)

    def _base_chain(self, chain: FirewallChain) -> None:
        self._may_be_accepted = False
        if self._chain(chain.id, True, 0) is None and chain.policy is RuleVerdict.DROP:
            self._stop(Obstacle(chain=chain, incoming=self._incoming), True)

    def _chain(self, id: str, is_sure: bool, depth: int) -> Optional[RuleVerdict]:  # noqa: C901
        """How a chain ends for the packet: ACCEPT, or None: it falls out at the end, or may.

        :param is_sure: whether the packet comes here for certain
        """
        may_have_returned = False
        for rule in self._rules.get(id, ()):
            self._steps += 1
            if self._steps > STEPS or depth > DEPTH:
                self._may_be_accepted = True
                return None
            answer = applies(rule, self._packet)
            if answer is False:
                continue
            certain = answer is True and is_sure and not may_have_returned
            end: Optional[RuleVerdict] = None
            if rule.action in LOST:
                self._stop(self._obstacle(rule), certain)
            elif rule.action is RuleVerdict.MARK:
                of_state = rule.target == "state"
                marked, untracked = (
                    self._packet.is_marked or not of_state,
                    self._packet.is_untracked or of_state,
                )
                self._packet = replace(self._packet, is_marked=marked, is_untracked=untracked)
            elif rule.action is RuleVerdict.REDIRECT:
                end = RuleVerdict.ACCEPT
                if certain and not self._may_be_accepted:
                    self.redirected = (
                        self.redirected or rule
                    )  # what comes after it sees another destination
                else:
                    self._stop(self._obstacle(rule), False)
            elif rule.action in (RuleVerdict.JUMP, RuleVerdict.GOTO):
                end = self._chain(rule.target or "", certain, depth + 1)
                if end is None and rule.action is RuleVerdict.GOTO:
                    end = RuleVerdict.RETURN
            elif rule.action in (RuleVerdict.ACCEPT, RuleVerdict.RETURN):
                end = rule.action
            if end is None:
                continue
            if answer and not may_have_returned:
                return None if end is RuleVerdict.RETURN else end
            if end is RuleVerdict.ACCEPT:
                self._may_be_accepted = True
            if answer:
                return None
            may_have_returned |= end is RuleVerdict.RETURN
        return None

    def _obstacle(self, rule: FirewallRule) -> Obstacle:
        return Obstacle(rule, unless=undecided(rule, self._packet), incoming=self._incoming)

    def _stop(self, obstacle: Obstacle, certain: bool) -> None:
        is_sure = certain and not self._may_be_accepted
        self.obstacles.append(
            replace(obstacle, is_sure=is_sure, doubt="" if is_sure else UNDECIDED)
        )


# --- Windows
# --------------------------------------------------------------------------------------------------------


def _on_windows(model: PlatformFiltering, firewall: Firewall, packet: Packet) -> Filtering:
    service = model.services.installed("MpsSvc")
    if service and service.state in (ServiceState.STOPPED, ServiceState.FAILED):
        return Filtering()  # without its service the firewall filters nothing
    active = [profile for profile in firewall.profiles if profile.active]
    is_active_known = firewall.active_from is not None and bool(active)
    candidates = active if is_active_known else list(firewall.profiles)
    on = [profile for profile in candidates if profile.enabled is not False]
    if candidates and not on:
        return Filtering()
    doubts: List[str] = []
    is_running = service is not None and service.state is ServiceState.RUNNING
    if not is_running and not (
        model.answers.imds and model.answers.imds.outcome is Outcome.FORBIDDEN
    ):
        doubts.append("the firewall's service is not known to run")
    if len(on) < len(candidates):
        doubts.append("the firewall is off in a profile")
    if is_active_known:
        packet = replace(packet, profiles=frozenset(profile.name for profile in on))
    local = [profile.local_rules for profile in on]
    keeps_local = not local or any(local)
    rules = [
        rule for rule in firewall.rules if keeps_local or rule.place is not FirewallPlace.LOCAL
    ]
    if local and any(local) and not all(local):
        doubts.append("Group Policy switches local rules off in a profile")
    bypass = _best(rules, RuleVerdict.BYPASS, packet)
    doubts += (
        []
        if bypass is False
        else ["an allow-bypass rule lets it pass, if it applies without IPsec"]
    )
    doubt = "; ".join(doubts)
    found: List[Obstacle] = []
    for rule in rules:
        answer = applies(rule, packet) if rule.action is RuleVerdict.BLOCK else False
        if answer is not False:
            found.append(
                Obstacle(
                    rule,
                    is_sure=answer is True and not doubts,
                    unless=undecided(rule, packet),
                    doubt=doubt,
                )
            )
    blocking = [profile for profile in on if profile.default_outbound is RuleVerdict.BLOCK]
    allowed = _best(rules, RuleVerdict.ALLOW, packet)
    if blocking and allowed is not True:
        more = [] if len(blocking) == len(on) else ["which profile is active is not known"]
        more += [] if allowed is False else ["a rule that may apply allows it"]
        found.append(
            Obstacle(
                profile=blocking[0],
                is_sure=not doubts and not more,
                doubt="; ".join([*doubts, *more]),
            )
        )
    return Filtering(
        tuple(obstacle for obstacle in found if obstacle.is_sure),
        tuple(o for o in found if not o.is_sure and not _hits_only_some(o)),
        tuple(
            o
            for o in found
            if not o.is_sure
            and _hits_only_some(o)
            and o.place is not FirewallPlace.APP_ISOLATION  # every Windows has those
        ),
    )


def _best(rules: Iterable[FirewallRule], action: RuleVerdict, packet: Packet) -> Optional[bool]:
    """Whether a rule of this action lets any program's packet pass; None: one may. (What allows one
    program allows not all.)
    """
    found: Optional[bool] = False
    for rule in rules:
        if rule.action is not action:
            continue
        answer = applies(rule, packet)
        if answer is True:
            return True
        if answer is None and not any(
            match.field in ONLY_THEM for match in undecided(rule, packet)
        ):
            found = None
    return found


def _keywords(model: PlatformFiltering, address: str) -> Dict[str, bool]:
    """What Windows' words for remote addresses come to for one address, as far as it is known
    ([MS-FASP] 2.2.21).
    """
    on_link = any(
        contains(f"{held.address}/{held.prefix}", address)
        for adapter in model.adapters.all
        if adapter.kind != "loopback"
        for held in adapter.addresses
    )
    found = {"localsubnet": on_link, "wins": False, "ply2renders": False}
    found["dhcp"] = any(adapter.dhcp_server == address for adapter in model.adapters.all)
    found["defaultgateway"] = any(
        row.gateway == address for row in model.route_table.default_routes()
    )
    if address == PLATFORM_ADDRESSES[0]:
        found["dns"] = False  # Azure's is the WireServer's address
    return found
