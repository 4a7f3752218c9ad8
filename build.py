"""Builds what is sent into a VM, in ``dist``: the exe, the two scripts that are pasted into Run
Command, and ``SHA256SUMS``.

The exe is frozen, on Windows, with the Python that this runs under; on Linux with a Windows Python
under Wine, which is set up once, outside the checkout. Two builds of one commit are the same bytes.
"""

from __future__ import annotations

import argparse
import ast
import base64
import bz2
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NoReturn, Optional, Set, Tuple

from runcommand import __version__

ROOT = Path(__file__).resolve().parent
DIST = ROOT / "dist"
WORK = ROOT / "build"
NAME = "imds-check"
# Of the standard library, and never imported by a run.
UNUSED = (
    "_asyncio _bz2 _decimal _hashlib _lzma _multiprocessing _overlapped _pydecimal _queue _ssl "
    "_uuid asyncio bdb bz2 cmd code codeop concurrent csv decimal difflib doctest "
    "email._header_value_parser email.contentmanager email.headerregistry email.policy fractions "
    "ftplib getpass glob graphlib html http.server importlib.metadata importlib.resources "
    "logging lzma mimetypes multiprocessing netrc nturl2path numbers optparse pdb pickle "
    "pkgutil platform plistlib pprint py_compile pydoc pydoc_data queue runpy sqlite3 ssl "
    "statistics tarfile tempfile test tkinter tracemalloc unittest urllib.request uu webbrowser "
    "xml.dom xml.sax xmlrpc"
).split()
# Where the exe unpacks itself. The folder that PyInstaller's bootloader makes there has an access
# list that is not protected ("D:(A;;FA;;;SID)"), so it also inherits what its parent hands down. In
# C:\Windows\Temp that lets every user add files, here only administrators. No variable: whoever
# starts the exe may set it to another folder, and where it is missing the bootloader would unpack
# in the current one. Windows is on C: on every Azure VM.
RUNTIME_FOLDER = f"C:\\Program Files\\{NAME}"
SCRIPTS = ROOT / "runcommand" / "scripts"
LINE = 1024  # characters of the packed tool in a line of the script
SCRIPT_LIMIT = 160 * 1024  # bytes; the handler of Run Command takes 192 KiB
# Of the package, and of no use on a Linux VM: other systems' parts, the demo, the operator's side.
NOT_ON_LINUX = tuple(
    f"runcommand/{part}"
    for part in (
        "system/listed.py",
        "system/recorded.py",
        "system/windows",
        "probes/recorded.py",
        "winsock.py",
        "firewall/windows.py",
        "fixes/windows.py",
        "model/windows_packets.py",
        "fixes/elsewhere.py",
        "simulator",
        "operator",
        "commands/decode.py",
        "commands/demo.py",
        "commands/explain.py",
        "commands/files.py",
        "commands/program.py",
        "commands/replay.py",
        "report/explain.py",
        "report/recorded.py",
        "facts/decoding.py",
        "__main__.py",
    )
)
# What is left out, and what is known of their faults, holds for these.
PYTHON = (3, 11)
PYINSTALLER = "6.22.3"


