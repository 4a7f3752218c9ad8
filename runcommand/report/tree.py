"""The report as a tree of sections, at two depths: what the portal shows, and everything."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Dict, Iterable, List, Optional, Sequence, Set, Tuple

from ..diagnosis import Diagnosis
from ..facts import (
    IMDS_ADDRESS,
    Adapter,
    Firewall,
    FirewallRule,
    Machine,
    Outcome,
    Route,
    RouteKind,
    Trial,
    contains,
    network,
    prefix_length,
)
from ..frozen import dataclass
from ..model.adapters import holds
from ..model.azure import matches_platform
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.routing import RouteLookup
from ..model.sentences import in_words, listener_in_words, program_in_words
from ..model.words import capital, listed, quoted, short, to_ascii
from ..rules.checks import Check, Status
from ..rules.finding import Finding, Fix, FixKind, RunOn, Severity, Shell
from ..rules.firewall import described, suspected_filters
from ..rules.issuers import common_name
from ..rules.proxy import described as described_proxy, hits, path_words, what_came
from ..rules.route import policy_rule, rule_in_words
from ..rules.unseen import without_rights

WIDTH = 118
FIRST_WORDS = re.compile(
    r"[a-z0-9]+( [a-z-][a-z0-9-]*){1,2}(?= |$)"
)  # of a command: by them a person knows it again
SHOWN = (
    ("azEnvironment", "az_environment"),
    ("location", "location"),
    ("name", "name"),
    ("offer", "offer"),
    ("sku", "sku"),
    ("licenseType", "license_type"),
    ("isHostCompatibilityLayerVm", "is_host_compatibility_layer_vm"),
)
_ORDER = {Status.FAIL: 0, Status.ERROR: 1, Status.WARN: 2, Status.OK: 3, Status.SKIP: 4}


@dataclass(frozen=True)
class Section:
    """A titled block of lines.

    ``whole`` is never cut; of the others, the lines at the end go first.
    """

    title: str  # empty: the lines stand without one
    lines: Tuple[str, ...]
    whole: bool = False
    beside: str = ""  # what stands in the title's line


def sections(
    diagnosis: Diagnosis, files: str, full: bool, with_fixes: bool = False
) -> List[Section]:
    """All sections but the first and the last line, in the order in which they are printed; every
    line is plain ASCII.

    :param full: everything, for the ticket
    :param with_fixes: ALSO shows how its warnings are mended (in the full report it always does)
    """
    found = [
        verdict(diagnosis),
        redaction(diagnosis),
        fix(diagnosis),
        Section("PATH", (path_line(diagnosis.model),)),
        vm(diagnosis),
        also(diagnosis, full, with_fixes),
        Section("CHECKS", tuple(check_lines(diagnosis.checks, full))),
        evidence(diagnosis.model, full),
    ]
    if full:
        found.insert(len(found) - 3, machine(diagnosis))
        found += [unavailable(diagnosis), *raw(diagnosis)]
    found.append(Section("FILES", (f"  {short(files, 240)}",)))
    return [replace(item, lines=tuple(map(to_ascii, item.lines))) for item in found if item.lines]


def head(diagnosis: Diagnosis) -> str:
    facts = diagnosis.facts
    version = short(facts.tool_version or "?", 20)
    return f"IMDS-CHECK {version}  {short(facts.host, 63)}  {facts.collected_at}  {facts.elapsed_s:.1f} s"


def end(diagnosis: Diagnosis) -> str:
    """The last line, which alone carries the verdict.

    Made for machines: words without spaces, ``-`` for none.
    """
    facts = diagnosis.facts
    return (
        f"END IMDS-CHECK verdict={diagnosis.verdict.value} cause={diagnosis.cause or '-'} exit={diagnosis.exit_code} "
        f"host={word(facts.host)} at={facts.collected_at} v={word(facts.tool_version or '?')}"
    )


def word(text: str) -> str:
    """A value of the END line: ASCII, bounded, without spaces or equals signs."""
    return "".join("_" if c in " =" else c for c in short(text, 63)) or "-"


def verdict(diagnosis: Diagnosis) -> Section:
    main = diagnosis.main
    if main is None:
        worth = any(finding.severity is Severity.WARN for finding in diagnosis.findings)
        rights = without_rights(diagnosis.model)
        more = "Nothing that was looked at needs mending." if rights else "Nothing needs mending."
        if worth:
            more = "ALSO has what may trouble others; the full report has more."
        said = f"{rights} IMDS answers this VM's requests. {more}".strip()
        lines = ["VERDICT  HEALTHY", *wrap(said, "  ")]
        return Section("", tuple(lines), whole=True)
    lines = [f"VERDICT  {diagnosis.verdict.value.upper()}: {main.cause}"]
    lines += wrap(main.detail, "  ")
    return Section("", tuple(lines), whole=True)


def redaction(diagnosis: Diagnosis) -> Section:
    """That what stands here is not what it is called on the VM; never cut."""
    line = (
        "REDACTED Names, ids and addresses are pseudonyms: commands cannot be pasted as they stand."
    )
    return Section("", (line,) if diagnosis.facts.redacted else (), whole=True)


def fix(diagnosis: Diagnosis) -> Section:
    """How the cause is mended; beside the title where the first of the commands are to be run, and
    with which rights.
    """
    main = diagnosis.main
    if main is None or not (main.fix or main.doc):
        return Section("FIX", ())
    place = next((where_to_run(item) for item in main.fix if item.kind is FixKind.COMMAND), "")
    return Section("FIX", tuple(fix_lines(main, place)), whole=True, beside=place)


def fix_lines(finding: Finding, place: str = "") -> List[str]:
    """The fixes in order, commands as they are pasted, and the page. Where commands are to be run
    somewhere else than those before them, a heading says so.

    :param place: where the first ones are to be run, if a heading has said it
    """
    lines: List[str] = []
    for item in finding.fix:
        if item.kind is FixKind.COMMAND and where_to_run(item) != place:
            place = where_to_run(item)
            lines.append(f"  {capital(place)}:")
        lines += _fix_line(item)
    lines += _harmless_answers(finding)
    if finding.doc:
        lines.append(f"  {finding.doc}")
    return lines


def _harmless_answers(finding: Finding) -> List[str]:
    """What the commands may answer without that being a fault, each answer with the command that
    gives it.
    """
    answers: Dict[str, str] = {}
    for item in finding.fix:
        if item.harmless:
            begins = FIRST_WORDS.match(item.text)
            answers.setdefault(
                item.harmless, begins.group() if begins else item.text.partition(" ")[0]
            )
    if not answers:
        return []
    named = ", ".join(f'"{answer}" ({command})' for answer, command in answers.items())
    return wrap(f"- You can ignore: {named}.", "  ", "    ")


def where_to_run(item: Fix) -> str:
    """Where a command is to be run, and with which rights."""
    if item.run_on is RunOn.OPERATOR:
        return "on your own machine, with the Azure CLI (az login)"
    if item.shell is Shell.SH:
        return "on this VM, as root"
    return "on this VM, in an elevated Command Prompt"


def _fix_line(item: Fix) -> List[str]:
    if item.kind is not FixKind.COMMAND:
        return wrap(f"- {item.text}", "  ", "    ")
    return [f"  {as_pasted(item)}"]


def as_pasted(item: Fix) -> str:
    """A command as it can be pasted into the system's usual shell: on Windows that is cmd or
    PowerShell, whichever is open.
    """
    return (
        f'powershell -NoProfile -Command "{item.text}"'
        if item.shell is Shell.POWERSHELL
        else item.text
    )


def path_line(model: Model) -> str:
    """The way of the plain request from the client to the host, with the place where it ends."""
    lookup, egress = model.routing.to_imds, model.routing.egress
    client = f"  client{f' from {lookup.source}' if lookup.source and lookup.known and not lookup.error else ''}"
    cross = (
        "-?->" if model.answers.imds is None else "->" if model.answers.imds_is_genuine else "-X->"
    )
    begin = f"{client} -> {path_words(model)}"
    if not lookup.known:
        return f"{begin} -> {_firewall_words(model)} -> ? -> host"
    if lookup.error:
        return f"{begin} -X-> no route: {error_in_words(lookup.error, model.facts.system)}"
    if model.filtering.stopped_by:
        return f"{begin} -X-> firewall: {described(model.filtering.stopped_by[0])}"
    redirected = model.filtering.to_imds.redirected if model.filtering.to_imds else None
    if redirected and not model.answers.imds_is_genuine and not model.answers.proof:
        return f"{begin} -X-> firewall, which redirects to {short(redirected.target or '?', 60)}"
    begin += f" -> {_firewall_words(model)}"
    if lookup.route is None:
        return f"{begin} {cross} host"
    if lookup.route.kind is RouteKind.LOCAL:
        return f"{begin} -> {lookup.route.destination} on this machine itself {cross} host"
    via = f"via {lookup.route.gateway}" if lookup.route.gateway else "on-link"
    name = (
        f"{quoted(egress.name)} {egress.mac or ''}".strip()
        if egress
        else quoted(lookup.route.interface or "?")
    )
    first, second = (
        ("->", cross)
        if model.routing.leaves_by_primary_nic or model.primary_nic is None
        else (cross, "->")
    )
    return f"{begin} -> route /{prefix_length(lookup.route.destination)} {via} {first} {name} {second} host"


def _firewall_words(model: Model) -> str:
    """The firewall as it stands in the PATH line, where it does not end there."""
    found = model.filtering.to_imds
    if found is None:
        return "firewall?"
    return "firewall (may block)" if found.blocked or found.possible else "firewall"


def vm(diagnosis: Diagnosis) -> Section:
    """What IMDS said of this VM."""
    instance = diagnosis.model.answers.instance
    if instance is None:
        return Section("VM", ())
    parts = [f"{label}={short(getattr(instance, field), 64) or '-'}" for label, field in SHOWN]
    return Section("VM", tuple(wrap("  ".join(parts), "  ")))


def machine(diagnosis: Diagnosis) -> Section:
    """The operating system, the chassis, and what the operator said of the VM."""
    facts = diagnosis.facts
    found = facts.machine or Machine()
    values = {
        "os": found.os_name,
        "id": found.os_id,
        "version": found.os_version,
        "edition": found.edition,
        "build": found.build,
        "kernel": found.kernel,
        "architecture": found.architecture,
        "vendor": found.vendor,
        "product": found.product,
        "assetTag": found.asset_tag,
        "smbiosUuid": found.smbios_uuid,
        "elevated": None if found.elevated is None else str(found.elevated).lower(),
        "activation": facts.activation,
        "expectedMac": facts.expected.mac,
        "expectedIp": facts.expected.ip,
    }
    parts = [f"{name}={short(value, 64)}" for name, value in values.items() if value]
    return Section("MACHINE", tuple(wrap("  ".join(parts), "  ")) if parts else ())


def also(diagnosis: Diagnosis, full: bool, with_fixes: bool = False) -> Section:
    """The other findings, in order of weight.

    :param full: with the fixes and pages of all of them
    :param with_fixes: with the fixes of the warnings, unless FIX has their commands
    """
    rest = diagnosis.findings[1:] if diagnosis.main else diagnosis.findings
    known = _commands(diagnosis.main) if diagnosis.main else set()
    lines: List[str] = []
    for finding in rest:
        lines += wrap(
            f"{finding.severity.value:4} {finding.cause}: {finding.detail}", "  ", "       "
        )
        is_warning = finding.severity is Severity.WARN and not _commands(finding) <= known
        if full:
            lines += [f"     {line}" for line in fix_lines(finding)]
        elif with_fixes and is_warning:
            lines += [f"     {line}" for line in fix_lines(replace(finding, doc=None))]
    return Section("ALSO", tuple(lines))


def _commands(finding: Finding) -> Set[str]:
    return {item.text for item in finding.fix if item.kind is FixKind.COMMAND}


def check_lines(checks: Sequence[Check], full: bool) -> List[str]:
    """A line for each check. In the portal's report the ones that matter come first, and all that
    did not apply share a line; the full report says of each why.
    """
    if full:
        return list(map(check_line, checks))
    skipped = [check for check in checks if check.status is Status.SKIP]
    if len(skipped) < 2:
        return list(map(check_line, ranked(checks)))
    lines = [check_line(check) for check in ranked(checks) if check.status is not Status.SKIP]
    return [
        *lines,
        f"  {Status.SKIP.value:5} did not apply: {', '.join(short(check.id, 40) for check in skipped)}",
    ]


def ranked(checks: Iterable[Check]) -> List[Check]:
    return sorted(checks, key=lambda check: _ORDER[check.status])


def check_line(check: Check) -> str:
    return f"  {check.status.value:5} {short(check.id, 40):20} {short(check.summary, 2 * WIDTH)}"


# --- evidence
# -------------------------------------------------------------------------------------------------------


def evidence(model: Model, full: bool) -> Section:
    lines = [
        *(
            [] if full else certificates(model, full)
        ),  # where they are a fault, they are what matters
        *route_table(model, full),
        *adapter_table(model, full),
        *answers(model),
        *filters(model, full),
        *proxies(model, full),
        *(certificates(model, full) if full else []),
        *(surroundings(model) if full else []),
    ]
    return Section("EVIDENCE", tuple(lines))


def route_table(model: Model, full: bool) -> List[str]:
    """The rows that match either platform address (in the full report every row), most specific
    first, ``>`` at the one that wins, and below it the policy rule that leads there; then what no
    row matches.
    """
    rows = [
        route for route in model.route_table.rows if full or matches_platform(route.destination)
    ]
    rows.sort(
        key=lambda route: (
            not matches_platform(route.destination),
            -prefix_length(route.destination),
            route.metric,
        )
    )
    lines: List[str] = []
    if rows:
        lines.append(
            f"  {'Network Destination':20}{'Netmask':17}{'Gateway':17}{'Interface':17}{'Metric':>6}"
        )
    winners = _winners(model)
    for route in rows:
        won = [winner for winner in winners if winner.has_won(route)]
        lines.append(_route_line(model, route, won))
        rules = dict.fromkeys(policy_rule(model, winner.lookup) for winner in won)
        lines += [f"    by policy rule {rule_in_words(rule)}" for rule in rules if rule]
    lines += _not_routed(model)
    if full:
        lines += policy_rules(model)
    return lines


@dataclass(frozen=True)
class _Winner:
    """The row that wins for one of the platform's addresses."""

    lookup: RouteLookup
    row: Route
    is_in_table: bool  # as the table has it; else the system told less of it

    def has_won(self, route: Route) -> bool:
        """Whether it is this row of the table."""
        if self.is_in_table:
            return route == self.row
        if self.row.interface_index:
            is_same_link = route.interface_index == self.row.interface_index
        else:
            is_same_link = route.interface == self.row.interface
        own = (self.row.destination, self.row.gateway, self.row.table)
        return is_same_link and (route.destination, route.gateway, route.table) == own


