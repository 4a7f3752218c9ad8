"""The report folder, made with its own access list, behind handles that no link can replace.

Every step of its path (``%ProgramData%\\imds-check``) must belong to the system, to administrators
or to this user, and be no reparse point; nobody else may be able to write to the folder itself.
https://learn.microsoft.com/windows/win32/fileio/file-security-and-access-rights
"""

from __future__ import annotations

import ctypes
import errno
import os
import uuid
from contextlib import contextmanager, suppress
from ctypes import POINTER, Structure, byref, c_ubyte, c_void_p
from ctypes.wintypes import BOOL, DWORD, HANDLE, LPCWSTR
from pathlib import Path
from typing import Any, Iterator, Optional

from ...collect import NoFact
from ...collect.system import RunFolder
from ..run_folder import FILES, candidates, outdated
from .dll import close_handle, function, last_error

FOLDERID_PROGRAM_DATA = uuid.UUID("62AB5D82-FDC1-4DC3-A9DD-070D1D495D97")  # knownfolders.h
NAME = "imds-check"
# Owner and group Administrators, nothing inherited, all rights on it and its content for SYSTEM and
# Administrators (and for its maker, where the operator chose the place).
ADMINISTRATORS_ONLY = "O:BAG:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
ADMINISTRATORS_AND_OWNER = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;{})"
TRUSTED = {
    "S-1-5-18",  # SYSTEM
    "S-1-5-32-544",  # Administrators
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",  # TrustedInstaller
}
READ_CONTROL, FILE_LIST_DIRECTORY, FILE_SHARE_READ, FILE_SHARE_WRITE = 0x20000, 0x1, 0x1, 0x2
OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT = 3, 0x02000000, 0x00200000
FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT = 0x10, 0x400
SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION, DACL_SECURITY_INFORMATION = 1, 0x1, 0x4
SDDL_REVISION_1, ERROR_INVALID_OWNER = 1, 1307
ACCESS_ALLOWED_ACE_TYPE, INHERIT_ONLY_ACE = 0, 0x8
TOKEN_QUERY, TOKEN_USER = 0x8, 1
# FILE_ADD_FILE, FILE_ADD_SUBDIRECTORY, FILE_DELETE_CHILD, FILE_WRITE_ATTRIBUTES (which may make a
# folder a link), DELETE, WRITE_DAC, WRITE_OWNER, GENERIC_ALL, GENERIC_WRITE
WRITING = 0x2 | 0x4 | 0x40 | 0x100 | 0x10000 | 0x40000 | 0x80000 | 0x10000000 | 0x40000000


class SECURITY_ATTRIBUTES(Structure):
    _fields_ = [("nLength", DWORD), ("lpSecurityDescriptor", c_void_p), ("bInheritHandle", BOOL)]


class FILETIME(Structure):
    _fields_ = [("dwLowDateTime", DWORD), ("dwHighDateTime", DWORD)]


class BY_HANDLE_FILE_INFORMATION(Structure):
    _fields_ = [
        ("dwFileAttributes", DWORD),
        ("ftCreationTime", FILETIME),
        ("ftLastAccessTime", FILETIME),
        ("ftLastWriteTime", FILETIME),
        ("dwVolumeSerialNumber", DWORD),
        ("nFileSizeHigh", DWORD),
        ("nFileSizeLow", DWORD),
        ("nNumberOfLinks", DWORD),
        ("nFileIndexHigh", DWORD),
        ("nFileIndexLow", DWORD),
    ]


class ACL(Structure):
    _fields_ = [
        ("AclRevision", c_ubyte),
        ("Sbz1", c_ubyte),
        ("AclSize", ctypes.c_ushort),
        ("AceCount", ctypes.c_ushort),
        ("Sbz2", ctypes.c_ushort),
    ]


class ACCESS_ALLOWED_ACE(Structure):
    _fields_ = [
        ("AceType", c_ubyte),
        ("AceFlags", c_ubyte),
        ("AceSize", ctypes.c_ushort),
        ("Mask", DWORD),
        ("SidStart", DWORD),
    ]


class SID_AND_ATTRIBUTES(Structure):
    _fields_ = [("Sid", c_void_p), ("Attributes", DWORD)]


class Folder:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def write(self, name: str, content: bytes) -> None:
        path = os.path.join(self.path, name)
        windows_flags = getattr(os, "O_BINARY") | getattr(os, "O_NOINHERIT")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | windows_flags)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
        except OSError:
            # half a report is worse than none
            os.unlink(path)
            raise


