"""Proxies: where Linux keeps them.

Scripts are read, not run, and whatever is in them costs little time.
"""

import json
import os
import sys
from dataclasses import replace

import pytest

from runcommand.collect import Board, NoFact
from runcommand.facts import Scope
from runcommand.report import text

from .clock import LITTLE, Work
from .facts_of import LINUX

if not sys.platform.startswith("linux"):
    pytest.skip("Linux only", allow_module_level=True)

from runcommand.diagnosis import diagnose
from runcommand.system.linux import files, proxies as linux


def told(found):
    return [(proxy.place, proxy.variable, proxy.server, proxy.bypass) for proxy in found]


@pytest.mark.parametrize(
    "content, expected",
    [
        ("", []),
        ("http_proxy=http://10.1.2.3:3128", [("http_proxy", "10.1.2.3:3128", ())]),
        (
            'export http_proxy="http://u:p@10.1.2.3:3128/"\nno_proxy=a,b',
            [("http_proxy", "10.1.2.3:3128", ("a", "b"))],
        ),
        ("HTTP_PROXY=p:1\nhttp_proxy=p:1", [("http_proxy", "p:1", ())]),
        ("HTTP_PROXY=p:1\nhttp_proxy=q:2", [("http_proxy", "q:2", ()), ("HTTP_PROXY", "p:1", ())]),
        ("ALL_PROXY=socks5://p:1", [("ALL_PROXY", "socks5://p:1", ())]),
        ("http_proxy=p:1\nall_proxy=q:2", [("http_proxy", "p:1", ()), ("all_proxy", "q:2", ())]),
        ("https_proxy=p:1\nftp_proxy=p:1", []),
        ("http_proxy=a:1\nhttp_proxy=b:2", [("http_proxy", "b:2", ())]),
        ("http_proxy=", []),
        ("# http_proxy=p:1\nPATH=/bin", []),
        ("http_proxy='unclosed\nNO_PROXY= x , y ", [("http_proxy", "unclosed:80", ("x", "y"))]),
        ("no_proxy=x,z\nNO_PROXY=z,y\nhttp_proxy=p:1", [("http_proxy", "p:1", ("x", "z"))]),
    ],
)
def test_etc_environment(content, expected):
    assert [item[1:] for item in told(linux.of_file(content, lambda note: None))] == expected


# What pam_env 1.5.2 makes of these lines was seen with su(1); systemd's EnvironmentFile= and a
# shell keep the password whole.
@pytest.mark.parametrize(
    "line, server, is_noted",
    [
        ("http_proxy=http://u:pa#ss@p:1", "p:1", True),
        ('http_proxy="http://u:pa#ss@p:1"', "p:1", True),
        ("http_proxy='http://u:12#34@p:1' # ours", "p:1", True),
        ('http_proxy="http://u:12 #34@p:1"', "p:1", True),
        ("http_proxy=u:12#34#56@p:1", "p:1", True),
        ("http_proxy=http://#u:12@p:1", "p:1", True),
        ("http_proxy=http://u:12 #34@p:1", None, True),
        ("http_proxy=http://p:1 # ask admin@contoso.com", "p:1", False),
        ("http_proxy=http://p:1#ours", "p:1", False),
        ("http_proxy='http://p:1' #ours", "p:1", False),
        ("http_proxy=http://p:1/#fragment", "p:1", False),
        ("#http_proxy=http://u:12@p:1", None, False),
        ("http_proxy#=http://u:12@p:1", None, False),
        ("http_proxy=http://q:\\\n1", "q:1", False),
    ],
)
def test_a_number_sign_in_etc_environment(line, server, is_noted):
    notes = []
    found = linux.of_file(line, notes.append)
    assert [item.server for item in found] == ([server] if server else [])
    assert any("has a # inside its value" in note for note in notes) is is_noted
    assert "12" not in repr(found) + repr(notes) and "34" not in repr(found) + repr(notes)