def _winners(model: Model) -> List[_Winner]:
    lookups = (model.routing.to_imds, model.routing.to_wireserver)
    return [
        _Winner(lookup, lookup.route, lookup.route in model.route_table.rows)
        for lookup in lookups
        if lookup.route
    ]


def _route_line(model: Model, route: Route, won: Sequence[_Winner]) -> str:
    net = network(route.destination)
    on_link = "On-link" if route.kind in (RouteKind.UNICAST, RouteKind.LOCAL) else "-"
    notes = [short(route.interface or "", 24)]
    if route.kind is not RouteKind.UNICAST:
        notes.append(route.kind.value)
    if route.table not in ("main", "local"):
        notes.append(f"table {short(route.table, 16)}")
    if route.dead:
        notes.append("dead")
    source = next((winner.lookup.source for winner in won if winner.lookup.source), None)
    row = (
        f"{'>' if won else ' '} {net.network_address!s:20}{net.netmask!s:17}{route.gateway or on_link:17}"
        f"{source or _source(model, route) or '-':17}{route.metric:>6}  {' '.join(filter(None, notes))}"
    )
    return row.rstrip()


def _source(model: Model, route: Route) -> Optional[str]:
    """The source address of packets that take a row: the row's own, else the one that the system
    chooses on that adapter, else the adapter's address on the gateway's subnet, else its first one.
    An address that is not for sending (secondary, SkipAsSource) is the last choice.
    """
    if route.source:
        return route.source
    adapter = model.adapters.egress(route)
    if adapter is None:
        return None
    for lookup in (model.routing.to_imds, model.routing.to_wireserver):
        chosen_by_row = lookup.route is not None and lookup.route.source is not None
        if (
            model.adapters.egress(lookup.route) == adapter
            and holds(adapter, lookup.source)
            and not chosen_by_row
        ):
            return lookup.source
    gateway = route.gateway if route.gateway and ":" not in route.gateway else None
    held = sorted(
        adapter.addresses,
        key=lambda item: (
            item.secondary or item.skip_as_source,
            gateway is not None and not contains(f"{item.address}/{item.prefix}", gateway),
        ),
    )
    return held[0].address if held else None