def make(chosen: Optional[Path], name: str) -> RunFolder:
    """A new folder ``name`` under ``chosen``, or in the usual place. Raises ``OSError``.

    What the operator chose is trusted; of the usual place each step is checked.
    """
    try:
        if chosen:
            with _opened(chosen, link=True):
                return _in(chosen, name, ADMINISTRATORS_AND_OWNER.format(_own_sid()))
        program_data = _program_data()
        base = program_data / NAME
        with _opened(program_data) as handle:
            _check(handle, program_data, only=False)
            with suppress(FileExistsError):
                _create(base, ADMINISTRATORS_ONLY)
            with _opened(base) as own:
                _check(own, base, only=True)
                return _in(base, name, ADMINISTRATORS_ONLY)
    except NoFact as missing:
        raise OSError(errno.ENOSYS, str(missing)) from None


def _in(base: Path, name: str, access: str) -> Folder:
    for unique in candidates(name):
        try:
            _create(base / unique, access)
        except FileExistsError:
            continue
        _prune(base, unique)
        return Folder(base / unique)
    raise FileExistsError(errno.EEXIST, "too many of the same second", str(base / name))


def _prune(base: Path, newest: str) -> None:
    """Removes our oldest folders. One that is not wholly ours stays, and nothing in it is touched.

    Ours: it and its parent belong to SYSTEM, administrators or this user; nobody else can write in
    it; it is no link or mount point; and it holds only plain files of ours, which are no links and
    have such owners too.
    """
    try:
        with _opened(base, link=True) as parent:
            _check(parent, base, only=False)
            for name in outdated(os.listdir(base), newest):
                _remove(base / name)
    except OSError:
        return


def _remove(path: Path) -> None:
    """Removes one folder, if it is ours."""
    try:
        # open, it can be neither renamed nor removed; checked, nobody else can make it a link
        with _opened(path) as handle:
            _check(handle, path, only=True)
            held = os.listdir(path)
            for file in held:
                _check_file(path / file)
            for file in held:
                os.unlink(path / file)
        os.rmdir(path)
    except OSError:
        return


def _check_file(path: Path) -> None:
    """Raises ``OSError`` where a run of ours has not left this file."""
    if path.name not in FILES:
        raise PermissionError(errno.EPERM, "not a report", str(path))
    with _opened(path, is_folder=False) as handle:
        _check(handle, path, only=False)


def _program_data() -> Path:
    guid_type = c_ubyte * 16
    call = function(
        "shell32",
        "SHGetKnownFolderPath",
        ctypes.c_long,
        POINTER(guid_type),
        DWORD,
        HANDLE,
        POINTER(c_void_p),
    )
    free = function("ole32", "CoTaskMemFree", None, c_void_p)
    found, guid = c_void_p(), guid_type(*FOLDERID_PROGRAM_DATA.bytes_le)
    try:
        if call(byref(guid), 0, None, byref(found)) != 0 or not found.value:
            raise OSError(errno.ENOENT, "%ProgramData% is not known")
        return Path(ctypes.wstring_at(found.value))
    finally:
        free(found)


def _create(path: Path, access: str) -> None:
    """Makes a folder with an access list (SDDL). Raises ``OSError``."""
    convert = function(
        "advapi32", "ConvertStringSecurityDescriptorToSecurityDescriptorW",
        BOOL, LPCWSTR, DWORD, POINTER(c_void_p), c_void_p,
    )  # fmt: skip
    create = function("kernel32", "CreateDirectoryW", BOOL, LPCWSTR, POINTER(SECURITY_ATTRIBUTES))
    descriptor = c_void_p()
    if not convert(access, SDDL_REVISION_1, byref(descriptor), None):
        raise _error(path)
    try:
        attributes = SECURITY_ATTRIBUTES(ctypes.sizeof(SECURITY_ATTRIBUTES), descriptor, False)
        if not create(str(path), byref(attributes)):
            raise _error(path)
    finally:
        _local_free(descriptor)


