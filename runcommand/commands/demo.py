"""``imds-check demo``: diagnoses a simulated VM."""

from __future__ import annotations

import argparse

from ..arguments import REDACTS, Parser, add_format, fail, unknown
from ..output import print_report, watched, write


def add(commands: argparse._SubParsersAction[Parser]) -> Parser:
    """The command's own arguments."""
    command = commands.add_parser(
        "demo", help="diagnose a simulated VM, on any machine and without privileges"
    )
    command.add_argument(
        "scenario", nargs="?", metavar="SCENARIO", help="which simulated VM (default: a broken one)"
    )
    command.add_argument(
        "--list", action="store_true", help="list the scenarios and the cause of each"
    )
    add_format(command)
    command.add_argument("--redact", action="store_true", help=REDACTS)
    return command


def run(options: argparse.Namespace) -> int:
    from ..simulator import scenarios
    from ..simulator.world import simulate

    if options.list:
        if options.scenario is not None or options.format or options.redact:
            fail("demo --list prints the list of scenarios, as text: give nothing beside it")
        write(scenarios.table())
        return 0
    name = scenarios.DEFAULT if options.scenario is None else options.scenario
    scenario = scenarios.BY_NAME.get(name)
    if scenario is None:
        fail(f"{unknown('scenario', name, scenarios.BY_NAME)} demo --list names them")
    diagnosis = watched(
        lambda interrupted, progress: simulate(
            scenario, interrupted, progress, redact=options.redact
        )
    )
    return print_report(diagnosis, options.format, "none (demo)")
