"""Builds what is sent into a VM: ``python build.py exe`` makes ``dist/imds-check.exe`` and ``dist/SHA256SUMS``.

On Windows it freezes with the Python that it runs under; on Linux, ``--wine`` sets up a Windows Python under Wine (once,
outside the checkout) and freezes with that. Two builds of one commit are the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NoReturn

from runcommand import __version__

ROOT = Path(__file__).resolve().parent
DIST = ROOT / "dist"
WORK = ROOT / "build"
NAME = "imds-check"
# Of the standard library, and never imported by a run.
UNUSED = (
    "_asyncio _bz2 _decimal _hashlib _lzma _multiprocessing _overlapped _pydecimal _queue _ssl _uuid "
    "asyncio bdb bz2 cmd code codeop concurrent csv decimal difflib doctest fractions ftplib getpass glob graphlib "
    "html http.server importlib.metadata importlib.resources logging lzma mimetypes multiprocessing netrc nturl2path numbers "
    "optparse pdb pickle pkgutil platform plistlib pprint py_compile pydoc pydoc_data queue runpy sqlite3 ssl "
    "statistics tarfile tempfile test tkinter tracemalloc unittest urllib.request uu webbrowser xml.dom xml.sax xmlrpc"
).split()
# Where the exe unpacks itself: SYSTEM's own place for that. %TEMP% may be anything; this is there on every Windows.
RUNTIME_FOLDER = "%SystemRoot%\\Temp"
PYTHON, PYINSTALLER = (3, 11), "6.22.3"  # what is left out, and what is known of its faults, holds for these


def fail(message: str) -> NoReturn:
    print(f"build.py: {message}", file=sys.stderr)
    raise SystemExit(1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="build.py", description="Builds what is sent into a VM.")
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    exe = commands.add_parser("exe", help="dist/imds-check.exe, for Windows 10 / Server 2016 and later")
    exe.add_argument("--wine", action="store_true", help="on Linux: freeze with a Windows Python under Wine")
    exe.set_defaults(build=lambda options: build_exe(options.wine))
    options = parser.parse_args()
    options.build(options)
    return 0


def build_exe(with_wine: bool) -> Path:
    """Freezes the package into one file. Ends the program with one line where a tool is missing or fails."""
    if with_wine == (os.name == "nt"):
        fail("--wine is for Linux" if with_wine else "an exe is made on Windows, or on Linux with --wine")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    DIST.mkdir(exist_ok=True)
    (WORK / "version.txt").write_text(version_resource(), "utf-8")
    if with_wine:
        freeze_with_wine()
    else:
        _freeze()
    made = DIST / f"{NAME}.exe"
    _try(made, with_wine)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    (DIST / "SHA256SUMS").write_bytes(f"{digest}  {made.name}\n".encode())
    print(f"{made.relative_to(ROOT)}  {made.stat().st_size:,} bytes  sha256 {digest}")
    return made


def pyinstaller(root: str, script: str = "runcommand/__main__.py", name: str = NAME, folder: str = "dist") -> List[str]:
    """PyInstaller's arguments, after ``python``.

    :param root: the checkout, as that Python names it
    :param folder: where the exe goes, in the checkout
    """
    return [
        *("-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "ERROR"),
        *("--onefile", "--console", "--noupx", "--name", name, "--paths", root, "--runtime-tmpdir", RUNTIME_FOLDER),
        *("--distpath", folder, "--workpath", "build/work", "--specpath", "build", "--version-file", "version.txt"),
        *(word for module in UNUSED for word in ("--exclude-module", module)),
        script,
    ]


def reproducible() -> Dict[str, str]:
    """What makes two builds of one commit the same: the order of hashes, and one time for everything."""
    return {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "SOURCE_DATE_EPOCH": str(_commit_time())}


def _commit_time() -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return int(given)
    git = shutil.which("git")
    command = [git or "git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) if git else None
    return int(done.stdout) if done and done.stdout.strip().isdigit() else 1_600_000_000  # not from a checkout


def freeze_with_wine(**what: str) -> None:
    """Runs PyInstaller under Wine. ``what``: as ``pyinstaller`` takes it."""
    from tests import wine

    try:
        wine.set_up()
    except subprocess.CalledProcessError:
        raise SystemExit(1) from None  # it has said why
    except OSError as error:
        fail(f"{error.filename} is not installed")
    arguments = pyinstaller("Z:" + str(ROOT).replace("/", "\\"), **what)
    done = wine.run([wine.PYTHON, *arguments], prefix=wine.prefix(), env=reproducible(), cwd=ROOT, timeout=600)
    if done.code:
        fail(f"PyInstaller failed:\n{done.err.decode('utf-8', 'replace')[-4000:]}")


def _freeze() -> None:
    """Runs PyInstaller with the Python that this runs under."""
    if sys.version_info[:2] != PYTHON:
        fail("install Python {}.{}, and run this with it".format(*PYTHON))
    try:
        found = importlib.metadata.version("pyinstaller")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != PYINSTALLER:
        fail(f"PyInstaller {PYINSTALLER} is needed, and {found} is installed: pip install -e .[build]")
    done = subprocess.run([sys.executable, *pyinstaller(str(ROOT))], env={**os.environ, **reproducible()}, cwd=ROOT)
    if done.returncode:
        fail(f"PyInstaller failed with exit code {done.returncode}")


def _try(made: Path, with_wine: bool) -> None:
    """Starts what was made: an exe that cannot is none. (Wine loses a program's output now and then: it has a second chance.)"""
    for _ in range(2):
        if with_wine:
            from tests import wine

            done = wine.run([str(made), "--version"], prefix=wine.prefix())
            code, said = done.code, done.out
        else:
            tried = subprocess.run([str(made), "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            code, said = tried.returncode, tried.stdout
        if said.split() == [NAME.encode(), __version__.encode()]:
            return
    fail(f"{made.name} does not start: exit code {code}, {said[:200]!r}")


def version_resource() -> str:
    """The version that Windows shows in the file's properties, in PyInstaller's notation of a VERSIONINFO resource."""
    numbers = (*(int(part) for part in __version__.split(".")[:3]), 0)
    strings = {
        "FileDescription": "Finds why an Azure VM cannot use the Instance Metadata Service",
        "FileVersion": __version__,
        "InternalName": NAME,
        "OriginalFilename": f"{NAME}.exe",
        "ProductName": NAME,
        "ProductVersion": __version__,
    }
    entries = ", ".join(f"StringStruct({key!r}, {value!r})" for key, value in strings.items())
    return (
        f"VSVersionInfo(ffi=FixedFileInfo(filevers={numbers}, prodvers={numbers}, mask=0x3F, OS=0x40004, fileType=1),\n"
        f"  kids=[StringFileInfo([StringTable('040904B0', [{entries}])]),\n"
        "        VarFileInfo([VarStruct('Translation', [1033, 1200])])])\n"
    )


if __name__ == "__main__":
    sys.exit(main())
