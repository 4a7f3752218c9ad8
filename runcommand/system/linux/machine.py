"""The distribution, the chassis, and the raw text of the article's steps."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Tuple

from ...collect import Board
from ...facts import Machine, RawText
from ..program import Programs
from .files import key_values, read

assert sys.platform != "win32"
OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
RELEASE_LIMIT, VALUE_LIMIT = 64 * 1024, 200  # bytes of the file; characters of a value
DMI = Path("/sys/class/dmi/id")


def collect(board: Board) -> Machine:
    text = read(OS_RELEASE[0], RELEASE_LIMIT) or read(OS_RELEASE[1], RELEASE_LIMIT) or ""
    release = {key: value[:VALUE_LIMIT] for key, value in key_values(text).items()}
    return Machine(
        os_name=release.get("PRETTY_NAME") or release.get("NAME"),
        os_id=release.get("ID"),
        os_version=release.get("VERSION_ID"),
        kernel=platform.release(),
        architecture=platform.machine(),
        vendor=read(DMI / "sys_vendor"),
        product=read(DMI / "product_name"),
        asset_tag=read(DMI / "chassis_asset_tag"),
        smbios_uuid=read(DMI / "product_uuid"),
        elevated=os.geteuid() == 0,
    )


def collect_raw(programs: Programs, board: Board) -> Tuple[RawText, ...]:
    shown = (
        ["-4", "route", "show", "table", "all"],
        ["-4", "rule", "show"],
        ["-4", "addr", "show"],
    )
    return tuple(
        programs.raw_text(f"ip {' '.join(arguments)}", "ip", arguments) for arguments in shown
    )
