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
from ..model.adapters import holds
from ..model.azure import AZURE_ASSET_TAG, GUEST_AGENTS, PROXY_AGENTS
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.primary_nic import BECAUSE
from ..model.routing import RouteLookup
from ..model.sentences import in_words, milliseconds, nic
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
    judge: Callable[[Model], Judged]
    text: str = ""  # its help page, below the title

    def __call__(self, model: Model, severities: Mapping[str, Severity]) -> Check:
        status, summary = self.judge(model)
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
) -> Callable[[Callable[[Model], Judged]], CheckKind]:
    """Makes a check of a function.

    Its docstring is the help page: title, text, and the facts that it looks at.
    """

    def make(judge: Callable[[Model], Judged]) -> CheckKind:
        title, _, text = (inspect.getdoc(judge) or "").partition("\n")
        return CheckKind(id, title, causes, facts, judge, text.strip())

    return make


def unknown(model: Model, fact: str) -> Judged:
    reason = next(
        (item.reason for item in model.facts.unavailable if item.fact == fact), "not collected"
    )
    return Judged(Status.ERROR, short(reason, 120))


@check("imds.reachable", facts=("imds",))
def imds_reachable(model: Model) -> Judged:
    """Does anything answer at 169.254.169.254 port 80?

    The outcome of the plain request, made as any client would make it. If nothing answered, the
    same request was tried from each local address; the line says which of them got an answer.

    Facts: imds, differential
    """
    answer = model.answers.imds
    if answer is None:
        return unknown(model, "imds")
    summary = model.answers.in_words(answer)
    if model.answers.proof and model.answers.proof.exchange:
        proof = model.answers.proof.connection
        bound = f" by {quoted(proof.device)}" if proof.device else ""
        summary += f"; answered in {milliseconds(model.answers.proof.exchange.elapsed_s)} from {proof.local_address}{bound}"
    elif model.answers.trials and model.answers.imds_is_silent:
        summary += f"; no answer from any local address ({len({trial.connection.source for trial in model.answers.trials})} tried)"
    failed = {True: Status.FAIL, False: Status.OK}[model.answers.imds_is_silent]
    return Judged(Status.ERROR if answer.outcome is Outcome.FAILED else failed, summary)


@check("imds.metadata")
def imds_metadata(model: Model) -> Judged:
    """Is the answer this VM's metadata?

    IMDS's own answer is JSON with a vmId. Anything else is shown with its HTTP status and form.

    Facts: imds
    """
    answer = model.answers.imds
    if answer is None or answer.outcome not in (Outcome.HTTP, Outcome.GARBLED):
        return Judged(Status.SKIP, "not asked" if answer is None else "no answer")
    version = model.facts.imds.api_version if model.facts.imds else None
    if model.answers.imds_gives_metadata:
        return Judged(
            Status.OK,
            f"vmId {answer.instance.vm_id if answer.instance else ''}, api-version {version}",
        )
    body = f", {answer.body.value} body" if answer.body else ""
    return Judged(Status.FAIL, f"{model.answers.in_words(answer)}{body}")


@check(
    "imds.attested", "attested-unavailable", "attested-signature-invalid", "attested-nonce-mismatch",
    "attested-document-expired", "attested-vm-mismatch",
)  # fmt: skip
def imds_attested(model: Model) -> Judged:
    """Is there an attested document, signed, fresh, and for this VM?

    The document that Windows activation, Extended Security Updates and node attestors rely on: its
    signature, whether it carries the nonce that was sent, its expiry, and whether it names this VM.

    Facts: imds
    """
    imds = model.facts.imds
    if imds is None or imds.attested is None:
        return Judged(Status.SKIP, "not asked")
    document = imds.document
    if document is None:
        failed = None if attested_had_time(model) else Status.ERROR
        return Judged(failed, f"{model.answers.in_words(imds.attested)}, no document")
    signed = f"signature {document.signature.value}" + (
        f" ({document.algorithm})" if document.algorithm else ""
    )
    if model.answers.readable_document is None:
        return Judged(None, f"{signed}: {short(document.reason or '', 80)}")
    nonce = "nonce ours" if document.nonce == document.asked_nonce else "nonce not ours"
    until = (
        f"good until {document.expires_on}" if document.expires_on else "without a time of expiry"
    )
    return Judged(None, ", ".join([signed, nonce, until, *differences(model)]))


