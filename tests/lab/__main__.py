"""``python -m tests.lab [NAME ...]``: every scenario of the lab as a table; with ``--script FILE``
through the script for Run Command; with ``--exe FILE``, those that Wine can show.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Sequence

from .. import wine
from . import windows
from .linux import LINUX
from .namespace import Lab, why_not
from .run import run_all
from .scenarios import Broken
from .script import ScriptLab


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--exe", type=Path, help="run this exe under Wine instead of Python")
    parser.add_argument("--script", type=Path, help="run this imds-check.sh instead of the package")
    options = parser.parse_args()
    reason = why_not() or (wine.why_not() if options.exe else None)
    if reason:
        print(f"the lab cannot run here: {reason}", file=sys.stderr)
        return 2
    known = windows.shown() if options.exe else LINUX
    chosen = [scenario for scenario in known if not options.names or scenario.name in options.names]
    if not chosen:
        print(
            f"no scenario of the lab has one of these names: {', '.join(options.names)}",
            file=sys.stderr,
        )
        return 2
    make: Callable[..., Lab] = (
        partial(windows.WindowsLab, options.exe.absolute()) if options.exe else Lab
    )
    if options.script:
        make = partial(ScriptLab, options.script.absolute())
    wrong = table(chosen, make)
    if options.exe:
        print("not to be shown under Wine:")
        for name, why in windows.CANNOT.items():
            print(f"  {name} - {why}")
    return 1 if wrong else 0


def table(chosen: Sequence[Broken], make: Callable[..., Lab]) -> int:
    """Prints it; gives the number of scenarios that came out wrong."""
    width = max(len(scenario.name) for scenario in chosen) + 2
    print(f"{'SCENARIO':{width}}{'VERDICT':14}{'CAUSE':27}{'S':>5}  {'AFTER THE FIX':24}RIGHT")
    wrong = 0
    for scenario, result in zip(chosen, run_all(chosen, make)):
        wrong += not result.right
        after = f"{result.after} ({result.executed} commands)" if result.after else "-"
        print(
            f"{scenario.name:{width}}{result.verdict:14}"
            f"{result.cause or '-':27}{result.seconds:5.1f}  {after:24}"
            f"{'yes' if result.right else 'NO'}",
            flush=True,
        )
    print(f"{len(chosen)} scenarios, {wrong} wrong")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
