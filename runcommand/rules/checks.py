"""The lines of the report's CHECKS: each says what was looked at and how it came out.

A check is one function: the model in, a status and a summary out. A check of what rules decide
takes its status from their findings, so that the two never disagree.
"""

from __future__ import annotations

from enum import Enum
from typing import Callable, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ..attest.document import AGREE_S
from ..facts import IMDS_ADDRESS, LACKING, CertificateChain, Outcome, Route, RouteKind, ServiceState
from ..firewall.verdict import Match
from ..frozen import dataclass
from ..model.adapters import holds
from ..model.azure import AZURE_ASSET_TAG, GUEST_AGENTS, PROXY_AGENTS
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.primary_nic import BECAUSE
from ..model.routing import RouteLookup
from ..model.sentences import in_words, milliseconds, nic
from ..model.words import listed, quoted, short
from . import proxy
from .attested import (
    attested_document_expired,
    attested_had_time,
    attested_nonce_mismatch,
    attested_vm_mismatch,
    differences,
    who_cares,
)
from .catalogue import shown_by
from .certificates import cert_san_mismatch, misplaced
from .clock import document_skew, skew
from .finding import Severity, text_of, title_of
from .firewall import described as described_obstacle
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


class Result(NamedTuple):
    """A status, or None: what the findings of the check's causes say."""

    status: Optional[Status]
    summary: str


@dataclass(frozen=True)
class CheckKind:
    """A check. The docstring of its function is its help page: the title line, the text, and the
    facts that it looks at. Which causes it shows, their rules say.
    """

    id: str
    facts: Tuple[str, ...]  # that it speaks for: where one is missing, its line says why
    evaluate: Callable[[Model], Result]

    @property
    def title(self) -> str:
        return title_of(self.evaluate)

    @property
    def text(self) -> str:
        return text_of(self.evaluate)

    @property
    def causes(self) -> Tuple[str, ...]:
        """In order of weight."""
        return shown_by(self.id)

    def __call__(self, model: Model, severities: Mapping[str, Severity]) -> Check:
        status, summary = self.evaluate(model)
        if status is None or status is Status.OK:
            status = _worst(severities[cause] for cause in self.causes if cause in severities)
        return Check(self.id, status, summary)


def _worst(found: Iterable[Severity]) -> Status:
    """What the findings of a check's causes make of it."""
    severities = set(found)
    if Severity.FAIL in severities:
        return Status.FAIL
    if Severity.WARN in severities:
        return Status.WARN
    return Status.OK


def check(id: str, facts: Tuple[str, ...] = ()) -> Callable[[Callable[[Model], Result]], CheckKind]:
    """Makes a check of a function whose docstring is its help page."""

    def make(evaluate: Callable[[Model], Result]) -> CheckKind:
        return CheckKind(id, facts, evaluate)

    return make


def unknown(model: Model, fact: str) -> Result:
    reason = next(
        (item.reason for item in model.facts.unavailable if item.fact == fact), "not collected"
    )
    return Result(Status.ERROR, short(reason, 120))


@check("imds.reachable", facts=("imds",))
def imds_reachable(model: Model) -> Result:
    """Does anything answer at 169.254.169.254 port 80?

    The outcome of the plain request, made as any client would make it. If nothing answered, the
    same request was tried from each local address; the line says which of them got an answer.

    Facts: imds, differential
    """
    answer = model.answers.imds
    if answer is None:
        return unknown(model, "imds")
    status = Status.OK
    if answer.outcome is Outcome.FAILED:
        status = Status.ERROR
    elif model.answers.imds_is_silent:
        status = Status.FAIL
    return Result(status, model.answers.in_words(answer) + _differential(model))


def _differential(model: Model) -> str:
    """What the differential showed, to stand after the plain request's outcome."""
    proof, trials = model.answers.proof, model.answers.trials
    if proof and proof.exchange:
        source, device = proof.connection.local_address, proof.connection.device
        bound = ""
        if device:
            bound = f" on {quoted(device)}"
        return f"; answered in {milliseconds(proof.exchange.elapsed_s)} from {source}{bound}"
    if trials and model.answers.imds_is_silent:
        tried = {trial.connection.source for trial in trials}
        return f"; no answer from any local address ({len(tried)} tried)"
    return ""


