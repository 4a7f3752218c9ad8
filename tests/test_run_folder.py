"""Old report folders: only what a run of ours has left is removed.

Real folders, owners, links and mounts.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .command import ROOT

if not sys.platform.startswith("linux"):
    pytest.skip("Linux only", allow_module_level=True)

from runcommand.system.linux import folder

OLD, NOWHERE, STRANGER = "20190101T000000Z", Path("/nonexistent"), 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "imds-check"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def old(base):
    """A folder as an old run has left it."""
    path = base / OLD
    path.mkdir(mode=0o700)
    for name in ("report.txt", "report.json"):
        (path / name).write_text("old")
    return path


def run_often(base):
    for day in range(10, 22):
        folder.make(base, NOWHERE, f"202611{day}T000000Z").write("report.txt", b"new")


def test_a_folder_of_ours_goes(base, old):
    run_often(base)
    assert not old.exists() and len(list(base.iterdir())) == 10


@as_root
@pytest.mark.parametrize("what", ["the folder", "the folder above", "a file in it"])
def test_what_belongs_to_somebody_else_stays(base, old, what):
    os.chown(
        {"the folder": old, "the folder above": base, "a file in it": old / "report.json"}[what],
        STRANGER,
        -1,
    )
    run_often(base)
    assert [path.read_text() for path in sorted(old.iterdir())] == ["old", "old"]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_can_write_stays(base, old, mode):
    old.chmod(mode)
    run_often(base)
    assert len(list(old.iterdir())) == 2


def test_a_folder_that_holds_more_than_ours_stays_whole(base, old):
    (old / "notes.txt").write_text("mine")
    run_often(base)
    assert sorted(path.name for path in old.iterdir()) == ["notes.txt", "report.json", "report.txt"]


@pytest.mark.parametrize("make", ["symlink", "folder", "fifo"])
def test_a_folder_with_something_else_under_a_reports_name_stays_whole(base, old, make, tmp_path):
    place = old / "report.html"
    {
        "symlink": lambda: place.symlink_to(tmp_path),
        "folder": place.mkdir,
        "fifo": lambda: os.mkfifo(place),
    }[make]()
    run_often(base)
    assert len(list(old.iterdir())) == 3


def test_a_link_of_that_name_stays_and_so_does_what_it_leads_to(base, old, tmp_path):
    target = old.rename(tmp_path / "elsewhere")
    old.symlink_to(target)
    run_often(base)
    assert old.is_symlink() and len(list(target.iterdir())) == 2


@as_root
def test_what_is_mounted_there_stays(base, old, tmp_path):
    """In a mount namespace of its own; a bind mount of the same file system, which has the same
    device number.
    """
    shown = tmp_path / "precious"
    shown.mkdir(mode=0o700)
    (shown / "report.txt").write_text("precious")
    script = (
        "import sys; from pathlib import Path; from runcommand.system.linux import folder\n"
        "for day in range(10, 22): folder.make(Path(sys.argv[1]), Path('/nonexistent'), "
        "f'202611{day}T000000Z')\n"
    )
    command = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$5"'
    inside = [
        "unshare",
        "-m",
        "sh",
        "-c",
        command,
        "sh",
        str(shown),
        str(old),
        sys.executable,
        script,
        str(base),
    ]
    done = subprocess.run(inside, cwd=ROOT, capture_output=True, text=True)
    if "ermission denied" in done.stderr or "not permitted" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0, done.stderr
    assert (shown / "report.txt").read_text() == "precious" and len(list(old.iterdir())) == 2
    assert len(list(base.iterdir())) == 11
