"""The lines of the report's CHECKS: each says what was looked at and how it came out.

A check is one function: facts in, a status and a summary out. The ones that repeat what rules judge
take their status from the findings, so that the two can never disagree.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from enum import Enum
from typing import Callable, Mapping, NamedTuple, Optional, Tuple

from ..attest.document import AGREE_S
from ..facts import IMDS_ADDRESS, LACKING, Outcome, RouteKind, ServiceState
from ..firewall.filtering import Obstacle
from ..firewall.filtering import described as described_obstacle
from ..fixes.remedies import goes_astray
from ..model.case import (
    AZURE_ASSET_TAG,
    BECAUSE,
    GUEST_AGENTS,
    PROXY_AGENTS,
    Case,
    Way,
    holds,
    in_words,
    milliseconds,
    nic,
)
from ..model.errors import error_in_words
from ..model.words import listed, quoted, short
from . import proxy
from .attested import attested_had_time, differences, who_cares
from .certificates import misplaced
from .clock import document_skew, skew
from .finding import Severity
from .issuers import common_name, concerns, is_reached, why_closed
from .nic import compared
from .route import described, policy_rule, rule_in_words


class Status(str, Enum):
    OK = "ok"
    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"  # did not apply
    ERROR = "error"  # could not be found out


@dataclass(frozen=True)
class Check:
    id: str
    status: Status
    summary: str


class Judged(NamedTuple):
    """A status, or None: what the findings of the check's causes say."""

    status: Optional[Status]
    summary: str


@dataclass(frozen=True)
class CheckKind:
    id: str
    title: str
    causes: Tuple[str, ...]
    facts: Tuple[str, ...]  # that it speaks for: where one is missing, its line says why
    judge: Callable[[Case], Judged]
    text: str = ""  # its help page, below the title

    def __call__(self, case: Case, severities: Mapping[str, Severity]) -> Check:
        status, summary = self.judge(case)
        found = [severities[cause] for cause in self.causes if cause in severities]
        if status in (None, Status.OK):
            worst = (
                Status.FAIL
                if Severity.FAIL in found
                else Status.WARN
                if Severity.WARN in found
                else Status.OK
            )
            status = worst if status is None or worst is not Status.OK else status
        return Check(self.id, status, summary)


def check(
    id: str, *causes: str, facts: Tuple[str, ...] = ()
) -> Callable[[Callable[[Case], Judged]], CheckKind]:
    """Makes a check of a function.

    Its docstring is the help page: title, text, and the facts that it looks at.
    """

    def make(judge: Callable[[Case], Judged]) -> CheckKind:
        title, _, text = (inspect.getdoc(judge) or "").partition("\n")
        return CheckKind(id, title, causes, facts, judge, text.strip())

    return make


def unknown(case: Case, fact: str) -> Judged:
    reason = next(
        (item.reason for item in case.facts.unavailable if item.fact == fact), "not collected"
    )
    return Judged(Status.ERROR, short(reason, 120))


@check("imds.reachable", facts=("imds",))
def imds_reachable(case: Case) -> Judged:
    """Does anything answer at 169.254.169.254 port 80?

    The outcome of the plain request, made as any client would make it. If nothing answered, the
    same request was tried from each local address; the line says which of them got an answer.

    Facts: imds, differential
    """
    answer = case.answer
    if answer is None:
        return unknown(case, "imds")
    summary = case.in_words(answer)
    if case.proof and case.proof.exchange:
        proof = case.proof.connection
        bound = f" by {quoted(proof.device)}" if proof.device else ""
        summary += f"; answered in {milliseconds(case.proof.exchange.elapsed_s)} from {proof.local_address}{bound}"
    elif case.trials and case.silent:
        summary += f"; no answer from any local address ({len({trial.connection.source for trial in case.trials})} tried)"
    failed = {True: Status.FAIL, False: Status.OK}[case.silent]
    return Judged(Status.ERROR if answer.outcome is Outcome.FAILED else failed, summary)


