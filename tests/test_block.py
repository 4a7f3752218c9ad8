"""The block of raw material in the output of imds-check.ps1: it survives its way, or is named for
what it is.
"""

import base64
import random
import zlib
from urllib.parse import quote

import pytest

from runcommand.operator import block

RANDOM = random.Random(7)
RECORDS = [
    ("try", "imds", "10.0.0.4", "200", '{"compute": {"name": "l\u00e4b\tvm"}}'),
    ("route", "0.0.0.0", "0.0.0.0", "10.0.0.1", "10.0.0.4", "10"),
    ("registry", "HKLM\\SYSTEM\\x", "name", "1\n2\r\n3\\n"),
    ("rule", *(f"{RANDOM.getrandbits(128):032x}" for _ in range(40))),
]
PACKED = block.pack(RECORDS)
FIRST, *MIDDLE, LAST = PACKED.splitlines()


def report(packed):
    return f"IMDS-CHECK 0.1.0  testWs\nVERDICT  BROKEN\n{packed}END IMDS-CHECK verdict=broken\n"


def test_what_is_packed_comes_back():
    assert block.unpack(report(PACKED)) == RECORDS


def test_it_is_printable_ascii_in_short_lines():
    assert PACKED.isascii() and all(line.isprintable() for line in PACKED.splitlines())
    assert max(map(len, PACKED.splitlines())) <= block.LINE + 2


def test_a_report_without_a_block_has_no_records():
    assert block.unpack(report("")) is None


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: "\n".join(map(str.strip, text.split("\n"))), id="trimmed"),
        pytest.param(lambda text: text.replace("\n", "\n        "), id="indented"),
        pytest.param(lambda text: text.replace("\n", "\n> > "), id="quoted"),
        pytest.param(lambda text: text.replace("\n", "  \n"), id="blanks behind the lines"),
        pytest.param(lambda text: text.replace("\n", "\n\n"), id="empty lines between"),
        pytest.param(lambda text: text.replace("\n  ", "\n  \u00a0"), id="unbreakable blanks"),
    ],
)
def test_it_survives_its_way(way):
    assert block.unpack(way(report(PACKED))) == RECORDS


def test_wrapped_lines_are_read():
    wrapped = [line[at : at + 60] for line in MIDDLE for at in range(0, len(line), 60)]
    assert block.unpack(report("\n".join([FIRST, *wrapped, LAST, ""]))) == RECORDS


def packed_by_hand(content, version=1):
    characters = base64.b64encode(content).decode()
    first = f"RAW {version} {len(characters)} {block._sha256(characters)}"
    return f"{first}\n  {characters}\nRAW END\n"


def deflated(content):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(content) + deflate.flush()


@pytest.mark.parametrize(
    "packed, said",
    [
        pytest.param(PACKED.partition("\n")[2], "first line is missing", id="first line cut off"),
        pytest.param("\n".join([FIRST, *MIDDLE]) + "\n", "its end is missing", id="end cut off"),
        pytest.param("\n".join([FIRST, *MIDDLE[1:], LAST, ""]), "are there", id="a line lost"),
        pytest.param(PACKED.replace("\n  ", "\n  A", 1), "only 1,192 were sent", id="one too many"),
        pytest.param(PACKED + PACKED, "there are 2 of them", id="two runs"),
        pytest.param(packed_by_hand(b"\xff\xff\xff"), "cannot be unpacked", id="not DEFLATE"),
        pytest.param(packed_by_hand(deflated(b"\xff")), "cannot be unpacked", id="not UTF-8"),
        pytest.param(packed_by_hand(deflated(bytes(5 << 20))), "larger than", id="a bomb"),
        pytest.param(packed_by_hand(deflated(b"x"), 3), "a newer imds-check", id="a newer form"),
    ],
)  # fmt: skip
def test_a_damaged_block_is_named_for_what_it_is(packed, said):
    with pytest.raises(block.Damaged, match=said):
        block.unpack(report(packed))


# --- form 2, of PowerShell in ConstrainedLanguage mode ---


def plain(records, name=block.RAW):
    text = "\n".join("\t".join(map(block._escape, record)) for record in records)
    for sign, meant in block.SIGNS.items():
        text = text.replace(meant, f"\0{ord(sign):02x}")
    text = quote(text, safe="\0")
    for sign in block.SIGNS:
        text = text.replace(f"\0{ord(sign):02x}", sign)
    lines = [text[at : at + 110] for at in range(0, len(text), 110)]
    first = f"{name} 2 {len(text)} {zlib.adler32(text.encode()):08x}"
    return "\n".join([first, *(f"  {line}" for line in lines), f"{name} END", ""])


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(lambda text: text, id="as it is"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: "\n".join(map(str.strip, text.split("\n"))), id="trimmed"),
        pytest.param(lambda text: text.replace("\n", "\n> > "), id="quoted"),
    ],
)
def test_a_plain_block_is_read(way):
    assert block.unpack(way(report(plain(RECORDS)))) == RECORDS


def test_of_a_plain_block_a_changed_character_is_noticed():
    packed = plain(RECORDS)
    at = packed.index("imds")
    with pytest.raises(block.Damaged, match="characters were changed"):
        block.unpack(report(packed[:at] + "I" + packed[at + 1 :]))


def test_a_plain_block_that_is_no_utf_8_is_named():
    first = f"RAW 2 3 {zlib.adler32(b'%FF'):08x}"
    with pytest.raises(block.Damaged, match="cannot be unpacked"):
        block.unpack(report(f"{first}\n  %FF\nRAW END\n"))


# --- the second block ---


def test_two_blocks_of_different_names_do_not_disturb_each_other():
    document = [("document", "1", "30")]
    both = report(PACKED) + "\n" + block.pack(document, block.DOCUMENT)
    assert block.unpack(both) == RECORDS
    assert block.unpack(both, block.DOCUMENT) == document
    assert block.without(both, block.DOCUMENT) == report(PACKED) + "\n"


def test_any_character_that_is_lost_or_changed_is_noticed():
    start = PACKED.index("\n  ") + 3
    for at in range(start, len(PACKED) - len("\nRAW END\n"), 7):
        if PACKED[at] in "\n ":
            continue
        other = "A" if PACKED[at] != "A" else "B"
        for changed in (PACKED[:at] + PACKED[at + 1 :], PACKED[:at] + other + PACKED[at + 1 :]):
            with pytest.raises(block.Damaged):
                block.unpack(report(changed))