def _not_routed(model: Model) -> List[str]:
    """Of the platform's addresses those that no row matches, or to which a policy rule denies the
    way.
    """
    lines: List[str] = []
    for lookup in (model.routing.to_imds, model.routing.to_wireserver):
        matching = (
            row for row in model.route_table.rows if contains(row.destination, lookup.destination)
        )
        if lookup.rule:
            lines.append(f"> policy rule {rule_in_words(lookup.rule)}")
        elif model.facts.routes is not None and next(matching, None) is None:
            lines.append(f"  no row matches {lookup.destination}")
    return list(dict.fromkeys(lines))


def policy_rules(model: Model) -> List[str]:
    """Every policy rule in its order, ``>`` at those that lead to the platform's addresses."""
    deciding = [
        policy_rule(model, lookup)
        for lookup in (model.routing.to_imds, model.routing.to_wireserver)
    ]
    rules = sorted(model.facts.routing_rules or (), key=lambda rule: rule.priority)
    return [
        f"{'>' if rule in deciding else ' '} policy rule {rule_in_words(rule)}" for rule in rules
    ]


def adapter_table(model: Model, full: bool) -> List[str]:
    """The NICs, ``*`` at the primary one; in the full report every adapter, and who manages it."""
    shown = (
        list(model.adapters.all)
        if full
        else [adapter for adapter in model.adapters.all if _is_told(model, adapter)]
    )
    primary = model.primary_nic.adapter if model.primary_nic else None
    shown.sort(
        key=lambda adapter: (adapter != primary, adapter != model.routing.egress, adapter.index)
    )
    lines: List[str] = []
    for adapter in shown:
        lines.append(_adapter_line(adapter, adapter == primary))
        if full:
            lines.append(_more_of_adapter(adapter, model.facts.system))
    return lines


