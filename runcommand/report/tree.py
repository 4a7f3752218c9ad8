"""The report as a tree of sections, at two depths: what the portal shows, and everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, List, Optional, Tuple

from ..diagnosis import Diagnosis
from ..facts import (
    IMDS_ADDRESS,
    Adapter,
    FirewallRule,
    Outcome,
    Route,
    RouteKind,
    Trial,
    network,
    prefix_length,
)
from ..rules.case import Case, Way, holds, in_words, matches_platform
from ..rules.checks import Check, Status
from ..rules.filtering import described
from ..rules.finding import Finding, Fix, FixKind, Severity, Shell, listed, quoted, short, to_ascii
from ..rules.issuers import common_name
from ..rules.proxy import described as described_proxy
from ..rules.proxy import hits, path_words, what_came

WIDTH = 118
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
    """A titled block of lines. ``whole`` is never cut; of the others, the lines at the end go first."""

    title: str  # empty: the lines stand without one
    lines: Tuple[str, ...]
    whole: bool = False


def sections(diagnosis: Diagnosis, files: str, full: bool) -> List[Section]:
    """All sections but the first and the last line, in the order in which they are printed; every line is plain ASCII."""
    found = [
        verdict(diagnosis),
        redaction(diagnosis),
        fix(diagnosis),
        Section("PATH", (path_line(diagnosis.case),)),
        vm(diagnosis),
        also(diagnosis, full),
        Section("CHECKS", tuple(map(check_line, ranked(diagnosis.checks) if not full else diagnosis.checks))),
        evidence(diagnosis.case, full),
    ]
    if full:
        found += [unavailable(diagnosis), *raw(diagnosis)]
    found.append(Section("FILES", (f"  {short(files, 240)}",)))
    return [Section(item.title, tuple(map(to_ascii, item.lines)), item.whole) for item in found if item.lines]


def head(diagnosis: Diagnosis) -> str:
    facts = diagnosis.facts
    version = short(facts.tool_version or "?", 20)
    return f"IMDS-CHECK {version}  {short(facts.host, 63)}  {facts.collected_at}  {facts.elapsed_s:.1f} s"


def end(diagnosis: Diagnosis) -> str:
    """The last line, which alone carries the verdict. Made for machines: words without spaces, ``-`` for none."""
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
        more = "ALSO has what may trouble others; the full report has more." if worth else "Nothing needs mending."
        lines = ["VERDICT  HEALTHY", *wrap(f"IMDS answers this VM's requests. {more}", "  ")]
        return Section("", tuple(lines), whole=True)
    lines = [f"VERDICT  {diagnosis.verdict.value.upper()}: {main.cause}"]
    lines += wrap(main.detail, "  ")
    return Section("", tuple(lines), whole=True)


def redaction(diagnosis: Diagnosis) -> Section:
    """That what stands here is not what it is called on the VM; never cut."""
    line = "REDACTED Names, ids and addresses are pseudonyms: commands cannot be pasted as they stand."
    return Section("", (line,) if diagnosis.facts.redacted else (), whole=True)


def fix(diagnosis: Diagnosis) -> Section:
    main = diagnosis.main
    return Section("FIX", tuple(fix_lines(main)), whole=True) if main and (main.fix or main.doc) else Section("FIX", ())


def fix_lines(finding: Finding) -> List[str]:
    """The fixes in order, commands as they are pasted."""
    lines: List[str] = []
    for item in finding.fix:
        lines += _fix_line(item)
    return lines + ([f"  {finding.doc}"] if finding.doc else [])


def _fix_line(item: Fix) -> List[str]:
    if item.kind is not FixKind.COMMAND:
        return wrap(f"- {item.text}", "  ", "    ")
    return [f"  {as_pasted(item)}"]


def as_pasted(item: Fix) -> str:
    """A command as it can be pasted into the system's usual shell: on Windows that is cmd or PowerShell, whichever is open."""
    return f'powershell -NoProfile -Command "{item.text}"' if item.shell is Shell.POWERSHELL else item.text


def path_line(case: Case) -> str:
    """The way of the plain request from the client to the host, with the place where it ends."""
    way, egress = case.way, case.egress
    client = f"  client{f' from {way.source}' if way.source and way.known and not way.error else ''}"
    cross = "-?->" if case.answer is None else "->" if case.reads_as_imds else "-X->"
    begin = f"{client} -> {path_words(case)}"
    if not way.known:
        return f"{begin} -> {_firewall_words(case)} -> ? -> host"
    if way.error:
        return f"{begin} -X-> no route ({short(way.error)})"
    if case.stopped_by:
        return f"{begin} -X-> firewall: {described(case.stopped_by[0])}"
    redirected = case.imds_filtering.redirected if case.imds_filtering else None
    if redirected and not case.reads_as_imds and not case.proof:
        return f"{begin} -X-> firewall, which redirects to {short(redirected.target or '?', 60)}"
    begin += f" -> {_firewall_words(case)}"
    if way.route is None:
        return f"{begin} {cross} host"
    if way.route.kind is RouteKind.LOCAL:
        return f"{begin} -> {way.route.destination} on this machine itself {cross} host"
    via = f"via {way.route.gateway}" if way.route.gateway else "on-link"
    name = f"{quoted(egress.name)} {egress.mac or ''}".strip() if egress else quoted(way.route.interface or "?")
    first, second = ("->", cross) if case.leaves_by_primary or case.primary is None else (cross, "->")
    return f"{begin} -> route /{prefix_length(way.route.destination)} {via} {first} {name} {second} host"