@check("imds.metadata")
def imds_metadata(model: Model) -> Result:
    """Is the answer this VM's metadata?

    IMDS's own answer is JSON with a vmId. Anything else is shown with its HTTP status and form.

    Facts: imds
    """
    answer, imds = model.answers.imds, model.facts.imds
    if answer is None or imds is None:
        return Result(Status.SKIP, "not requested")
    if answer.outcome not in (Outcome.HTTP, Outcome.GARBLED):
        return Result(Status.SKIP, "no answer")
    if answer.instance:
        vm_id = answer.instance.vm_id
        return Result(Status.OK, f"vmId {vm_id}, api-version {imds.api_version}")
    body = ""
    if answer.body:
        body = f", {answer.body.value} body"
    return Result(Status.FAIL, f"{model.answers.in_words(answer)}{body}")


@check("imds.attested")
def imds_attested(model: Model) -> Result:
    """Is there an attested document, signed, fresh, and for this VM?

    The document that Windows activation, Extended Security Updates and node attestors rely on: its
    signature, whether it carries the nonce that was sent, its expiry, and whether it names this VM.

    Facts: imds
    """
    imds = model.facts.imds
    if imds is None or imds.attested is None:
        return Result(Status.SKIP, "not requested")
    document = imds.document
    if document is None:
        summary = f"{model.answers.in_words(imds.attested)}, no document"
        if not attested_had_time(model):
            return Result(Status.ERROR, summary)
        return Result(None, summary)
    signed = f"signature {document.signature.value}"
    if document.algorithm:
        signed += f" ({document.algorithm})"
    if model.answers.readable_document is None:
        return Result(None, f"{signed}: {short(document.reason or '', 80)}")
    faults: List[str] = []
    rest = [signed]
    if attested_vm_mismatch.recognise(model):
        faults.append(f"names another VM, vmId {short(document.vm_id or 'none')}")
    if attested_nonce_mismatch.recognise(model):
        faults.append("nonce does not match")
    else:
        rest.append("nonce matches")
    if attested_document_expired.recognise(model):
        faults.append(f"expired at {document.expires_on}")
    elif document.expires_on:
        rest.append(f"valid until {document.expires_on}")
    else:
        rest.append("no expiry")
    # What fails comes first: the rest of the line may say that all is well.
    return Result(None, ", ".join([*faults, *rest, *differences(model)]))


@check("cert.chain", facts=("certificate_chains",))
def cert_chain(model: Model) -> Result:
    """Does this VM trust the certificate that signs the attested document?

    What the system's own engine (crypt32, openssl verify) says about the chain, first with the
    certificates on the VM, then with issuers fetched from the network.

    Facts: certificate_chains, imds
    """
    document = model.answers.signed_document
    if document is None:
        return Result(Status.SKIP, "no document to verify")
    chain = model.answers.chain
    if chain is None:
        return unknown(model, "certificate_chains")
    engine = short(chain.engine, 60)
    if chain.trusted is None:
        return Result(Status.ERROR, f"fetching by {engine} did not finish in time")
    is_lacking = any(error.fault in LACKING for error in model.answers.chain_errors)
    if is_lacking and not _was_fetched(model):
        summary = f"not trusted without fetching ({engine}), and fetching did not finish in time"
        return Result(Status.ERROR, summary)
    trust = _trust(chain)
    if chain.trusted and cert_san_mismatch.recognise(model):
        trust = f"for another name, but {trust}"
    parts = [f"{trust} ({engine})", *misplaced(model)]
    if document.signer and document.signer.not_after:
        parts.append(f"valid until {document.signer.not_after}")
    names = [quoted(common_name(item.subject)) for item in chain.certificates[:5]]
    if names:
        parts.append(" <- ".join(names))
    return Result(None, "; ".join(parts))


def _was_fetched(model: Model) -> bool:
    """Whether a chain was built with issuers from the network."""
    return any(chain.fetched for chain in model.facts.certificate_chains or ())


