"""Arguments in, exit code out.

Each command imports what it needs, so that ``--version`` and a wrong argument cost nothing.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, List, NoReturn, Optional, Sequence

from . import __version__, interrupts, terminal

if TYPE_CHECKING:
    from .diagnosis import Diagnosis
    from .probes.tcp import Endpoint

COMMANDS = ("check", "demo", "replay", "explain", "decode")
FORMATS = ("portal", "full", "json")
REDACTS = (
    "replace names, ids and addresses with pseudonyms; the printed commands then cannot be pasted"
)
EXAMPLES = """\
examples:
  imds-check                                  diagnose this VM, as root or administrator
  imds-check decode answer.json               print the report in az vm run-command's answer
  imds-check explain route-wrong-interface    what a cause means, and how to fix it

exit codes: 0 healthy, 1 broken or degraded, 2 wrong arguments, 3 inconclusive
"""
WRONG_ARGUMENTS = 2


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one line, and exits with 2.

    Options are written in full: a short form would become contract.
    """

    def __init__(self, **more: object) -> None:
        super().__init__(allow_abbrev=False, **more)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        fail(message)


class TopParser(Parser):
    """The parser of the program itself.

    Its help also shows the options of the default command, and examples.
    """

    default: Parser

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.start_section("options of check, the default command")
        formatter.add_arguments(
            [action for action in self.default._actions if action.dest != "help"]
        )
        formatter.end_section()
        return f"{super().format_help()}\n{formatter.format_help()}\n{EXAMPLES}"


def fail(message: str) -> NoReturn:
    """One line on standard error, exit code 2."""
    from .model.words import to_ascii

    tell(f"imds-check: {to_ascii(message)[:400]}\n")
    raise SystemExit(WRONG_ARGUMENTS)