def _firewall_words(case: Case) -> str:
    """The firewall as it stands in the PATH line, where it does not end there."""
    found = case.imds_filtering
    if found is None:
        return "firewall?"
    return "firewall (may block)" if found.blocked or found.possible else "firewall"


def vm(diagnosis: Diagnosis) -> Section:
    """What IMDS said of this VM."""
    instance = diagnosis.case.instance
    if instance is None:
        return Section("VM", ())
    parts = [f"{label}={short(getattr(instance, field), 64) or '-'}" for label, field in SHOWN]
    return Section("VM", tuple(wrap("  ".join(parts), "  ")))


def also(diagnosis: Diagnosis, full: bool) -> Section:
    """The other findings, in order of weight; with their fixes in the full report."""
    rest = diagnosis.findings[1:] if diagnosis.main else diagnosis.findings
    lines: List[str] = []
    for finding in rest:
        lines += wrap(f"{finding.severity.value:4} {finding.cause}: {finding.detail}", "  ", "       ")
        if full:
            lines += [f"     {line}" for line in fix_lines(finding)]
    return Section("ALSO", tuple(lines))


def ranked(checks: Iterable[Check]) -> List[Check]:
    return sorted(checks, key=lambda check: _ORDER[check.status])


def check_line(check: Check) -> str:
    return f"  {check.status.value:5} {short(check.id, 40):20} {short(check.summary, 2 * WIDTH)}"


# --- evidence -------------------------------------------------------------------------------------------------------


def evidence(case: Case, full: bool) -> Section:
    lines = [
        *([] if full else certificates(case, full)),  # where they are a fault, they are what matters
        *route_table(case, full),
        *adapter_table(case, full),
        *answers(case),
        *filters(case, full),
        *proxies(case, full),
        *(certificates(case, full) if full else []),
    ]
    return Section("EVIDENCE", tuple(lines))


def route_table(case: Case, full: bool) -> List[str]:
    """The rows that match either platform address (in the full report every row), most specific first, ``>`` at the one
    that wins."""
    rows = [route for route in case.routes if full or matches_platform(route.destination)]
    rows.sort(
        key=lambda route: (not matches_platform(route.destination), -prefix_length(route.destination), route.metric)
    )
    lines = [f"  {'Network Destination':20}{'Netmask':17}{'Gateway':17}{'Interface':17}{'Metric':>6}"]
    for route in rows:
        adapter = case.adapter_by(route)
        interface = next((item.address for item in adapter.addresses), "-") if adapter else "-"
        net = network(route.destination)
        winner = any(_is_winner(case, route, way) for way in (case.way, case.wireserver_way))
        on_link = "On-link" if route.kind in (RouteKind.UNICAST, RouteKind.LOCAL) else "-"
        notes = [short(route.interface or "", 24), "" if route.kind is RouteKind.UNICAST else route.kind.value]
        notes += [
            "" if route.table in ("main", "local") else f"table {short(route.table, 16)}",
            "dead" if route.dead else "",
        ]
        row = (
            f"{'>' if winner else ' '} {net.network_address!s:20}{net.netmask!s:17}{route.gateway or on_link:17}"
            f"{interface:17}{route.metric:>6}  {' '.join(filter(None, notes))}"
        )
        lines.append(row.rstrip())
    return lines if rows else []


def _is_winner(case: Case, route: Route, way: Way) -> bool:
    """Whether a row is the one that wins. (What the system says of that row may have less detail than the table.)"""
    best = way.route
    if best is None:
        return False
    if best in case.routes:
        return route == best
    same_link = (
        route.interface_index == best.interface_index if best.interface_index else route.interface == best.interface
    )
    return same_link and (route.destination, route.gateway, route.table) == (best.destination, best.gateway, best.table)


def adapter_table(case: Case, full: bool) -> List[str]:
    """The NICs, ``*`` at the primary one; in the full report every adapter."""
    shown = list(case.adapters) if full else [adapter for adapter in case.adapters if _is_told(case, adapter)]
    primary = case.primary.adapter if case.primary else None
    shown.sort(key=lambda adapter: (adapter != primary, adapter != case.egress, adapter.index))
    return [_adapter_line(adapter, adapter == primary) for adapter in shown]


def _is_told(case: Case, adapter: Adapter) -> bool:
    special = [case.egress, case.primary.adapter if case.primary else None]
    return adapter in case.nics or adapter in special or holds(adapter, IMDS_ADDRESS)


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


