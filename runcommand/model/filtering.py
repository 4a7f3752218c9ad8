"""What this VM's firewall does with the requests to the platform."""

from __future__ import annotations

from functools import cached_property
from typing import Dict, Optional, Tuple

from ..facts import PROFILE_UNKNOWN, WIRESERVER_ADDRESS, Facts
from ..firewall.packet import HTTP_PORT, PORTS
from ..firewall.record import NOT_KEPT
from ..firewall.verdict import Match, PacketVerdict
from .adapters import Adapters
from .answers import Answers
from .packets import PacketFilter, packet_filter, packet_to
from .route_table import RouteTable
from .routing import RouteLookup, Routing
from .services import Services


class PlatformFiltering:
    """The firewall, asked about each request to the platform."""

    def __init__(
        self,
        facts: Facts,
        adapters: Adapters,
        services: Services,
        answers: Answers,
        route_table: RouteTable,
        routing: Routing,
    ) -> None:
        self.facts = facts
        self.adapters = adapters
        self.services = services
        self.answers = answers
        self.route_table = route_table
        self.routing = routing

    @cached_property
    def _packet_filter(self) -> Optional[PacketFilter]:
        """What judges packets on this VM; None where the firewall is not known."""
        return packet_filter(self.facts, self.services.installed("MpsSvc"), self.answers.imds)

    def _verdict(self, lookup: RouteLookup, port: int) -> Optional[PacketVerdict]:
        """What the firewall does with a connection of SYSTEM or root; None: it is not known."""
        if self._packet_filter is None:
            return None
        adapter = self.adapters.egress(lookup.route)
        gateways = [row.gateway for row in self.route_table.default_routes()]
        packet = packet_to(self.facts, lookup.destination, port, lookup.source, adapter, gateways)
        return self._packet_filter.verdict(packet)

    @cached_property
    def to_imds(self) -> Optional[PacketVerdict]:
        """What the firewall does with the requests to IMDS; None where it is not known."""
        return self._verdict(self.routing.to_imds, HTTP_PORT)

    @cached_property
    def to_wireserver(self) -> Dict[int, Optional[PacketVerdict]]:
        """The same for both ports of the WireServer."""
        ports = PORTS[WIRESERVER_ADDRESS]
        return {port: self._verdict(self.routing.to_wireserver, port) for port in ports}

    @cached_property
    def stopped_by(self) -> Tuple[Match, ...]:
        """What in the firewall stops the plain request, by all that is known.

        Empty where nothing does, or where the request ended otherwise than such a rule ends it.
        """
        found = self.to_imds
        request = self.answers.imds
        if found is None or request is None or self.answers.proof:
            return ()
        if any(match.explains(request.connection.outcome) for match in found.blocked):
            return found.blocked
        return ()

    @property
    def left_out(self) -> str:
        """What of the firewall was not read, or why.

        Empty where all of it was read, or nothing (then the fact is unavailable).
        """
        firewall = self.facts.firewall
        if firewall is None:
            return ""
        for note in self.facts.notes:
            if note.fact == "firewall" and not note.text.startswith((PROFILE_UNKNOWN, NOT_KEPT)):
                return note.text
        if firewall.cut_off:
            return f"{firewall.cut_off} rules are left out"
        return ""