@pytest.mark.parametrize(
    "line, server",
    [
        ("http_proxy=http://u:12#34@p:1", "p:1"),
        ("http_proxy=$'http://u:12\\'#34@p:1'", "p:1"),
        ("http_proxy=$'http://u:\\x41\\101\\n@p:1'", "p:1"),
    ],
)
def test_systemds_own_environment_has_no_comments(line, server):
    (found,) = linux.of_environment(linux.parse_shown(line), linux.SYSTEMD, lambda note: None)
    assert found.server == server and "12" not in repr(found)


@pytest.mark.parametrize(
    "value",
    [
        "http://u:12#34@p:1",
        '"http://u:12 #34@p:1"',
        "'http://u:12#34@p:1' # ours",
        "http://u:12\\#34@p:1",
    ],
)
def test_a_number_sign_inside_a_word_of_a_script_is_no_comment(value):
    (found,) = linux.of_profiles([("a.sh", f"export http_proxy={value}")], lambda note: None)
    assert (found.server, found.undecided) == ("p:1", None)


HALVES = [
    "http://u:12#x y@h",
    "http://u:12 #x y@h",
    "http://u:12 x@h",
    "u:12#x y z@h",
    "http://u:12 x#y@h",
    "http://u:12#34 56@h",
    "http://u:12?x y@h",
    "http://u:12/x y@h",
    "http://u@12#x y@h",
]


@pytest.mark.parametrize("value", HALVES)
def test_an_address_that_may_be_half_of_one_is_no_proxy_and_that_is_said(value):
    notes = []
    assert linux.of_file(f"http_proxy={value}\n", notes.append) == []
    assert f"/etc/environment: http_proxy: {linux.AMBIGUOUS}" in notes
    assert linux.of_agent(f"HttpProxy.Host={value}\n", notes.append) == []
    assert notes[-1] == f"/etc/waagent.conf: HttpProxy.Host: {linux.AMBIGUOUS}"
    assert "12" not in repr(notes)


@pytest.mark.parametrize(
    "value", [*HALVES, "http://u:12;x@h", "http://u:12&x@h", "http://u:12#x y", "http://u:12 #34@h"]
)
@pytest.mark.parametrize(
    "line", ["export http_proxy={}", "http_proxy={}", "[ -f /x ] && export all_proxy={}"]
)
def test_an_address_that_a_script_cuts_in_half_is_no_proxy(value, line):
    if "@h" not in value:
        value += " z@h"
    notes = []
    found = linux.of_profiles([("a.sh", line.format(value))], notes.append)
    assert not any("12" in str(proxy.server) for proxy in found) and "12" not in repr(notes)
    assert found == [] and notes == [
        "a.sh: 1 lines are left out in which a # or a blank cuts an address short"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "http_proxy=p:1 # ask admin@contoso.com",
        "http_proxy='p:1' #ask admin@contoso.com",
        "http_proxy=p:1 https_proxy=http://u:x@q:2",
        "http_proxy=p:1; git config user.email a@contoso.com",
        "http_proxy=p:1 # http_proxy=http://u:x@h",
        "http_proxy='http://u:x@p:1'; git@contoso.com",
        "http_proxy=http://u:x@p:1 # ask admin@contoso.com",
    ],
)
def test_an_address_with_a_comment_is_a_proxy(line):
    notes = []
    if ";" not in line and "https" not in line:
        assert [proxy.server for proxy in linux.of_file(line, notes.append)] == ["p:1"]
    if "'" not in line:
        assert [proxy.server for proxy in linux.of_profiles([("a.sh", line)], notes.append)] == [
            "p:1"
        ]
    assert notes == []


def test_a_line_that_is_all_comment_is_not_said_to_be_left_out():
    notes = []
    script = "#export http_proxy=http://u:12@p:1\n#me@contoso.com\n"
    assert linux.of_profiles([("a.sh", script)], notes.append) == [] and notes == []


