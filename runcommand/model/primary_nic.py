"""Which NIC is the primary one, and how that is known.

IMDS answers only the primary address of the primary NIC.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from functools import cached_property
from typing import Iterator, List, Optional, Tuple

from ..facts import PLATFORM_ADDRESSES, WIRESERVER_ADDRESS, Adapter, Connection, Expected, Facts
from ..frozen import dataclass
from .adapters import Adapters, distinct, same_nic
from .answers import Answers
from .route_table import RouteTable

# Where the operator reads what the primary NIC is.
WHERE_AZURE_SAYS = "az vm nic show, or the VM's Properties page in the portal"


class KnownFrom(str, Enum):
    """How the primary NIC is known, the surest first."""

    IMDS_ANSWER = "imds-answer"
    EXPECTED = "expected"
    WIRESERVER_ANSWER = "wireserver-answer"
    DHCP_LEASE = "dhcp-lease"
    DEFAULT_ROUTE = "default-route"
    LOWEST_METRIC = "lowest-metric"  # a guess: several have a default route
    ONLY_NIC = "only-nic"


BECAUSE = {
    KnownFrom.IMDS_ANSWER: "IMDS answers its address",
    KnownFrom.EXPECTED: "--expected-mac or --expected-ip names it",
    KnownFrom.WIRESERVER_ANSWER: "the WireServer answers its address",
    KnownFrom.DHCP_LEASE: "its DHCP lease names a gateway",
    KnownFrom.DEFAULT_ROUTE: "it has the only default route",
    KnownFrom.LOWEST_METRIC: "its default route has the lowest metric",
    KnownFrom.ONLY_NIC: "it is the only NIC",
}


@dataclass(frozen=True)
class PrimaryNic:
    """The primary NIC, its primary address, and how both are known."""

    adapter: Adapter
    ip: Optional[str]
    known_from: KnownFrom

    @property
    def is_proven(self) -> bool:
        """Whether the operator or an answer of the platform says so.

        Otherwise it is concluded from leases and routes.
        """
        return self.known_from in (
            KnownFrom.EXPECTED,
            KnownFrom.IMDS_ANSWER,
            KnownFrom.WIRESERVER_ANSWER,
        )


class Detection:
    """How the primary NIC is found among the adapters."""

    def __init__(
        self, facts: Facts, adapters: Adapters, answers: Answers, route_table: RouteTable
    ) -> None:
        self._facts = facts
        self._adapters = adapters
        self._answers = answers
        self._route_table = route_table

    @cached_property
    def expected(self) -> Expected:
        """What the operator says of the primary NIC, without what the platform's answers refute.

        --expected-mac and --expected-ip are typed by hand: a value is refuted when the platform
        answered, and to no NIC with that MAC, or not to that address. Where the guest proxy agent
        relayed the answers, no NIC is known to have got them: leases and routes then say which NIC
        is the primary one, as they do without the operator.
        """
        given = self._facts.expected
        answers = self._answers.from_platform
        if not answers:
            return given
        named = self._adapters.with_mac(given.mac)
        mac_is_answered = ip_is_answered = False
        for answer in answers:
            if answer.adapter is None:
                continue
            if named is not None and same_nic(named, answer.adapter):
                mac_is_answered = True
            if answer.address == given.ip:
                ip_is_answered = True
        mac = None
        if mac_is_answered:
            mac = given.mac
        ip = None
        if ip_is_answered:
            ip = given.ip
        return Expected(mac, ip)

    @cached_property
    def primary_nic(self) -> Optional[PrimaryNic]:
        """The primary NIC, by the first evidence that points to exactly one."""
        for known_from, adapters in self._candidates():
            if len(adapters) == 1:
                adapter = self._adapters.with_addresses(adapters[0])
                return PrimaryNic(adapter, self._primary_ip(adapter), known_from)
        return None

    @cached_property
    def rests_on_operator(self) -> bool:
        """Whether only the operator's word makes the primary NIC and its address what they are
        here.
        """
        primary = self.primary_nic
        if primary is None or primary.known_from is not KnownFrom.EXPECTED:
            return False
        unasked = replace(self._facts, expected=Expected())
        other = Detection(unasked, self._adapters, self._answers, self._route_table).primary_nic
        if other is None:
            return True
        return not same_nic(other.adapter, primary.adapter) or other.ip != primary.ip

    def _candidates(self) -> Iterator[Tuple[KnownFrom, List[Adapter]]]:
        """The adapters that each kind of evidence points to, the surest kind first."""
        metadata = self._answers.metadata
        if metadata:
            yield KnownFrom.IMDS_ANSWER, self._nics_of(metadata.connection)
        yield KnownFrom.EXPECTED, self._expected_nics()
        server = self._facts.wireserver
        if server and self._answers.wireserver_gives_versions:
            yield KnownFrom.WIRESERVER_ANSWER, self._nics_of(server.http.connection)
        may_be_primary = self._adapters.may_be_primary
        likely = distinct(adapter for adapter in self._adapters.all if may_be_primary(adapter))
        yield KnownFrom.DHCP_LEASE, self._leased(likely)
        gateway = self._route_table.default_gateway
        routed = [adapter for adapter in likely if gateway(adapter)]
        yield KnownFrom.DEFAULT_ROUTE, routed
        yield KnownFrom.LOWEST_METRIC, self._with_lowest_metric(routed)
        yield KnownFrom.ONLY_NIC, self._adapters.nics

    def _nics_of(self, connection: Connection) -> List[Adapter]:
        owner = self._answers.nic_of(connection)
        if owner:
            return [owner]
        return []

    def _expected_nics(self) -> List[Adapter]:
        named = self._adapters.with_mac(self.expected.mac)
        named = named or self._adapters.holding(self.expected.ip)
        if named is None or not self._adapters.may_be_primary(named):
            return []
        return [named]

    def _leased(self, adapters: List[Adapter]) -> List[Adapter]:
        """Those with a lease from Azure, and a gateway by that lease or by their routes."""
        gateway = self._route_table.default_gateway
        leased = [adapter for adapter in adapters if adapter.dhcp_server == WIRESERVER_ADDRESS]
        return [adapter for adapter in leased if adapter.lease_gateway or gateway(adapter)]

    def _with_lowest_metric(self, adapters: List[Adapter]) -> List[Adapter]:
        metric = self._route_table.default_metric
        lowest = min(map(metric, adapters), default=0)
        return [adapter for adapter in adapters if metric(adapter) == lowest]

    def _primary_ip(self, adapter: Adapter) -> Optional[str]:
        """The primary one of the adapter's addresses, by the surest evidence that names one."""
        held = [item.address for item in adapter.addresses]
        metadata = self._answers.metadata
        answered = None
        if metadata:
            answered = metadata.connection.local_address
        if answered in PLATFORM_ADDRESSES:
            answered = None
        plain = [
            item.address
            for item in adapter.addresses
            if not item.secondary and not item.skip_as_source
        ]
        dynamic = [item.address for item in adapter.addresses if item.dynamic]
        for candidate in (answered, self.expected.ip, adapter.lease_address, *dynamic, *plain):
            if candidate in held:
                return candidate
        if held:
            return held[0]
        return None
