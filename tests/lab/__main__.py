"""``python -m tests.lab [NAME ...]``: every scenario of the lab as a table; with ``--exe FILE``, those that Wine can show."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Sequence

from .. import wine
from . import windows
from .namespace import why_not
from .run import SIDE_BY_SIDE, run
from .scenarios import SCENARIOS, Broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--exe", type=Path, help="run this exe under Wine instead of Python")
    options = parser.parse_args()
    reason = why_not() or (wine.why_not() if options.exe else None)
    if reason:
        print(f"the lab cannot run here: {reason}", file=sys.stderr)
        return 2
    known = windows.shown() if options.exe else SCENARIOS
    chosen = [scenario for scenario in known if not options.names or scenario.name in options.names]
    if not chosen:
        print(f"no scenario of the lab has one of these names: {', '.join(options.names)}", file=sys.stderr)
        return 2
    return table_of_exe(chosen, options.exe.absolute()) if options.exe else table(chosen)


def table(chosen: Sequence[Broken]) -> int:
    width = max(len(scenario.name) for scenario in chosen) + 2
    print(f"{'SCENARIO':{width}}{'VERDICT':14}{'CAUSE':27}{'S':>5}  {'AFTER THE FIX':24}RIGHT")
    wrong = 0
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for scenario, result in zip(chosen, pool.map(run, chosen)):
            wrong += not result.right
            after = f"{result.after} ({result.executed} commands)" if result.after else "-"
            print(
                f"{scenario.name:{width}}{result.verdict:14}{result.cause or '-':27}{result.seconds:5.1f}  {after:24}"
                f"{'yes' if result.right else 'NO'}",
                flush=True,
            )
    print(f"{len(chosen)} scenarios, {wrong} wrong")
    return 1 if wrong else 0


def table_of_exe(chosen: Sequence[Broken], exe: Path) -> int:
    width = max(len(scenario.name) for scenario in chosen) + 2
    print(f"{'SCENARIO':{width}}{'VERDICT':14}{'CAUSE':27}{'S':>5}  RIGHT")
    wrong = 0
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for scenario, seen in zip(chosen, pool.map(partial(windows.run, exe=exe), chosen)):
            wrong += not seen.right
            print(
                f"{scenario.name:{width}}{seen.verdict:14}{seen.cause or '-':27}{seen.seconds:5.1f}  "
                f"{'yes' if seen.right else 'NO'}",
                flush=True,
            )
    print(f"{len(chosen)} scenarios, {wrong} wrong; not to be shown under Wine:")
    for name, reason in windows.CANNOT.items():
        print(f"  {name:{width - 2}}{reason}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
