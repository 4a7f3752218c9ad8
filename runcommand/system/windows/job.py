"""A job object for each program that is started, so that it can be ended with its children."""

from __future__ import annotations

import subprocess
from ctypes import c_void_p
from ctypes.wintypes import BOOL, HANDLE, LPCWSTR, UINT

from ...collect import NoFact
from ..program import End
from .dll import close_handle, function


def contain(process: subprocess.Popen[bytes]) -> End:
    """Puts a program into a job of its own. The result ends the whole job; call it only once.

    https://learn.microsoft.com/windows/win32/procthread/job-objects
    """
    try:
        create = function("kernel32", "CreateJobObjectW", HANDLE, c_void_p, LPCWSTR)
        assign = function("kernel32", "AssignProcessToJobObject", BOOL, HANDLE, HANDLE)
        terminate = function("kernel32", "TerminateJobObject", BOOL, HANDLE, UINT)
    except NoFact:
        return process.kill
    job = create(None, None)
    if not job:
        return process.kill
    if not assign(job, int(getattr(process, "_handle"))):
        close_handle(job)
        return process.kill

    def end() -> None:
        terminate(job, 1)
        close_handle(job)

    return end