def tell(text: str) -> None:
    """To standard error, where it takes it."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(text)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    if arguments is None:
        arguments = sys.argv[1:]
    words = list(arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "check")  # the default command
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        fail(f"{_unknown('command', words[0], COMMANDS)} The commands: {', '.join(COMMANDS)}")
    options, unrecognised = parser().parse_known_args(words)
    if unrecognised:
        fail(_unrecognised(unrecognised, words[0], options.known))
    try:
        return int(options.command(options))
    except ModuleNotFoundError as missing:
        # the script for Linux VMs holds only what is of use there
        if not (missing.name or "").startswith("runcommand."):
            raise
        fail(f"{words[0]} is not part of this script; the whole program has it")


def _unknown(what: str, given: str, known: Iterable[str]) -> str:
    """That nothing is called so, and what was most likely meant."""
    from .nearest import nearest

    meant = nearest(given, known)
    said = f"no {what} is called {_shown(given)}."
    if meant:
        said += f" Did you mean {meant!r}?"
    return said


def _unrecognised(words: Sequence[str], command: str, known: Iterable[str]) -> str:
    """What was wrong with arguments that the command does not take."""
    options = [word for word in words if word.startswith("-")]
    if options:
        unknown = _unknown("option", options[0].partition("=")[0], known)
        return f"{command}: {unknown} imds-check {command} --help lists them"
    if words[0] in COMMANDS:
        example = f"imds-check {words[0]}"
        return f"unrecognized argument {words[0]!r}: a command comes first, as in {example}"
    return f"{command}: unrecognized argument {_shown(words[0])}"


def _shown(given: str) -> str:
    """What was given, in quotes; only the beginning of what is long, so that the advice after it is
    seen.
    """
    if len(given) <= 60:
        return repr(given)
    return f"{given[:60]!r}..."


def parser() -> Parser:
    top = TopParser(
        prog="imds-check",
        usage="imds-check [COMMAND] [OPTIONS]",
        description=(
            "Finds the single reason an Azure VM cannot reach the Instance Metadata Service "
            "(IMDS), and prints the commands that fix it. It changes nothing on the VM."
        ),
    )
    top.add_argument("--version", action="version", version=f"imds-check {__version__}")
    commands = top.add_subparsers(
        title="commands", metavar="COMMAND", prog="imds-check", parser_class=Parser
    )

    check = commands.add_parser("check", help="diagnose this VM (the default command)")
    check.add_argument(
        "--expected-mac",
        type=_mac,
        metavar="MAC",
        help="the primary NIC's MAC address, as Azure shows it",
    )
    check.add_argument(
        "--expected-ip",
        type=_ip,
        metavar="IP",
        help="the primary NIC's primary private IP address, as Azure shows it",
    )
    _add_format(check)
    check.add_argument(
        "--out",
        type=_folder,
        metavar="DIR",
        help="create the report folder in this folder instead of the default one",
    )
    check.add_argument("--no-files", action="store_true", help="write no report files")
    check.add_argument("--redact", action="store_true", help=REDACTS)
    check.add_argument(
        "--endpoints",
        action="store_true",
        help=(
            "test the hosts of certificates, revocation lists and OCSP "
            "even without a certificate problem"
        ),
    )
    check.add_argument(
        "--deadline",
        type=_deadline,
        metavar="S",
        help="time limit for the whole run, in seconds, 1 to 600 (default 20)",
    )
    check.add_argument(
        "--exit-zero",
        action="store_true",
        help="exit with 0 instead of 1 or 3; the report's last line still has the real code",
    )
    check.add_argument("--imds-url", type=_endpoint, help=argparse.SUPPRESS)
    check.add_argument("--wireserver-url", type=_endpoint, help=argparse.SUPPRESS)
    check.set_defaults(command=do_check)
    top.default = check

    demo = commands.add_parser(
        "demo", help="diagnose a simulated VM, on any machine and without privileges"
    )
    demo.add_argument(
        "scenario", nargs="?", metavar="SCENARIO", help="which simulated VM (default: a broken one)"
    )
    demo.add_argument(
        "--list", action="store_true", help="list the scenarios and the cause of each"
    )
    _add_format(demo)
    demo.add_argument("--redact", action="store_true", help=REDACTS)
    demo.set_defaults(command=do_demo)

    replay = commands.add_parser("replay", help="diagnose again from a report.json, offline")
    replay.add_argument(
        "report", metavar="REPORT.json", help="from the report folder of an earlier run"
    )
    _add_format(replay)
    replay.add_argument("--redact", action="store_true", help=REDACTS)
    replay.set_defaults(command=do_replay)

    explained = commands.add_parser(
        "explain", help="print the help page of a cause or a check, or the table of all of them"
    )
    explained.add_argument(
        "name",
        nargs="?",
        metavar="ID",
        help="a cause, such as route-missing, or a check, such as imds.reachable",
    )
    explained.set_defaults(command=do_explain)

    decoded = commands.add_parser(
        "decode", help="print the report from what Run Command returned (az, PowerShell, portal)"
    )
    decoded.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="the output of az, PowerShell or the portal (default: -, standard input)",
    )
    decoded.set_defaults(command=do_decode)
    for command in (check, demo, replay, explained, decoded):
        command.set_defaults(known=_option_names(command))
    return top


def _add_format(command: argparse.ArgumentParser) -> None:
    known = ",".join(FORMATS)
    command.add_argument(
        "--format",
        type=_format,
        metavar=f"{{{known}}}",
        help=f"the report on standard output (default: {FORMATS[0]})",
    )


def _option_names(command: argparse.ArgumentParser) -> List[str]:
    """The options that ``--help`` tells of."""
    return [
        name
        for action in command._actions
        if action.help != argparse.SUPPRESS
        for name in action.option_strings
    ]


# --- commands ---


def do_check(options: argparse.Namespace) -> int:
    from .check import Target, keep, run
    from .collect import RunOptions
    from .collect.run import DEFAULT_DEADLINE_S
    from .probes.tcp import Connector
    from .system import current

    if bool(options.imds_url) != bool(options.wireserver_url):
        fail("--imds-url and --wireserver-url go together")
    if options.no_files and options.out:
        fail("--no-files and --out contradict each other: leave one of them out")
    began, system = time.monotonic(), current()
    target = Target(system, Connector())
    if options.imds_url:
        target = Target(system, Connector(), options.imds_url, options.wireserver_url)
    deadline = options.deadline or DEFAULT_DEADLINE_S
    conditions = RunOptions(
        system.name,
        system.host(),
        deadline,
        options.expected_mac,
        options.expected_ip,
        options.endpoints,
    )
    diagnosis = _watched(
        lambda interrupted, progress: run(target, conditions, interrupted, progress, options.redact)
    )
    files = "none (--no-files)"
    if not options.no_files:
        files = keep(diagnosis, system, options.out, began)
    if options.redact and options.out:
        files = _without_path(files, options.out)
    code = _print(diagnosis, options.format, files)
    return 0 if options.exit_zero else code


def do_demo(options: argparse.Namespace) -> int:
    from .simulator import scenarios
    from .simulator.world import simulate

    if options.list:
        if options.scenario is not None or options.format or options.redact:
            fail("demo --list prints the list of scenarios, as text: give nothing beside it")
        write(scenarios.table())
        return 0
    name = scenarios.DEFAULT if options.scenario is None else options.scenario
    scenario = scenarios.BY_NAME.get(name)
    if scenario is None:
        fail(f"{_unknown('scenario', name, scenarios.BY_NAME)} demo --list names them")
    diagnosis = _watched(
        lambda interrupted, progress: simulate(
            scenario, interrupted, progress, redact=options.redact
        )
    )
    return _print(diagnosis, options.format, "none (demo)")


def do_replay(options: argparse.Namespace) -> int:
    from .attest.document import read_again
    from .diagnosis import diagnose
    from .facts import FactsError
    from .report import json_report

    content = _read(options.report, json_report.SIZE_LIMIT, "a report")
    try:
        facts = json_report.facts_of_report(content)
    except FactsError as error:
        fail(f"{_shown_path(options.report)}: {_of_run_command(content) or error}")
    facts = read_again(facts)
    if options.redact:
        from .redaction import redacted

        facts = redacted(facts)
    return _print(diagnose(facts), options.format, "none (replay)")


def do_explain(options: argparse.Namespace) -> int:
    from .report import explain

    if options.name is None:
        write(explain.table())
        return 0
    page = explain.page(options.name)
    if page is None:
        unknown = _unknown("cause or check", options.name, explain.names())
        fail(f"{unknown} explain without an argument lists them")
    write(page)
    return 0


def do_decode(options: argparse.Namespace) -> int:
    from .operator.decode import decode
    from .operator.run_command import SIZE_LIMIT

    content = _read(options.file, SIZE_LIMIT, "what Run Command gives back")
    found = decode(content)
    for decoded in found:
        write(_plain(decoded.report))
        beside = list(decoded.notes)
        if decoded.err.strip():
            beside.append(f"The VM's standard error:\n{decoded.err}")
        tell(_plain("\n".join(beside)))
    return max(decoded.exit_code for decoded in found)


def _read(name: str, limit: int, what: str) -> bytes:
    """A file that the operator named; ``-`` is standard input. One that cannot be read, or is no
    such thing, ends the program.
    """
    try:
        if name != "-" and os.path.isdir(name):
            fail(f"{_shown_path(name)}: it is a folder, not a file")
        with open(0 if name == "-" else name, "rb", closefd=name != "-") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        fail(f"{_shown_path(name)}: {getattr(error, 'strerror', None) or error}")
    if len(content) > limit:
        fail(f"{_shown_path(name)}: larger than {limit >> 20} MiB, so not {what}")
    return content


def _shown_path(name: str) -> str:
    """A file's name before what was wrong with it: the end of a long one says most."""
    if name == "-":
        return "standard input"
    if len(name) > 120:
        return f"...{name[-120:]}"
    return name or "''"


