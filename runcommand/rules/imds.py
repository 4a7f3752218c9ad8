"""What came back from 169.254.169.254 itself."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

from ..facts import (
    PROXY_AGENT_PORT,
    Body,
    Exchange,
    Outcome,
    ServiceState,
    is_transient,
    parse_instant,
    refuses_version,
)
from ..fixes.operator import change_access
from ..fixes.remedies import escalate, remedies
from ..model.azure import PROXY_AGENTS
from ..model.evidence import differential_answer, what_was_checked
from ..model.model import Model
from ..model.sentences import in_words, program_in_words, says
from ..model.words import listed, short
from .finding import Fix, Kind, Seen, Verdict, advice, rule

AGENT_LOGS_ON_WINDOWS = r"C:\WindowsAzure\ProxyAgent\Logs"
AGENT_LOGS_ON_LINUX = "/var/log/azure-proxy-agent"


@rule(
    Verdict.BROKEN,
    after="source-not-primary-ip",
    explains=(Kind.ANSWER,),
    shown_by="agent.proxy",
)
def guest_proxy_agent_failing(model: Model) -> Optional[Seen]:
    """Metadata Security Protocol is on, but its guest proxy agent is failing

    With Metadata Security Protocol, requests to IMDS pass through the guest proxy agent
    (GuestProxyAgent on Windows, azure-proxy-agent on Linux, 127.0.0.1:3080), which signs them. If
    the agent is down or cannot get its key, every client fails.

    Recognised by: the agent is installed, and either the request was refused while the agent is not
    running or not listening, or it came back with 421, 502 or 503, or the agent took over the
    connection and never answered.

    Fix: restart the agent. If it fails again, its log says why (C:\\WindowsAzure\\ProxyAgent\\Logs,
    /var/log/azure-proxy-agent).
    https://learn.microsoft.com/azure/virtual-machines/metadata-security-protocol/troubleshoot-guide
    """
    agent, answer = model.services.installed(*PROXY_AGENTS), model.answers.imds
    if agent is None or answer is None:
        return None
    if agent.start == "disabled" and agent.state is not ServiceState.RUNNING:
        return None
    listens = _agent_listens(model)
    is_down = agent.state is not ServiceState.RUNNING or listens is False
    is_refused = answer.outcome in (Outcome.REFUSED, Outcome.RESET)
    is_taken_over = (answer.connection.local_address or "").startswith("127.")
    if (is_refused and is_down) or (model.answers.imds_is_silent and is_taken_over):
        seen = f"the request was {model.answers.in_words(answer)}"
    elif answer.status in (421, 502, 503):
        seen = f"the request came back with HTTP {answer.status}.{says(answer)}".rstrip(".")
    else:
        return None
    port = ""
    if listens is not None:
        port = f", port {PROXY_AGENT_PORT} is {'open' if listens else 'closed'}"
    logs = AGENT_LOGS_ON_LINUX
    if model.facts.system == "windows":
        logs = AGENT_LOGS_ON_WINDOWS
    state = f"Metadata Security Protocol's agent {agent.name} is {agent.state.value}{port}"
    fixes = remedies(model).restart_service(agent.name)
    fixes.append(advice(f"If it fails again, its log says why: {logs}"))
    return Seen(f"{state}, and {seen}.", tuple(fixes))


def _agent_listens(model: Model) -> Optional[bool]:
    """Whether the agent's port is open; None where that is not known."""
    listeners = model.facts.listeners
    if listeners is None:
        return None
    return any(listener.port == PROXY_AGENT_PORT for listener in listeners)


@rule(Verdict.BROKEN, after="route-wrong-gateway", kind=Kind.ANSWER, shown_by="imds.metadata")
def imds_access_denied(model: Model) -> Optional[Seen]:
    """IMDS denies access

    The request reached IMDS or the guest proxy agent, which denied it with 401 or 403: the access
    rules of Metadata Security Protocol do not allow this program or user.

    Recognised by: 401 or 403 without a web page. With a web page the answer comes from a proxy or
    portal: see imds-not-imds.

    Fix: allow the request in the VM's InVMAccessControlProfile, or set its mode to Audit, with the
    Azure CLI on your own machine.
    https://learn.microsoft.com/azure/virtual-machines/metadata-security-protocol/troubleshoot-guide
    """
    answer = model.answers.imds
    if not answer or answer.status not in (401, 403) or not model.answers.imds_is_genuine:
        return None
    detail = (
        f"IMDS answered {model.answers.in_words(answer)}: access is denied to this "
        f"program's user; other programs may be allowed.{says(answer)}"
    )
    return Seen(detail, _change_access(model))


