"""Linux: iproute2, sysfs, procfs, DHCP leases and systemd. Each collector reads one thing and judges nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Optional

from ...collect import Collector
from .. import RunFolder, host_name
from . import adapters, folder, machine, program, routes, services


class Linux:
    name = "linux"
    by_device = True
    report_base: Optional[Path] = Path("/var/log/azure/imds-check")

    def host(self) -> str:
        return host_name()

    def collectors(self) -> Mapping[str, Collector]:
        return {
            "machine": machine.collect,
            "adapters": adapters.collect,
            "routes": routes.collect,
            "routing_rules": routes.collect_rules,
            "lookups": routes.collect_lookups,
            "neighbours": routes.collect_neighbours,
            "services": services.collect,
            "listeners": services.collect_listeners,
            "raw": machine.collect_raw,
        }

    def cleanup(self) -> None:
        program.kill_all()

    def run_folder(self, base: Optional[Path], name: str) -> RunFolder:
        return folder.make(base, self.report_base, name)