def _is_told(model: Model, adapter: Adapter) -> bool:
    special = [model.routing.egress, model.primary_nic.adapter if model.primary_nic else None]
    return adapter in model.adapters.nics or adapter in special or holds(adapter, IMDS_ADDRESS)


def _adapter_line(adapter: Adapter, primary: bool) -> str:
    held = [f"{item.address}/{item.prefix}" for item in adapter.addresses]
    more = f" +{len(held) - 3} more" if len(held) > 3 else ""
    parts = [
        f"{'*' if primary else ' '} {adapter.index} {quoted(adapter.name)}",
        adapter.mac or "-",
        adapter.state.value,
    ]
    parts += [(", ".join(held[:3]) or "no address") + more]
    parts += [
        f"dhcp {adapter.dhcp_server}" if adapter.dhcp_server else "",
        f"gateway {adapter.lease_gateway}" if adapter.lease_gateway else "",
    ]
    return "  ".join(filter(None, parts))


def _more_of_adapter(adapter: Adapter, system: str) -> str:
    """What it is made of, who manages it, and the addresses that its own line has no room for."""
    manager = adapter.managed_by
    if manager is None and system == "linux" and adapter.kind != "loopback":
        manager = "a program that is not known"
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
    parts += [f"{item.address}/{item.prefix}" for item in adapter.addresses[3:]]
    secondary = [
        item.address for item in adapter.addresses if item.secondary or item.skip_as_source
    ]
    if secondary:
        parts.append(f"not for sending: {', '.join(secondary)}")
    return f"      {', '.join(parts)}"