def _of_run_command(content: bytes) -> Optional[str]:
    """What to do with a file that is no report.json but what Run Command gave back; None where it
    is neither.
    """
    try:
        from .operator.run_command import is_given_back
    except ModuleNotFoundError:  # the script for Linux VMs has no decode
        return None
    if is_given_back(content):
        what = "what Run Command gave back, or a report's text, not a report.json"
        return f"{what}: use imds-check decode"
    return None


def _without_path(files: str, out: Path) -> str:
    """Where the files are, without the folder of ``--out``: its path may name whose VM it is."""
    if len(out.parts) == 1:  # the root is in every path
        return files
    return files.replace(str(out), "DIR of --out")


def _plain(text: str) -> str:
    """What comes from a VM, as it may go to a terminal: lines of printable ASCII."""
    from .model.words import to_ascii

    return "".join(f"{to_ascii(line)}\n" for line in text.splitlines())


# --- arguments ---


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


def _format(value: str) -> str:
    if value not in FORMATS:
        raise argparse.ArgumentTypeError(
            f"{_unknown('format', value, FORMATS)} The formats: {', '.join(FORMATS)}"
        )
    return value


def _folder(value: str) -> Path:
    path = Path(value)
    try:
        is_folder = bool(value) and path.is_dir()  # nothing is not the current folder
    except (OSError, ValueError):
        is_folder = False
    if not is_folder:
        raise argparse.ArgumentTypeError(f"no such folder: {_shown(value)}")
    return path.absolute()


def _deadline(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"not a number of seconds from 1 to 600: {value!r}")
    return seconds


def _endpoint(value: str) -> Endpoint:
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


# --- output ---


def _watched(
    work: Callable[[Callable[[], bool], Callable[[str, float], None]], Diagnosis],
) -> Diagnosis:
    """Runs a diagnosis with progress on a terminal.

    Ctrl-C and SIGTERM end the collecting, not the report: ``_print`` lets go.
    """
    interrupts.note()
    with terminal.Progress(sys.stdout, sys.stderr) as progress:
        return work(interrupts.came, progress)


def _print(diagnosis: Diagnosis, format: Optional[str], files: str) -> int:
    """Prints the report; gives the exit code.

    A report that cannot be made has a shorter one in its place.
    """
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
    """To standard output: one that is closed, full or gone costs the output, not the exit code."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(report)
        sys.stdout.flush()
    except (OSError, ValueError):
        # so that the interpreter's own flush at the end has nothing to complain of
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
