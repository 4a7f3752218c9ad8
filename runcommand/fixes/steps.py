"""The steps that fix a VM, which every system offers in commands of its own."""

from __future__ import annotations

from typing import Callable, List, NamedTuple, Optional, Protocol, Sequence
from urllib.parse import unquote

from ..facts import Adapter, Certificate, Neighbour, Proxy, Route, RoutingRule
from ..firewall.verdict import Match
from .commands import Fix, ProxyServer, advice


class Wanted(NamedTuple):
    """What a certificate must be to be installed.

    A root is known by its thumbprint, another by its key and its issuer.
    """

    root: Optional[str] = None  # SHA-1 thumbprint
    key_id: Optional[str] = None


class Remedies(Protocol):
    """The commands of one system.

    Each method gives the lines for one step, in order; none where no step is needed.
    """

    def renew_lease(self, adapter: Adapter) -> List[Fix]: ...
    def bring_up(self, adapter: Adapter) -> List[Fix]: ...
    def add_route(
        self,
        destination: str,
        gateway: str,
        adapter: Adapter,
        table: str = "main",
        source: Optional[str] = None,
    ) -> List[Fix]: ...
    def add_default_route(self, gateway: str, adapter: Adapter) -> List[Fix]: ...
    def routes_anew(self, gateway: str, adapter: Adapter, default: bool) -> List[Fix]: ...
    def keep_routes(self, gateway: str, adapter: Adapter, table: str) -> List[Fix]: ...
    def delete_route(self, route: Route) -> List[Fix]: ...
    def pass_rule(self, rule: RoutingRule, destination: str) -> List[Fix]: ...
    def delete_persistent_route(self, destination: str, gateway: str) -> List[Fix]: ...
    def delete_neighbour(self, neighbour: Neighbour) -> List[Fix]: ...
    def delete_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]: ...
    def set_address(
        self, adapter: Adapter, address: str, prefix: int, gateway: Optional[str]
    ) -> List[Fix]: ...
    def set_source(self, adapter: Adapter, wrong: str, right: str) -> List[Fix]: ...
    def set_mac(
        self, adapter: Adapter, mac: str, gateway: Optional[str], default: bool
    ) -> List[Fix]: ...
    def restart_service(self, name: str) -> List[Fix]: ...
    def show_clients(self) -> List[Fix]: ...
    def show_firewall(self) -> List[Fix]: ...
    def let_pass(self, match: Match, addresses: Sequence[str]) -> List[Fix]: ...
    def bypass_proxy(self, proxy: Proxy, addresses: Sequence[str]) -> List[Fix]: ...
    def certificate_folder(self) -> List[Fix]: ...
    def install_certificate(
        self, url: str, is_reachable: bool, proxy: Optional[str], wanted: Wanted
    ) -> List[Fix]: ...
    def remove_certificate(self, certificate: Certificate, places: Sequence[str]) -> List[Fix]: ...
    def trust_anew(self) -> List[Fix]: ...
    def shift_clock(self, seconds: float) -> List[Fix]: ...


def instead(by_hand: str, make: Callable[[], List[Fix]]) -> List[Fix]:
    """The commands that ``make`` gives; where a word cannot stand in one, advice to do it by hand.

    :param by_hand: empty: there is no advice
    """
    try:
        return make()
    except ValueError:  # UnfitWord, or a number that is longer than Python reads
        if not by_hand:
            return []
        return [advice(by_hand)]


def file_of(url: str) -> str:
    """The file name in an address, its escapes resolved; empty where it names none."""
    return unquote(url.partition("?")[0].rpartition("/")[2])


def bare_proxy(proxy: str) -> ProxyServer:
    """A proxy without ``http://`` before it. Raises ``UnfitWord``."""
    if proxy.startswith("http://"):
        proxy = proxy[7:]
    return ProxyServer(proxy)
