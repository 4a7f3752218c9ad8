"""Proxies: which clients take the requests for the platform through one, and what comes back."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from ..facts import (
    IMDS_ADDRESS,
    PLATFORM_ADDRESSES,
    WIRESERVER_ADDRESS,
    Exchange,
    Outcome,
    PacFile,
    Proxy,
    ProxyKind,
    ProxyTrial,
    Scope,
)
from ..fixes.remedies import remedies
from ..frozen import dataclass
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.sentences import in_words
from ..model.words import listed, quoted, short
from ..proxy.bypass import Client, clients, through
from .finding import Fix, Seen, Severity, Verdict, advice, rule
from .imds import form


@dataclass(frozen=True)
class Hit:
    """A proxy that some clients use for one of the platform's addresses, and what a request through
    it brought.
    """

    proxy: Proxy
    clients: Tuple[Client, ...]
    trial: Optional[ProxyTrial]
    exchange: Optional[Exchange]  # for that address

    @property
    def gets_through(self) -> bool:
        """Whether the platform's own answer came back."""
        return bool(self.exchange and (self.exchange.instance or self.exchange.versions))

    @property
    def is_proven(self) -> bool:
        """Whether it was tried, and the platform's answer did not come back."""
        if self.proxy.undecided:
            return False
        if self.exchange is None:
            return bool(self.trial and self.trial.is_nowhere)
        return not self.gets_through and self.exchange.outcome is not Outcome.FAILED

    @property
    def answers(self) -> bool:
        """Whether anything at all answers where the proxy should be."""
        return bool(self.exchange and self.exchange.connection.outcome is Outcome.ANSWERED)


def hits(model: Model, address: str) -> List[Hit]:
    """The proxies that some client uses for an address, the machine's first."""
    found: List[Hit] = []
    proxies = model.facts.proxies or ()
    for proxy in sorted(proxies, key=lambda proxy: proxy.scope is Scope.USER):
        own = through(proxy, address)
        if not own:
            continue
        trial = _trial_of(model, proxy)
        exchange = None
        if trial:
            exchange = trial.wireserver
            if address == IMDS_ADDRESS:
                exchange = trial.imds
        found.append(Hit(proxy, own, trial, exchange))
    return found


def _trial_of(model: Model, proxy: Proxy) -> Optional[ProxyTrial]:
    """The requests that were made through a proxy."""
    for trial in model.facts.proxy_trials or ():
        if trial.server == proxy.server:
            return trial
    return None


def described(proxy: Proxy) -> str:
    """A proxy in a sentence: ``10.1.2.3:3128 (WinHTTP)``"""
    words = short(proxy.place, 80)
    if proxy.variable:
        words += f", {short(proxy.variable)}"
    if proxy.user and proxy.user not in proxy.place:
        words += f", {short(proxy.user)}"
    return f"{short(proxy.server or '', 80)} ({words})"


def what_came(hit: Hit) -> str:
    """What a request through a proxy brought: ``gets HTTP 403 and a web page "Denied" from
    10.1.2.3:3128``
    """
    answer = hit.exchange
    if answer is None:
        if hit.trial is None:
            return "was not made"
        return f"fails: {short(hit.trial.error or 'no answer', 120)}"
    at = f"{answer.connection.address}:{answer.connection.port}"
    if answer.outcome is Outcome.HTTP:
        title = ""
        if answer.says:
            title = f' "{short(answer.says, 60)}"'
        return f"gets HTTP {answer.status} and {form(answer)}{title} from {at}"
    if answer.connection.outcome is not Outcome.ANSWERED:
        return f"fails: {at} {in_words(answer.connection.outcome)}"
    return f"fails: {at} answers, {in_words(answer.outcome)}"


def _who(hit: Hit) -> str:
    """Which clients go through it, where not all that read the setting do."""
    users = [client.value for client in hit.clients]
    others = [client.value for client in clients(hit.proxy) if client not in hit.clients]
    words = f" Clients that use it: {listed(users, 6)}"
    if others:
        words += f"; clients that bypass it: {listed(others, 6)}"
    return f"{words}."


def _bypasses(model: Model, found: Sequence[Hit]) -> Tuple[Fix, ...]:
    """The commands for each place, each once."""
    commands = remedies(model)
    fixes: List[Fix] = []
    for hit in found:
        fixes += commands.bypass_proxy(hit.proxy, PLATFORM_ADDRESSES)
    return tuple(dict.fromkeys(fixes))