def answers(model: Model) -> List[str]:
    """What each local address got from IMDS."""
    lines = []
    for trial in sorted(model.answers.trials, key=lambda trial: trial is not model.answers.proof):
        source = trial.connection.local_address or trial.connection.source or "?"
        device = f" by {quoted(trial.connection.device)}" if trial.connection.device else ""
        lines.append(f"  from {source}{device}: {_trial(model, trial)}")
    return lines


def _trial(model: Model, trial: Trial) -> str:
    if trial.exchange and trial.exchange.instance:
        return f"IMDS answered in {trial.exchange.elapsed_s * 1000:.0f} ms"
    if trial.exchange:
        return model.answers.in_words(trial.exchange, with_source=False)
    if trial.connection.outcome is Outcome.ANSWERED:
        return "connected"
    error = (trial.connection.error or "").partition(" (")[0]
    if not error:
        return in_words(trial.connection.outcome)
    return f"{in_words(trial.connection.outcome)}: {error_in_words(error, model.facts.system, 60)}"


def filters(model: Model, full: bool) -> List[str]:
    """The firewall rules that stand in the way; in the full report all that could concern the
    platform.
    """
    found = model.filtering.to_imds
    named = [o.rule for o in (*found.blocked, *found.possible, *found.limited)] if found else []
    named += [
        o.rule for item in model.filtering.to_wireserver.values() if item for o in item.blocked
    ]
    rules = list(dict.fromkeys(rule for rule in named if rule))
    if full and model.facts.firewall:
        rules = list(model.facts.firewall.rules)
    if found and found.redirected and not full:
        rules.append(found.redirected)
    lines = [f"  {_filter_line(rule)}" for rule in (*rules, *suspected_filters(model))]
    return [*_defaults(model.facts.firewall), *lines] if full and model.facts.firewall else lines


