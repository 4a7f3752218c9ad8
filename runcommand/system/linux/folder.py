"""The report folder: made, written and pruned through directory descriptors, so that no link can lead astray."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Optional

from .. import RunFolder
from ..run_folder import FILES, candidates, outdated

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
    """A new folder ``name`` under ``chosen`` (the operator's word counts) or ``default`` (each step is checked).

    Raises ``OSError``.
    """
    base = chosen or default
    descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if chosen else _walk(base)
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
    """Opens each step of an absolute path, making those that are missing; refuses what another user could redirect."""
    descriptor = os.open("/", _OPEN)
    for number, step in enumerate(path.parts[1:], 2):
        try:
            try:
                os.mkdir(step, 0o700 if number == len(path.parts) else 0o755, dir_fd=descriptor)
            except FileExistsError:
                pass
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
            raise PermissionError(errno.EPERM, "other users could write there", str(Path(*path.parts[:number])))
    return descriptor


def _prune(base: int, newest: str) -> None:
    """Removes our oldest folders; one that holds anything of somebody else's stays."""
    for name in outdated(os.listdir(base), newest):
        try:
            descriptor = os.open(name, _OPEN, dir_fd=base)
        except OSError:
            continue
        try:
            for file in FILES:
                try:
                    os.unlink(file, dir_fd=descriptor)
                except FileNotFoundError:
                    pass
            os.rmdir(name, dir_fd=base)
        except OSError:
            continue
        finally:
            os.close(descriptor)
