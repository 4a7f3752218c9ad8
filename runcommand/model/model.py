"""What follows from the facts of one run. Pure: the same facts, the same model."""

from __future__ import annotations

from functools import cached_property
from typing import Optional

from ..facts import Facts
from .adapters import Adapters
from .answers import Answers
from .filtering import PlatformFiltering
from .primary_nic import Detection, PrimaryNic
from .route_table import RouteTable
from .routing import Routing
from .services import Services


class Model:
    """The parts of the model, each made when it is first asked for."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @cached_property
    def adapters(self) -> Adapters:
        return Adapters(self.facts)

    @cached_property
    def services(self) -> Services:
        return Services(self.facts)

    @cached_property
    def answers(self) -> Answers:
        return Answers(self.facts, self.adapters)

    @cached_property
    def route_table(self) -> RouteTable:
        return RouteTable(self.facts, self.adapters)

    @cached_property
    def detection(self) -> Detection:
        return Detection(self.facts, self.adapters, self.answers, self.route_table)

    @property
    def primary_nic(self) -> Optional[PrimaryNic]:
        """The primary NIC; None where it could not be determined."""
        return self.detection.primary_nic

    @cached_property
    def routing(self) -> Routing:
        return Routing(self.facts, self.adapters, self.answers, self.route_table, self.primary_nic)

    @cached_property
    def filtering(self) -> PlatformFiltering:
        return PlatformFiltering(
            self.facts,
            self.adapters,
            self.services,
            self.answers,
            self.route_table,
            self.routing,
        )
