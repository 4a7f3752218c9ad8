"""Arguments in, exit code out. Each command imports what it needs, so that ``--version`` and a wrong argument cost nothing."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NoReturn, Optional, Sequence

from . import __version__, interrupts, terminal

if TYPE_CHECKING:
    from .diagnosis import Diagnosis
    from .probes.tcp import Endpoint

COMMANDS = ("check", "demo", "replay", "explain", "decode")
FORMATS = ("portal", "full", "json")
REDACTS = "pseudonyms for names, ids and addresses, in every report; the printed commands cannot be pasted then"
WRONG_ARGUMENTS = 2


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one line, and exits with 2. Options are written in full: a short form would become contract."""

    def __init__(self, **more: object) -> None:
        super().__init__(allow_abbrev=False, **more)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        fail(message)


def fail(message: str) -> NoReturn:
    """One line on standard error, exit code 2."""
    from .rules.finding import to_ascii

    tell(f"imds-check: {to_ascii(message)[:400]}\n")
    raise SystemExit(WRONG_ARGUMENTS)


def tell(text: str) -> None:
    """To standard error, where it takes it."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(text)
        except OSError:
            pass


def main(arguments: Optional[Sequence[str]] = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "check")  # the default command
    options = parser().parse_args(words)
    if not hasattr(options, "command"):
        fail(f"which command? one of {', '.join(COMMANDS)}")
    return int(options.command(options))


def parser() -> Parser:
    top = Parser(
        prog="imds-check",
        description="Finds the one cause why this Azure VM cannot use the Instance Metadata Service, and how to mend it.",
        epilog="Exit codes: 0 healthy, 1 broken or degraded, 2 wrong arguments, 3 inconclusive. Without a command: check.",
    )
    top.add_argument("--version", action="version", version=f"imds-check {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", parser_class=Parser)

    check = commands.add_parser("check", help="diagnose this machine (the default)")
    check.add_argument(
        "--expected-mac",
        type=_mac,
        metavar="MAC",
        help="MAC address that Azure shows for the primary NIC",
    )
    check.add_argument(
        "--expected-ip",
        type=_ip,
        metavar="IP",
        help="primary private IP address that Azure shows",
    )
    check.add_argument("--format", choices=FORMATS, default="portal", help="default: %(default)s")
    check.add_argument(
        "--out", type=_folder, metavar="DIR", help="where the report folder goes, instead of the usual place"
    )
    check.add_argument("--no-files", action="store_true", help="leave no report folder")
    check.add_argument("--redact", action="store_true", help=REDACTS)
    check.add_argument(
        "--endpoints",
        action="store_true",
        help="try the hosts of certificates even if no certificate problem makes them matter",
    )
    check.add_argument(
        "--deadline",
        type=_deadline,
        metavar="S",
        help="seconds for everything, 1 to 600 (default 20)",
    )
    check.add_argument(
        "--exit-zero", action="store_true", help="always exit with 0; the last line still says the real code"
    )
    check.add_argument("--imds-url", type=_endpoint, help=argparse.SUPPRESS)
    check.add_argument("--wireserver-url", type=_endpoint, help=argparse.SUPPRESS)
    check.set_defaults(command=do_check)

    demo = commands.add_parser(
        "demo", help="the same diagnosis of a simulated VM and host; runs anywhere, needs no privileges"
    )
    demo.add_argument("scenario", nargs="?", metavar="SCENARIO", help="default: a broken VM")
    demo.add_argument("--list", action="store_true", help="the scenarios, and the cause that each shows")
    demo.add_argument("--format", choices=FORMATS, default="portal", help="default: %(default)s")
    demo.add_argument("--redact", action="store_true", help=REDACTS)
    demo.set_defaults(command=do_demo)

    replay = commands.add_parser("replay", help="judge the facts in a report.json again, offline")
    replay.add_argument("report", type=Path, metavar="REPORT.json")
    replay.add_argument("--format", choices=FORMATS, default="portal", help="default: %(default)s")
    replay.add_argument("--redact", action="store_true", help=REDACTS)
    replay.set_defaults(command=do_replay)

    explained = commands.add_parser(
        "explain", help="a cause's help page; without one, the table of all causes and checks"
    )
    explained.add_argument("cause", nargs="?", metavar="CAUSE")
    explained.set_defaults(command=do_explain)

    decoded = commands.add_parser("decode", help="the report in what Run Command gave back (az vm run-command, portal)")
    decoded.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="what the client printed; -, the default: standard input"
    )
    decoded.set_defaults(command=do_decode)
    return top


# --- commands -------------------------------------------------------------------------------------------------------


def do_check(options: argparse.Namespace) -> int:
    from .check import Target, keep, run
    from .collect import DEFAULT_DEADLINE_S, Run
    from .probes.tcp import Connector
    from .system import current

    if bool(options.imds_url) != bool(options.wireserver_url):
        fail("--imds-url and --wireserver-url go together")
    began, system = time.monotonic(), current()
    target = Target(system, Connector())
    if options.imds_url:
        target = Target(system, Connector(), options.imds_url, options.wireserver_url)
    deadline = options.deadline or DEFAULT_DEADLINE_S
    conditions = Run(system.name, system.host(), deadline, options.expected_mac, options.expected_ip, options.endpoints)
    diagnosis = _watched(lambda interrupted, progress: run(target, conditions, interrupted, progress, options.redact))
    files = "none (--no-files)" if options.no_files else keep(diagnosis, system, options.out, began)
    code = _print(diagnosis, options.format, files)
    return 0 if options.exit_zero else code


def do_demo(options: argparse.Namespace) -> int:
    from .simulator import scenarios
    from .simulator.world import simulate

    if options.list:
        write(scenarios.table())
        return 0
    scenario = scenarios.BY_NAME.get(options.scenario or scenarios.DEFAULT)
    if scenario is None:
        fail(f"no scenario is called {options.scenario!r}; demo --list names them")
    diagnosis = _watched(lambda interrupted, progress: simulate(scenario, interrupted, progress, redact=options.redact))
    return _print(diagnosis, options.format, "none (demo)")


def do_replay(options: argparse.Namespace) -> int:
    from .diagnosis import diagnose
    from .facts import FactsError
    from .report import json_report

    try:
        with options.report.open("rb") as file:
            content = file.read(json_report.SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        fail(f"{options.report}: {getattr(error, 'strerror', None) or error}")
    if len(content) > json_report.SIZE_LIMIT:
        fail(f"{options.report}: larger than {json_report.SIZE_LIMIT >> 20} MiB, so not a report")
    try:
        facts = json_report.facts_of_report(content)
    except FactsError as error:
        fail(f"{options.report}: {error}")
    if options.redact:
        from .redaction import redacted

        facts = redacted(facts)
    return _print(diagnose(facts), options.format, "none (replay)")


def do_explain(options: argparse.Namespace) -> int:
    from .report import explain

    if options.cause is None:
        write(explain.table())
        return 0
    page = explain.page(options.cause)
    if page is None:
        fail(f"no cause is called {options.cause!r}; explain without an argument lists them")
    write(page)
    return 0


def do_decode(options: argparse.Namespace) -> int:
    from .results.decode import decode
    from .results.run_command import SIZE_LIMIT

    try:
        with open(0 if options.file == "-" else options.file, "rb", closefd=options.file != "-") as file:
            content = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        fail(f"{options.file}: {getattr(error, 'strerror', None) or error}")
    if len(content) > SIZE_LIMIT:
        fail(f"{options.file}: larger than {SIZE_LIMIT >> 20} MiB, so not what Run Command gives back")
    found = decode(content)
    for decoded in found:
        write(_plain(decoded.report))
        beside = [*decoded.told, f"The VM's standard error:\n{decoded.err}"] if decoded.err.strip() else decoded.told
        tell(_plain("\n".join(beside)))
    return max(decoded.exit_code for decoded in found)


def _plain(text: str) -> str:
    """What comes from a VM, as it may go to a terminal: lines of printable ASCII."""
    from .rules.finding import to_ascii

    return "".join(f"{to_ascii(line)}\n" for line in text.splitlines())


# --- arguments ------------------------------------------------------------------------------------------------------


def _mac(value: str) -> str:
    from .facts import parse_nic_mac

    return _parsed(parse_nic_mac, value)


def _ip(value: str) -> str:
    from .facts import parse_host_address

    return _parsed(parse_host_address, value)


def _parsed(parse: Callable[[str], str], value: str) -> str:
    try:
        return parse(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _folder(value: str) -> Path:
    path = Path(value)
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):
        is_folder = False
    if not is_folder:
        raise argparse.ArgumentTypeError(f"no such folder: {value!r}")
    return path.absolute()


def _deadline(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"not a number of seconds from 1 to 600: {value!r}")
    return seconds


def _endpoint(value: str) -> "Endpoint":
    from .facts import parse_address
    from .probes.tcp import Endpoint

    match = re.fullmatch(r"http://([0-9.]+|localhost)(?::(\d{1,5}))?/?", value, re.ASCII)
    port = int(match.group(2) or 80) if match else 0
    try:
        if match and 0 < port < 65536:
            host = "127.0.0.1" if match.group(1) == "localhost" else match.group(1)
            return Endpoint(parse_address(host), port, true_address=False)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"not of the form http://ADDRESS:PORT: {value!r}")


# --- output ---------------------------------------------------------------------------------------------------------


def _watched(work: Callable[[Callable[[], bool], Callable[[str, float], None]], "Diagnosis"]) -> "Diagnosis":
    """Runs a diagnosis with progress on a terminal. Ctrl-C and SIGTERM end the collecting, not the report: ``_print`` lets go."""
    interrupts.note()
    with terminal.Progress(sys.stdout, sys.stderr) as progress:
        return work(interrupts.came, progress)


def _print(diagnosis: "Diagnosis", format: str, files: str) -> int:
    """Prints the report; gives the exit code. A report that cannot be made has a shorter one in its place."""
    from .diagnosis import EXIT_CODES
    from .report import json_report, text
    from .rules.finding import Verdict

    code = diagnosis.exit_code
    try:
        if format == "json":
            report = json_report.as_json(diagnosis)
        elif format == "full":
            report = text.full(diagnosis, files)
        else:
            report = text.portal(diagnosis, files)
        if format != "json" and terminal.has_colour(sys.stdout):
            report = terminal.coloured(report)
    except Exception as error:  # a fault of this program
        report = text.last_resort(diagnosis.facts, error)
        code = EXIT_CODES[Verdict.INCONCLUSIVE]
    write(report)
    interrupts.stop()
    return code


def write(report: str) -> None:
    """To standard output; one that is closed, full or gone costs the output, never the exit code."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(report)
        sys.stdout.flush()
    except (OSError, ValueError):
        try:  # so that the interpreter's own flush at the end has nothing to complain of
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, ValueError):
            pass