def _change_access(model: Model) -> Tuple[Fix, ...]:
    """An instance of a uniform scale set is no VM to ``az vm``: it counts as one whose name is not
    known.
    """
    instance = model.answers.instance
    if instance is None or "/virtualmachinescalesets/" in instance.resource_id.lower():
        return tuple(change_access(None, None))
    return tuple(change_access(instance.resource_group_name, instance.name))


@rule(Verdict.BROKEN, after="imds-access-denied", kind=Kind.ANSWER, shown_by="imds.metadata")
def imds_rejects_request(model: Model) -> Optional[Seen]:
    """IMDS rejects a well-formed request

    IMDS answers 400 to a request without "Metadata: true", or with X-Forwarded-For. imds-check
    sends the first and not the second, so something in between changed the request.

    Recognised by: a 400 in answer to a well-formed request.

    Fix: take the intercepting proxy, service mesh or security product out of the path to
    169.254.169.254.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    answer = model.answers.imds
    if not answer or answer.status != 400 or not model.answers.imds_is_genuine:
        return None
    answered = f"IMDS answered {model.answers.in_words(answer)}"
    if refuses_version(answer):
        versions = listed(list(answer.versions)) or "others"
        detail = f"{answered}: it supports none of this program's api-versions, only {versions}."
        return Seen(detail + says(answer), (advice("Run a newer imds-check on this VM."),))
    detail = (
        f"{answered}.{says(answer)} The request carried Metadata: true and no X-Forwarded-For: "
        "something in the path changes it."
    )
    fix = advice(
        "Exclude 169.254.169.254 from this VM's transparent proxy, service mesh or security "
        "product: requests to IMDS must not pass through one."
    )
    return Seen(detail, (fix,))


@rule(Verdict.DEGRADED, after="imds-rejects-request", shown_by="imds.metadata")
def imds_throttled(model: Model) -> Optional[Seen]:
    """IMDS throttles this VM

    IMDS allows five requests per second for the whole VM. Some program asks far more often, so all
    programs get 429.

    Recognised by: 429, even after retries.

    Fix: find the program that asks too often. Clients should cache answers, and back off after a
    429.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    answer = model.answers.imds
    if not answer or answer.status != 429 or not model.answers.imds_is_genuine:
        return None
    connections = model.facts.connections or ()
    users = sorted({program_in_words(item.process, item.pid) for item in connections})
    who = ""
    if users:
        who = f" Connected to it now: {listed(users)}."
    fixes = remedies(model).show_clients()
    fixes.append(
        advice(
            "Stop or slow down the program that asks too often; it should cache the metadata and "
            "back off after 429."
        )
    )
    detail = f"IMDS answered HTTP 429 (too many requests) {_each_time(model)}.{who}"
    return Seen(detail, tuple(fixes))


def _each_time(model: Model) -> str:
    """``to each of 4 requests within 7 s``"""
    attempts: Sequence[Exchange] = ()
    if model.facts.imds:
        attempts = model.facts.imds.attempts
    if len(attempts) < 2:
        return "to the one request that there was time for"
    times = [parse_instant(attempt.read_at) for attempt in attempts if attempt.read_at]
    span = ""
    if len(times) > 1:
        span = f" within {(times[-1] - times[0]).total_seconds():.0f} s"
    return f"to each of {len(attempts)} requests{span}"


@rule(Verdict.BROKEN, after="imds-throttled", kind=Kind.ANSWER, shown_by="imds.metadata")
def imds_unavailable(model: Model) -> Optional[Seen]:
    """IMDS is reachable, but cannot serve requests

    IMDS answers 410 while the VM's metadata is being updated (for up to 70 seconds), and 5xx when
    it fails.

    Recognised by: 410 or 5xx, even after retries.

    Fix: wait 70 seconds and run this again. If that does not help, redeploy the VM to another host.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    answer = model.answers.imds
    if not answer or not model.answers.imds_is_genuine:
        return None
    if not is_transient(answer) or answer.status == 429:
        return None
    wait = advice("Wait 70 seconds and run again: IMDS may be updating.")
    detail = f"IMDS answered HTTP {answer.status} {_each_time(model)}.{says(answer)}"
    return Seen(detail, (wait, *escalate(model)))


@rule(Verdict.BROKEN, after="imds-unavailable", kind=Kind.ANSWER, shown_by="imds.metadata")
def imds_not_imds(model: Model) -> Optional[Seen]:
    """Something else answers at IMDS's address

    The answer is not IMDS's: it is a web page, a redirect, JSON that is cut off or never ends, or
    some other service. The request reached a transparent proxy, a captive portal, a container
    platform's metadata proxy or another cloud's metadata service.

    Recognised by: the form of the answer. IMDS answers with JSON that holds the VM's vmId, or with
    an error in JSON.

    Fix: find out what is answering: the route and the neighbour table show where the packets go.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    answer = model.answers.imds
    if not answer or model.answers.imds_is_genuine:
        return None
    if answer.outcome not in (Outcome.HTTP, Outcome.GARBLED):
        return None
    what = f"{model.answers.in_words(answer)}, {form(answer)}{from_whom(answer)}.{says(answer)}"
    detail = f"Something else answers at IMDS's address: {what}{differential_answer(model)}"
    fix = advice(
        "Find out what answers in IMDS's place: a transparent proxy, captive portal, security "
        "product or a metadata proxy on this VM or along the PATH below. Exclude "
        "169.254.169.254 from it."
    )
    return Seen(detail, (fix,))