def _trust(chain: CertificateChain) -> str:
    if chain.trusted:
        if chain.fetched:
            return "trusted with fetched issuers"
        return "trusted without fetching"
    errors = [short(error.text, 60) for error in chain.errors]
    return f"not trusted: {listed(errors, 2)}"


@check("cert.endpoints", facts=("endpoints",))
def cert_endpoints(model: Model) -> Result:
    """Can the hosts of certificates, revocation lists and OCSP be reached?

    Tried only if a certificate problem makes them matter, or with --endpoints: TCP port 80 to each
    host, and a request through each proxy of the machine.

    Facts: endpoints
    """
    if model.facts.endpoints is None:
        if any(item.fact == "endpoints" for item in model.facts.unavailable):
            return unknown(model, "endpoints")
        return Result(Status.SKIP, "no certificate problem, so not tried")
    trials = [trial for trial in model.facts.endpoints if concerns(model, trial)]
    closed = [trial for trial in trials if not is_reached(trial)]
    summary = f"{len(trials) - len(closed)} of {len(trials)} reachable on TCP 80"
    if closed:
        named = [f"{short(trial.host, 40)} {why_closed(trial)}" for trial in closed]
        summary += f"; {listed(named, 3)}"
    return Result(None, summary)


@check("imds.identity")
def imds_identity(model: Model) -> Result:
    """Does the VM have a managed identity?

    Information only. Asks /metadata/identity/info; no token is ever requested.

    Facts: imds
    """
    imds = model.facts.imds
    if imds is None or imds.identity is None:
        return Result(Status.SKIP, "not requested")
    if imds.identity_present is None:
        return Result(Status.ERROR, model.answers.in_words(imds.identity))
    if imds.identity_present:
        return Result(Status.OK, "managed identity present")
    return Result(Status.OK, "no managed identity")


@check("wireserver.reachable", facts=("wireserver",))
def wireserver_reachable(model: Model) -> Result:
    """Does the WireServer answer at 168.63.129.16, ports 80 and 32526?

    The guest agent, extensions and Run Command need both ports. Only root or an administrator can
    tell: if another user gets no answer, that proves nothing, and the check is skipped.

    Facts: wireserver
    """
    server = model.facts.wireserver
    if server is None:
        return unknown(model, "wireserver")
    gives_versions = model.answers.wireserver_gives_versions
    http = model.answers.in_words(server.http)
    if server.http.outcome is Outcome.HTTP and not gives_versions:
        http += ", not its versions"
    summary = f"port 80 {http}; port 32526 {in_words(server.host_plugin.outcome)}"
    if gives_versions and server.host_plugin.outcome is Outcome.ANSWERED:
        return Result(Status.OK, summary)
    if not model.answers.wireserver_is_conclusive:
        return Result(Status.SKIP, f"{summary} (proves nothing for an ordinary user)")
    return Result(Status.FAIL, summary)


def _lookup_in_words(model: Model, lookup: RouteLookup) -> str:
    route = lookup.route
    rule = policy_rule(model, lookup)
    chosen = ""
    if rule:
        chosen = f"; policy rule {rule_in_words(rule)}"
    if lookup.error:
        denied = ""
        if route:
            denied = f", {route.kind.value} {route.destination}"
        error = error_in_words(lookup.error, model.facts.system)
        return f"no route: {error}{denied}{chosen}"
    if route is None:
        return f"source {lookup.source}"
    if route.kind is RouteKind.LOCAL:
        return _claimed(model, lookup.destination, route)
    words = described(route)
    if route.interface:
        words += f" on {quoted(route.interface)}"
    if lookup.source:
        words += f", source {lookup.source}"
    return words + chosen


def _claimed(model: Model, destination: str, route: Route) -> str:
    """That packets to an address do not leave this VM, and why."""
    for adapter in model.adapters.all:
        if holds(adapter, destination):
            return f"{destination} is an address of {quoted(adapter.name)} on this VM"
    return f"a local route on this VM claims {route.destination}"


