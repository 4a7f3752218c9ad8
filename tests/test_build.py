"""build.py says in one line what is missing. (tests/test_exe.py has what it makes.)"""

import importlib.metadata
import os
import subprocess
import sys

import pytest

import build

from .command import ROOT


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "build.py", *arguments], cwd=ROOT, env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
    )  # fmt: skip


def test_an_exe_is_made_on_windows_or_with_wine():
    done = run("exe") if os.name == "posix" else run("exe", "--wine")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "--wine" in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Wine is for Linux")
def test_what_setting_up_wine_needs_is_named(tmp_path):
    empty = tmp_path / "bin"
    empty.mkdir()
    done = run("exe", "--wine", PATH=str(empty), XDG_CACHE_HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "build.py: bash is not installed\n")


@pytest.mark.parametrize(
    "version, installed, said",
    [
        ((3, 13), "6.22.3", "install Python 3.11, and run this with it"),
        ((3, 11), "5.0", "PyInstaller 6.22.3 is needed, and 5.0 is installed: pip install -e .[build]"),
        ((3, 11), None, "PyInstaller 6.22.3 is needed, and none is installed: pip install -e .[build]"),
    ],
)
def test_on_windows_the_right_python_and_pyinstaller_are_asked_for(mocker, capsys, version, installed, said):
    mocker.patch.object(build.sys, "version_info", (*version, 0))
    missing = importlib.metadata.PackageNotFoundError("pyinstaller")
    mocker.patch(
        "importlib.metadata.version", **({"return_value": installed} if installed else {"side_effect": missing})
    )
    mocker.patch("subprocess.run", side_effect=AssertionError("nothing may be started"))
    with pytest.raises(SystemExit) as ended:
        build._freeze()
    assert (ended.value.code, capsys.readouterr().err) == (1, f"build.py: {said}\n")


def test_an_exe_that_does_not_start_is_none(mocker, capsys, tmp_path):
    mocker.patch("subprocess.run", return_value=mocker.Mock(stdout=b"", returncode=3))
    with pytest.raises(SystemExit):
        build._try(tmp_path / "imds-check.exe", with_wine=False)
    assert capsys.readouterr().err == "build.py: imds-check.exe does not start: exit code 3, b''\n"


def test_the_pinned_pyinstaller_is_the_one_that_the_project_and_wine_install():
    assert f"pyinstaller=={build.PYINSTALLER}" in (ROOT / "pyproject.toml").read_text()
    assert f"pyinstaller={build.PYINSTALLER}\n" in (ROOT / "tests" / "wine" / "setup.sh").read_text()