@rule(Verdict.DEGRADED, Verdict.BROKEN, after="firewall-unknown", shown_by="proxy.bypass")
def proxy_intercepts_imds(model: Model) -> Optional[Seen]:
    """A proxy intercepts requests to IMDS

    A proxy is set for the machine, for SYSTEM or for WinHTTP, and its bypass list does not cover
    169.254.169.254. Clients that use this setting send their IMDS requests to the proxy, which
    cannot reach IMDS. Bypass rules differ between clients: WinINET always bypasses the proxy for
    link-local addresses; .NET and curl do not.

    Recognised by: the setting, and a request through the proxy that does not return IMDS's answer
    (if IMDS also fails without the proxy: an answer that is not IMDS's). It is only a warning if
    the request returns IMDS's answer, if nothing was proven, or if a script may or may not set the
    proxy: IMDS does not support proxies.

    Fix: add 169.254.169.254 and 168.63.129.16 to the bypass list, where the proxy is set.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#proxies
    """
    found = _of_machine(hits(model, IMDS_ADDRESS))
    if not found:
        return None
    works = model.answers.imds_gives_metadata
    failing = [hit for hit in found if hit.is_proven and (works or hit.answers)]
    shown = failing or found
    hit, *others = shown
    who = _who(hit)
    if others:
        also = listed([described(other.proxy) for other in others], 2)
        who += f" The same applies to {also}."
    detail = f"The proxy {described(hit.proxy)} is not bypassed for 169.254.169.254"
    if failing:
        detail += f", and a request through it {what_came(hit)}.{who}"
        return _intercepted(model, detail, _bypasses(model, failing))
    if hit.proxy.undecided:
        setting = short(hit.proxy.undecided)
        detail = f"The proxy {described(hit.proxy)} may not be bypassed for 169.254.169.254"
        detail += f": the setting is {setting}.{who}"
    elif hit.gets_through:
        detail += f". IMDS's answer comes back through it, which Azure does not support.{who}"
    else:
        detail += f"; a request through it {what_came(hit)}.{who}"
    return Seen(detail, _bypasses(model, found), Severity.WARN)


def _of_machine(found: Sequence[Hit]) -> List[Hit]:
    """Those that are set for more than one user's clients."""
    return [hit for hit in found if hit.proxy.scope is not Scope.USER]


def _intercepted(model: Model, detail: str, fixes: Tuple[Fix, ...]) -> Seen:
    """The finding that a request through a proxy fails, with what the direct one showed."""
    if model.answers.imds_gives_metadata:
        return Seen(f"{detail} IMDS itself answers.", fixes, verdict=Verdict.DEGRADED)
    if model.answers.imds:
        how = model.answers.in_words(model.answers.imds)
        detail += f" The direct request failed too: {how}."
        again = advice("Then run again: the direct request has to succeed too.")
        fixes = (*fixes, again)
    return Seen(detail, fixes, verdict=Verdict.BROKEN)


@rule(after="firewall-blocks-wireserver", shown_by="proxy.bypass")
def proxy_intercepts_wireserver(model: Model) -> Optional[Seen]:
    """A proxy intercepts requests to the WireServer

    A proxy set for the machine, for SYSTEM or for WinHTTP is bypassed for IMDS, but not for
    168.63.129.16, which the guest agent and the extensions use.

    Recognised by: the setting, and a request through the proxy that does not return the
    WireServer's answer.

    Fix: add 168.63.129.16 to the bypass list, where the proxy is set.
    https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
    """
    # What fails for IMDS is named with IMDS.
    named = [hit.proxy for hit in hits(model, IMDS_ADDRESS) if not hit.gets_through]
    found = [
        hit
        for hit in _of_machine(hits(model, WIRESERVER_ADDRESS))
        if hit.proxy not in named and not hit.gets_through
    ]
    if not found:
        return None
    first = found[0]
    detail = (
        f"The proxy {described(first.proxy)} is not bypassed for 168.63.129.16; a request through "
        f"it {what_came(first)}.{_who(first)}"
    )
    return Seen(detail, _bypasses(model, found), Severity.WARN)


