"""EVIDENCE: what the diagnosis rests on; in the full report all else that was collected too."""

from __future__ import annotations

from typing import Iterable, List, Tuple

from ..facts import (
    IMDS_ADDRESS,
    Adapter,
    Firewall,
    FirewallRule,
    IssuerFetch,
    Outcome,
    Proxy,
    Trial,
)
from ..model.adapters import holds
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.sentences import in_words, listener_in_words, program_in_words
from ..model.words import listed, quoted, short
from ..rules.firewall import suspected_filters
from ..rules.issuers import common_name
from ..rules.proxy import described, hits, what_came
from .blocks import Block, Depth, Line
from .routes import not_routed, policy_rules, route_table

RULE_LIMIT = 236
ADDRESSES_SHOWN = 3  # on an adapter's own line


def evidence(model: Model) -> Tuple[Block, ...]:
    chain = certificates(model)
    faulty_chain: List[str] = []
    if model.answers.chain and not model.answers.chain.trusted:
        faulty_chain = chain
    return (
        # a chain that is the fault is what matters
        *lines_at(Depth.PORTAL, faulty_chain),
        route_table(model),
        *not_routed(model),
        *policy_rules(model),
        *adapters(model),
        *answers(model),
        *lines_at(Depth.PORTAL, deciding_filters(model)),
        *lines_at(Depth.FULL, all_filters(model)),
        *lines_at(Depth.FULL, map(_proxy, model.facts.proxies or ())),
        *lines_at(Depth.ALL, proxy_answers(model)),
        *lines_at(Depth.FULL, chain),
        *lines_at(Depth.FULL, surroundings(model)),
    )


def lines_at(depth: Depth, texts: Iterable[str]) -> List[Line]:
    return [Line(text, depth=depth) for text in texts]


def adapters(model: Model) -> List[Line]:
    """The NICs, ``*`` at the primary one; in the full report every adapter, and who manages it."""
    primary = model.primary_nic.adapter if model.primary_nic else None

    def place(adapter: Adapter) -> Tuple[bool, bool, int]:
        return adapter != primary, adapter != model.routing.egress, adapter.index

    lines: List[Line] = []
    for adapter in sorted(model.adapters.all, key=place):
        matters = adapter in model.adapters.nics or adapter in (model.routing.egress, primary)
        depth = Depth.FULL
        if matters or holds(adapter, IMDS_ADDRESS):
            depth = Depth.ALL
        mark = "*" if adapter == primary else ""
        lines.append(Line(_adapter(adapter), mark, depth))
        more = _more_of_adapter(adapter, model.facts.system)
        lines.append(Line(more, depth=Depth.FULL, is_note=True))
    return lines


def _adapter(adapter: Adapter) -> str:
    held = [f"{item.address}/{item.prefix}" for item in adapter.addresses]
    addresses = ", ".join(held[:ADDRESSES_SHOWN]) or "no address"
    if len(held) > ADDRESSES_SHOWN:
        addresses += f" +{len(held) - ADDRESSES_SHOWN} more"
    parts = [
        f"{adapter.index} {quoted(adapter.name)}",
        adapter.mac or "-",
        adapter.state.value,
        addresses,
    ]
    if adapter.dhcp_server:
        parts.append(f"dhcp {adapter.dhcp_server}")
    if adapter.lease_gateway:
        parts.append(f"gateway {adapter.lease_gateway}")
    return "  ".join(parts)


def _more_of_adapter(adapter: Adapter, system: str) -> str:
    """What it is made of, who manages it, and the addresses that its own line has no room for."""
    manager = adapter.managed_by
    if manager is None and system == "linux" and adapter.kind != "loopback":
        manager = "an unknown program"
    values = {
        "kind": adapter.kind,
        "driver": adapter.driver,
        "description": adapter.description,
        "part of": adapter.master,
        "managed by": manager,
        "profile": adapter.profile,
        "lease address": adapter.lease_address,
    }
    parts = [f"{name} {short(value, 64)}" for name, value in values.items() if value]
    if adapter.metric is not None:
        parts.append(f"metric {adapter.metric}")
    parts += [f"{item.address}/{item.prefix}" for item in adapter.addresses[ADDRESSES_SHOWN:]]
    secondary = [
        item.address for item in adapter.addresses if item.secondary or item.skip_as_source
    ]
    if secondary:
        parts.append(f"not used as source: {', '.join(secondary)}")
    return ", ".join(parts)


def answers(model: Model) -> List[Line]:
    """What each local address got from IMDS."""
    lines = []
    for trial in sorted(model.answers.trials, key=lambda trial: trial is not model.answers.proof):
        source = trial.connection.local_address or trial.connection.source or "?"
        if trial.connection.device:
            source += f" on {quoted(trial.connection.device)}"
        lines.append(Line(f"from {source}: {_trial(model, trial)}"))
    return lines


def _trial(model: Model, trial: Trial) -> str:
    connection, exchange = trial.connection, trial.exchange
    if exchange and exchange.instance:
        return f"IMDS answered in {exchange.elapsed_s * 1000:.0f} ms"
    if exchange:
        return model.answers.in_words(exchange, with_source=False)
    if connection.outcome is Outcome.ANSWERED:
        return "connected"
    error = (connection.error or "").partition(" (")[0]
    if not error:
        return in_words(connection.outcome)
    return f"{in_words(connection.outcome)}: {error_in_words(error, model.facts.system, 60)}"