@check(
    "cert.chain", "cert-expired", "cert-san-mismatch", "cert-chain-rejected", "cert-root-untrusted",
    "cert-intermediate-missing", facts=("certificate_chains",),
)  # fmt: skip
def cert_chain(model: Model) -> Judged:
    """Does this VM trust the certificate that signs the attested document?

    What the system's own engine (crypt32, openssl verify) says about the chain, first with the
    certificates on the VM, then with issuers fetched from the network.

    Facts: certificate_chains, imds
    """
    if model.answers.readable_document is None:
        return Judged(Status.SKIP, "no document to judge")
    chain = model.answers.chain
    if chain is None:
        return unknown(model, "certificate_chains")
    if chain.trusted is None:
        return Judged(Status.ERROR, f"fetching by {short(chain.engine, 60)} did not end in time")
    if LACKING & {error.fault for error in model.answers.chain_errors} and not any(
        c.fetched for c in model.facts.certificate_chains or ()
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
    signer = model.answers.readable_document.signer
    until = f"good until {signer.not_after}" if signer and signer.not_after else ""
    return Judged(
        None,
        "; ".join(
            filter(None, [f"{trust} ({short(chain.engine, 60)})", *misplaced(model), until, names])
        ),
    )


@check("cert.endpoints", "cert-endpoints-blocked", facts=("endpoints",))
def cert_endpoints(model: Model) -> Judged:
    """Can the hosts of certificates, revocation lists and OCSP be reached?

    Tried only if a certificate problem makes them matter, or with --endpoints: TCP port 80 to each
    host, and a request through each proxy of the machine.

    Facts: endpoints
    """
    if model.facts.endpoints is None:
        missing = any(item.fact == "endpoints" for item in model.facts.unavailable)
        return (
            unknown(model, "endpoints")
            if missing
            else Judged(Status.SKIP, "no certificate problem makes them matter")
        )
    trials = [trial for trial in model.facts.endpoints if concerns(model, trial)]
    closed = [
        f"{short(trial.host, 40)} {why_closed(trial)}" for trial in trials if not is_reached(trial)
    ]
    return Judged(
        None,
        f"{len(trials) - len(closed)} of {len(trials)} reachable on TCP 80"
        + (f"; {listed(closed, 3)}" if closed else ""),
    )


@check("imds.identity")
def imds_identity(model: Model) -> Judged:
    """Does the VM have a managed identity?

    Information only. Asks /metadata/identity/info; no token is ever requested.

    Facts: imds
    """
    imds = model.facts.imds
    if imds is None or imds.identity is None:
        return Judged(Status.SKIP, "not asked")
    if imds.identity_present is None:
        return Judged(Status.ERROR, model.answers.in_words(imds.identity))
    return Judged(
        Status.OK, "managed identity present" if imds.identity_present else "no managed identity"
    )


@check("wireserver.reachable", "wireserver-unreachable", facts=("wireserver",))
def wireserver_reachable(model: Model) -> Judged:
    """Does the WireServer answer at 168.63.129.16, ports 80 and 32526?

    The guest agent, extensions and Run Command need both ports. Only root or an administrator can
    tell: if another user gets no answer, that proves nothing, and the check is skipped.

    Facts: wireserver
    """
    server = model.facts.wireserver
    if server is None:
        return unknown(model, "wireserver")
    stranger = (
        ", not its versions"
        if server.http.outcome is Outcome.HTTP and not model.answers.wireserver_gives_versions
        else ""
    )
    summary = f"port 80 {model.answers.in_words(server.http)}{stranger}; port 32526 {in_words(server.host_plugin.outcome)}"
    works = (
        model.answers.wireserver_gives_versions and server.host_plugin.outcome is Outcome.ANSWERED
    )
    if not works and not model.answers.wireserver_is_conclusive:
        return Judged(Status.SKIP, f"{summary} (an ordinary user's answer proves nothing)")
    return Judged(Status.OK if works else Status.FAIL, summary)


def _way(model: Model, lookup: RouteLookup) -> str:
    rule = policy_rule(model, lookup)
    chosen = f"; policy rule {rule_in_words(rule)}" if rule else ""
    if lookup.error:
        denied = f", {lookup.route.kind.value} {lookup.route.destination}" if lookup.route else ""
        return f"no route: {error_in_words(lookup.error, model.facts.system)}{denied}{chosen}"
    if lookup.route is None:
        return f"source {lookup.source}"
    if lookup.route.kind is RouteKind.LOCAL:
        return _claimed(model, lookup)
    by = f" by {quoted(lookup.route.interface)}" if lookup.route.interface else ""
    source = f", source {lookup.source}" if lookup.source else ""
    return f"{described(lookup.route)}{by}{source}{chosen}"


def _claimed(model: Model, lookup: RouteLookup) -> str:
    """That packets to an address do not leave this VM, and why."""
    holder = next(
        (adapter for adapter in model.adapters.all if holds(adapter, lookup.destination)), None
    )
    if holder:
        return f"{lookup.destination} is an address of {quoted(holder.name)} on this VM"
    return f"a local route on this VM claims {lookup.route.destination}" if lookup.route else ""


@check(
    "route.imds", "route-missing", "route-link-local-shadow", "route-wrong-interface", "route-wrong-gateway",
    "source-not-primary-ip", facts=("routes",),
)  # fmt: skip
def route_imds(model: Model) -> Judged:
    """Which route do packets to IMDS take, and from which source address?

    The system's own route lookup, and the row of the routing table or the policy rule that decides
    it. The route has to leave through the primary NIC, by its gateway, with its primary address as
    source.

    Facts: routes, lookups, routing_rules, adapters
    """
    if not model.routing.to_imds.known:
        return unknown(model, "routes")
    ends_here = (
        model.routing.to_imds.route is not None
        and model.routing.to_imds.route.kind is RouteKind.LOCAL
    )
    status = None
    if model.routing.to_imds.error or ends_here:
        status = Status.WARN if model.answers.imds_gives_metadata else Status.FAIL
    return Judged(status, _way(model, model.routing.to_imds))


@check("route.wireserver", facts=("routes",))
def route_wireserver(model: Model) -> Judged:
    """Which route do packets to the WireServer take?

    The same as route.imds, for 168.63.129.16. A warning if they do not leave through the primary
    NIC.

    Facts: routes, lookups, adapters
    """
    lookup = model.routing.to_wireserver
    if not lookup.known:
        return unknown(model, "routes")
    other_source = (
        model.primary_nic is not None
        and model.primary_nic.ip is not None
        and lookup.source not in (None, model.primary_nic.ip)
    )
    return Judged(
        Status.WARN if goes_astray(model, lookup) or other_source else Status.OK,
        _way(model, lookup),
    )


@check("route.persistent", "route-stale-persistent")
def route_persistent(model: Model) -> Judged:
    """Do the stored routes lead anywhere?

    Windows only: routes that "route -p add" keeps in the registry, and whether each gateway is on
    one of the VM's subnets.

    Facts: persistent_routes
    """
    stored = model.facts.persistent_routes
    if stored is None:
        return Judged(
            Status.SKIP,
            "this system keeps none" if model.facts.system != "windows" else "not collected",
        )
    return Judged(None, f"{len(stored)} stored by route -p")


@check("route.next-hop", facts=("neighbours",))
def route_next_hop(model: Model) -> Judged:
    """Does the next hop to IMDS answer ARP?

    The entry of the neighbour table after the request. A static entry that is not Azure's is a
    failure too.

    Facts: neighbours, imds
    """
    if model.routing.next_hop is None:
        return Judged(Status.SKIP, "no next hop")
    if model.facts.neighbours is None:
        return unknown(model, "neighbours")
    neighbour = model.routing.next_hop_neighbour
    if neighbour is None:
        return Judged(Status.SKIP, f"{model.routing.next_hop} is not in the neighbour table")
    mac = f" {neighbour.mac}" if neighbour.mac else ""
    return Judged(
        Status.FAIL
        if model.routing.next_hop_is_dead or model.routing.next_hop_is_forged
        else Status.OK,
        f"{model.routing.next_hop}{mac} {neighbour.state.value}",
    )


@check("nic.primary", "nic-down", facts=("adapters",))
def nic_primary(model: Model) -> Judged:
    """Which NIC is the primary one, and is it up?

    Azure answers only the primary IP address of the primary NIC. The line says how the NIC was
    identified: the platform answered its address, its lease names a gateway, it has the only
    default route, and so on.

    Facts: adapters, imds, wireserver, differential, expected, routes
    """
    if model.facts.adapters is None:
        return unknown(model, "adapters")
    if model.primary_nic is None:
        return Judged(Status.ERROR, "which NIC is the primary one is not known")
    adapter = model.primary_nic.adapter
    because = BECAUSE[model.primary_nic.known_from]
    return Judged(
        None,
        f"{nic(adapter, model.primary_nic.ip)} {adapter.mac}, {adapter.state.value}; primary because {because}",
    )


@check("nic.identity", "nic-mac-mismatch", "nic-ip-mismatch", facts=("adapters",))
def nic_identity(model: Model) -> Judged:
    """Does the guest have the MAC and the IP address that Azure expects?

    Compares the adapters with what IMDS reports, with --expected-mac and --expected-ip, and with
    the addresses that IMDS answered.

    Facts: adapters, imds, differential, expected
    """
    if model.facts.adapters is None:
        return unknown(model, "adapters")
    phrases = compared(model)
    if not phrases:
        return Judged(Status.SKIP, "nothing to compare with: --expected-mac, --expected-ip")
    return Judged(None, "; ".join(phrases))


@check("nic.dhcp", "nic-dhcp-disabled")
def nic_dhcp(model: Model) -> Judged:
    """Is the primary NIC configured by Azure's DHCP?

    Azure delivers the routes to both platform addresses with the lease. The line names the DHCP
    server; Azure's is 168.63.129.16.

    Facts: adapters
    """
    if model.primary_nic is None:
        return Judged(Status.SKIP, "primary NIC not known")
    adapter = model.primary_nic.adapter
    if adapter.dhcp is None:
        return Judged(Status.SKIP, "not known: no lease was found")
    server = f", server {adapter.dhcp_server}" if adapter.dhcp_server else ""
    return Judged(None, f"on{server}" if adapter.dhcp else "off")


@check(
    "proxy.bypass", "proxy-intercepts-imds", "proxy-intercepts-wireserver", "proxy-user-only",
    facts=("proxies", "proxy_trials", "pac_files"),
)  # fmt: skip
def proxy_bypass(model: Model) -> Judged:
    """Do this VM's clients ask IMDS directly, whatever proxies are set?

    Every proxy of the machine, of SYSTEM, of WinHTTP, of the environment and of users, each
    client's own bypass rules, and a request through each proxy that some client does not bypass.

    Facts: proxies, proxy_trials, pac_files
    """
    proxies = model.facts.proxies
    if proxies is None:
        return unknown(model, "proxies")
    if not proxies:
        return Judged(None, "no proxy is set")
    found = proxy.hits(model, IMDS_ADDRESS)
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
def firewall_imds(model: Model) -> Judged:
    """Does this VM's firewall allow TCP port 80 to 169.254.169.254, and the answers?

    The rules of Windows Firewall, nftables and iptables. On Windows, the filters of the Windows
    Filtering Platform are listed too if the connection was forbidden.

    Facts: firewall, wfp_filters, imds
    """
    firewall, found = model.facts.firewall, model.filtering.to_imds
    if firewall is None or found is None:
        return unknown(model, "firewall")
    read = f"{firewall.rules_read} rules ({listed(firewall.sources, 4)})"
    active = [profile.name for profile in firewall.profiles if profile.active]
    read += (
        f"; profile {', '.join(active)}, by {firewall.active_from}" if firewall.active_from else ""
    )
    if found.redirected:
        return Judged(None, f"{described_obstacle(Obstacle(found.redirected))} redirects; {read}")
    for obstacle in (*found.blocked, *found.possible, *found.limited):
        return Judged(None, f"{described_obstacle(obstacle)}; {read}")
    if model.routing.to_imds.route and model.routing.to_imds.route.kind is RouteKind.LOCAL:
        return Judged(Status.SKIP, f"the requests do not leave this VM; {read}")
    forbidden = model.answers.imds is not None and model.answers.imds.outcome is Outcome.FORBIDDEN
    return Judged(
        None,
        f"{'no rule explains the refusal' if forbidden else 'nothing stands in the way'}; {read}",
    )


@check("firewall.wireserver", "firewall-blocks-wireserver")
def firewall_wireserver(model: Model) -> Judged:
    """Does this VM's firewall allow the WireServer's ports?

    The same as firewall.imds, for 168.63.129.16 ports 80 and 32526.

    Facts: firewall, wireserver
    """
    if model.facts.firewall is None:
        return Judged(Status.SKIP, "the firewall is not known")
    known = [item for item in model.filtering.to_wireserver.values() if item]
    found = dict.fromkeys(obstacle for item in known for obstacle in item.blocked)
    found.update(dict.fromkeys(Obstacle(item.redirected) for item in known if item.redirected))
    if found and model.answers.wireserver_is_conclusive:
        return Judged(Status.WARN, listed([described_obstacle(obstacle) for obstacle in found], 2))
    return Judged(None, "nothing stands in the way")


@check("clock.skew", "clock-skew")
def clock_skew(model: Model) -> Judged:
    """Does the VM's clock agree with the host's?

    Compares the VM's clock with the Date header of IMDS's own answer and with the time in the
    attested document. More than 5 minutes apart is a failure.

    Facts: imds, differential
    """
    by_header, by_document = skew(model), document_skew(model)
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
def agent_guest(model: Model) -> Judged:
    """Is the Azure guest agent running?

    The agent runs extensions and Run Command. IMDS does not need it.

    Facts: services
    """
    if model.facts.services is None:
        return unknown(model, "services")
    agent = model.services.installed(*GUEST_AGENTS)
    if agent is None:
        return Judged(Status.SKIP, "not installed")
    return Judged(
        Status.OK if agent.state is ServiceState.RUNNING else Status.WARN,
        f"{agent.name} {agent.state.value}",
    )


@check("agent.proxy", "guest-proxy-agent-failing")
def agent_proxy(model: Model) -> Judged:
    """Metadata Security Protocol: is the guest proxy agent working?

    With this protocol, requests to IMDS pass through the agent on 127.0.0.1:3080. Skipped if it is
    not installed.

    Facts: services
    """
    agent = model.services.installed(*PROXY_AGENTS)
    if agent is None:
        return Judged(Status.SKIP, "not known" if model.facts.services is None else "not installed")
    return Judged(None, f"{agent.name} {agent.state.value}")


@check("vm.activation", facts=("activation",))
def vm_activation(model: Model) -> Judged:
    """Is Windows activated, and does its activation depend on the attested document?

    Information only. Azure Edition needs the attested document to activate; other editions do not.

    Facts: activation, machine
    """
    if model.facts.system != "windows":
        return Judged(Status.SKIP, "only Windows is activated")
    state = model.facts.activation
    if state is None:
        return Judged(
            Status.SKIP,
            f"state not known: {unknown(model, 'activation').summary}. {who_cares(model)}",
        )
    status = {"genuine": Status.OK, "offline": Status.SKIP}.get(state, Status.WARN)
    return Judged(status, who_cares(model))


@check("vm.azure", "not-azure")
def vm_azure(model: Model) -> Judged:
    """Is this an Azure VM?

    Azure's own answers, or else the chassis asset tag in SMBIOS.

    Facts: machine, imds, wireserver, differential
    """
    machine = model.facts.machine
    if model.answers.instance or model.answers.wireserver_gives_versions:
        return Judged(Status.OK, "the host answers as Azure's")
    if machine is None:
        return unknown(model, "machine")
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