@check("imds.metadata")
def imds_metadata(case: Case) -> Judged:
    """Is the answer this VM's metadata?

    IMDS's own answer is JSON with a vmId. Anything else is shown with its HTTP status and form.

    Facts: imds
    """
    answer = case.answer
    if answer is None or answer.outcome not in (Outcome.HTTP, Outcome.GARBLED):
        return Judged(Status.SKIP, "not asked" if answer is None else "no answer")
    version = case.facts.imds.api_version if case.facts.imds else None
    if case.imds_answers:
        return Judged(
            Status.OK,
            f"vmId {answer.instance.vm_id if answer.instance else ''}, api-version {version}",
        )
    body = f", {answer.body.value} body" if answer.body else ""
    return Judged(Status.FAIL, f"{case.in_words(answer)}{body}")


@check(
    "imds.attested", "attested-unavailable", "attested-signature-invalid", "attested-nonce-mismatch",
    "attested-document-expired", "attested-vm-mismatch",
)  # fmt: skip
def imds_attested(case: Case) -> Judged:
    """Is there an attested document, signed, fresh, and for this VM?

    The document that Windows activation, Extended Security Updates and node attestors rely on: its
    signature, whether it carries the nonce that was sent, its expiry, and whether it names this VM.

    Facts: imds
    """
    imds = case.facts.imds
    if imds is None or imds.attested is None:
        return Judged(Status.SKIP, "not asked")
    document = imds.document
    if document is None:
        failed = None if attested_had_time(case) else Status.ERROR
        return Judged(failed, f"{case.in_words(imds.attested)}, no document")
    signed = f"signature {document.signature.value}" + (
        f" ({document.algorithm})" if document.algorithm else ""
    )
    if case.read_document is None:
        return Judged(None, f"{signed}: {short(document.reason or '', 80)}")
    nonce = "nonce ours" if document.nonce == document.asked_nonce else "nonce not ours"
    until = (
        f"good until {document.expires_on}" if document.expires_on else "without a time of expiry"
    )
    return Judged(None, ", ".join([signed, nonce, until, *differences(case)]))


@check(
    "cert.chain", "cert-expired", "cert-san-mismatch", "cert-chain-rejected", "cert-root-untrusted",
    "cert-intermediate-missing", facts=("certificate_chains",),
)  # fmt: skip
def cert_chain(case: Case) -> Judged:
    """Does this VM trust the certificate that signs the attested document?

    What the system's own engine (crypt32, openssl verify) says about the chain, first with the
    certificates on the VM, then with issuers fetched from the network.

    Facts: certificate_chains, imds
    """
    if case.read_document is None:
        return Judged(Status.SKIP, "no document to judge")
    chain = case.chain
    if chain is None:
        return unknown(case, "certificate_chains")
    if chain.trusted is None:
        return Judged(Status.ERROR, f"fetching by {short(chain.engine, 60)} did not end in time")
    if LACKING & {error.fault for error in case.chain_errors} and not any(
        c.fetched for c in case.facts.certificate_chains or ()
    ):
        return Judged(
            Status.ERROR,
            f"not trusted without fetching ({short(chain.engine, 60)}), and fetching did not end in time",
        )
    names = " <- ".join(quoted(common_name(item.subject)) for item in chain.certificates[:5])
    how = "with fetched issuers" if chain.fetched else "without fetching"
    trust = (
        f"trusted {how}"
        if chain.trusted
        else f"not trusted: {listed([short(e.text, 60) for e in chain.errors], 2)}"
    )
    signer = case.read_document.signer
    until = f"good until {signer.not_after}" if signer and signer.not_after else ""
    return Judged(
        None,
        "; ".join(
            filter(None, [f"{trust} ({short(chain.engine, 60)})", *misplaced(case), until, names])
        ),
    )