def fail(message: str) -> NoReturn:
    print(f"build.py: {message}", file=sys.stderr)
    raise SystemExit(1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="build.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(metavar="WHAT")
    exe = commands.add_parser(
        "exe", help="dist/imds-check.exe, for Windows 10 / Server 2016 and later"
    )
    exe.add_argument(
        "--wine", action="store_true", help="on Linux: freeze with a Windows Python under Wine"
    )
    scripts = commands.add_parser(
        "scripts", help="dist/imds-check.sh and, for the exe that is there, dist/imds-check.ps1"
    )
    # a default of the second would hide what stood before its word
    for takes_uri, default in ((parser, None), (scripts, argparse.SUPPRESS)):
        takes_uri.add_argument(
            "--exe-uri",
            default=default,
            type=_uri,
            metavar="URI",
            help="where imds-check.ps1 gets the exe, unless it is told",
        )
    parser.set_defaults(build=build_everything)
    exe.set_defaults(build=lambda options: build_exe(options.wine))
    scripts.set_defaults(build=lambda options: build_scripts(options.exe_uri))
    options = parser.parse_args()
    DIST.mkdir(exist_ok=True)
    try:
        options.build(options)
    finally:
        made = [
            path
            for path in (DIST / f"{NAME}.{kind}" for kind in ("exe", "ps1", "sh"))
            if path.exists()
        ]
        (DIST / "SHA256SUMS").write_bytes(
            "".join(f"{_sha256(path)}  {path.name}\n" for path in made).encode()
        )
    return 0


def build_everything(options: argparse.Namespace) -> None:
    build_exe(with_wine=os.name != "nt")
    build_scripts(options.exe_uri)


def _uri(value: str) -> str:
    if (
        not value.isascii()
        or not value.isprintable()
        or not value.startswith("https://")
        or set(value) & set(" \"'`")
    ):
        raise argparse.ArgumentTypeError(f"not an address of the form https://HOST/...: {value!r}")
    return value


def build_exe(with_wine: bool) -> Path:
    """Freezes the package into one file.

    Ends the program with one line where a tool is missing or fails.
    """
    if with_wine == (os.name == "nt"):
        fail(
            "--wine is for Linux"
            if with_wine
            else "an exe is made on Windows, or on Linux with --wine"
        )
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    (WORK / "version.txt").write_text(version_resource(), "utf-8")
    if with_wine:
        freeze_with_wine()
    else:
        _freeze()
    made = DIST / f"{NAME}.exe"
    _try(made, with_wine)
    script = DIST / f"{NAME}.ps1"
    if script.exists() and _sha256(made) not in script.read_text("ascii"):
        script.unlink()  # it would refuse this exe
    _say(made)
    return made


def _say(made: Path) -> None:
    print(f"{made.relative_to(ROOT)}  {made.stat().st_size:,} bytes  sha256 {_sha256(made)}")


def _sha256(made: Path) -> str:
    return hashlib.sha256(made.read_bytes()).hexdigest()


def build_scripts(exe_uri: Optional[str] = None) -> None:
    """The script for Linux, and the one for Windows where the exe whose checksum it carries is
    there.
    """
    files = files_for_linux()
    linux = shell_script(files).encode("ascii")
    print(f"{NAME}.sh by part:")
    for part, size in sizes_by_part(files).items():
        print(f"{size:>9,}  {part}")
    if len(linux) > SCRIPT_LIMIT:
        fail(f"{NAME}.sh has {len(linux):,} bytes, more than {SCRIPT_LIMIT:,}")
    (DIST / f"{NAME}.sh").write_bytes(linux)
    _say(DIST / f"{NAME}.sh")
    print(f"{SCRIPT_LIMIT - len(linux):,} bytes below its limit of {SCRIPT_LIMIT:,}")
    exe = DIST / f"{NAME}.exe"
    content = None
    if exe.exists():
        content = exe.read_bytes()
    elif exe_uri:
        fail(f"--exe-uri: {exe.relative_to(ROOT)} is not there, so the script knows no checksum")
    else:
        print(f"{NAME}.ps1 runs no exe: {exe.relative_to(ROOT)} is not there (build.py makes it)")
    windows = powershell_script(content, exe_uri or "").replace("\n", "\r\n").encode("ascii")
    (DIST / f"{NAME}.ps1").write_bytes(windows)
    _say(DIST / f"{NAME}.ps1")


def shell_script(files: Optional[Mapping[str, str]] = None) -> str:
    """The script for RunShellScript, with the tool inside: its files as bzip2 packs them, in base
    85 (RFC 1924).

    They are packed as one text, of which the script makes a zipapp: a zip file's own entries do not
    compress.

    :param files: sources by their names in the zipapp, by default ``files_for_linux()``
    """
    if files is None:
        files = files_for_linux()
    packed = _packed(files)
    lines = "\n".join(packed[i : i + LINE] for i in range(0, len(packed), LINE))
    return _filled("imds-check.sh", TOOL=lines)


def _packed(files: Mapping[str, str]) -> str:
    whole = "\0".join(f"{name}\n{source}" for name, source in files.items())
    return base64.b85encode(bz2.compress(whole.encode("ascii"), 9)).decode("ascii")


def sizes_by_part(files: Mapping[str, str]) -> Dict[str, int]:
    """The share of each part of the package in the bytes of the script, the largest first.

    A part is a folder or a module of ``runcommand``. What the script has beside the files is not in
    it. The shares are in proportion to what each part takes when it is packed alone.
    """
    parts: Dict[str, Dict[str, str]] = {}
    for name, source in files.items():
        parts.setdefault("/".join(name.split("/")[:2]), {})[name] = source
    alone = {part: len(_packed(sources)) for part, sources in parts.items()}
    scale = len(_packed(files)) / sum(alone.values())
    shares = {part: round(size * scale) for part, size in alone.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def powershell_script(exe: Optional[bytes], exe_uri: str = "") -> str:
    """The script for RunPowerShellScript. It collects by itself, or runs this exe and no other.

    :param exe: None: the script runs none
    :param exe_uri: where it is downloaded from where the script is told ``ExeUri=release``
    """
    sha256, size = "", "0"
    if exe is not None:
        sha256, size = hashlib.sha256(exe).hexdigest(), str(len(exe))
    script = _filled("imds-check.ps1", SHA256=sha256, SIZE=size, EXE_URI=exe_uri)
    # a tab for each level, so that it stays below its limit
    return re.sub(r"(?m)^(?: {4})+", lambda blanks: "\t" * (len(blanks[0]) // 4), script)


def _filled(template: str, **values: str) -> str:
    """A template of ``runcommand/scripts`` with its ``@NAME@`` replaced."""
    text = (SCRIPTS / template).read_text("ascii")
    for name, value in {"VERSION": __version__, **values}.items():
        text = text.replace(f"@{name}@", value)
    return text


def files_for_linux() -> Dict[str, str]:
    """The sources of a zipapp with what a Linux VM needs of the package, by their names in it."""
    package = ROOT / "runcommand"
    paths = {
        f"runcommand/{path.relative_to(package).as_posix()}": path
        for path in sorted(package.rglob("*.py"))
    }
    needed = {name: path for name, path in paths.items() if not name.startswith(NOT_ON_LINUX)}
    return {
        name: slim(path.read_text("ascii"))
        for name, path in {"__main__.py": SCRIPTS / "__main__.py", **needed}.items()
    }


def slim(source: str) -> str:
    """Python source (ASCII) without comments, docstrings and the annotations that nobody reads at
    run time; each statement on one line. Lines lose their numbers, functions keep their names:
    reports name both where something fails.

    Of a cause's help page, which is the docstring of its rule, the title and the address remain:
    reports print them.
    """
    bare = _cut(source, [*_annotations(source), *_docstrings(source)])
    return _folded(_cut(bare, list(_imports_for_types(bare, _names_used(source)))))


Place = Tuple[int, int]  # line from 1, column from 0
Cut = Tuple[Place, Place, str]  # from, to, what comes there


def _cut(source: str, cuts: List[Cut]) -> str:
    lines = source.splitlines()
    for (line, column), (last, stop), left in sorted(cuts, reverse=True):
        lines[line - 1 : last] = [lines[line - 1][:column] + left + lines[last - 1][stop:]]
    return "\n".join(lines) + "\n"


def _annotations(source: str) -> Iterator[Cut]:
    """Those of functions, and of variables that are no fields of a class."""
    lines = source.splitlines()
    tree = ast.parse(source)
    fields = {
        field for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for field in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation:
            yield (node.lineno, node.col_offset + len(node.arg)), _end(node.annotation), ""
        if isinstance(node, ast.FunctionDef) and node.returns:
            line, column = node.returns.lineno, node.returns.col_offset
            arrow = lines[line - 1].rfind("->", 0, column)
            assert arrow >= 0, f"a return annotation on a line of its own: line {line}"
            yield (line, len(lines[line - 1][:arrow].rstrip())), _end(node.returns), ""
        if isinstance(node, ast.AnnAssign) and node.value and node not in fields:
            yield _end(node.target), _end(node.annotation), ""


def _docstrings(source: str) -> Iterator[Cut]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            continue
        text = ast.get_docstring(node)
        if text is None:
            continue
        left = ""
        if len(node.body) == 1 and not isinstance(node, ast.Module):
            left = "pass"
        if isinstance(node, ast.FunctionDef) and any(map(_is_rule, node.decorator_list)):
            left = repr(f"{text.splitlines()[0]}\n\n-\n{text.splitlines()[-1]}")
        first = node.body[0]
        yield (first.lineno, first.col_offset), _end(first), left


def _imports_for_types(bare: str, used: Set[str]) -> Iterator[Cut]:
    """What is imported for annotations that have gone.

    A name that the source itself never uses is there for others.
    """
    gone = used - _names_used(bare)
    for node in ast.walk(ast.parse(bare)):
        if not isinstance(node, ast.ImportFrom):
            continue
        kept = [alias for alias in node.names if (alias.asname or alias.name) not in gone]
        if len(kept) == len(node.names):
            continue
        left = ""
        if kept:
            names = ", ".join(map(_imported_as, kept))
            left = f"from {'.' * node.level}{node.module or ''} import {names}"
        elif node.col_offset:
            left = "pass"
        yield (node.lineno, node.col_offset), _end(node), left


def _imported_as(alias: ast.alias) -> str:
    if alias.asname is None:
        return alias.name
    return f"{alias.name} as {alias.asname}"


def _names_used(source: str) -> Set[str]:
    """By the code, or in quotes: in ``__all__``, or as the type of a field."""
    used: Set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.add(node.value)
    return used


OPENING, CLOSING = tuple("([{"), tuple(")]}")
LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def _folded(source: str) -> str:
    """The same statements, each on a line of its own, indented by one blank a level."""
    lines = source.splitlines(keepends=True)
    made: List[str] = []
    level = 0
    before: Optional[tokenize.TokenInfo] = None  # on the same line of what is made
    commas: List[int] = []  # of each bracket that is open
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        level += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        if token.type in LAYOUT:
            continue
        if token.type == tokenize.NEWLINE:
            made.append("\n")
            before = None
            continue
        if before is None:
            made.append(" " * level)
        else:
            made.append(_gap(lines, before, token))
        if token.type == tokenize.OP:
            _count(commas, token.string, made)
        made.append(_text(lines, token.start, token.end))
        before = token
    return "".join(made)


def _count(commas: List[int], sign: str, made: List[str]) -> None:
    """Counts the commas of each bracket that is open, and takes the last one out of ``made`` where
    nothing follows it and it makes no tuple: ``(1,)`` is one.
    """
    if sign in OPENING:
        commas.append(0)
    elif sign == "," and commas:
        commas[-1] += 1
    elif sign in CLOSING and commas.pop() > 1 and made[-2] == ",":
        del made[-2]


def _gap(lines: List[str], before: tokenize.TokenInfo, after: tokenize.TokenInfo) -> str:
    """What stands between two tokens of one statement."""
    if before.end[0] == after.start[0]:
        return _text(lines, before.end, after.start)
    if before.string in OPENING or after.string in CLOSING:
        return ""
    return " "


def _text(lines: List[str], start: Place, end: Place) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    between = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *between, lines[end[0] - 1][: end[1]]])


def _is_rule(decorator: ast.expr) -> bool:
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "rule"
    )


def _end(node: ast.expr | ast.stmt) -> Tuple[int, int]:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset


def pyinstaller(
    root: str, script: str = "runcommand/__main__.py", name: str = NAME, folder: str = "dist"
) -> List[str]:
    """PyInstaller's arguments, after ``python``.

    :param root: the checkout, as that Python names it
    :param folder: where the exe goes, in the checkout
    """
    return [
        *("-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "ERROR"),
        *(
            "--onefile",
            "--console",
            "--noupx",
            "--name",
            name,
            "--paths",
            root,
            "--runtime-tmpdir",
            RUNTIME_FOLDER,
        ),
        *(
            "--distpath",
            folder,
            "--workpath",
            "build/work",
            "--specpath",
            "build",
            "--version-file",
            "version.txt",
        ),
        *(word for module in UNUSED for word in ("--exclude-module", module)),
        script,
    ]


def reproducible() -> Dict[str, str]:
    """What makes two builds of one commit the same: the order of hashes, and one time for
    everything.
    """
    return {
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOURCE_DATE_EPOCH": str(_commit_time()),
    }


def _commit_time() -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return int(given)
    git = shutil.which("git")
    command = [git or "git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = (
        subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) if git else None
    )
    return (
        int(done.stdout) if done and done.stdout.strip().isdigit() else 1_600_000_000
    )  # not from a checkout


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
    done = wine.run(
        [wine.PYTHON, *arguments], prefix=wine.prefix(), env=reproducible(), cwd=ROOT, timeout=600
    )
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
        fail(
            f"PyInstaller {PYINSTALLER} is needed, and {found} is installed: "
            "pip install -e .[build]"
        )
    done = subprocess.run(
        [sys.executable, *pyinstaller(str(ROOT))], env={**os.environ, **reproducible()}, cwd=ROOT
    )
    if done.returncode:
        fail(f"PyInstaller failed with exit code {done.returncode}")


def _try(made: Path, with_wine: bool) -> None:
    """Starts what was made: an exe that cannot is none. (Wine loses a program's output now and
    then: it has a second chance.)
    """
    for _ in range(2):
        if with_wine:
            from tests import wine

            done = wine.run([str(made), "--version"], prefix=wine.prefix())
            code, said = done.code, done.out
        else:
            tried = subprocess.run(
                [str(made), "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            )
            code, said = tried.returncode, tried.stdout
        if said.split() == [NAME.encode(), __version__.encode()]:
            return
    fail(f"{made.name} does not start: exit code {code}, {said[:200]!r}")


def version_resource() -> str:
    """The version that Windows shows in the file's properties, in PyInstaller's notation of a
    VERSIONINFO resource.
    """
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
        f"VSVersionInfo(ffi=FixedFileInfo(filevers={numbers}, prodvers={numbers}, "
        "mask=0x3F, OS=0x40004, fileType=1),\n"
        f"  kids=[StringFileInfo([StringTable('040904B0', [{entries}])]),\n"
        "        VarFileInfo([VarStruct('Translation', [1033, 1200])])])\n"
    )


if __name__ == "__main__":
    sys.exit(main())