def _defaults(firewall: Firewall) -> List[str]:
    """What the firewall does with what no rule matches: by profile (Windows), by chain (Linux)."""
    lines = []
    for profile in firewall.profiles:
        known = {True: "on", False: "off", None: "not set"}[profile.enabled]
        active = {True: ", active", False: "", None: ", active or not"}[profile.active]
        outbound = profile.default_outbound.value if profile.default_outbound else "not set"
        lines.append(
            f"  firewall profile {profile.name} {known}{active}: outbound by default {outbound}"
        )
    for chain in firewall.chains:
        if chain.hook:
            where = f"{chain.kind}, hook {chain.hook}, priority {chain.priority}"
            lines.append(
                f"  {chain.place.value} {quoted(chain.id)} ({where}): policy {chain.policy.value}"
            )
    return lines


def _filter_line(rule: FirewallRule) -> str:
    seen = f", {rule.packets} packets" if rule.packets is not None else ""
    if rule.id.startswith("-t "):  # iptables' own words say all
        return f"{rule.place.value} {short(rule.id, 2 * WIDTH)}{seen}"
    conditions = [
        f"{match.field.value} {'not ' if match.negated else ''}{listed([short(value) for value in match.values], 4)}"
        for match in rule.matches
    ]
    where = (
        f"{quoted(rule.chain)} rule {short(rule.id)}"
        if rule.chain
        else quoted(rule.name or rule.id)
    )
    to = f" {short(rule.target)}" if rule.target else ""
    return f"{rule.place.value} {where}: {'; '.join(conditions) or 'everything'} -> {rule.action.value}{to}{seen}"


