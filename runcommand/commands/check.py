"""``imds-check check``: diagnoses this VM."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ..arguments import (
    REDACTS,
    Parser,
    add_format,
    deadline,
    endpoint,
    fail,
    folder,
    ip_address,
    mac_address,
)
from ..output import print_report, watched


def add(commands: argparse._SubParsersAction[Parser]) -> Parser:
    """The command's own arguments."""
    command = commands.add_parser("check", help="diagnose this VM (the default command)")
    command.add_argument(
        "--expected-mac",
        type=mac_address,
        metavar="MAC",
        help="the primary NIC's MAC address, as Azure shows it",
    )
    command.add_argument(
        "--expected-ip",
        type=ip_address,
        metavar="IP",
        help="the primary NIC's primary private IP address, as Azure shows it",
    )
    add_format(command)
    command.add_argument(
        "--out",
        type=folder,
        metavar="DIR",
        help="create the report folder in this folder instead of the default one",
    )
    command.add_argument("--no-files", action="store_true", help="write no report files")
    command.add_argument("--redact", action="store_true", help=REDACTS)
    command.add_argument(
        "--endpoints",
        action="store_true",
        help=(
            "test the hosts of certificates, revocation lists and OCSP "
            "even without a certificate problem"
        ),
    )
    command.add_argument(
        "--deadline",
        type=deadline,
        metavar="S",
        help="time limit for the whole run, in seconds, 1 to 600 (default 20)",
    )
    command.add_argument(
        "--exit-zero",
        action="store_true",
        help="exit with 0 instead of 1 or 3; the report's last line still has the real code",
    )
    command.add_argument("--imds-url", type=endpoint, help=argparse.SUPPRESS)
    command.add_argument("--wireserver-url", type=endpoint, help=argparse.SUPPRESS)
    return command


def run(options: argparse.Namespace) -> int:
    from ..check import Target, keep, run as diagnose_vm
    from ..collect import RunOptions
    from ..collect.run import DEFAULT_DEADLINE_S
    from ..probes.tcp import Connector
    from ..system.here import current

    if bool(options.imds_url) != bool(options.wireserver_url):
        fail("--imds-url and --wireserver-url go together")
    if options.no_files and options.out:
        fail("--no-files and --out contradict each other: leave one of them out")
    began, system = time.monotonic(), current()
    target = Target(system, Connector())
    if options.imds_url:
        target = Target(system, Connector(), options.imds_url, options.wireserver_url)
    run_options = RunOptions(
        system.name,
        system.host(),
        options.deadline or DEFAULT_DEADLINE_S,
        options.expected_mac,
        options.expected_ip,
        options.endpoints,
    )
    diagnosis = watched(
        lambda interrupted, progress: diagnose_vm(
            target, run_options, interrupted, progress, options.redact
        )
    )
    files = "none (--no-files)"
    if not options.no_files:
        files = keep(diagnosis, system, options.out, began)
    if options.redact and options.out:
        files = _without_path(files, options.out)
    code = print_report(diagnosis, options.format, files)
    if options.exit_zero:
        return 0
    return code


def _without_path(files: str, out: Path) -> str:
    """Where the files are, without the folder of ``--out``: its path may name whose VM it is."""
    if len(out.parts) == 1:  # the root is in every path
        return files
    return files.replace(str(out), "DIR of --out")
