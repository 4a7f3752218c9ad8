"""One run from end to end: collect, diagnose, keep the files."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, List, Optional

from . import __version__, limits
from .collect import Board, Collector, RunOptions, collect, now, side_by_side, threads
from .collect.board import DOCUMENT, ENDING_S
from .collect.system import LocalSystem, System
from .facts import IMDS_ADDRESS, WIRESERVER_ADDRESS, Address, Facts
from .frozen import dataclass
from .probes import certificates, differential, imds, proxy, wireserver
from .probes.imds import Asking, Pace
from .probes.tcp import Connector, Endpoint

if TYPE_CHECKING:
    from .diagnosis import Diagnosis

WRITING_S = 2.0  # a file system that hangs costs the files, not the report
REDACTING = 0.2  # of the deadline, kept back to redact: 20,000 routes take seconds
LEAST_S = 0.2  # that the redacting has, whatever the time
LATE_S = 0.7  # and all of it ends so soon after the deadline


@dataclass(frozen=True)
class Target:
    """What a run looks at: the operating system, the network, the platform's two endpoints."""

    system: System
    connector: Connector
    imds: Endpoint = Endpoint(Address(IMDS_ADDRESS))
    wireserver: Endpoint = Endpoint(Address(WIRESERVER_ADDRESS))


def run(
    target: Target,
    options: RunOptions,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Callable[[str, float], None] = lambda name, elapsed: None,
    redact: bool = False,
) -> Diagnosis:
    """Collects everything side by side and judges it. A fault of this program is a diagnosis too.

    :param redact: what is judged, and all that comes of it, holds pseudonyms
    """
    began = time.monotonic()
    facts = Facts(
        options.system,
        options.host,
        now(),
        deadline_s=options.deadline_s,
        tool_version=__version__,
    )
    try:
        collectors = {
            **probe_collectors(target, options.endpoints),
            **target.system.collectors(),
        }  # progress names the first that is missing
        ending_s = ENDING_S
        if redact:
            ending_s += REDACTING * options.deadline_s
        import_ahead()
        facts = collect(options, collectors, target.system.cleanup, interrupted, progress, ending_s)
        if redact:
            facts = redacted_in_time(facts, began + options.deadline_s)
        return diagnose(facts)
    except Exception as error:
        from .diagnosis import failed

        if redact:
            from .redaction import nothing_of

            # what an error says may hold a name
            return failed(nothing_of(facts, error), "The run", RuntimeError(type(error).__name__))
        return failed(facts, "The run", error)


def import_ahead() -> None:
    """Imports what judges and reports while the collectors wait for the network: a third of all.

    Where memory or open files are few, at once: what the collectors leave may not be enough.
    """

    def work() -> None:
        # Whoever needs them imports them again, and says what was wrong.
        with suppress(Exception):
            from . import diagnosis  # noqa: F401
            from .report import json_report, text  # noqa: F401

    if limits.are_tight():
        work()
        return
    with suppress(threads.NoThread):
        threads.start(work)


def diagnose(facts: Facts) -> Diagnosis:
    """As ``diagnosis.diagnose``, imported where it is needed: see ``import_ahead``."""
    from . import diagnosis

    return diagnosis.diagnose(facts)


def redacted_in_time(facts: Facts, end: float) -> Facts:
    """The facts under pseudonyms; none of them where that is not done by ``end``
    (``time.monotonic``).
    """
    from .redaction import nothing_of, redacted  # here: it is large, and few runs need it

    made: List[Facts] = []
    (reason,) = side_by_side.run(
        [lambda: made.append(redacted(facts))], max(LEAST_S, end - time.monotonic())
    )
    if made:
        return made[0]
    if reason == side_by_side.LATE:
        return nothing_of(facts, TimeoutError("the facts are too many for the time that was left"))
    return nothing_of(facts, RuntimeError(reason))


def probe_collectors(target: Target, endpoints: bool) -> Dict[str, Collector]:
    """The network's part of the collectors.

    They share one pace, so that IMDS's limit holds for the run.
    """
    pace = Pace()
    connector, system, is_true = target.connector, target.system, target.imds.true_address

    def asking(board: Board) -> Asking:
        return Asking(connector, target.imds, pace, board.remaining)

    return {
        "imds": lambda board: imds.ask(
            asking(board),
            lambda so_far: board.draft("imds", so_far),
            lambda found: board.post(DOCUMENT, found),
        ),
        "wireserver": lambda board: wireserver.ask(connector, target.wireserver, board.remaining),
        "differential": lambda board: differential.ask(asking(board), board, system.by_device),
        "proxy_trials": lambda board: proxy.ask(asking(board), target.wireserver, board),
        "pac_files": lambda board: proxy.fetch_pacs(connector, board, is_true),
        "certificate_chains": lambda board: certificates.ask(connector, system, board, is_true),
        "endpoints": lambda board: certificates.try_endpoints(connector, board, endpoints, is_true),
    }


def keep(diagnosis: Diagnosis, system: LocalSystem, base: Optional[Path], began: float) -> str:
    """Writes ``report.txt`` and ``report.json`` into a folder of their own; says where, or why not.

    :param began: when the run began (``time.monotonic``): the writing may last until shortly after
    its deadline
    """
    from .report import json_report, text

    said: List[str] = []

    def work() -> None:
        try:
            texts = {
                "report.json": json_report.as_json(diagnosis),
                "report.txt": text.full(diagnosis, "this folder"),
            }
            name = diagnosis.facts.collected_at.replace("-", "").replace(":", "")
            folder = system.run_folder(base, name)
            for file, content in texts.items():
                folder.write(file, content.encode("ascii"))
            said.append(folder.path)
        except OSError as error:
            where = ""
            if isinstance(error.filename, str):
                where = f" ({error.filename})"
            said.append(f"not written: {error.strerror or error}{where}")
        except Exception as error:  # whatever it is, it costs the files only
            said.append(f"not written: {type(error).__name__}: {error}")

    left = began + diagnosis.facts.deadline_s + LATE_S - time.monotonic()
    (reason,) = side_by_side.run([work], min(WRITING_S, max(left, 0.2)))
    if said:
        return said[0]
    if reason == side_by_side.LATE:
        reason = "the file system does not answer"
    return f"not written: {reason}"