@rule(after="proxy-intercepts-wireserver", shown_by="proxy.bypass")
def proxy_user_only(model: Model) -> Optional[Seen]:
    """One user's proxy intercepts requests to IMDS

    A user has set a proxy that is not bypassed for 169.254.169.254. That user's programs cannot use
    IMDS; services and other users can.

    Recognised by: a proxy in the Internet Settings or environment of a user, not of the machine or
    SYSTEM.

    Fix: add the address to that user's bypass list.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#proxies
    """
    found = [hit for hit in hits(model, IMDS_ADDRESS) if hit.proxy.scope is Scope.USER]
    if not found:
        return None
    first = found[0]
    users = sorted({quoted(hit.proxy.user or "?") for hit in found})
    detail = (
        f"For {listed(users, 3)} only: the proxy {described(first.proxy)} is not bypassed for "
        f"169.254.169.254; a request through it {what_came(first)}.{_who(first)}"
    )
    return Seen(detail, _bypasses(model, found), Severity.WARN)


@rule(after="route-not-specific", shown_by="proxy.bypass")
def proxy_pac_present(model: Model) -> Optional[Seen]:
    """A script chooses the proxy

    A proxy auto-configuration (PAC) file is set. It may or may not send requests for
    169.254.169.254 to a proxy. imds-check downloads it and searches it for the address, but does
    not evaluate it.

    Recognised by: AutoConfigURL in the Internet Settings of the machine, of SYSTEM or of a user.
    Information only.

    Fix: make the script return DIRECT for 169.254.169.254 and 168.63.129.16.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#proxies
    """
    found = [proxy for proxy in model.facts.proxies or () if proxy.pac_url]
    if not found:
        return None
    texts: List[str] = []
    for proxy in found[:2]:
        url = proxy.pac_url or ""
        what = _pac(model, _pac_file(model, url))
        texts.append(f"{short(url, 120)} ({short(proxy.place)}): {what}")
    detail = f"A PAC file chooses the proxy: {'; '.join(texts)}. PAC files are not evaluated here."
    if len(found) == 3:
        detail += " 1 more is set."
    elif len(found) > 3:
        detail += f" {len(found) - 2} more are set."
    fix = advice("Make the PAC file return DIRECT for 169.254.169.254 and 168.63.129.16.")
    return Seen(detail, (fix,), Severity.INFO)


def _pac_file(model: Model, url: str) -> Optional[PacFile]:
    """What was fetched from an address (the fact keeps the beginning of a long one)."""
    for file in model.facts.pac_files or ():
        if file.url == url[: len(file.url)]:
            return file
    return None


def _pac(model: Model, file: Optional[PacFile]) -> str:
    if file is None:
        return "not fetched"
    if file.outcome is not Outcome.HTTP or (file.error and not file.size):
        error = file.error or file.outcome.value
        return f"not fetched: {error_in_words(error, model.facts.system, 80)}"
    size = f"{file.size} bytes"
    if file.error:
        size += f" ({short(file.error, 60)})"
    if IMDS_ADDRESS in file.mentions:
        return f"{size}, mentions 169.254.169.254"
    near = ""
    if file.mentions:
        near = ', only "169.254."'
    return f"{size}, does not mention 169.254.169.254{near}"


def set_aside(proxy: Proxy) -> str:
    """Why a proxy or PAC that is set does not matter for IMDS."""
    if proxy.kind is ProxyKind.GUEST_AGENT:
        return f"{described(proxy)} is the agent's own, and not used for the platform"
    if proxy.server:
        only = ""
        if through(proxy, WIRESERVER_ADDRESS):
            only = ", not for 168.63.129.16"
        return f"{described(proxy)} is bypassed for 169.254.169.254{only}"
    what = "automatic detection"
    if proxy.pac_url:
        what = "a PAC file"
    return f"{short(proxy.place, 80)}: {what}, no named proxy"


def path_words(model: Model) -> str:
    """The proxies as they stand in the PATH line."""
    proxies = model.facts.proxies
    if proxies is None:
        return "proxy?"
    found = hits(model, IMDS_ADDRESS)  # the machine's first
    if found:
        proxy = found[0].proxy
        whose = "some"
        if proxy.scope is Scope.USER:
            whose = "one user's"
        return f"no proxy ({whose} clients: {short(proxy.server or '', 60)})"
    if any(proxy.pac_url for proxy in proxies):
        return "no proxy (PAC clients: ?)"
    if any(proxy.server and proxy.kind is not ProxyKind.GUEST_AGENT for proxy in proxies):
        return "proxy bypassed"
    return "no proxy"
