"""Arguments in, exit code out.

Each command imports what it needs, so that ``--version`` and a wrong argument cost nothing.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Iterable, List, Optional, Sequence

from . import __version__
from .arguments import Parser, fail, shown, unknown
from .commands import COMMANDS, DEFAULT, check


def main(arguments: Optional[Sequence[str]] = None) -> int:
    if arguments is None:
        arguments = sys.argv[1:]
    words = list(arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, DEFAULT)
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        fail(f"{unknown('command', words[0], COMMANDS)} The commands: {', '.join(COMMANDS)}")
    options, unrecognised = parser(words[0]).parse_known_args(words)
    if unrecognised:
        fail(_unrecognised(unrecognised, words[0], options.known))
    return int(options.run(options))


def _unrecognised(words: Sequence[str], command: str, known: Iterable[str]) -> str:
    """What was wrong with arguments that the command does not take."""
    options = [word for word in words if word.startswith("-")]
    if options:
        said = unknown("option", options[0].partition("=")[0], known)
        return f"{command}: {said} imds-check {command} --help lists them"
    if words[0] in COMMANDS:
        example = f"imds-check {words[0]}"
        return f"unrecognized argument {words[0]!r}: a command comes first, as in {example}"
    return f"{command}: unrecognized argument {shown(words[0])}"


def parser(word: str) -> Parser:
    """The program's parser, with the command that is named; for the program's help, with all."""
    top = Parser(prog="imds-check")
    modules: Sequence[Any] = (check,)
    if word not in (DEFAULT, "--version"):
        program = _whole_program(word)
        top, modules = program.parser(), program.MODULES
    top.add_argument("--version", action="version", version=f"imds-check {__version__}")
    commands = top.add_subparsers(
        title="commands", metavar="COMMAND", prog="imds-check", parser_class=Parser
    )
    for module in modules:
        command = module.add(commands)
        command.set_defaults(run=module.run, known=_option_names(command))
    return top


def _whole_program(word: str) -> Any:
    """The module of all commands. The script for Linux VMs holds only what is of use there."""
    try:
        from .commands import program
    except ImportError as missing:
        if not (missing.name or "").startswith("runcommand.commands"):
            raise
        fail(f"{word} is not part of this script; the whole program has it")
    return program


def _option_names(command: argparse.ArgumentParser) -> List[str]:
    """The options that ``--help`` tells of."""
    return [
        name
        for action in command._actions
        if action.help != argparse.SUPPRESS
        for name in action.option_strings
    ]