def deciding_filters(model: Model) -> List[str]:
    """The firewall rules that block the platform or may do so, and those that redirect IMDS."""
    matches = []
    filtering = model.filtering.to_imds
    if filtering:
        matches += [*filtering.blocked, *filtering.possible, *filtering.limited]
    for wireserver_filtering in filter(None, model.filtering.to_wireserver.values()):
        matches += wireserver_filtering.blocked
    rules = list(dict.fromkeys(match.rule for match in matches if match.rule))
    if filtering and filtering.redirected:
        rules.append(filtering.redirected)
    return [_filter(rule) for rule in (*rules, *suspected_filters(model))]


def all_filters(model: Model) -> List[str]:
    """Every firewall rule that could concern the platform."""
    firewall = model.facts.firewall
    if firewall is None:
        return deciding_filters(model)
    rules = (*firewall.rules, *suspected_filters(model))
    return [*_defaults(firewall), *map(_filter, rules)]


def _defaults(firewall: Firewall) -> List[str]:
    """What the firewall does with what no rule matches: by profile (Windows), by chain (Linux)."""
    lines = []
    for profile in firewall.profiles:
        is_on = {True: "on", False: "off", None: "not set"}[profile.enabled]
        active = {True: ", active", False: "", None: ", active unknown"}[profile.active]
        outbound = "not set"
        if profile.default_outbound:
            outbound = profile.default_outbound.value
        lines.append(
            f"firewall profile {profile.name} {is_on}{active}: default outbound {outbound}"
        )
    for chain in firewall.chains:
        if chain.hook:
            where = f"{chain.kind}, hook {chain.hook}, priority {chain.priority}"
            name = f"{chain.place.value} {quoted(chain.id)}"
            lines.append(f"{name} ({where}): policy {chain.policy.value}")
    return lines


def _filter(rule: FirewallRule) -> str:
    seen = ""
    if rule.packets is not None:
        seen = f", {rule.packets} packets"
    if rule.id.startswith("-t "):  # iptables' own words say all
        return f"{rule.place.value} {short(rule.id, RULE_LIMIT)}{seen}"
    conditions = []
    for match in rule.matches:
        values = listed([short(value) for value in match.values], 4)
        if match.negated:
            values = f"not {values}"
        conditions.append(f"{match.field.value} {values}")
    name = quoted(rule.name or rule.id)
    if rule.chain:
        name = f"{quoted(rule.chain)} rule {short(rule.id)}"
    action = rule.action.value
    if rule.target:
        action += f" {short(rule.target)}"
    return f"{rule.place.value} {name}: {'; '.join(conditions) or 'everything'} -> {action}{seen}"


def _proxy(proxy: Proxy) -> str:
    bypassed = ", ".join(short(entry, 60) for entry in proxy.bypass[:20]) or "nothing"
    server = short(proxy.place, 80)
    if proxy.server:
        server = described(proxy)
    line = f"proxy {server}, {proxy.scope.value}: bypasses {bypassed}"
    if proxy.pac_url:
        line += f", PAC {short(proxy.pac_url, 120)}"
    if proxy.auto_detect:
        line += ", automatic detection"
    return line


def proxy_answers(model: Model) -> List[str]:
    """What came through each proxy that does not bypass IMDS."""
    return [
        f"through {described(hit.proxy)}: {what_came(hit)}" for hit in hits(model, IMDS_ADDRESS)
    ]


def certificates(model: Model) -> List[str]:
    """The chain of the attested document's signer, and what fetching brought."""
    chain, lines = model.answers.chain, []
    if chain is None:
        return []
    for number, item in enumerate(chain.certificates):
        places = listed([short(place, 60) for place in item.stores], 3) or "in no store of this VM"
        name = f"{quoted(common_name(item.subject))} {item.thumbprint}"
        until = ""
        if item.not_after:
            until = f"until {item.not_after}"
        lines.append(f"certificate {number} {name} {until}: {places}")
    for known in model.facts.certificate_chains or ():
        for fetch in known.fetches:
            lines.append(_fetch(fetch, model.facts.system))
    return lines


def _fetch(fetch: IssuerFetch, system: str) -> str:
    target = short(fetch.url, 110)
    if fetch.proxy:
        target += f" through {short(fetch.proxy)}"
    if fetch.certificate:
        return f"fetch {target}: the issuer"
    return f"fetch {target}: {error_in_words(fetch.error or in_words(fetch.outcome), system, 80)}"


def surroundings(model: Model) -> List[str]:
    """Neighbours, stored routes, services, listeners, connections to IMDS."""
    facts = model.facts
    lines = []
    for item in facts.neighbours or ():
        interface = short(item.interface or "-")
        lines.append(
            f"neighbour {item.address}  {item.mac or '-'}  {item.state.value}  {interface}"
        )
    for stored in facts.persistent_routes or ():
        lines.append(
            f"stored route {stored.destination} via {stored.gateway}, metric {stored.metric}"
        )
    for service in facts.services or ():
        state = service.state.value
        if service.start:
            state += f", start {short(service.start, 24)}"
        lines.append(f"service {short(service.name)}: {state}")
    for listener in facts.listeners or ():
        program = listener_in_words(listener)
        lines.append(f"listens on {listener.address}:{listener.port}: {program}")
    for connection in facts.connections or ():
        program = program_in_words(connection.process, connection.pid)
        state = short(connection.state, 24)
        lines.append(f"connected to IMDS from port {connection.local_port}: {program}, {state}")
    return lines