def test_the_values_of_waagent_conf_end_at_a_comment():
    (found,) = linux.of_agent(
        "HttpProxy.Host=10.1.2.3 # ours\nHttpProxy.Port=3128 # as well\n", lambda note: None
    )
    assert found.server == "10.1.2.3:3128"


@pytest.mark.parametrize(
    "scripts, expected",
    [
        ([("a.sh", "export http_proxy=http://p:1")], [("a.sh", "http_proxy", "p:1", ())]),
        (
            [
                (
                    "a.sh",
                    'PROXY="http://p:1"\nexport http_proxy=$PROXY HTTP_PROXY=${PROXY} '
                    'no_proxy="a,b"',
                )
            ],
            [("a.sh", "http_proxy", "p:1", ("a", "b"))],
        ),
        ([("a.sh", "http_proxy=p:1; export http_proxy")], [("a.sh", "http_proxy", "p:1", ())]),
        (
            [("a.sh", "export http_proxy=p:1"), ("b.sh", "export no_proxy=$no_proxy,x")],
            [("a.sh", "http_proxy", "p:1", ("x",))],
        ),
        ([("a.sh", "export http_proxy=p:1"), ("b.sh", "export http_proxy=")], []),
        ([("a.sh", "  # export http_proxy=p:1")], []),
        (
            [("a.sh", "if true; then\n  export http_proxy='p:1'\nfi")],
            [("a.sh", "http_proxy", "p:1", ())],
        ),
    ],
)
def test_login_scripts_are_read_in_their_order(scripts, expected):
    assert told(linux.of_profiles(scripts, lambda note: None)) == expected


ON_IT = "export http_proxy=p:1\n"


@pytest.mark.parametrize(
    "script, server, bypass, undecided",
    [
        ("proxy_on() { export http_proxy=p:1; }", "p:1", (), True),
        ("function on {\n  export http_proxy=p:1\n}", "p:1", (), True),
        ("if [ -f /x ]; then\n  export http_proxy=p:1\nfi", "p:1", (), True),
        ("[ -f /x ] && export http_proxy=p:1", "p:1", (), True),
        ("if true; then\n :\nfi\nexport http_proxy=p:1", "p:1", (), False),
        ("export LANG=C # http_proxy=p:1", None, (), False),
        ('echo "set http_proxy=p:1 if needed"', None, (), False),
        (f"{ON_IT}unset http_proxy", None, (), False),
        (f"{ON_IT}export no_proxy=a\nexport no_proxy+=,b", "p:1", ("a", "b"), False),
        (f'{ON_IT}export no_proxy="a,\\\nb"', "p:1", ("a", "b"), False),
        (f'{ON_IT}export no_proxy="a,$(hostname -I),b"', "p:1", ("a", "b"), True),
        (f'{ON_IT}export no_proxy="${{no_proxy:-x}},b"', "p:1", ("x", "b"), False),
        (f'{ON_IT}export no_proxy="${{no_proxy:+$no_proxy,}}b"', "p:1", ("b",), False),
        (
            f'{ON_IT}export no_proxy=a\nexport no_proxy="${{no_proxy:+$no_proxy,}}b"',
            "p:1",
            ("a", "b"),
            False,
        ),
        (f"{ON_IT}export no_proxy=a,$(cat /x)", "p:1", ("a",), True),
        (f"{ON_IT}export no_proxy='unclosed", "p:1", (), False),
        (f"{ON_IT}export MANPATH=$UNKNOWN", "p:1", (), False),
        ("http_proxy=p:1; https_proxy=p:1; export http_proxy https_proxy", "p:1", (), False),
        ("if [ -f /x ]; then export LANG=C; fi\nexport http_proxy=p:1", "p:1", (), False),
        ("case $x in\na) export http_proxy=p:1 ;;\nesac", "p:1", (), True),
        ("for x in a b; do\nexport http_proxy=p:1\ndone", "p:1", (), True),
        ("alias proxy='export http_proxy=p:1'", "p:1", (), True),
        (f"{ON_IT}unset a http_proxy; export LANG=C", None, (), False),
        (f"{ON_IT}http_proxy=q:1 curl x", "q:1", (), True),
        ("a=b" + " " * 16000 + "\x01 y\nexport http_proxy=p:1", "p:1", (), False),
    ],
)
def test_a_script_is_read_and_what_it_only_may_do_is_undecided(script, server, bypass, undecided):
    found = linux.of_profiles([("a.sh", script)], lambda note: None)
    assert [(item.server, item.bypass, bool(item.undecided)) for item in found] == (
        [(server, bypass, undecided)] if server else []
    )