def proxies(model: Model, full: bool) -> List[str]:
    """What came through each proxy; in the full report every setting."""
    lines = []
    if full:
        for proxy in model.facts.proxies or ():
            kept = ", ".join(short(entry, 60) for entry in proxy.bypass[:20]) or "nothing"
            server = described_proxy(proxy) if proxy.server else short(proxy.place, 80)
            pac = f", PAC {short(proxy.pac_url, 120)}" if proxy.pac_url else ""
            detect = ", automatic detection" if proxy.auto_detect else ""
            lines.append(f"  proxy {server}, {proxy.scope.value}: bypasses {kept}{pac}{detect}")
    return lines + [
        f"  through {described_proxy(hit.proxy)}: {what_came(hit)}"
        for hit in hits(model, IMDS_ADDRESS)
    ]


def certificates(model: Model, full: bool) -> List[str]:
    """The chain of the attested document's signer, and what fetching brought, where there is
    something to see; else in the full report only.
    """
    chain = model.answers.chain
    if chain is None or (chain.trusted and not full):
        return []
    lines = []
    for number, item in enumerate(chain.certificates):
        places = listed([short(place, 60) for place in item.stores], 3) or "in no store of this VM"
        until = f"until {item.not_after}" if item.not_after else ""
        lines.append(
            f"  certificate {number} {quoted(common_name(item.subject))} {item.thumbprint} {until}: {places}"
        )
    for fetch in (
        fetch for known in model.facts.certificate_chains or () for fetch in known.fetches
    ):
        through = f" through {short(fetch.proxy)}" if fetch.proxy else ""
        error = error_in_words(fetch.error or in_words(fetch.outcome), model.facts.system, 80)
        brought = "the issuer" if fetch.certificate else error
        lines.append(f"  fetch {short(fetch.url, 110)}{through}: {brought}")
    return lines


def surroundings(model: Model) -> List[str]:
    """What else was collected: neighbours, stored routes, services, listeners, connections to IMDS."""
    facts = model.facts
    lines = [
        f"  neighbour {item.address}  {item.mac or '-'}  {item.state.value}  {short(item.interface or '-')}"
        for item in facts.neighbours or ()
    ]
    for stored in facts.persistent_routes or ():
        lines.append(
            f"  stored route {stored.destination} via {stored.gateway}, metric {stored.metric}"
        )
    for service in facts.services or ():
        start = f", start {short(service.start, 24)}" if service.start else ""
        lines.append(f"  service {short(service.name)}: {service.state.value}{start}")
    for listener in facts.listeners or ():
        lines.append(
            f"  listens on {listener.address}:{listener.port}: {listener_in_words(listener)}"
        )
    for connection in facts.connections or ():
        who = program_in_words(connection.process, connection.pid)
        lines.append(
            f"  connected to IMDS from port {connection.local_port}: {who}, {short(connection.state, 24)}"
        )
    return lines


def unavailable(diagnosis: Diagnosis) -> Section:
    lines = [f"  {item.fact}: {item.reason}" for item in diagnosis.facts.unavailable]
    return Section("NOT COLLECTED", tuple(lines))


def raw(diagnosis: Diagnosis) -> List[Section]:
    found = []
    for item in diagnosis.facts.raw or ():
        lines = [f"  {line.expandtabs()}".rstrip() for line in item.text.splitlines()]
        found.append(
            Section(
                f"OUTPUT of {short(item.command)}",
                tuple(lines + (["  (cut)"] if item.truncated else [])),
            )
        )
    return found


# --- lines
# ----------------------------------------------------------------------------------------------------------


def wrap(text: str, first: str, rest: Optional[str] = None) -> List[str]:
    """Text in lines of ``WIDTH`` at most where it can be broken; every line is indented, so none
    can pass for an END line.
    """
    rest = first if rest is None else rest
    lines, line = [], first
    for piece in to_ascii(text).split(" "):
        if len(line) + len(piece) + 1 > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = rest
        line += piece + " "
    return [*lines, line.rstrip()]