@check("route.imds", facts=("routes",))
def route_imds(model: Model) -> Result:
    """Which route do packets to IMDS take, and from which source address?

    The system's own route lookup, and the row of the routing table or the policy rule that decides
    it. The route has to leave through the primary NIC, by its gateway, with its primary address as
    source.

    Facts: routes, lookups, routing_rules, adapters
    """
    lookup = model.routing.to_imds
    if not lookup.known:
        return unknown(model, "routes")
    status = None
    ends_here = lookup.route is not None and lookup.route.kind is RouteKind.LOCAL
    if lookup.error or ends_here:
        status = Status.FAIL
        if model.answers.imds_gives_metadata:
            status = Status.WARN
    return Result(status, _lookup_in_words(model, lookup))


@check("route.wireserver", facts=("routes",))
def route_wireserver(model: Model) -> Result:
    """Which route do packets to the WireServer take?

    The same as route.imds, for 168.63.129.16. A warning if they do not leave through the primary
    NIC.

    Facts: routes, lookups, adapters
    """
    lookup, primary = model.routing.to_wireserver, model.primary_nic
    if not lookup.known:
        return unknown(model, "routes")
    other_source = False
    if primary is not None and primary.ip is not None:
        other_source = lookup.source not in (None, primary.ip)
    is_doubtful = model.routing.goes_astray(lookup) or other_source
    status = Status.OK
    if is_doubtful:
        status = Status.WARN
    return Result(status, _lookup_in_words(model, lookup))


@check("route.persistent")
def route_persistent(model: Model) -> Result:
    """Do the stored routes lead anywhere?

    Windows only: routes that "route -p add" keeps in the registry, and whether each gateway is on
    one of the VM's subnets.

    Facts: persistent_routes
    """
    stored = model.facts.persistent_routes
    if stored is not None:
        return Result(None, f"{len(stored)} stored by route -p")
    if model.facts.system != "windows":
        return Result(Status.SKIP, "this system keeps none")
    return Result(Status.SKIP, "not collected")


@check("route.next-hop", facts=("neighbours",))
def route_next_hop(model: Model) -> Result:
    """Does the next hop to IMDS answer ARP?

    The entry of the neighbour table after the request. A static entry that is not Azure's is a
    failure too.

    Facts: neighbours, imds
    """
    routing = model.routing
    if routing.next_hop is None:
        return Result(Status.SKIP, "no next hop")
    if model.facts.neighbours is None:
        return unknown(model, "neighbours")
    neighbour = routing.next_hop_neighbour
    if neighbour is None:
        return Result(Status.SKIP, f"{routing.next_hop} is not in the neighbour table")
    mac = ""
    if neighbour.mac:
        mac = f" {neighbour.mac}"
    is_wrong = routing.next_hop_is_dead or routing.next_hop_is_forged
    status = Status.OK
    if is_wrong:
        status = Status.FAIL
    return Result(status, f"{routing.next_hop}{mac} {neighbour.state.value}")


@check("nic.primary", facts=("adapters",))
def nic_primary(model: Model) -> Result:
    """Which NIC is the primary one, and is it up?

    Azure answers only the primary IP address of the primary NIC. The line says how the NIC was
    identified: the platform answered its address, its lease names a gateway, it has the only
    default route, and so on.

    Facts: adapters, imds, wireserver, differential, expected, routes
    """
    if model.facts.adapters is None:
        return unknown(model, "adapters")
    primary = model.primary_nic
    if primary is None:
        return Result(Status.ERROR, "could not determine the primary NIC")
    adapter, because = primary.adapter, BECAUSE[primary.known_from]
    state = f"{nic(adapter, primary.ip)} {adapter.mac}, {adapter.state.value}"
    return Result(None, f"{state}; primary because {because}")


@check("nic.identity", facts=("adapters",))
def nic_identity(model: Model) -> Result:
    """Does the guest have the MAC and the IP address that Azure expects?

    Compares the adapters with what IMDS reports, with --expected-mac and --expected-ip, and with
    the addresses that IMDS answered.

    Facts: adapters, imds, differential, expected
    """
    if model.facts.adapters is None:
        return unknown(model, "adapters")
    phrases = compared(model)
    if not phrases:
        return Result(Status.SKIP, "nothing to compare with: give --expected-mac, --expected-ip")
    return Result(None, "; ".join(phrases))


