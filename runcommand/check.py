"""One run from end to end: collect, diagnose, keep the files, render."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Optional

from . import __version__
from .collect import Board, Collector, Run, collect, describe, now
from .diagnosis import Diagnosis, diagnose
from .facts import WIRESERVER_ADDRESS, Address, Exchange, Facts, Unavailable
from .probes import differential, imds, wireserver
from .probes.imds import Asking, Endpoint, Pace
from .probes.tcp import Network
from .report import json_report, text
from .system import System

WRITING_S = 2.0  # a file system that hangs costs the files, not the report
DEFAULT_DEADLINE_S = 20.0


@dataclass(frozen=True)
class Platform:
    """Where the run looks: the operating system, the network, the platform's two endpoints."""

    system: System
    network: Network
    imds: Endpoint = Endpoint()
    wireserver: Endpoint = Endpoint(Address(WIRESERVER_ADDRESS))


def run(platform: Platform, conditions: Run, interrupted: threading.Event, progress: Callable[[str, float], None]) -> Diagnosis:
    """Collects everything side by side and judges it."""
    collectors = {**probe_collectors(platform), **platform.system.collectors()}  # progress names the first that is missing
    return diagnose(collect(conditions, collectors, platform.system.cleanup, interrupted, progress))


def failed(failure: Exception, system: str, host: str) -> Diagnosis:
    """The diagnosis of a run that the program itself could not bring to its end: still a report, with the reason."""
    return diagnose(Facts(system, host, now(), tool_version=__version__, unavailable=(Unavailable("imds", describe(failure)),)))


def probe_collectors(platform: Platform) -> Dict[str, Collector]:
    """The network's part of the collectors. They share one pace, so that IMDS's limit holds for the run."""
    pace = Pace()

    def asking(board: Board) -> Asking:
        return Asking(platform.network, platform.imds, pace, board.remaining)

    def ask_imds(board: Board) -> object:
        def first(exchange: Exchange) -> None:
            board.post("imds.first", exchange)

        return imds.ask(asking(board), first)

    return {
        "imds": ask_imds,
        "wireserver": lambda board: wireserver.ask(platform.network, platform.wireserver, board.remaining),
        "differential": lambda board: differential.ask(asking(board), board, platform.system.by_device),
    }


def keep(diagnosis: Diagnosis, system: System, base: Optional[Path]) -> str:
    """Writes ``report.txt`` and ``report.json`` into a folder of their own; says where, or why not."""
    said = []

    def work() -> None:
        try:
            name = diagnosis.facts.collected_at.replace("-", "").replace(":", "")
            folder = system.run_folder(base, name)
            folder.write("report.json", json_report.as_json(diagnosis).encode("ascii"))
            folder.write("report.txt", text.full(diagnosis, folder.path).encode("ascii"))
            said.append(folder.path)
        except OSError as error:
            where = f" ({error.filename})" if isinstance(error.filename, str) else ""
            said.append(f"not written: {error.strerror or error}{where}")
        except Exception as failure:  # whatever it is, it costs the files only
            said.append(f"not written: {type(failure).__name__}: {failure}")

    try:
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        worker.join(WRITING_S)
    except RuntimeError as failure:
        said.append(f"not written: {failure}")
    return said[0] if said else "not written: the file system does not answer"
