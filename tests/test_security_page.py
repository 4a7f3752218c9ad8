"""SECURITY says what the code does: its limits, its folders, its checks of commands."""

import inspect
import re
from dataclasses import fields

import build
from runcommand.attest import document
from runcommand.facts import Firewall
from runcommand.firewall import record
from runcommand.fixes.commands import UnfitWord
from runcommand.probes.imds import Pace
from runcommand.redaction.addresses import Addresses
from runcommand.redaction.key import Key
from runcommand.system.linux import REPORTS
from runcommand.system.run_folder import FILES, KEPT
from runcommand.system.windows import folder

from .command import ROOT

TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
FLAT = re.sub(r"\s+", " ", TEXT)
IN_WORDS = {10: "ten"}


def test_the_limits_of_requests_are_those_of_the_probe():
    limits = {name: item.default for name, item in inspect.signature(Pace).parameters.items()}
    said = f"at most {limits['per_second']} in any second and {limits['in_all']} in a run"
    assert said in FLAT


def test_the_report_folder_is_where_it_says():
    assert f"`{REPORTS.as_posix()}`" in FLAT
    assert f"`%ProgramData%\\{folder.NAME}`" in FLAT
    assert f"The newest {IN_WORDS[KEPT]} folders are kept" in FLAT
    assert set(re.findall(r"`(report\.\w+)`", FLAT)) <= set(FILES)


def test_what_is_kept_for_a_newer_version_ends_where_it_says():
    assert f"as IMDS signed it, up to {document.KEPT_LIMIT >> 10} KiB" in FLAT
    assert f"the lines end at {record.BYTES / 1e6} MB" in FLAT
    assert "lines_cut" in {field.name for field in fields(Firewall)}


def test_the_exe_unpacks_where_it_says():
    assert f"below `{build.RUNTIME_FOLDER}`, whatever the environment says" in FLAT
    assert build.RUNTIME_FOLDER in build.pyinstaller("root")


def test_the_file_that_makes_commands_is_the_one_that_it_names():
    (path,) = re.findall(r"`(runcommand/fixes/\w+\.py)`", FLAT)
    assert path == f"{UnfitWord.__module__.replace('.', '/')}.py"


def test_what_it_says_of_pseudonyms_of_addresses_is_so():
    addresses = Addresses(Key(b"a key for this test"))
    addresses.know("10.1.2.0", 24)
    names = {last: addresses(f"10.1.2.{last}") for last in (0, 1, 7, 255)}
    networks = {name.rpartition(".")[0] for name in names.values()}
    assert len(networks) == 1 and networks != {"10.1.2"}
    assert [names[last].rpartition(".")[2] for last in (0, 1, 255)] == ["0", "1", "255"]
    for kept in ("127.0.0.1", "169.254.169.254", "168.63.129.16", "224.0.0.1"):
        assert addresses(kept) == kept
    assert addresses.mac("00-0D-3A-E5-1C-C0").startswith("00-0D-3A-")


def test_it_tells_how_to_report_a_hole_and_names_no_address_of_a_person():
    assert "private vulnerability report" in FLAT
    assert "@" not in FLAT.replace("user:password@", "")
