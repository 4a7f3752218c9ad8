"""build.py says in one line what is missing. (test_exe.py, test_script.py and test_powershell.py
have what it makes.)
"""

import hashlib
import importlib.metadata
import os
import subprocess
import sys

import pytest

import build

from .command import ROOT


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "build.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


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
        (
            (3, 11),
            "5.0",
            "PyInstaller 6.22.3 is needed, and 5.0 is installed: pip install -e .[build]",
        ),
        (
            (3, 11),
            None,
            "PyInstaller 6.22.3 is needed, and none is installed: pip install -e .[build]",
        ),
    ],
)
def test_on_windows_the_right_python_and_pyinstaller_are_asked_for(
    mocker, capsys, version, installed, said
):
    mocker.patch.object(build.sys, "version_info", (*version, 0))
    missing = importlib.metadata.PackageNotFoundError("pyinstaller")
    mocker.patch(
        "importlib.metadata.version",
        **({"return_value": installed} if installed else {"side_effect": missing}),
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
    assert (
        f"pyinstaller={build.PYINSTALLER}\n" in (ROOT / "tests" / "wine" / "setup.sh").read_text()
    )


def test_the_exe_unpacks_itself_where_the_script_keeps_it_and_no_variable_redirects_it():
    arguments = build.pyinstaller("Z:\\checkout")
    folder = arguments[arguments.index("--runtime-tmpdir") + 1]
    assert folder == "C:\\Program Files\\imds-check"
    script = (ROOT / "runcommand" / "scripts" / "imds-check.ps1").read_text("ascii")
    assert "$programs = [Environment]::GetFolderPath('ProgramFiles')" in script
    assert '"$programs\\imds-check"' in script


# --- the scripts ---


@pytest.fixture
def dist(mocker, tmp_path):
    """build.py with another ``dist``."""
    mocker.patch.object(build, "ROOT", tmp_path)
    mocker.patch.object(build, "DIST", tmp_path / "dist")
    mocker.patch("build.files_for_linux", return_value={"__main__.py": "1\n"})
    return tmp_path / "dist"


def made(dist, *arguments, mocker):
    mocker.patch("sys.argv", ["build.py", *arguments])
    return build.main()


def test_the_scripts_stand_beside_the_exe_with_their_checksums(dist, mocker, capsys):
    dist.mkdir()
    (dist / "imds-check.exe").write_bytes(b"MZ")
    assert (
        made(
            dist,
            "scripts",
            "--exe-uri",
            "https://contoso.blob.example/x.exe?sig=a%2Bb&se=1",
            mocker=mocker,
        )
        == 0
    )
    names = [line.split()[1] for line in (dist / "SHA256SUMS").read_text().splitlines()]
    assert names == ["imds-check.exe", "imds-check.ps1", "imds-check.sh"]
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said if line.startswith("dist/")] == [
        "dist/imds-check.sh",
        "dist/imds-check.ps1",
    ]
    script = (dist / "imds-check.ps1").read_bytes()
    assert (
        script.count(b"\r\n") == script.count(b"\n")
        and b"https://contoso.blob.example/x.exe?sig=a%2Bb&se=1" in script
    )
    assert hashlib.sha256(b"MZ").hexdigest().encode() in script and b"'2'" in script


def test_without_an_exe_the_script_for_windows_runs_none(dist, mocker, capsys):
    assert made(dist, "scripts", mocker=mocker) == 0
    assert "imds-check.ps1 runs no exe: dist/imds-check.exe is not" in capsys.readouterr().out
    assert b"$ExeSha256 = ''" in (dist / "imds-check.ps1").read_bytes()
    with pytest.raises(SystemExit) as ended:
        made(dist, "--exe-uri", "https://contoso.example/x.exe", "scripts", mocker=mocker)
    assert ended.value.code == 1
    names = [line.split()[1] for line in (dist / "SHA256SUMS").read_text().splitlines()]
    assert names == ["imds-check.ps1", "imds-check.sh"]


def test_the_parts_of_the_script_are_shown_largest_first_and_make_up_what_is_packed(capsys):
    files = build.files_for_linux()
    parts = build.sizes_by_part(files)
    sizes = list(parts.values())
    assert sizes == sorted(sizes, reverse=True) and min(sizes) > 0
    assert {"runcommand/rules", "runcommand/system", "runcommand/cli.py"} <= set(parts)
    packed = len(build.shell_script(files)) - len(build.shell_script({}))
    assert 0.97 < sum(sizes) / packed < 1.01


def test_a_part_that_grows_is_seen():
    files = {"runcommand/a/x.py": os.urandom(2000).hex(), "runcommand/b.py": os.urandom(1000).hex()}
    parts = build.sizes_by_part(files)
    assert list(parts) == ["runcommand/a", "runcommand/b.py"]
    assert 1.8 < parts["runcommand/a"] / parts["runcommand/b.py"] < 2.2


def test_a_script_that_is_too_long_is_none(dist, mocker, capsys):
    mocker.patch("build.files_for_linux", return_value={"__main__.py": os.urandom(140_000).hex()})
    with pytest.raises(SystemExit):
        made(dist, "scripts", mocker=mocker)
    assert "more than 163,840" in capsys.readouterr().err and not (dist / "imds-check.sh").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "http://contoso.example/x",
        "ftp://x",
        "https://x/a'b",
        "https://x/\u00e4",
        "https://x/a b",
        "x.exe",
    ],
)
def test_the_address_of_the_exe_has_to_be_one(dist, mocker, capsys, uri):
    with pytest.raises(SystemExit) as ended:
        made(dist, "scripts", "--exe-uri", uri, mocker=mocker)
    assert (
        ended.value.code == 2
        and "not an address of the form https://HOST/..." in capsys.readouterr().err
    )


@pytest.mark.parametrize("left", [b"MZ", b"another"])
def test_a_script_for_another_exe_is_taken_away(dist, mocker, left):
    def freeze(**what):
        (dist / "imds-check.exe").write_bytes(b"MZ")

    dist.mkdir()
    (dist / "imds-check.ps1").write_text(build.powershell_script(left))
    mocker.patch("build.freeze_with_wine", side_effect=freeze)
    mocker.patch("build._try")
    mocker.patch.object(build, "WORK", dist / "work")
    build.build_exe(with_wine=os.name == "posix")
    assert (dist / "imds-check.ps1").exists() == (left == b"MZ")