@check("cert.endpoints", "cert-endpoints-blocked", facts=("endpoints",))
def cert_endpoints(case: Case) -> Judged:
    """Can the hosts of certificates, revocation lists and OCSP be reached?

    Tried only if a certificate problem makes them matter, or with --endpoints: TCP port 80 to each
    host, and a request through each proxy of the machine.

    Facts: endpoints
    """
    if case.facts.endpoints is None:
        missing = any(item.fact == "endpoints" for item in case.facts.unavailable)
        return (
            unknown(case, "endpoints")
            if missing
            else Judged(Status.SKIP, "no certificate problem makes them matter")
        )
    trials = [trial for trial in case.facts.endpoints if concerns(case, trial)]
    closed = [
        f"{short(trial.host, 40)} {why_closed(trial)}" for trial in trials if not is_reached(trial)
    ]
    return Judged(
        None,
        f"{len(trials) - len(closed)} of {len(trials)} reachable on TCP 80"
        + (f"; {listed(closed, 3)}" if closed else ""),
    )


@check("imds.identity")
def imds_identity(case: Case) -> Judged:
    """Does the VM have a managed identity?

    Information only. Asks /metadata/identity/info; no token is ever requested.

    Facts: imds
    """
    imds = case.facts.imds
    if imds is None or imds.identity is None:
        return Judged(Status.SKIP, "not asked")
    if imds.identity_present is None:
        return Judged(Status.ERROR, case.in_words(imds.identity))
    return Judged(
        Status.OK, "managed identity present" if imds.identity_present else "no managed identity"
    )


@check("wireserver.reachable", "wireserver-unreachable", facts=("wireserver",))
def wireserver_reachable(case: Case) -> Judged:
    """Does the WireServer answer at 168.63.129.16, ports 80 and 32526?

    The guest agent, extensions and Run Command need both ports. Only root or an administrator can
    tell: if another user gets no answer, that proves nothing, and the check is skipped.

    Facts: wireserver
    """
    server = case.facts.wireserver
    if server is None:
        return unknown(case, "wireserver")
    stranger = (
        ", not its versions"
        if server.http.outcome is Outcome.HTTP and not case.wireserver_speaks
        else ""
    )
    summary = f"port 80 {case.in_words(server.http)}{stranger}; port 32526 {in_words(server.host_plugin.outcome)}"
    works = case.wireserver_speaks and server.host_plugin.outcome is Outcome.ANSWERED
    if not works and not case.wireserver_can_be_judged:
        return Judged(Status.SKIP, f"{summary} (an ordinary user's answer proves nothing)")
    return Judged(Status.OK if works else Status.FAIL, summary)


def _way(case: Case, way: Way) -> str:
    rule = policy_rule(case, way)
    chosen = f"; policy rule {rule_in_words(rule)}" if rule else ""
    if way.error:
        denied = f", {way.route.kind.value} {way.route.destination}" if way.route else ""
        return f"no route: {error_in_words(way.error, case.facts.system)}{denied}{chosen}"
    if way.route is None:
        return f"source {way.source}"
    if way.route.kind is RouteKind.LOCAL:
        return _claimed(case, way)
    by = f" by {quoted(way.route.interface)}" if way.route.interface else ""
    source = f", source {way.source}" if way.source else ""
    return f"{described(way.route)}{by}{source}{chosen}"


def _claimed(case: Case, way: Way) -> str:
    """That packets to an address do not leave this VM, and why."""
    holder = next((adapter for adapter in case.adapters if holds(adapter, way.destination)), None)
    if holder:
        return f"{way.destination} is an address of {quoted(holder.name)} on this VM"
    return f"a local route on this VM claims {way.route.destination}" if way.route else ""


@check(
    "route.imds", "route-missing", "route-link-local-shadow", "route-wrong-interface", "route-wrong-gateway",
    "source-not-primary-ip", facts=("routes",),
)  # fmt: skip
def route_imds(case: Case) -> Judged:
    """Which route do packets to IMDS take, and from which source address?

    The system's own route lookup, and the row of the routing table or the policy rule that decides
    it. The route has to leave through the primary NIC, by its gateway, with its primary address as
    source.

    Facts: routes, lookups, routing_rules, adapters
    """
    if not case.way.known:
        return unknown(case, "routes")
    ends_here = case.way.route is not None and case.way.route.kind is RouteKind.LOCAL
    status = None
    if case.way.error or ends_here:
        status = Status.WARN if case.imds_answers else Status.FAIL
    return Judged(status, _way(case, case.way))