def test_a_login_has_the_list_of_etc_environment_before_the_scripts():
    (found,) = linux.of_profiles(
        [("a.sh", ON_IT)], lambda note: None, {"no_proxy": "a,b", "http_proxy": "q:2"}
    )
    assert (found.server, found.bypass) == ("p:1", ("a", "b"))
    assert not linux.of_profiles(
        [("a.sh", "export LANG=C")], lambda note: None, {"http_proxy": "q:2"}
    )


MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    "script",
    [
        "x" * MEGABYTE,
        "http_proxy=" + "y" * MEGABYTE,
        "http_proxy='" * 100000,
        "a=" * 300000,
        "export " * 150000,
        "a='b' " * 2000 + "!",
        "$(" * 400000,
        "a0=xxxxxxxxxx\n" + "".join(f"a{n + 1}={f'$a{n}' * 1000}\n" for n in range(9)),
        "\\\n" * 300000,
        "if\n" * 200000,
        "http_proxy=p:1\n" * 60000,
        "a=" * 8000 + "!",
        "a=b" * 5000 + "!",
        " " * 16000 + "!",
        "a= " * 5000 + "!",
        "export " * 2000 + "!",
        "((((" * 4000,
        "`" * 16000,
    ],
    ids=range(18),
)
def test_hostile_files_cost_little_time(script):
    work = Work()
    linux.of_profiles([("a.sh", script)], lambda note: None)
    linux.of_file(script, lambda note: None)
    linux.of_agent(script, lambda note: None)
    assert work.loops() < 3 * LITTLE


def test_a_value_that_grows_without_end_is_none(monkeypatch):
    script = "export http_proxy=p:1\n" + "export no_proxy+=,aaaaaaaaaaaaaaa\n" * 10_000
    (found,) = linux.of_profiles([("a.sh", script[: linux.SCRIPT_LIMIT])], lambda note: None)
    assert sum(map(len, found.bypass)) <= linux.VALUE_LIMIT


CARRIED = f'no_proxy="{"a " * 4000}"\n'


@pytest.mark.parametrize(
    "line",
    [
        "no_proxy=$no_proxy\n",
        'x="${no_proxy:+$no_proxy}"\n',
        "x=${y:-$no_proxy}\n",
        "export x=$no_proxy\n",
    ],
)
def test_what_variables_expand_to_in_all_scripts_is_bounded_and_said(line):
    notes = []
    scripts = [(f"{name}.sh", f"{CARRIED}{line * 5000}") for name in "ab"]
    (found,) = linux.of_profiles(
        [("0.sh", ON_IT), *scripts, ("z.sh", "P=q:2\nhttp_proxy=$P\n")], notes.append
    )
    assert found.server == "q:2"  # a short value still fits
    (said,) = [note for note in notes if "expand" in note]
    assert said.startswith("/etc/profile.d: ") and said.endswith(
        "variables expand to more than 1024 KiB in all"
    )
    assert int(said.split()[1]) >= 1


def test_scripts_that_carry_a_value_a_few_times_are_read_whole():
    notes = []
    (found,) = linux.of_profiles(
        [("a.sh", f"{ON_IT}{CARRIED}" + "no_proxy=$no_proxy\n" * 100)], notes.append
    )
    assert found.bypass == (("a " * 4000).strip(),) and notes == [] and found.undecided is None