@check("nic.dhcp")
def nic_dhcp(model: Model) -> Result:
    """Is the primary NIC configured by Azure's DHCP?

    Azure delivers the routes to both platform addresses with the lease. The line names the DHCP
    server; Azure's is 168.63.129.16.

    Facts: adapters
    """
    if model.primary_nic is None:
        return Result(Status.SKIP, "primary NIC unknown")
    adapter = model.primary_nic.adapter
    if adapter.dhcp is None:
        return Result(Status.SKIP, "unknown: no lease found")
    if not adapter.dhcp:
        return Result(None, "off")
    server = ""
    if adapter.dhcp_server:
        server = f", server {adapter.dhcp_server}"
    return Result(None, f"on{server}")


@check("proxy.bypass", facts=("proxies", "proxy_trials", "pac_files"))
def proxy_bypass(model: Model) -> Result:
    """Do this VM's clients ask IMDS directly, whatever proxies are set?

    Every proxy of the machine, of SYSTEM, of WinHTTP, of the environment and of users, each
    client's own bypass rules, and a request through each proxy that some client does not bypass.

    Facts: proxies, proxy_trials, pac_files
    """
    proxies = model.facts.proxies
    if proxies is None:
        return unknown(model, "proxies")
    if not proxies:
        return Result(None, "no proxy is set")
    hits = proxy.hits(model, IMDS_ADDRESS)
    words = [f"{proxy.described(hit.proxy)}: {proxy.what_came(hit)}" for hit in hits]
    if not hits:
        words = [proxy.set_aside(item) for item in proxies]
    summary = "; ".join(words[:2])
    if len(words) > 2:
        summary += f"; and {len(words) - 2} more"
    return Result(None, summary)


@check("firewall.imds", facts=("firewall", "wfp_filters"))
def firewall_imds(model: Model) -> Result:
    """Does this VM's firewall allow TCP port 80 to 169.254.169.254, and the answers?

    The rules of Windows Firewall, nftables and iptables. On Windows, the filters of the Windows
    Filtering Platform are listed too if the connection was forbidden.

    Facts: firewall, wfp_filters, imds
    """
    firewall, found = model.facts.firewall, model.filtering.to_imds
    if firewall is None or found is None:
        return unknown(model, "firewall")
    read = f"rules read: {firewall.rules_read}"
    if firewall.sources:
        read += f" ({listed(firewall.sources, 4)})"
    if firewall.active_from:
        active = [profile.name for profile in firewall.profiles if profile.active]
        read += f"; profile {', '.join(active)}, from {firewall.active_from}"
    if found.redirected:
        return Result(None, f"{described_obstacle(Match(found.redirected))} redirects; {read}")
    for obstacle in (*found.blocked, *found.possible, *found.limited):
        return Result(None, f"{described_obstacle(obstacle)}; {read}")
    answer, route = model.answers.imds, model.routing.to_imds.route
    if route and route.kind is RouteKind.LOCAL:
        return Result(Status.SKIP, f"the requests do not leave this VM; {read}")
    if answer is not None and answer.outcome is Outcome.FORBIDDEN:
        return Result(None, f"no rule explains it; {read}")
    return Result(None, f"nothing blocks it; {read}")


@check("firewall.wireserver")
def firewall_wireserver(model: Model) -> Result:
    """Does this VM's firewall allow the WireServer's ports?

    The same as firewall.imds, for 168.63.129.16 ports 80 and 32526.

    Facts: firewall, wireserver
    """
    if model.facts.firewall is None:
        return Result(Status.SKIP, "the firewall could not be read")
    found: List[Match] = []
    redirects: List[Match] = []
    for filtering in model.filtering.to_wireserver.values():
        if filtering is None:
            continue
        found += filtering.blocked
        if filtering.redirected:
            redirects.append(Match(filtering.redirected))
    obstacles = list(dict.fromkeys([*found, *redirects]))
    if obstacles and model.answers.wireserver_is_conclusive:
        return Result(Status.WARN, listed([described_obstacle(item) for item in obstacles], 2))
    return Result(None, "nothing blocks it")


