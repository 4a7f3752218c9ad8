"""What all commands share of their arguments: how what is wrong is said, and the options' types."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, NoReturn

from .output import tell

if TYPE_CHECKING:
    from .probes.tcp import Endpoint

FORMATS = ("portal", "full", "json")
REDACTS = (
    "replace names, ids and addresses with pseudonyms; the printed commands then cannot be pasted"
)
WRONG_ARGUMENTS = 2


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one line, and exits with 2.

    Options are written in full: a short form would become contract.
    """

    def __init__(self, **more: object) -> None:
        super().__init__(allow_abbrev=False, **more)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        fail(message)


def fail(message: str) -> NoReturn:
    """One line on standard error, exit code 2."""
    from .model.words import to_ascii

    tell(f"imds-check: {to_ascii(message)[:400]}\n")
    raise SystemExit(WRONG_ARGUMENTS)


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """That nothing is called so, and what was most likely meant."""
    from .nearest import nearest

    meant = nearest(given, known)
    said = f"no {what} is called {shown(given)}."
    if meant:
        said += f" Did you mean {meant!r}?"
    return said


def shown(given: str) -> str:
    """What was given, in quotes; only the beginning of what is long, so that the advice after it is
    seen.
    """
    if len(given) <= 60:
        return repr(given)
    return f"{given[:60]!r}..."


def add_format(command: argparse.ArgumentParser) -> None:
    known = ",".join(FORMATS)
    command.add_argument(
        "--format",
        type=report_format,
        metavar=f"{{{known}}}",
        help=f"the report on standard output (default: {FORMATS[0]})",
    )


def mac_address(value: str) -> str:
    from .facts import parse_nic_mac

    return _parsed(parse_nic_mac, value)


def ip_address(value: str) -> str:
    from .facts import parse_host_address

    return _parsed(parse_host_address, value)


def _parsed(parse: Callable[[str], str], value: str) -> str:
    try:
        return parse(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def report_format(value: str) -> str:
    if value not in FORMATS:
        raise argparse.ArgumentTypeError(
            f"{unknown('format', value, FORMATS)} The formats: {', '.join(FORMATS)}"
        )
    return value


def folder(value: str) -> Path:
    path = Path(value)
    try:
        is_folder = bool(value) and path.is_dir()  # nothing is not the current folder
    except (OSError, ValueError):
        is_folder = False
    if not is_folder:
        raise argparse.ArgumentTypeError(f"no such folder: {shown(value)}")
    return path.absolute()


def deadline(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"not a number of seconds from 1 to 600: {value!r}")
    return seconds


def endpoint(value: str) -> Endpoint:
    from .facts import parse_address
    from .probes.tcp import Endpoint

    match = re.fullmatch(r"http://([0-9.]+|localhost)(?::(\d{1,5}))?/?", value, re.ASCII)
    try:
        if match and 0 < int(match.group(2) or 80) < 65536:
            host = match.group(1).replace("localhost", "127.0.0.1")
            port = int(match.group(2) or 80)
            return Endpoint(parse_address(host), port, true_address=False)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"not of the form http://ADDRESS:PORT: {value!r}")