@check("route.wireserver", facts=("routes",))
def route_wireserver(case: Case) -> Judged:
    """Which route do packets to the WireServer take?

    The same as route.imds, for 168.63.129.16. A warning if they do not leave through the primary
    NIC.

    Facts: routes, lookups, adapters
    """
    way = case.wireserver_way
    if not way.known:
        return unknown(case, "routes")
    other_source = (
        case.primary is not None
        and case.primary.ip is not None
        and way.source not in (None, case.primary.ip)
    )
    return Judged(
        Status.WARN if goes_astray(case, way) or other_source else Status.OK, _way(case, way)
    )


@check("route.persistent", "route-stale-persistent")
def route_persistent(case: Case) -> Judged:
    """Do the stored routes lead anywhere?

    Windows only: routes that "route -p add" keeps in the registry, and whether each gateway is on
    one of the VM's subnets.

    Facts: persistent_routes
    """
    stored = case.facts.persistent_routes
    if stored is None:
        return Judged(
            Status.SKIP,
            "this system keeps none" if case.facts.system != "windows" else "not collected",
        )
    return Judged(None, f"{len(stored)} stored by route -p")


@check("route.next-hop", facts=("neighbours",))
def route_next_hop(case: Case) -> Judged:
    """Does the next hop to IMDS answer ARP?

    The entry of the neighbour table after the request. A static entry that is not Azure's is a
    failure too.

    Facts: neighbours, imds
    """
    if case.next_hop is None:
        return Judged(Status.SKIP, "no next hop")
    if case.facts.neighbours is None:
        return unknown(case, "neighbours")
    neighbour = case.next_hop_neighbour
    if neighbour is None:
        return Judged(Status.SKIP, f"{case.next_hop} is not in the neighbour table")
    mac = f" {neighbour.mac}" if neighbour.mac else ""
    return Judged(
        Status.FAIL if case.next_hop_is_dead or case.next_hop_is_forged else Status.OK,
        f"{case.next_hop}{mac} {neighbour.state.value}",
    )


@check("nic.primary", "nic-down", facts=("adapters",))
def nic_primary(case: Case) -> Judged:
    """Which NIC is the primary one, and is it up?

    Azure answers only the primary IP address of the primary NIC. The line says how the NIC was
    identified: the platform answered its address, its lease names a gateway, it has the only
    default route, and so on.

    Facts: adapters, imds, wireserver, differential, expected, routes
    """
    if case.facts.adapters is None:
        return unknown(case, "adapters")
    if case.primary is None:
        return Judged(Status.ERROR, "which NIC is the primary one is not known")
    adapter = case.primary.adapter
    because = BECAUSE[case.primary.known_from]
    return Judged(
        None,
        f"{nic(adapter, case.primary.ip)} {adapter.mac}, {adapter.state.value}; primary because {because}",
    )


@check("nic.identity", "nic-mac-mismatch", "nic-ip-mismatch", facts=("adapters",))
def nic_identity(case: Case) -> Judged:
    """Does the guest have the MAC and the IP address that Azure expects?

    Compares the adapters with what IMDS reports, with --expected-mac and --expected-ip, and with
    the addresses that IMDS answered.

    Facts: adapters, imds, differential, expected
    """
    if case.facts.adapters is None:
        return unknown(case, "adapters")
    phrases = compared(case)
    if not phrases:
        return Judged(Status.SKIP, "nothing to compare with: --expected-mac, --expected-ip")
    return Judged(None, "; ".join(phrases))


