"""All commands, and the program's own help."""

from __future__ import annotations

import argparse
from typing import List

from ..arguments import Parser
from . import check, decode, demo, explain, replay

MODULES = (check, demo, replay, explain, decode)
EXAMPLES = """\
examples:
  imds-check                                  diagnose this VM, as root or administrator
  imds-check decode answer.json               print the report in az vm run-command's answer
  imds-check explain route-wrong-interface    what a cause means, and how to fix it

exit codes: 0 healthy, 1 broken or degraded, 2 wrong arguments, 3 inconclusive
"""


class ProgramParser(Parser):
    """The parser of the program itself.

    Its help also shows the options of the default command, and examples.
    """

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.start_section("options of check, the default command")
        formatter.add_arguments(_options_of_check())
        formatter.end_section()
        return f"{super().format_help()}\n{formatter.format_help()}\n{EXAMPLES}"


def _options_of_check() -> List[argparse.Action]:
    command = check.add(argparse.ArgumentParser().add_subparsers(parser_class=Parser))
    return [action for action in command._actions if action.dest != "help"]


def parser() -> Parser:
    return ProgramParser(
        prog="imds-check",
        usage="imds-check [COMMAND] [OPTIONS]",
        description=(
            "Finds the single reason an Azure VM cannot reach the Instance Metadata Service "
            "(IMDS), and prints the commands that fix it. It changes nothing on the VM."
        ),
    )