@pytest.mark.parametrize(
    "script", ["A='x  y'\nno_proxy=$A", "A='x  y'\nno_proxy=\"$A\"", "no_proxy=${A:-'x  y'}"]
)
def test_the_value_of_a_variable_is_not_split_again(script):
    (found,) = linux.of_profiles([("a.sh", f"{ON_IT}{script}")], lambda note: None)
    assert found.bypass == ("x  y",)


def test_what_is_not_read_of_profile_d_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(linux, "PROFILE_D", tmp_path)
    (tmp_path / "a.sh").write_text("x" * 20_000 + "\nexport http_proxy=p:1\n")
    (tmp_path / "b.sh").write_text("# filler\n" * 40_000)
    for number in range(linux.FILES):
        (tmp_path / f"c{number}.sh").write_text("true\n")
    notes = []
    (found,) = linux.of_profiles(linux._profiles(notes.append), notes.append)
    assert found.server == "p:1"
    assert notes == [
        f"{tmp_path}/b.sh: only its first 256 KiB are read",
        f"{tmp_path}: of 202 scripts the first 200 are read",
        f"{tmp_path}/a.sh: 1 lines of more than 16384 characters are left out",
    ]


def test_a_cut_bypass_list_is_said():
    notes = []
    linux.of_file("http_proxy=p:1\nno_proxy=" + "a," * 3000, notes.append)
    assert notes == [
        "/etc/environment: a bypass list has more than 2000 entries: the others are left out"
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes in the file system are POSIX'")
def test_a_pipe_in_the_place_of_a_file_does_not_stall(tmp_path):
    os.mkfifo(tmp_path / "pipe.sh")
    assert files.read(tmp_path / "pipe.sh") is None


@pytest.mark.parametrize(
    "content, server",
    [
        ("HttpProxy.Host=None\nHttpProxy.Port=None", None),
        ("# HttpProxy.Host=p\n", None),
        ("HttpProxy.Host=10.1.2.3\nHttpProxy.Port=3128", "10.1.2.3:3128"),
        ("HttpProxy.Host=p", "p:80"),
        ("HttpProxy.Host=a b", None),
    ],
)
def test_the_agents_own_proxy(content, server):
    found = linux.of_agent(content, lambda note: None)
    assert [proxy.server for proxy in found] == ([server] if server else [])


class NoPrograms:
    def run(self, program, arguments, seconds):
        raise NoFact(f"{program}: not found")


def test_the_process_counts_as_the_machine_and_what_it_has_from_a_file_is_told_once(
    mocker, tmp_path
):
    (tmp_path / "environment").write_text("http_proxy=p:1\nno_proxy=x\n")
    mocker.patch.multiple(
        linux,
        ENVIRONMENT=tmp_path / "environment",
        PROFILE_D=tmp_path / "none",
        WAAGENT_CONF=tmp_path / "no",
    )
    mocker.patch.dict("os.environ", {"http_proxy": "p:1", "no_proxy": "x"}, clear=True)
    assert [proxy.place for proxy in linux.collect(NoPrograms(), Board(5))] == [
        str(tmp_path / "environment")
    ]
    mocker.patch.dict("os.environ", {"http_proxy": "q:1"}, clear=True)
    own = linux.collect(NoPrograms(), Board(5))[1]
    assert (own.place, own.scope, own.server) == (linux.PROCESS, Scope.MACHINE, "q:1")


def test_no_credentials_and_no_query_reach_a_report():
    content = "http_proxy=http://user:hunter2@10.1.2.3:3128/?key=hunter2\nno_proxy=x\n"
    (found,) = linux.of_file(content, lambda note: None)
    assert "hunter2" not in text.full(diagnose(replace(LINUX.healthy(), proxies=(found,))), "here")
    assert json.dumps(found.server) == '"10.1.2.3:3128"'