@check("clock.skew")
def clock_skew(model: Model) -> Result:
    """Does the VM's clock agree with the host's?

    Compares the VM's clock with the Date header of IMDS's own answer and with the time in the
    attested document. More than 5 minutes apart is a failure.

    Facts: imds, differential
    """
    by_header, by_document = skew(model), document_skew(model)
    ahead = by_header
    if by_header is None:
        ahead = by_document
    if ahead is None:
        return Result(Status.SKIP, "the host's clock is unknown")
    also = ""
    if by_document is not None and abs(by_document - ahead) > AGREE_S:
        also = f"; {_seconds_off(by_document)} the attested document's time"
    if abs(ahead) < 2:  # the header's resolution is a second
        return Result(None, f"agrees with the host's clock{also}")
    return Result(None, f"{_seconds_off(ahead)} the host's clock{also}")


def _seconds_off(ahead: float) -> str:
    """``412 s ahead of``"""
    return f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"


@check("agent.guest", facts=("services",))
def agent_guest(model: Model) -> Result:
    """Is the Azure guest agent running?

    The agent runs extensions and Run Command. IMDS does not need it.

    Facts: services
    """
    if model.facts.services is None:
        return unknown(model, "services")
    agent = model.services.installed(*GUEST_AGENTS)
    if agent is None:
        return Result(Status.SKIP, "not installed")
    status = Status.WARN
    if agent.state is ServiceState.RUNNING:
        status = Status.OK
    return Result(status, f"{agent.name} {agent.state.value}")


@check("agent.proxy")
def agent_proxy(model: Model) -> Result:
    """Metadata Security Protocol: is the guest proxy agent working?

    With this protocol, requests to IMDS pass through the agent on 127.0.0.1:3080. Skipped if it is
    not installed.

    Facts: services
    """
    agent = model.services.installed(*PROXY_AGENTS)
    if agent is not None:
        return Result(None, f"{agent.name} {agent.state.value}")
    if model.facts.services is None:
        return Result(Status.SKIP, "unknown")
    return Result(Status.SKIP, "not installed")


@check("vm.activation", facts=("activation",))
def vm_activation(model: Model) -> Result:
    """Is Windows activated, and does its activation depend on the attested document?

    Information only. Azure Edition needs the attested document to activate; other editions do not.

    Facts: activation, machine
    """
    if model.facts.system != "windows":
        return Result(Status.SKIP, "only Windows is activated")
    state = model.facts.activation
    if state is None:
        reason = unknown(model, "activation").summary
        return Result(Status.SKIP, f"state unknown: {reason}. {who_cares(model)}")
    status = {"genuine": Status.OK, "offline": Status.SKIP}.get(state, Status.WARN)
    return Result(status, who_cares(model))


@check("vm.azure")
def vm_azure(model: Model) -> Result:
    """Is this an Azure VM?

    Azure's own answers, or else the chassis asset tag in SMBIOS.

    Facts: machine, imds, wireserver, differential
    """
    machine = model.facts.machine
    if model.answers.instance or model.answers.wireserver_gives_versions:
        return Result(Status.OK, "the host answers like Azure's")
    if machine is None:
        return unknown(model, "machine")
    if machine.asset_tag == AZURE_ASSET_TAG:
        return Result(Status.OK, "chassis asset tag is Azure's")
    if machine.asset_tag:
        return Result(None, f'chassis asset tag "{short(machine.asset_tag)}"')
    return Result(None, "no chassis asset tag to read")


CHECKS: Tuple[CheckKind, ...] = (
    imds_reachable,
    imds_metadata,
    imds_attested,
    cert_chain,
    cert_endpoints,
    imds_identity,
    route_imds,
    route_next_hop,
    nic_primary,
    nic_identity,
    nic_dhcp,
    proxy_bypass,
    firewall_imds,
    wireserver_reachable,
    route_wireserver,
    firewall_wireserver,
    route_persistent,
    clock_skew,
    agent_guest,
    agent_proxy,
    vm_activation,
    vm_azure,
)
