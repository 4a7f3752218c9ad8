"""The report folder: made, written and pruned through directory descriptors.

So no link can lead anywhere else.
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
                # half a report is worse than none
                os.unlink(name, dir_fd=self._descriptor)
                raise


def make(chosen: Optional[Path], default: Path, name: str) -> RunFolder:
    """A new folder ``name`` under ``chosen``, or under ``default``. Raises ``OSError``.

    What the operator chose is trusted; of the default each step is checked.
    """
    if chosen:
        base = chosen
        descriptor = os.open(chosen, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        base = default
        descriptor = _walk(default)
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
    """Opens each step of an absolute path, making those that are missing.

    Raises ``PermissionError`` at a step that another user could redirect.
    """
    descriptor = os.open("/", _OPEN)
    for number, step in enumerate(path.parts[1:], 2):
        is_last = number == len(path.parts)
        mode = 0o755
        if is_last:
            mode = 0o700
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(step, mode, dir_fd=descriptor)
            deeper = os.open(step, _OPEN, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = deeper
        about = os.fstat(descriptor)
        if about.st_uid not in _us() or _is_open_to_others(about.st_mode, is_last):
            os.close(descriptor)
            where = str(Path(*path.parts[:number]))
            raise PermissionError(errno.EPERM, "other users could write there", where)
    return descriptor


def _is_open_to_others(mode: int, is_last: bool) -> bool:
    """Whether another user could write in a folder or, on the path to it, swap the next step."""
    if is_last:
        return bool(mode & (stat.S_IWGRP | stat.S_IWOTH))
    # in a sticky folder (/tmp) nobody can rename what is ours
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


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
    """Whether a run of ours left this folder.

    It is root's (or this user's), nobody else can write in it, nothing is mounted there, and it
    holds nothing but plain files of ours.
    """
    about = os.fstat(descriptor)
    if about.st_uid not in _us() or _is_open_to_others(about.st_mode, is_last=True):
        return False
    if about.st_dev != os.fstat(base).st_dev or _mount(descriptor) != _mount(base):
        return False
    for file in os.listdir(descriptor):
        entry = os.stat(file, dir_fd=descriptor, follow_symlinks=False)
        if file not in FILES or not stat.S_ISREG(entry.st_mode) or entry.st_uid not in _us():
            return False
    return True


def _us() -> Tuple[int, int]:
    """The owners of folders of ours: root, and the user that this process runs as."""
    return 0, os.geteuid()


def _mount(descriptor: int) -> str:
    """The mount that an open folder is on (proc_pid_fdinfo(5)).

    The device number does not tell: a bind mount has that of what it shows.
    """
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return line
    raise OSError(errno.ENODATA, "the kernel does not say which mount it is on")
