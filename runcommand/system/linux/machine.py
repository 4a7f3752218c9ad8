"""The distribution, the chassis, and the raw text of the article's steps."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Optional, Tuple

from ...collect import Board, NotAvailable
from ...facts import Machine, RawText
from . import program
from .leases import key_values

OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
DMI = Path("/sys/class/dmi/id")
RAW_LIMIT = 256 * 1024


def collect(board: Board) -> Machine:
    release = key_values(next(filter(None, map(_read, OS_RELEASE)), ""))
    return Machine(
        os_name=release.get("PRETTY_NAME") or release.get("NAME"),
        os_id=release.get("ID"),
        os_version=release.get("VERSION_ID"),
        kernel=platform.release(),
        architecture=platform.machine(),
        vendor=_read(DMI / "sys_vendor"),
        product=_read(DMI / "product_name"),
        asset_tag=_read(DMI / "chassis_asset_tag"),
        smbios_uuid=_read(DMI / "product_uuid"),
        elevated=os.geteuid() == 0,
    )


def collect_raw(board: Board) -> Tuple[RawText, ...]:
    texts = []
    for arguments in (["route", "show", "table", "all"], ["addr", "show"]):
        command = f"ip -4 {' '.join(arguments)}"
        try:
            text = program.run("ip", ["-4", *arguments]).decode("utf-8", "replace")
        except NotAvailable as missing:
            text = str(missing)
        texts.append(RawText(command, text[:RAW_LIMIT], len(text) > RAW_LIMIT))
    return tuple(texts)


def _read(path: Path) -> Optional[str]:
    try:
        return path.read_text("utf-8", "replace")[:65536].strip() or None
    except OSError:
        return None