@contextmanager
def _opened(path: Path, link: bool = False, is_folder: bool = True) -> Iterator[int]:
    """An existing folder, held so that it can be neither renamed nor removed. Raises ``OSError``.

    :param link: whether it may be a link (or kept in a cloud, which looks the same)
    :param is_folder: False for a file
    """
    create = function(
        "kernel32", "CreateFileW", HANDLE, LPCWSTR, DWORD, DWORD, c_void_p, DWORD, DWORD, HANDLE
    )
    inform = function(
        "kernel32", "GetFileInformationByHandle", BOOL, HANDLE, POINTER(BY_HANDLE_FILE_INFORMATION)
    )
    flags = FILE_FLAG_BACKUP_SEMANTICS
    if not link:
        flags |= FILE_FLAG_OPEN_REPARSE_POINT
    access, share = READ_CONTROL | FILE_LIST_DIRECTORY, FILE_SHARE_READ | FILE_SHARE_WRITE
    handle = create(str(path), access, share, None, OPEN_EXISTING, flags, None)
    if handle in (None, HANDLE(-1).value):
        raise _error(path)
    try:
        about = BY_HANDLE_FILE_INFORMATION()
        if not inform(handle, byref(about)):
            raise _error(path)
        if bool(about.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) is not is_folder:
            wanted = "folder" if is_folder else "file"
            raise NotADirectoryError(errno.ENOTDIR, f"not a {wanted}", str(path))
        if about.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT and not link:
            raise PermissionError(errno.EPERM, "a link that leads elsewhere", str(path))
        yield handle
    finally:
        close_handle(handle)


def _check(handle: int, path: Path, only: bool) -> None:
    """Raises ``PermissionError`` where another user, who is no administrator, owns it.

    :param only: also where another user can write there
    """
    inform = function(
        "advapi32", "GetSecurityInfo",
        DWORD, HANDLE, DWORD, DWORD, POINTER(c_void_p), c_void_p, POINTER(c_void_p), c_void_p,
        POINTER(c_void_p),
    )  # fmt: skip
    owner, dacl, descriptor = c_void_p(), c_void_p(), c_void_p()
    what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION
    code = inform(
        handle, SE_FILE_OBJECT, what, byref(owner), None, byref(dacl), None, byref(descriptor)
    )
    if code:
        raise _error(path, code)
    try:
        trusted = {*TRUSTED, _own_sid()}
        if _sid(owner.value) not in trusted:
            raise PermissionError(errno.EPERM, "belongs to another user", str(path))
        if only and (not dacl.value or any(sid not in trusted for sid in _writers(dacl.value))):
            raise PermissionError(errno.EPERM, "other users could write there", str(path))
    finally:
        _local_free(descriptor)


def _writers(dacl: int) -> Iterator[str]:
    """The SIDs that an access list allows to change the folder."""
    get = function("advapi32", "GetAce", BOOL, c_void_p, DWORD, POINTER(c_void_p))
    for number in range(ACL.from_address(dacl).AceCount):
        found = c_void_p()
        if not get(dacl, number, byref(found)) or not found.value:
            continue
        entry = ACCESS_ALLOWED_ACE.from_address(found.value)
        allows = entry.AceType == ACCESS_ALLOWED_ACE_TYPE and not entry.AceFlags & INHERIT_ONLY_ACE
        if allows and entry.Mask & WRITING:
            yield _sid(found.value + ACCESS_ALLOWED_ACE.SidStart.offset)


def _sid(address: Optional[int]) -> str:
    """A SID in its text form; empty where it has none."""
    convert = function("advapi32", "ConvertSidToStringSidW", BOOL, c_void_p, POINTER(c_void_p))
    found = c_void_p()
    if not address or not convert(address, byref(found)) or not found.value:
        return ""
    try:
        return ctypes.wstring_at(found.value)
    finally:
        _local_free(found)


def _own_sid() -> str:
    """The SID of the user that this process runs as."""
    process = function("kernel32", "GetCurrentProcess", HANDLE)
    open_token = function("advapi32", "OpenProcessToken", BOOL, HANDLE, DWORD, POINTER(HANDLE))
    inform = function(
        "advapi32", "GetTokenInformation", BOOL, HANDLE, DWORD, c_void_p, DWORD, POINTER(DWORD)
    )
    token, buffer, size = HANDLE(), ctypes.create_string_buffer(256), DWORD()
    if not open_token(process(), TOKEN_QUERY, byref(token)):
        raise _error(None)
    try:
        if not inform(token, TOKEN_USER, buffer, len(buffer), byref(size)):
            raise _error(None)
        return _sid(SID_AND_ATTRIBUTES.from_buffer(buffer).Sid)
    finally:
        close_handle(token)


def _local_free(memory: c_void_p) -> None:
    if memory.value:
        function("kernel32", "LocalFree", c_void_p, c_void_p)(memory)


def _error(path: Optional[Path], code: Optional[int] = None) -> OSError:
    """The ``OSError`` of a Windows error code, by default that of the last call."""
    if code is None:
        code = last_error()
    text: Any = getattr(ctypes, "FormatError")(code).strip()
    if code == ERROR_INVALID_OWNER:
        text = "only an elevated administrator may write there"
    name = str(path) if path else None
    return OSError(0, text, name, code)