@check("nic.dhcp", "nic-dhcp-disabled")
def nic_dhcp(case: Case) -> Judged:
    """Is the primary NIC configured by Azure's DHCP?

    Azure delivers the routes to both platform addresses with the lease. The line names the DHCP
    server; Azure's is 168.63.129.16.

    Facts: adapters
    """
    if case.primary is None:
        return Judged(Status.SKIP, "primary NIC not known")
    adapter = case.primary.adapter
    if adapter.dhcp is None:
        return Judged(Status.SKIP, "not known: no lease was found")
    server = f", server {adapter.dhcp_server}" if adapter.dhcp_server else ""
    return Judged(None, f"on{server}" if adapter.dhcp else "off")


@check(
    "proxy.bypass", "proxy-intercepts-imds", "proxy-intercepts-wireserver", "proxy-user-only",
    facts=("proxies", "proxy_trials", "pac_files"),
)  # fmt: skip
def proxy_bypass(case: Case) -> Judged:
    """Do this VM's clients ask IMDS directly, whatever proxies are set?

    Every proxy of the machine, of SYSTEM, of WinHTTP, of the environment and of users, each
    client's own bypass rules, and a request through each proxy that some client does not bypass.

    Facts: proxies, proxy_trials, pac_files
    """
    proxies = case.facts.proxies
    if proxies is None:
        return unknown(case, "proxies")
    if not proxies:
        return Judged(None, "no proxy is set")
    found = proxy.hits(case, IMDS_ADDRESS)
    if found:
        summary = "; ".join(
            f"{proxy.described(hit.proxy)}: {proxy.what_came(hit)}" for hit in found[:2]
        )
        return Judged(None, summary + (f"; and {len(found) - 2} more" if len(found) > 2 else ""))
    more = f"; and {len(proxies) - 2} more" if len(proxies) > 2 else ""
    return Judged(None, "; ".join(proxy.set_aside(item) for item in proxies[:2]) + more)


@check(
    "firewall.imds",
    "firewall-blocks-imds",
    "address-claimed-locally",
    "firewall-unknown",
    facts=("firewall", "wfp_filters"),
)
def firewall_imds(case: Case) -> Judged:
    """Does this VM's firewall allow TCP port 80 to 169.254.169.254, and the answers?

    The rules of Windows Firewall, nftables and iptables. On Windows, the filters of the Windows
    Filtering Platform are listed too if the connection was forbidden.

    Facts: firewall, wfp_filters, imds
    """
    firewall, found = case.facts.firewall, case.imds_filtering
    if firewall is None or found is None:
        return unknown(case, "firewall")
    read = f"{firewall.rules_read} rules ({listed(firewall.sources, 4)})"
    active = [profile.name for profile in firewall.profiles if profile.active]
    read += (
        f"; profile {', '.join(active)}, by {firewall.active_from}" if firewall.active_from else ""
    )
    if found.redirected:
        return Judged(None, f"{described_obstacle(Obstacle(found.redirected))} redirects; {read}")
    for obstacle in (*found.blocked, *found.possible, *found.limited):
        return Judged(None, f"{described_obstacle(obstacle)}; {read}")
    if case.way.route and case.way.route.kind is RouteKind.LOCAL:
        return Judged(Status.SKIP, f"the requests do not leave this VM; {read}")
    forbidden = case.answer is not None and case.answer.outcome is Outcome.FORBIDDEN
    return Judged(
        None,
        f"{'no rule explains the refusal' if forbidden else 'nothing stands in the way'}; {read}",
    )


@check("firewall.wireserver", "firewall-blocks-wireserver")
def firewall_wireserver(case: Case) -> Judged:
    """Does this VM's firewall allow the WireServer's ports?

    The same as firewall.imds, for 168.63.129.16 ports 80 and 32526.

    Facts: firewall, wireserver
    """
    if case.facts.firewall is None:
        return Judged(Status.SKIP, "the firewall is not known")
    known = [item for item in case.wireserver_filtering.values() if item]
    found = dict.fromkeys(obstacle for item in known for obstacle in item.blocked)
    found.update(dict.fromkeys(Obstacle(item.redirected) for item in known if item.redirected))
    if found and case.wireserver_can_be_judged:
        return Judged(Status.WARN, listed([described_obstacle(obstacle) for obstacle in found], 2))
    return Judged(None, "nothing stands in the way")


