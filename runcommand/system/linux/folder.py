"""The report folder: made, written and pruned through directory descriptors, so that no link can
lead astray.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path
from typing import Optional, Tuple

from ...collect.system import RunFolder
from ..run_folder import FILES, candidates, outdated

assert sys.platform != "win32"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """One run's folder, open."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = str(path)
        self._descriptor = descriptor

    def write(self, name: str, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=self._descriptor), "wb") as file:
            try:
                file.write(content)
                file.flush()
            except OSError:
                os.unlink(name, dir_fd=self._descriptor)  # half a report is none
                raise


def make(chosen: Optional[Path], default: Path, name: str) -> RunFolder:
    """A new folder ``name`` under ``chosen`` (the operator's word counts) or ``default`` (each step
    is checked).

    Raises ``OSError``.
    """
    base = chosen or default
    descriptor = (
        os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if chosen else _walk(base)
    )
    try:
        unique = _new(descriptor, name)
        folder = os.open(unique, _OPEN, dir_fd=descriptor)
        _prune(descriptor, unique)
        return Folder(base / unique, folder)
    finally:
        os.close(descriptor)


def _new(base: int, name: str) -> str:
    for unique in candidates(name):
        try:
            os.mkdir(unique, 0o700, dir_fd=base)
            return unique
        except FileExistsError:
            continue
    raise FileExistsError(f"{name}: too many of the same second")


def _walk(path: Path) -> int:
    """Opens each step of an absolute path, making those that are missing; refuses what another user
    could redirect.
    """
    descriptor = os.open("/", _OPEN)
    for number, step in enumerate(path.parts[1:], 2):
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(step, 0o700 if number == len(path.parts) else 0o755, dir_fd=descriptor)
            deeper = os.open(step, _OPEN, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = deeper
        about = os.fstat(descriptor)
        last = number == len(path.parts)
        open_to_others = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH if last else stat.S_IWOTH)
        if about.st_uid not in (0, os.geteuid()) or (
            open_to_others and not (about.st_mode & stat.S_ISVTX and not last)
        ):
            os.close(descriptor)
            raise PermissionError(
                errno.EPERM, "other users could write there", str(Path(*path.parts[:number]))
            )
    return descriptor


def _prune(base: int, newest: str) -> None:
    """Removes our oldest folders.

    One that is not wholly ours stays, and nothing in it is touched.
    """
    if os.fstat(base).st_uid not in _us():
        return
    for name in outdated(os.listdir(base), newest):
        try:
            descriptor = os.open(name, _OPEN, dir_fd=base)
        except OSError:
            continue
        try:
            if _is_ours(base, name, descriptor):
                for file in os.listdir(descriptor):
                    os.unlink(file, dir_fd=descriptor)
                os.rmdir(name, dir_fd=base)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def _is_ours(base: int, name: str, descriptor: int) -> bool:
    """Whether a folder was left by a run of ours: it is root's (or this user's), nobody else can
    write in it, nothing is mounted there, and it holds plain files of ours alone.
    """
    about = os.fstat(descriptor)
    if about.st_uid not in _us() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    if about.st_dev != os.fstat(base).st_dev or _mount(descriptor) != _mount(base):
        return False
    for file in os.listdir(descriptor):
        entry = os.stat(file, dir_fd=descriptor, follow_symlinks=False)
        if file not in FILES or not stat.S_ISREG(entry.st_mode) or entry.st_uid not in _us():
            return False
    return True


def _us() -> Tuple[int, int]:
    """Whose folders are ours: root's, and those of the user that this process runs as."""
    return 0, os.geteuid()


def _mount(descriptor: int) -> str:
    """Which mount an open folder is on (proc_pid_fdinfo(5)); a bind mount has the device number of
    what it shows.
    """
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return line
    raise OSError(errno.ENODATA, "the kernel does not say which mount it is on")