def answers(case: Case) -> List[str]:
    """What each local address got from IMDS."""
    lines = []
    for trial in sorted(case.trials, key=lambda trial: trial is not case.proof):
        source = trial.connection.local_address or trial.connection.source or "?"
        device = f" by {quoted(trial.connection.device)}" if trial.connection.device else ""
        lines.append(f"  from {source}{device}: {_trial(case, trial)}")
    return lines


def _trial(case: Case, trial: Trial) -> str:
    if trial.exchange and trial.exchange.instance:
        return f"IMDS answered in {trial.exchange.elapsed_s * 1000:.0f} ms"
    if trial.exchange:
        return case.in_words(trial.exchange, with_source=False)
    if trial.connection.outcome is Outcome.ANSWERED:
        return "connected"
    error = (trial.connection.error or "").partition(" (")[0]
    return in_words(trial.connection.outcome) + (f" ({short(error, 60)})" if error else "")


def filters(case: Case, full: bool) -> List[str]:
    """The firewall rules that stand in the way; in the full report all that could concern the platform."""
    found = case.imds_filtering
    named = [o.rule for o in (*found.blocked, *found.possible, *found.limited)] if found else []
    named += [o.rule for item in case.wireserver_filtering.values() if item for o in item.blocked]
    rules = list(dict.fromkeys(rule for rule in named if rule))
    if full and case.facts.firewall:
        rules = list(case.facts.firewall.rules)
    if found and found.redirected and not full:
        rules.append(found.redirected)
    return [f"  {_filter_line(rule)}" for rule in (*rules, *(case.facts.wfp_filters or ()))]


def _filter_line(rule: FirewallRule) -> str:
    seen = f", {rule.packets} packets" if rule.packets is not None else ""
    if rule.id.startswith("-t "):  # iptables' own words say all
        return f"{rule.place.value} {short(rule.id, 2 * WIDTH)}{seen}"
    conditions = [
        f"{match.field.value} {'not ' if match.negated else ''}{listed([short(value) for value in match.values], 4)}"
        for match in rule.matches
    ]
    where = f"{quoted(rule.chain)} rule {short(rule.id)}" if rule.chain else quoted(rule.name or rule.id)
    to = f" {short(rule.target)}" if rule.target else ""
    return f"{rule.place.value} {where}: {'; '.join(conditions) or 'everything'} -> {rule.action.value}{to}{seen}"


def proxies(case: Case, full: bool) -> List[str]:
    """What came through each proxy; in the full report every setting."""
    lines = []
    if full:
        for proxy in case.facts.proxies or ():
            kept = ", ".join(short(entry, 60) for entry in proxy.bypass[:20]) or "nothing"
            server = described_proxy(proxy) if proxy.server else short(proxy.place, 80)
            pac = f", PAC {short(proxy.pac_url, 120)}" if proxy.pac_url else ""
            detect = ", automatic detection" if proxy.auto_detect else ""
            lines.append(f"  proxy {server}, {proxy.scope.value}: bypasses {kept}{pac}{detect}")
    return lines + [f"  through {described_proxy(hit.proxy)}: {what_came(hit)}" for hit in hits(case, IMDS_ADDRESS)]


def certificates(case: Case, full: bool) -> List[str]:
    """The chain of the attested document's signer, and what fetching brought, where there is something to see; else in the full
    report only."""
    chain = case.chain
    if chain is None or (chain.trusted and not full):
        return []
    lines = []
    for number, item in enumerate(chain.certificates):
        places = listed([short(place, 60) for place in item.stores], 3) or "in no store of this VM"
        until = f"until {item.not_after}" if item.not_after else ""
        lines.append(f"  certificate {number} {quoted(common_name(item.subject))} {item.thumbprint} {until}: {places}")
    for fetch in (fetch for known in case.facts.certificate_chains or () for fetch in known.fetches):
        through = f" through {short(fetch.proxy)}" if fetch.proxy else ""
        brought = "the issuer" if fetch.certificate else short(fetch.error or in_words(fetch.outcome), 80)
        lines.append(f"  fetch {short(fetch.url, 110)}{through}: {brought}")
    return lines


def unavailable(diagnosis: Diagnosis) -> Section:
    lines = [f"  {item.fact}: {item.reason}" for item in diagnosis.facts.unavailable]
    return Section("NOT FOUND OUT", tuple(lines))


def raw(diagnosis: Diagnosis) -> List[Section]:
    found = []
    for item in diagnosis.facts.raw or ():
        lines = [f"  {line.expandtabs()}".rstrip() for line in item.text.splitlines()]
        found.append(
            Section(f"OUTPUT of {short(item.command)}", tuple(lines + (["  (cut)"] if item.truncated else [])))
        )
    return found


# --- lines ----------------------------------------------------------------------------------------------------------


def wrap(text: str, first: str, rest: Optional[str] = None) -> List[str]:
    """Text in lines of ``WIDTH`` at most where it can be broken; every line is indented, so none can pass for an END line."""
    rest = first if rest is None else rest
    lines, line = [], first
    for piece in to_ascii(text).split(" "):
        if len(line) + len(piece) + 1 > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = rest
        line += piece + " "
    return [*lines, line.rstrip()]
