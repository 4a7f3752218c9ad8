"""The command line in processes of its own: arguments, exit codes, files, streams."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from runcommand import cli
from runcommand.commands import COMMANDS, program
from runcommand.diagnosis import diagnose
from runcommand.nearest import distance, nearest
from runcommand.report import json_report
from runcommand.rules.catalogue import BY_CAUSE
from runcommand.rules.checks import CHECKS
from runcommand.simulator.host import ANSWERS, Behaviour, Host
from runcommand.simulator.scenarios import LINUX_VM, SCENARIOS

from .clock import in_time
from .command import ROOT, imds_check, start, start_s
from .facts_of import LINUX, WINDOWS

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX streams and signals")


def is_one_line_and_2(ran):
    assert ran.code == 2 and ran.out == ""
    assert ran.err.startswith("imds-check: ") and ran.err.count("\n") == 1 and len(ran.err) < 500, (
        ran.err
    )
    return ran.err


# --- arguments that make no sense ---


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--expected-mac", "00-0D-3A-E5-1C"], "not a MAC address"),
        (["--expected-mac", ""], "not a MAC address"),
        (["--expected-ip", "10.0.0.256"], "not an IPv4 address"),
        (["--expected-ip", "fe80::1"], "not an IPv4 address"),
        (["--expected-ip", "127.0.0.1"], "no NIC has this IPv4 address"),
        (["--expected-ip", "0.0.0.0"], "no NIC has this IPv4 address"),
        (["--expected-ip", "224.0.0.1"], "no NIC has this IPv4 address"),
        (["--expected-ip", "255.255.255.255"], "no NIC has this IPv4 address"),
        (["--expected-ip", "169.254.169.254"], "no NIC has this IPv4 address"),
        (["--expected-mac", "00:00:00:00:00:00"], "no NIC has this MAC address"),
        (["--expected-mac", "FF-FF-FF-FF-FF-FF"], "no NIC has this MAC address"),
        (["--expected-mac", "01-00-5E-00-00-01"], "no NIC has this MAC address"),
        (["--dead", "5"], "check: no option is called '--dead'."),
        (["--deadline", "-1"], "1 to 600"),
        (["--deadline", "0"], "1 to 600"),
        (["--deadline", "nan"], "1 to 600"),
        (["--deadline", "inf"], "1 to 600"),
        (["--deadline", "soon"], "1 to 600"),
        (["--out", "/nonexistent/folder"], "no such folder"),
        (["--out", __file__], "no such folder"),
        (["--out", "a\u00e4\nb"], "no such folder"),
        (["--out", ""], "no such folder: ''"),
        (
            ["--format", "yaml"],
            "argument --format: no format is called 'yaml'. The formats: portal, full, json",
        ),
        (["--format", "jsno"], "Did you mean 'json'?"),
        (["--no-files", "--out", "/"], "--no-files and --out contradict each other"),
        (["--imds-url", "http://127.0.0.1:1"], "go together"),
        (["--wireserver-url", "http://127.0.0.1:1"], "go together"),
        (
            ["--imds-url", "https://127.0.0.1:1", "--wireserver-url", "http://127.0.0.1:1"],
            "http://ADDRESS:PORT",
        ),
        (
            ["--imds-url", "http://127.0.0.1:99999", "--wireserver-url", "http://127.0.0.1:1"],
            "http://ADDRESS:PORT",
        ),
        (
            ["--imds-url", "http://example.com/", "--wireserver-url", "http://127.0.0.1:1"],
            "http://ADDRESS:PORT",
        ),
        (
            ["--no-such-option"],
            "check: no option is called '--no-such-option'. imds-check check --help lists them",
        ),
        (["--fromat", "json"], "check: no option is called '--fromat'. Did you mean '--format'?"),
        (["--fromat=json"], "Did you mean '--format'?"),
        (
            ["--imds-ulr", "http://127.0.0.1:1"],
            "no option is called '--imds-ulr'. imds-check",
        ),  # what is hidden stays so
        (["demo", "--Redact"], "demo: no option is called '--Redact'. Did you mean '--redact'?"),
        (
            ["replay", "x", "--fromat", "full"],
            "replay: no option is called '--fromat'. Did you mean '--format'?",
        ),
        (
            ["decode", "x", "--deadline"],
            "decode: no option is called '--deadline'. imds-check decode --help lists them",
        ),
        (["--format", "json", "demo"], "a command comes first, as in imds-check demo"),
        (["explain", "route-missing", "nic-down"], "explain: unrecognized argument 'nic-down'"),
        (
            ["chekc"],
            "no command is called 'chekc'. Did you mean 'check'? The commands: check, demo,",
        ),
        (["relpay", "report.json"], "Did you mean 'replay'?"),
        (["Decode"], "Did you mean 'decode'?"),
        (["report.json"], "no command is called 'report.json'. The commands: check"),
        ([""], "no command is called ''. The commands: check"),
        (["x" * 5000], "The commands: check, demo, replay, explain, decode"),
        (
            ["demo", "no-such-scenario"],
            "no scenario is called 'no-such-scenario'. demo --list names them",
        ),
        (["demo", "route-mising"], "Did you mean 'route-missing'? demo --list names them"),
        (["demo", ""], "no scenario is called ''. demo --list names them"),
        (
            ["demo", "--list", "--format", "json"],
            "demo --list prints the list of scenarios, as text: give nothing beside it",
        ),
        (["demo", "--list", "--format", "portal"], "give nothing beside it"),
        (["demo", "--list", "--redact"], "give nothing beside it"),
        (["demo", "--list", "route-missing"], "give nothing beside it"),
        (["demo", "--list", ""], "give nothing beside it"),
        (
            ["explain", "no-such-cause"],
            "no cause or check is called 'no-such-cause'. explain without an argument lists them",
        ),
        (["explain", "route-mssing"], "Did you mean 'route-missing'? explain without an argument"),
        (["explain", "ROUTE-MISSING"], "Did you mean 'route-missing'?"),
        (
            ["explain", "imds.reachabel"],
            "Did you mean 'imds.reachable'? explain without an argument",
        ),
        (["explain", "clock-skw"], "Did you mean 'clock-skew'?"),
        (["explain", "clock.skw"], "Did you mean 'clock.skew'?"),
        (["explain", ""], "no cause or check is called ''. explain without an argument lists them"),
        (["explain", "a\n\x1b[2J"], "no cause or check is called 'a\\n\\x1b[2J'"),
        (["replay"], "REPORT.json"),
        (["replay", ""], "'': No such file"),
    ],
)
def test_arguments_that_make_no_sense(arguments, said):
    assert said in is_one_line_and_2(imds_check(*arguments))


@pytest.mark.parametrize("optimize", ["-O", "-OO"])
def test_no_check_is_lost_to_optimization(optimize):
    command = [
        sys.executable,
        optimize,
        "-m",
        "runcommand",
        "--imds-url",
        "bogus",
        "--wireserver-url",
        "bogus",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if (
        optimize == "-OO"
    ):  # the help pages are docstrings: without them the program refuses to start
        assert (
            done.returncode == 3 and "run Python without -OO" in done.stdout and done.stderr == ""
        )
    else:
        assert done.returncode == 2 and "http://ADDRESS:PORT" in done.stderr


def test_version_and_help():
    assert imds_check("--version").out == "imds-check 0.1.0\n"
    helped = imds_check("--help")
    assert helped.code == 0 and all(
        word in helped.out for word in ("check", "demo", "replay", "explain")
    )
    assert "--imds-url" not in imds_check("check", "--help").out


def test_help_shows_the_options_of_the_default_command():
    helped, of_check = imds_check("--help").out, imds_check("check", "--help").out
    options = re.findall(r"^  (--[a-z-]+)", of_check, re.MULTILINE)
    assert len(options) > 5 and "--imds-url" not in helped
    assert all(f"\n  {option}" in helped for option in options)


def test_the_examples_in_the_help_are_commands_that_the_program_takes():
    examples = re.findall(r"^  imds-check *(.*?)  ", imds_check("--help").out, re.MULTILINE)
    assert len(examples) == 3
    for example in examples:
        words = example.split() or ["check"]
        assert cli.parser(words[0]).parse_args(words).run
        if words[0] == "explain":
            assert imds_check(*words).code == 0


# --- replay ---


def replayed(tmp_path, content, *arguments):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    return imds_check("replay", path, *arguments)


def report_of(facts):
    return json_report.as_json(diagnose(facts)).encode()


def test_replay_gives_the_same_report(tmp_path):
    content = report_of(WINDOWS.dark(WINDOWS.other, proof=False))
    ran = replayed(tmp_path, content, "--format", "json")
    assert ran.code == 1 and ran.out.encode() == content


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-16-be with a mark"]
)
def test_replay_takes_whatever_a_shell_wrote(tmp_path, encoding):
    """PowerShell 5.1 writes UTF-16 by ``>``, with a mark and with CRLF."""
    text = report_of(LINUX.healthy()).decode().replace("\n", "\r\n")
    if encoding.endswith("mark"):
        encoding, text = "utf-16-be", f"\ufeff{text}"
    assert replayed(tmp_path, text.encode(encoding)).end["verdict"] == "healthy"


def test_every_command_has_its_module_and_every_module_its_command():
    names = [module.__name__.rpartition(".")[2] for module in program.MODULES]
    assert sorted(names) == sorted(COMMANDS)
    parsed = cli.parser("--help")._subparsers._group_actions[0].choices
    assert list(parsed) == names


RUN_COMMANDS = sorted((ROOT / "samples" / "az").glob("*.json"))
TEXT_REPORT = (ROOT / "samples" / "reports" / "route-missing.txt").read_text("ascii")
GIVEN_BACK = {
    **{path.name: path.read_bytes() for path in RUN_COMMANDS},
    "UTF-16": RUN_COMMANDS[0].read_text("utf-8-sig").encode("utf-16"),
    "the portal's text": f"Enable succeeded: \n[stdout]\n{TEXT_REPORT}\n[stderr]\n".encode(),
    "a report's text": TEXT_REPORT.encode(),
    "a quoted report": "".join(f"> {line}\r\n" for line in TEXT_REPORT.splitlines()).encode(),
    "an error of the CLI": b"ERROR: (Conflict) Run command extension execution is in progress.\n",
    "another script's": (
        b'{"value": [{"code": "ComponentStatus/StdOut/succeeded", "message": "hello"}]}'
    ),
}


@pytest.mark.parametrize("name", GIVEN_BACK)
def test_replay_of_what_run_command_gave_back_says_what_to_use(tmp_path, name):
    said = is_one_line_and_2(replayed(tmp_path, GIVEN_BACK[name]))
    assert said.endswith(
        "what Run Command gave back, or a report's text, not a report.json: use imds-check decode\n"
    )


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "report.json: it is empty"),
        (b" \r\n", "it is empty"),
        (b"\xff\xfe", "it is empty"),
        (b"\x00\xff\xfe", "neither UTF-8 nor UTF-16"),
        (b"\xff\xfe{\x00}", "neither UTF-8 nor UTF-16"),
        (b"MZ\x90\x00\x03\x00", "neither UTF-8 nor UTF-16"),
        (b"hello", "not JSON"),
        (b"[]", "expected a JSON object"),
        (b"{}", "not a report of schema imds-check/1: schema is null"),
        (b'{"schema": "imds-check/2", "facts": {}}', 'schema is "imds-check/2"'),
        (b'{"schema": "imds-check/1"}', "facts: missing"),
        (b'{"schema": "imds-check/1", "facts": []}', "facts: expected object, got list"),
        (b'{"schema": "imds-check/1", "facts": {}}', "facts.system: missing"),
        (b"[" * 200000, "nested too deeply"),
        (b'{"schema": NaN}', "not JSON"),
    ],
    ids=range(15),
)
def test_what_is_no_report(tmp_path, content, said):
    assert said in is_one_line_and_2(replayed(tmp_path, content))


def test_a_report_that_is_cut_in_half(tmp_path):
    content = report_of(LINUX.healthy())
    for cut in (len(content) // 2, len(content) - 3, 1):
        assert "cut off" in is_one_line_and_2(replayed(tmp_path, content[:cut]))


def test_a_wrong_type_is_named_by_its_path(tmp_path):
    report = json.loads(report_of(LINUX.healthy()))
    report["facts"]["routes"][3]["metric"] = "11"
    said = is_one_line_and_2(replayed(tmp_path, json.dumps(report).encode()))
    assert "facts.routes[3].metric: expected int, got str" in said


def test_a_report_of_100_mb_is_none(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    ran = imds_check("replay", path)
    assert "larger than 32 MiB" in is_one_line_and_2(ran)
    assert ran.peak_kib < 120 * 1024


@pytest.mark.parametrize("name", ["missing.json", ".", "no/such/folder/x.json"])
def test_a_report_that_cannot_be_read(tmp_path, name):
    said = is_one_line_and_2(imds_check("replay", tmp_path / name))
    assert ("it is a folder, not a file" in said) == (name == ".")


# --- explain, demo ---


def test_explain_lists_every_cause_and_every_check():
    table = imds_check("explain")
    assert table.code == 0
    lines = [re.split("  +", line) for line in table.out.splitlines()]
    listed = {line[0]: line[1:] for line in lines if len(line) > 1}
    for cause, rule in BY_CAUSE.items():
        verdicts = " or ".join(verdict.value for verdict in rule.verdicts) or "-"
        assert " ".join(listed[cause]) == f"{verdicts} {rule.title}"
    for check in CHECKS:
        assert listed[check.id] == [check.title]


def test_explain_prints_the_help_page_of_a_cause():
    page = imds_check("explain", "route-missing")
    assert (
        page.code == 0
        and BY_CAUSE["route-missing"].text in page.out
        and "https://learn.microsoft.com/" in page.out
    )
    assert "\nVerdict: broken\nCheck: route.imds\n" in page.out


def test_explain_prints_the_help_page_of_a_check():
    page = imds_check("explain", "clock.skew")
    assert page.code == 0 and page.out.startswith(
        "clock.skew: Does the VM's clock agree with the host's?\n==="
    )
    assert "\nFacts: imds, differential\n" in page.out
    assert "\nCauses that it shows:\n  clock-skew  The VM's clock is wrong\n" in page.out


def test_demo_lists_every_scenario_with_its_cause():
    listed = imds_check("demo", "--list")
    assert listed.code == 0
    for scenario in SCENARIOS:
        assert any(
            line.split()[:2] == [scenario.name, scenario.cause or "-"]
            for line in listed.out.splitlines()
        )


def test_there_is_a_scenario_for_every_cause():
    warnings = {cause for cause, rule in BY_CAUSE.items() if not rule.verdicts}
    assert {scenario.cause for scenario in SCENARIOS} - {None} == set(BY_CAUSE) - warnings


@pytest.mark.parametrize(
    "word, meant",
    [
        ("abc", "abc"),
        ("acb", "abc"),
        ("abcd", "abc"),
        ("ab", "abc"),
        ("xyz", None),
        ("", None),
        ("ABC", "abc"),
        ("a" * 65, None),
    ],
)
def test_the_nearest_word(word, meant):
    assert nearest(word, ["zzzzzz", "abc"]) == meant


@pytest.mark.parametrize(
    "one, other, errors",
    [
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("ca", "ac", 1),
        ("route", "rotue", 1),
        ("a", "a", 0),
    ],
)
def test_the_distance_of_words(one, other, errors):
    assert distance(one, other) == distance(other, one) == errors


def test_every_cause_and_scenario_with_two_letters_swapped_is_found_again():
    for known in (BY_CAUSE, [scenario.name for scenario in SCENARIOS]):
        for word in known:
            middle = len(word) // 2
            misspelt = word[:middle] + word[middle + 1] + word[middle] + word[middle + 2 :]
            assert distance(misspelt, nearest(misspelt, known)) <= 1


def test_demo_alone_shows_a_broken_vm():
    ran = imds_check("demo")
    assert (ran.code, ran.end["verdict"], ran.err) == (1, "broken", "")


# --- check against a stand-in on loopback ---


@pytest.fixture
def stand():
    hosts = []

    def serve(**behaviour):
        host = Host(LINUX_VM, Behaviour(**behaviour))
        hosts.append(host)
        address, port = host.listen()
        return [
            "--imds-url",
            f"http://{address}:{port}",
            "--wireserver-url",
            f"http://{address}:{port}",
        ]

    serve.hosts = hosts
    yield serve
    for host in hosts:
        host.close()


def test_the_files_are_left_in_a_folder_named_by_the_time(stand, tmp_path):
    ran = imds_check(*stand(), "--out", tmp_path)
    (folder,) = tmp_path.iterdir()
    assert f"FILES    {folder}" in ran.out
    assert folder.name == ran.end["at"].replace("-", "").replace(":", "")
    full = (folder / "report.txt").read_text("ascii")
    assert full.rstrip("\n").rpartition("\n")[2] == ran.out.rstrip("\n").rpartition("\n")[2]
    assert json.loads((folder / "report.json").read_text())["cause"] == (
        None if ran.end["cause"] == "-" else ran.end["cause"]
    )
    again = imds_check("replay", folder / "report.json")
    assert again.end == ran.end


def test_a_redacted_report_does_not_tell_the_path_of_out(stand, tmp_path):
    own = tmp_path / "Contoso" / "ticket 4711"
    own.mkdir(parents=True)
    ran = imds_check(*stand(), "--out", own, "--redact")
    (folder,) = own.iterdir()
    texts = [ran.out, ran.err, *(path.read_text("ascii") for path in folder.iterdir())]
    assert f"FILES    DIR of --out/{folder.name}\n" in ran.out and len(texts) == 4
    assert not any(word in text for text in texts for word in ("Contoso", "4711", str(tmp_path)))


@posix
def test_nor_does_one_whose_files_were_not_written(stand, tmp_path):
    own = tmp_path / "Contoso"
    own.mkdir()
    script = (
        "import sys\n"
        "from runcommand import cli\n"
        "from runcommand.system import here\n"
        "here.current = here.Unknown\n"
        "def refuse(self, base, name):\n"
        "    raise PermissionError(13, 'Permission denied', str(base / name))\n"
        "here.Unknown.run_folder = refuse\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, *stand(), "--out", str(own), "--redact"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (
        "FILES    not written: Permission denied (DIR of --out/20" in done.stdout
        and "Contoso" not in done.stdout
    )


def test_no_files_leaves_none(stand, tmp_path):
    ran = imds_check(*stand(), "--no-files", cwd=tmp_path)
    assert "FILES    none (--no-files)" in ran.out and list(tmp_path.iterdir()) == []


def test_exit_zero_hides_the_code_and_the_end_line_does_not(stand):
    arguments = stand(instance="html")
    assert imds_check(*arguments, "--no-files").code == 1
    hidden = imds_check(*arguments, "--no-files", "--exit-zero")
    assert (hidden.code, hidden.end["exit"]) == (0, "1")


def test_secrets_of_the_metadata_reach_no_output(stand, tmp_path):
    ran = imds_check(*stand(), "--out", tmp_path, "--format", "full")
    texts = [ran.out, *(path.read_text() for path in tmp_path.glob("*/*"))]
    assert len(texts) == 3
    for secret in ("c2VjcmV0", "SECRETKEY", "secret-tag", "secret-value"):
        assert not any(secret in text for text in texts)


START = "what a run takes that does nothing"


@pytest.fixture(scope="module")
def hostile():
    """A run against each hostile answer, side by side."""

    def run(name):
        host = Host(LINUX_VM, Behaviour(instance=name))
        url = "http://{}:{}".format(*host.listen())
        try:
            return imds_check(
                "--imds-url", url, "--wireserver-url", url, "--no-files", nowhere=True
            )
        finally:
            host.close()

    with ThreadPoolExecutor(6) as pool:
        ran = dict(zip(sorted(ANSWERS), pool.map(run, sorted(ANSWERS))))
        slowest = max(pool.map(lambda _: start_s(), range(6)))  # side by side, as they were
        return {**ran, START: slowest}


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_hostile_answer_is_named_within_time_and_memory(hostile, name):
    ran = hostile[name]
    own = {
        "terminal": "imds-unavailable",
        "token-json": "imds-access-denied",
    }  # a 503, and a 401 in JSON, are IMDS's own
    also = {"reset": "imds-refused", "closes": "imds-refused", **own}.get(name)
    assert ran.end["cause"] in ("imds-not-imds", "imds-no-answer", also)
    assert ran.code == 1 and ran.err == ""
    assert in_time(ran.seconds, 20 + 4 * hostile[START])
    assert ran.peak_kib < 48 * 1024
    assert all(line.isprintable() for line in ran.out.split("\n"))
    assert (
        ran.out.count("END IMDS-CHECK verdict=") == ran.out.count("\nEND IMDS-CHECK verdict=") == 1
    )


def test_everything_misbehaves_at_once_and_the_deadline_holds(stand):
    hostile = stand(instance="trickle", attested="endless", wireserver="silent")
    ran = imds_check(*hostile, "--no-files", "--deadline", "3", nowhere=True)
    assert in_time(ran.seconds, 3 + 4 * start_s()) and ran.end["cause"] == "imds-not-imds"


def test_a_fault_of_the_program_itself_is_still_a_report(stand):
    for line in ("check.collect", "check.diagnose", "text.portal"):
        script = (
            "import sys, runcommand.check as check, runcommand.report.text as text\n"
            "from runcommand.cli import main\n"
            f"{line} = lambda *a, **k: {{}}['a bug']\n"
            "sys.exit(main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", script, *stand(), "--no-files"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 3 and done.stderr == ""
        assert (
            "VERDICT  INCONCLUSIVE: tool-failed" in done.stdout
            and "KeyError: 'a bug'" in done.stdout
        )
        assert "\nEND IMDS-CHECK verdict=inconclusive cause=tool-failed exit=3" in done.stdout


# --- streams, signals ---


@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_the_output_not_the_code(stand, closed):
    command = f'exec "$0" -m runcommand "$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *stand(instance="html"), "--no-files"],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert (b"END IMDS-CHECK" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


@posix
def test_a_full_device_costs_the_output_not_the_code(stand):
    with open("/dev/full", "wb") as full:
        ran = imds_check(*stand(instance="html"), "--no-files", stdout=full)
    assert (ran.code, ran.err) == (1, "")


@posix
def test_a_reader_that_has_gone_costs_the_output_not_the_code(stand):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        ran = imds_check(*stand(instance="html"), "--no-files", "--format", "json", stdout=gone)
    assert (ran.code, ran.err) == (1, "")


def interrupted(stand, name, asked, **behaviour):
    """A run that gets a signal as soon as the host was asked so many times; its report and its
    seconds after that.
    """
    command = start(*stand(**behaviour), "--no-files", nowhere=True)
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )
    end = time.monotonic() + 20
    while (
        len([path for _, path in stand.hosts[-1].log if path.startswith("/metadata")]) < asked
        and time.monotonic() < end
    ):
        time.sleep(0.05)
    time.sleep(0.2)  # so that what was answered has arrived
    process.send_signal(getattr(signal, name))
    began = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 3 and err == ""
    assert "cause=tool-failed" in out and "interrupted" in out
    return out, time.monotonic() - began


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_ends_with_a_report(stand, name):
    _, seconds = interrupted(stand, name, asked=1, instance="silent")
    assert in_time(seconds, 1 + 4 * start_s())


@posix
def test_an_interrupt_after_the_answer_keeps_the_answer(stand):
    out, _ = interrupted(stand, "SIGTERM", asked=2, attested="silent")
    assert "name=testlx" in out and "imds.metadata        vmId" in out


@posix
def test_a_signal_that_is_ignored_stays_ignored(stand):
    command = [
        "sh",
        "-c",
        'trap "" HUP; exec "$@"',
        "sh",
        *start(*stand(instance="trickle"), "--no-files", "--deadline", "3", nowhere=True),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, universal_newlines=True)
    while not stand.hosts[-1].log:
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=30)
    assert "interrupted" not in out and process.returncode == 1


@posix
@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "tr_TR.UTF-8"},
        {"LC_ALL": "nonsense"},
        {"PYTHONIOENCODING": "utf-16"},
        {"PYTHONIOENCODING": "cp037"},
        {"TZ": "Pacific/Kiritimati"},
        {"TZ": ":::nonsense"},
        {"PYTHONUTF8": "0", "LANG": "ja_JP.eucJP"},
    ],
)
def test_odd_locales_and_time_zones(stand, environment):
    ran_bytes = subprocess.run(
        [sys.executable, "-m", "runcommand", *stand(), "--no-files"],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    out = ran_bytes.stdout.decode(environment.get("PYTHONIOENCODING", "ascii"))
    at = out.rpartition(" at=")[2].split()[0]
    assert at.startswith(time.strftime("%Y-%m-%d", time.gmtime())) and ran_bytes.stderr == b""


def read_all(leader):
    """What a pseudo-terminal shows, until its last user has closed it."""
    seen = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux says EIO at the end
            piece = b""
        if not piece:
            os.close(leader)
            return seen.decode()
        seen += piece


@posix
def test_on_a_terminal_there_is_colour_and_in_a_pipe_none(stand):
    import pty

    arguments = stand(instance="html")
    assert "\x1b" not in imds_check(*arguments, "--no-files").out

    def in_terminal(**environment):
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "runcommand", *arguments, "--no-files"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(follower)
        seen = read_all(leader)
        process.wait()
        return seen

    assert "\x1b[1;31mBROKEN" in in_terminal()
    assert "\x1b[1;" not in in_terminal(NO_COLOR="1")
    assert "\x1b[1;" not in in_terminal(TERM="dumb")


@posix
def test_on_a_terminal_progress_is_shown_and_taken_away(stand):
    import pty

    leader, follower = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "runcommand",
        *stand(instance="silent"),
        "--no-files",
        "--deadline",
        "3",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower
    )
    os.close(follower)
    seen = read_all(leader)
    process.wait()
    assert "asking IMDS ... 1 s" in seen
    assert (
        seen.index("asking IMDS")
        < seen.index("\r" + " " * 60 + "\r")
        < seen.index("IMDS-CHECK 0.1.0")
    )