def form(answer: Exchange) -> str:
    """What came back, in words: ``a web page``"""
    if answer.outcome is Outcome.GARBLED or answer.body is None:
        return "bytes that are not HTTP"
    size = answer.body_bytes
    words = {
        Body.HTML: "a web page",
        Body.JSON: "JSON, but not IMDS's",
        Body.TEXT: "text that is not JSON",
        Body.EMPTY: "an empty body",
        Body.BROKEN: f"broken JSON of {size} bytes",
        Body.ENDLESS: f"a body that did not end within the limits ({size} bytes read)",
        Body.CUT: f"a body that was cut off after {size} bytes",
    }[answer.body]
    if answer.location:
        words += f", a redirect to {short(answer.location, 80)}"
    return words


def from_whom(answer: Exchange) -> str:
    """Who says that the answer is theirs: ``, from squid/5.7``; empty where nobody does."""
    who = answer.via or answer.server
    if who:
        return f", from {short(who, 60)}"
    return ""


@rule(Verdict.BROKEN, after="tool-failed", kind=Kind.RESIDUAL, shown_by="imds.reachable")
def platform_unreachable(model: Model) -> Optional[Seen]:
    """Neither IMDS nor the WireServer answers

    Both of the host's services are silent, and nothing on the VM explains it: the route, source
    address, next hop and NIC are all correct. The fault is most likely on the host, or between the
    host and the VM.

    Recognised by: no answer from 169.254.169.254 port 80, nor from 168.63.129.16 ports 80 and
    32526.

    Fix: redeploy the VM to another host. If that does not help, open a support request.
    https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
    """
    answer, server = model.answers.imds, model.facts.wireserver
    if answer is None or server is None or model.answers.proof:
        return None
    if not model.answers.imds_is_silent or not model.answers.wireserver_is_silent:
        return None
    if server.http.outcome is Outcome.FAILED or server.host_plugin.outcome is Outcome.FAILED:
        return None  # it was not asked, for a reason of this program's own
    imds, http = model.answers.in_words(answer), model.answers.in_words(server.http)
    plugin = in_words(server.host_plugin.outcome)
    detail = (
        f"IMDS: {imds}. WireServer: port 80 {http}; port 32526 {plugin}. {what_was_checked(model)}"
    )
    return Seen(detail, escalate(model))


@rule(Verdict.BROKEN, after="platform-unreachable", kind=Kind.RESIDUAL, shown_by="imds.reachable")
def imds_refused(model: Model) -> Optional[Seen]:
    """IMDS refuses the connection

    The connection to 169.254.169.254 port 80 is refused or reset, and nothing on the VM explains
    it.

    Recognised by: the outcome of the connection attempt, when the WireServer answers or could not
    be asked.

    Fix: redeploy the VM to another host. If that does not help, open a support request.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/windows-vm-imds-connection
    """
    answer = model.answers.imds
    if not answer or answer.outcome not in (Outcome.REFUSED, Outcome.RESET):
        return None
    how = model.answers.in_words(answer)
    return Seen(f"The request was {how}. {what_was_checked(model)}", escalate(model))


@rule(Verdict.BROKEN, after="imds-refused", kind=Kind.RESIDUAL, shown_by="imds.reachable")
def imds_no_answer(model: Model) -> Optional[Seen]:
    """IMDS does not answer

    169.254.169.254 port 80 did not answer in time, and nothing on the VM explains it.

    Recognised by: the request timed out or the address is unreachable, from every local address,
    while the route, source address, next hop and NIC are all correct.

    Fix: redeploy the VM to another host. If that does not help, open a support request.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/windows-vm-imds-connection
    """
    answer = model.answers.imds
    if not answer or not model.answers.imds_is_silent:
        return None
    how = model.answers.in_words(answer)
    is_connected = answer.connection.outcome is Outcome.ANSWERED
    if answer.outcome is not Outcome.TIMED_OUT or is_connected:
        how = f"was {how}"
    return Seen(f"The request {how}. {what_was_checked(model)}", escalate(model))
