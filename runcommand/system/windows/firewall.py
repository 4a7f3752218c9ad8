"""The Windows firewall: rules and profiles from the registry, the active profile from itself.

[MS-GPFAS] describes the rules:
https://learn.microsoft.com/openspecs/windows_protocols/ms-gpfas
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
)

from ...collect import Board, NoFact
from ...facts import (
    PROFILE_UNKNOWN,
    Firewall,
    FirewallMatch,
    FirewallPlace,
    FirewallProfile,
    FirewallRule,
    MatchField,
    RuleVerdict,
)
from ...firewall.matching import PROFILES
from ...firewall.record import IN_FORCE, INBOUND, NOT_KEPT, OFF, Everything, recorded
from ...firewall.windows import reachable
from . import netfw, registry
from .registry import NoKey
from .source import Source, values_if_any

LOCAL = "SYSTEM\\CurrentControlSet\\Services\\SharedAccess\\Parameters\\FirewallPolicy"
POLICY = "SOFTWARE\\Policies\\Microsoft\\WindowsFirewall"
MDM = f"{LOCAL}\\Mdm"
RESTRICTED = f"{LOCAL}\\RestrictedServices"
STORES = (
    (f"{LOCAL}\\FirewallRules", FirewallPlace.LOCAL),
    (f"{POLICY}\\FirewallRules", FirewallPlace.GROUP_POLICY),
    (f"{MDM}\\FirewallRules", FirewallPlace.MDM),
    (f"{RESTRICTED}\\Static\\System", FirewallPlace.APP_ISOLATION),
    (f"{RESTRICTED}\\Configurable\\System", FirewallPlace.APP_ISOLATION),
    (f"{RESTRICTED}\\AppIso\\FirewallRules", FirewallPlace.APP_ISOLATION),
)
NETWORKS = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\NetworkList\\Profiles"
CATEGORIES = {0: "public", 1: "private", 2: "domain"}  # NLM_NETWORK_CATEGORY, netlistmgr.h
# The end of a key.
VERSIONED = re.compile(r"2_[0-9]{1,4}$")
# Characters of one rule.
RULE_LIMIT = 16384
# Of one rule, that cannot be decided. Windows writes fewer keys than that in all.
UNDECIDED_KEPT = 100
# The keys of the profiles: the first that has a value counts. Locally the private profile still has
# its name from before Vista.
PROFILE_KEYS = {"domain": "DomainProfile", "private": "StandardProfile", "public": "PublicProfile"}
POLICY_KEYS = {"domain": "DomainProfile", "private": "PrivateProfile", "public": "PublicProfile"}

ACTIONS = {"allow": RuleVerdict.ALLOW, "block": RuleVerdict.BLOCK, "bypass": RuleVerdict.BYPASS}
# DefaultOutboundAction
OUTBOUND = {0: RuleVerdict.ALLOW, 1: RuleVerdict.BLOCK}
# [MS-GPFAS] 2.2.2.19, and what later versions of Windows also write; the part of a key from "2_" on
# is a version.
FIELDS = {
    "protocol": MatchField.PROTOCOL,
    "profile": MatchField.PROFILE,
    "lport": MatchField.SOURCE_PORT,
    "rport": MatchField.DESTINATION_PORT,
    "la4": MatchField.SOURCE,
    "ra4": MatchField.DESTINATION,
    "ra42": MatchField.DESTINATION,
    "ra43": MatchField.DESTINATION,
    "iftype": MatchField.INTERFACE_TYPE,
    "app": MatchField.PROGRAM,
    "svc": MatchField.SERVICE,
    "luauth": MatchField.USER,
    "luown": MatchField.USER,
    "apppkgid": MatchField.PACKAGE,
    "pfn": MatchField.PACKAGE,
}
IPV6 = {
    "ra6": MatchField.DESTINATION,
    "ra62": MatchField.DESTINATION,
    "ra63": MatchField.DESTINATION,
    "la6": MatchField.SOURCE,
}
LISTS = (
    MatchField.SOURCE_PORT,
    MatchField.DESTINATION_PORT,
    MatchField.DESTINATION,
    MatchField.SOURCE,
)
ANY_IPV6 = "::/0"
NO_CONDITIONS = (
    "name", "desc", "embedctxt", "edge", "defer", "lsm", "lom", "pcross", "skipver", "security",
    "security2", "autogenipsec", "authbypassout", "rmauth", "ruauth", "icmp4", "icmp6", "caudit",
    "applb", "action", "active", "dir", "platform", "platform2", *IPV6,
)  # fmt: skip
VERSION = re.compile(r"v2\.\d{1,3}", re.IGNORECASE)


class _Rules(NamedTuple):
    """The rules of all stores, each with its state."""

    rules: List[FirewallRule]
    states: List[str]
    sources: List[str]
    read: int
    unread: int


def collect(source: Source, board: Board) -> Firewall:
    """The rules of all stores, and the profiles."""

    def note(text: str) -> None:
        board.note("firewall", text)

    found = _read_stores(source, note)
    if found.unread:
        counted = f"{found.unread} of {found.read} rules"
        note(f"{counted} are of a form that cannot be read, and are left out")
    active, told_by = active_profiles(source, board)
    known = profiles(active, lambda key: values_if_any(source, key, note))
    is_set = any(item.enabled is not None or item.default_outbound for item in known)
    if not found.sources and not is_set:
        raise NoFact(f"HKLM\\{LOCAL}: neither rules nor profiles")
    everything = Everything([], found.rules, found.states)
    sources = tuple(found.sources)
    base = Firewall(profiles=known, active_from=told_by, sources=sources, rules_read=found.read)
    firewall = recorded(base, everything, reachable(everything))
    if firewall.cut_off:
        kept = len(firewall.rules)
        note(f"{firewall.cut_off} rules are left out: more than {kept} could concern the platform")
    if firewall.lines_cut:
        note(f"{NOT_KEPT}: {firewall.lines_cut}")
    return firewall


def _read_stores(source: Source, note: Callable[[str], None]) -> _Rules:
    rules: List[FirewallRule] = []
    states: List[str] = []
    names: Counter[str] = Counter()
    sources: List[str] = []
    read = brought = 0
    for key, place in STORES:
        try:
            values = source.values(key)
        except NoKey:
            continue
        except NoFact as missing:
            note(str(missing))
            continue
        if place.value not in sources:
            sources.append(place.value)
        read += len(values) + source.values_left_out(key)
        brought += len(values)
        for id, value in values.items():
            fields = split(value)
            if fields is None:
                continue
            names[_first(fields, "name").lower()] += 1
            rules.append(parse(id, fields, place))
            states.append(state_of(fields, place))
    for number, rule in enumerate(rules):
        # the name of one that was not brought may be the same
        if names[rule.name.lower()] > 1 or brought < read:
            rules[number] = replace(rule, is_name_unique=False)
    return _Rules(rules, states, sources, read, brought - len(rules))


def active_profiles(source: Source, board: Board) -> Tuple[Optional[FrozenSet[str]], Optional[str]]:
    """The active profiles and their source: the firewall itself, else the known networks.

    The known networks count where all of them are of one category.
    """
    try:
        return source.active_profiles(), netfw.SOURCE
    except NoFact as missing:
        reason = str(missing)
    try:
        networks = [
            source.values(f"{NETWORKS}\\{guid}") for guid in source.subkeys(NETWORKS)[:1000]
        ]
    except NoFact as missing:
        board.note("firewall", f"{PROFILE_UNKNOWN}: {reason}; {missing}")
        return None, None
    categories = {_category(values) for values in networks}
    only = categories.pop() if len(categories) == 1 else None
    if only is None:
        board.note("firewall", f"{PROFILE_UNKNOWN}: {reason}; NetworkList names no single category")
        return None, None
    return frozenset([only]), "NetworkList"


def _category(network: Dict[str, Any]) -> Optional[str]:
    """The profile of a known network; None where it is not known."""
    number = registry.number(network.get("Category"))
    if number is None:
        return None
    return CATEGORIES.get(number)


def split(value: Any) -> Optional[List[Tuple[str, str]]]:
    """The (key, value) pairs of a rule, keys in lower case; None for other than version 2."""
    if not isinstance(value, str) or len(value) > RULE_LIMIT:
        return None
    version, *parts = value.strip("\0 ").split("|")
    if not VERSION.fullmatch(version.strip()):
        return None
    pairs = [part.partition("=") for part in parts if part.strip()]
    return [(key.strip().lower(), text.strip()) for key, _, text in pairs]


def _first(fields: List[Tuple[str, str]], key: str) -> str:
    return next((value for name, value in fields if name == key), "")


def state_of(fields: List[Tuple[str, str]], place: FirewallPlace) -> str:
    """Whether a rule is switched on and outbound.

    Rules that restrict services are on unless they say otherwise.
    """
    active = _first(fields, "active").lower()
    is_on = active == "true" or (not active and place is FirewallPlace.APP_ISOLATION)
    if not is_on:
        return OFF
    if _first(fields, "dir").lower() != "out":
        return INBOUND
    return IN_FORCE


def parse(id: str, fields: List[Tuple[str, str]], place: FirewallPlace) -> FirewallRule:
    """A rule with its conditions: values of one field are alternatives, all fields must match.

    An unknown key may narrow the rule: it is a condition that cannot be decided. A rule with only
    IPv6 addresses matches no IPv4 address.
    """
    action = ACTIONS.get(_first(fields, "action").lower(), RuleVerdict.OTHER)
    found: Dict[MatchField, List[str]] = {}
    keys = {key: _without_version(key) for key, _ in fields}
    for name, value in fields:
        key = keys[name]
        # of a rule for both families, the fix must keep them
        if key in IPV6 and ":" in value:
            found.setdefault(IPV6[key], []).append(value)
        if key in NO_CONDITIONS:
            continue
        field = FIELDS.get(key, MatchField.OTHER)
        found.setdefault(field, []).extend(_values_of(field, name, value))
    for own, other in (("ra4", "ra6"), ("la4", "la6")):
        has_ipv4 = any(key.startswith(own) for key in keys.values())
        has_ipv6 = any(key.startswith(other) for key in keys.values())
        if has_ipv6 and not has_ipv4:
            found.setdefault(FIELDS[own], []).append(ANY_IPV6)
    found.setdefault(MatchField.OTHER, []).extend(_doubts(action, fields, set(keys.values())))
    if action is RuleVerdict.ALLOW and _first(fields, "authbypassout").lower() == "true":
        action = RuleVerdict.BYPASS
    matches: List[FirewallMatch] = []
    for field, values in found.items():
        if field is MatchField.OTHER:
            # each must match on its own
            matches += [FirewallMatch(field, (value,)) for value in _shortened(values)]
        else:
            matches.append(FirewallMatch(field, tuple(values)))
    return FirewallRule(id, place, action, _first(fields, "name"), matches=tuple(matches))


def _shortened(conditions: List[str]) -> List[str]:
    """Conditions that cannot be decided: one is enough for the whole rule to be in doubt."""
    left_out = len(conditions) - UNDECIDED_KEPT
    if left_out <= 0:
        return conditions
    return [*conditions[:UNDECIDED_KEPT], f"{left_out} more conditions"]


def _doubts(action: RuleVerdict, fields: List[Tuple[str, str]], keys: Set[str]) -> Iterator[str]:
    """What else may keep a rule from matching."""
    if "platform" in keys and _first(fields, "platform2").lower() != "gteq":
        yield f"Platform={_first(fields, 'platform')}"
    is_secured = "security" in keys or "security2" in keys
    bypasses = _first(fields, "authbypassout").lower() == "true"
    # IMDS speaks no IPsec
    if action is RuleVerdict.ALLOW and is_secured and not bypasses:
        yield "Security="


@lru_cache(maxsize=1024)
def _without_version(key: str) -> str:
    return VERSIONED.sub("", key)


def _values_of(field: MatchField, key: str, value: str) -> List[str]:
    if field is MatchField.PROFILE:
        if value.lower() in ("any", "all"):
            return list(PROFILES)
        return [value.lower()]
    if field in LISTS:
        # rules made by hand may have a list
        return list(dict.fromkeys(item.strip() for item in value.split(",")))
    if key == "luauth2_24":
        try:
            return [base64.b64decode(value, validate=True).decode("utf-16-le").strip("\0")]
        except ValueError:
            return [value]
    if field is MatchField.OTHER:
        return [f"{key}={value}"]
    return [value]


def profiles(
    active: Optional[FrozenSet[str]], values: Callable[[str], Dict[str, Any]]
) -> Tuple[FirewallProfile, ...]:
    """The three profiles.

    Group Policy's value of a setting counts first, then device management's, then the local one.

    :param values: the values of a key of HKLM; none where there is no such key
    """
    standard = values(f"{POLICY}\\StandardProfile")
    found: List[FirewallProfile] = []
    by_policy = {name: values(f"{POLICY}\\{key}") for name, key in POLICY_KEYS.items()}
    # [MS-GPFAS] 2.2.3: only where neither exists
    stands_in = not (by_policy["private"] or by_policy["public"])
    for name in PROFILES:
        policy = by_policy[name]
        if stands_in and name != "domain":
            policy = policy or standard
        by_mdm = values(f"{MDM}\\{POLICY_KEYS[name]}") or values(f"{MDM}\\{PROFILE_KEYS[name]}")
        local = (
            (policy, FirewallPlace.GROUP_POLICY),
            (by_mdm, FirewallPlace.MDM),
            (values(f"{LOCAL}\\{PROFILE_KEYS[name]}"), FirewallPlace.LOCAL),
        )
        enabled, _ = _setting(local, "EnableFirewall")
        outbound, place = _setting(local, "DefaultOutboundAction")
        merges_local, _ = _setting(local[:2], "AllowLocalPolicyMerge")
        profile = FirewallProfile(name, default_place=place, local_rules=merges_local != 0)
        if enabled is not None:
            profile = replace(profile, enabled=enabled != 0)
        if active is not None:
            profile = replace(profile, active=name in active)
        if outbound is not None:
            profile = replace(profile, default_outbound=OUTBOUND.get(outbound))
        found.append(profile)
    return tuple(found)


def _setting(
    places: Tuple[Tuple[Dict[str, Any], FirewallPlace], ...], name: str
) -> Tuple[Optional[int], FirewallPlace]:
    for values, place in places:
        number = registry.number(values.get(name))
        if number is not None:
            return number, place
    return None, FirewallPlace.LOCAL
