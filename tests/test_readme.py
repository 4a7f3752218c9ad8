"""The README keeps its word: its sample is real output; its options, headings and links exist."""

import re

import pytest

from runcommand.rules.catalogue import RULES

from .command import ROOT, imds_check
from .snapshots import FOLDER

TEXT = (ROOT / "README.md").read_text("utf-8")


def code_blocks():
    return re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_sample_is_the_recorded_report_with_lines_left_out():
    recorded = (
        (FOLDER / "route-wrong-interface.txt")
        .read_text("ascii")
        .replace("none (replay)", "none (demo)")
    )
    (shown,) = [block for block in code_blocks() if block.startswith("IMDS-CHECK ")]
    parts = shown.split("  ...\n")
    assert len(parts) > 1 and recorded.startswith(parts[0]) and recorded.endswith(parts[-1])
    end = 0
    for part in parts:  # each comes whole, and after the one before it
        begin = recorded.index(f"\n{part}", end - 1) + 1 if end else 0
        end = begin + len(part)
        assert recorded[begin:end] == part
    assert all(
        heading in shown
        for heading in ("VERDICT ", "FIX ", "PATH ", "CHECKS\n", "EVIDENCE\n", "END IMDS-CHECK ")
    )


def test_it_leaves_the_causes_to_explain():
    assert "`imds-check explain`" in TEXT
    told = [rule.cause for rule in RULES if f"`{rule.cause}`" in TEXT]
    assert not told, "the table of causes is explain's"


def test_a_reader_with_a_broken_vm_gets_through_it():
    assert len(TEXT.splitlines()) < 200


def test_the_command_of_the_tests_is_the_first_of_its_kind_and_one_line():
    """``.ci/run`` takes it from here."""
    first = next(line for line in TEXT.splitlines() if line.startswith("pip install -e"))
    assert first == "pip install -e '.[test]' && python -m pytest"
    assert f"{first}\n" in code_blocks()


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "samples/README.md"]
)
def test_every_link_leads_somewhere(name):
    document = ROOT / name
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\[[^]]+\]\(([^)\s]+)\)", text)
    assert links or name != "README.md"
    for link in links:
        path, _, anchor = link.partition("#")
        if link.startswith("https://"):
            continue
        target = document.parent / path if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


def anchors(text):
    """The anchors of a page's headings, as its host makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_what_other_texts_send_a_reader_to_is_there():
    told = (ROOT / "runcommand" / "operator" / "run_command.py").read_text("utf-8")
    for heading in re.findall(r"README: ([A-Z][\w ]+)\)", told):
        assert f"\n## {heading}\n" in TEXT
    assert "README: " in told


def test_every_option_it_names_exists():
    of_diagnose_vm = (ROOT / "samples" / "diagnose-vm.sh").read_text("utf-8")
    helped = imds_check("check", "--help").out + of_diagnose_vm
    options = set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert options and all(option in helped for option in options)


def test_every_option_that_exists_is_named():
    helped = imds_check("check", "--help").out
    assert set(re.findall(r"(--[a-z-]+)", helped)) - {"--help"} <= set(
        re.findall(r"(--[a-z-]+)", TEXT)
    )