@check("clock.skew", "clock-skew")
def clock_skew(case: Case) -> Judged:
    """Does the VM's clock agree with the host's?

    Compares the VM's clock with the Date header of IMDS's own answer and with the time in the
    attested document. More than 5 minutes apart is a failure.

    Facts: imds, differential
    """
    by_header, by_document = skew(case), document_skew(case)
    ahead = by_document if by_header is None else by_header
    if ahead is None:
        return Judged(Status.SKIP, "the host's clock is not known")
    also = ""
    if by_document is not None and abs(by_document - ahead) > AGREE_S:
        also = f"; {abs(by_document):.0f} s {'ahead of' if by_document > 0 else 'behind'} the attested document's time"
    if abs(ahead) < 2:  # the header's resolution is a second
        return Judged(None, f"agrees with the host's{also}")
    return Judged(
        None, f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the host's{also}"
    )


@check("agent.guest", facts=("services",))
def agent_guest(case: Case) -> Judged:
    """Is the Azure guest agent running?

    The agent runs extensions and Run Command. IMDS does not need it.

    Facts: services
    """
    if case.facts.services is None:
        return unknown(case, "services")
    agent = case.service(*GUEST_AGENTS)
    if agent is None:
        return Judged(Status.SKIP, "not installed")
    return Judged(
        Status.OK if agent.state is ServiceState.RUNNING else Status.WARN,
        f"{agent.name} {agent.state.value}",
    )


@check("agent.proxy", "guest-proxy-agent-failing")
def agent_proxy(case: Case) -> Judged:
    """Metadata Security Protocol: is the guest proxy agent working?

    With this protocol, requests to IMDS pass through the agent on 127.0.0.1:3080. Skipped if it is
    not installed.

    Facts: services
    """
    agent = case.service(*PROXY_AGENTS)
    if agent is None:
        return Judged(Status.SKIP, "not known" if case.facts.services is None else "not installed")
    return Judged(None, f"{agent.name} {agent.state.value}")


@check("vm.activation", facts=("activation",))
def vm_activation(case: Case) -> Judged:
    """Is Windows activated, and does its activation depend on the attested document?

    Information only. Azure Edition needs the attested document to activate; other editions do not.

    Facts: activation, machine
    """
    if case.facts.system != "windows":
        return Judged(Status.SKIP, "only Windows is activated")
    state = case.facts.activation
    if state is None:
        return Judged(
            Status.SKIP,
            f"state not known: {unknown(case, 'activation').summary}. {who_cares(case)}",
        )
    status = {"genuine": Status.OK, "offline": Status.SKIP}.get(state, Status.WARN)
    return Judged(status, who_cares(case))


@check("vm.azure", "not-azure")
def vm_azure(case: Case) -> Judged:
    """Is this an Azure VM?

    Azure's own answers, or else the chassis asset tag in SMBIOS.

    Facts: machine, imds, wireserver, differential
    """
    machine = case.facts.machine
    if case.instance or case.wireserver_speaks:
        return Judged(Status.OK, "the host answers as Azure's")
    if machine is None:
        return unknown(case, "machine")
    tag = machine.asset_tag
    if tag == AZURE_ASSET_TAG:
        return Judged(Status.OK, "chassis asset tag is Azure's")
    return Judged(
        None, f'chassis asset tag "{short(tag)}"' if tag else "no chassis asset tag to read"
    )


CHECKS: Tuple[CheckKind, ...] = (
    imds_reachable, imds_metadata, imds_attested, cert_chain, cert_endpoints, imds_identity, route_imds, route_next_hop, nic_primary, nic_identity,
    nic_dhcp, proxy_bypass, firewall_imds, wireserver_reachable, route_wireserver, firewall_wireserver, route_persistent,
    clock_skew, agent_guest, agent_proxy, vm_activation, vm_azure,
)  # fmt: skip
