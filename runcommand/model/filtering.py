"""What this VM's firewall does with the requests to the platform."""

from __future__ import annotations

from functools import cached_property
from typing import Dict, Optional, Tuple

from ..facts import IMDS_ADDRESS, PROFILE_UNKNOWN, WIRESERVER_ADDRESS, Facts
from ..firewall.conditions import HTTP_PORT, PORTS
from ..firewall.filtering import Filtering, Obstacle, filtering, fits
from .adapters import Adapters
from .answers import Answers
from .route_table import RouteTable
from .routing import Routing
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
    def to_imds(self) -> Optional[Filtering]:
        """What the firewall does with the requests to IMDS; None where it is not known."""
        return filtering(self, IMDS_ADDRESS, HTTP_PORT)

    @cached_property
    def to_wireserver(self) -> Dict[int, Optional[Filtering]]:
        """The same for both ports of the WireServer."""
        ports = PORTS[WIRESERVER_ADDRESS]
        return {port: filtering(self, WIRESERVER_ADDRESS, port) for port in ports}

    @cached_property
    def stopped_by(self) -> Tuple[Obstacle, ...]:
        """What in the firewall stops the plain request, by all that is known.

        Empty where nothing does, or where the request ended otherwise than such a rule ends it.
        """
        found = self.to_imds
        request = self.answers.imds
        if found is None or request is None or self.answers.proof:
            return ()
        outcome = request.connection.outcome
        if any(fits(obstacle, outcome) for obstacle in found.blocked):
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
            if note.fact == "firewall" and not note.text.startswith(PROFILE_UNKNOWN):
                return note.text
        if firewall.cut_off:
            return f"{firewall.cut_off} rules are left out"
        return ""
