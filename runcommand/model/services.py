"""The services of the VM."""

from __future__ import annotations

from typing import Optional

from ..facts import Facts, Service, ServiceState


class Services:
    """What is looked up among the services."""

    def __init__(self, facts: Facts) -> None:
        self._all = facts.services or ()

    def installed(self, *names: str) -> Optional[Service]:
        """The first of these services that is installed."""
        for name in names:
            for service in self._all:
                if service.name == name:
                    return service
        return None

    def is_running(self, name: str) -> bool:
        service = self.installed(name)
        return service is not None and service.state is ServiceState.RUNNING
