"""The command line in processes of its own: arguments, exit codes, files, streams."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from runcommand.report import json_report
from runcommand.diagnosis import diagnose
from runcommand.rules import BY_CAUSE
from runcommand.simulator.host import ANSWERS, Behaviour, Host
from runcommand.simulator.scenarios import LINUX_VM, SCENARIOS

from .command import ROOT, imds_check, start
from .facts_of import LINUX, WINDOWS

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX streams and signals")


def is_one_line_and_2(ran):
    assert ran.code == 2 and ran.out == ""
    assert ran.err.startswith("imds-check: ") and ran.err.count("\n") == 1 and len(ran.err) < 500, ran.err
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
        (["--dead", "5"], "unrecognized"),
        (["--deadline", "-1"], "1 to 600"),
        (["--deadline", "0"], "1 to 600"),
        (["--deadline", "nan"], "1 to 600"),
        (["--deadline", "inf"], "1 to 600"),
        (["--deadline", "soon"], "1 to 600"),
        (["--out", "/nonexistent/folder"], "no such folder"),
        (["--out", __file__], "no such folder"),
        (["--out", "a\u00e4\nb"], "no such folder"),
        (["--format", "yaml"], "invalid choice"),
        (["--imds-url", "http://127.0.0.1:1"], "go together"),
        (["--wireserver-url", "http://127.0.0.1:1"], "go together"),
        (["--imds-url", "https://127.0.0.1:1", "--wireserver-url", "http://127.0.0.1:1"], "http://ADDRESS:PORT"),
        (["--imds-url", "http://127.0.0.1:99999", "--wireserver-url", "http://127.0.0.1:1"], "http://ADDRESS:PORT"),
        (["--imds-url", "http://example.com/", "--wireserver-url", "http://127.0.0.1:1"], "http://ADDRESS:PORT"),
        (["--no-such-option"], "unrecognized"),
        (["cheque"], "invalid choice"),
        (["demo", "no-such-scenario"], "demo --list names them"),
        (["explain", "no-such-cause"], "explain without an argument"),
        (["replay"], "REPORT.json"),
    ],
)
def test_arguments_that_make_no_sense(arguments, said):
    assert said in is_one_line_and_2(imds_check(*arguments))


@pytest.mark.parametrize("optimize", ["-O", "-OO"])
def test_no_check_is_lost_to_optimization(optimize):
    command = [sys.executable, optimize, "-m", "runcommand", "--imds-url", "bogus", "--wireserver-url", "bogus"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if optimize == "-OO":  # the help pages are docstrings: without them the program refuses to start
        assert done.returncode == 3 and "run Python without -OO" in done.stdout and done.stderr == ""
    else:
        assert done.returncode == 2 and "http://ADDRESS:PORT" in done.stderr


def test_version_and_help():
    assert imds_check("--version").out == "imds-check 0.1.0\n"
    helped = imds_check("--help")
    assert helped.code == 0 and all(word in helped.out for word in ("check", "demo", "replay", "explain"))
    assert "--imds-url" not in imds_check("check", "--help").out


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


def test_replay_takes_a_byte_order_mark(tmp_path):
    assert replayed(tmp_path, b"\xef\xbb\xbf" + report_of(LINUX.healthy())).end["verdict"] == "healthy"


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "not JSON, or cut off"),
        (b"\x00\xff\xfe", "not UTF-8"),
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
    ids=range(11),
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
    is_one_line_and_2(imds_check("replay", tmp_path / name))


# --- explain, demo ---


def test_explain_prints_every_cause_and_its_page():
    table = imds_check("explain")
    assert table.code == 0
    for cause, rule in BY_CAUSE.items():
        assert f"\n{cause} " in table.out
    page = imds_check("explain", "route-missing")
    assert page.code == 0 and BY_CAUSE["route-missing"].text in page.out and "https://learn.microsoft.com/" in page.out


def test_demo_lists_every_scenario_with_its_cause():
    listed = imds_check("demo", "--list")
    assert listed.code == 0
    for scenario in SCENARIOS:
        assert any(line.split()[:2] == [scenario.name, scenario.cause or "-"] for line in listed.out.splitlines())


def test_there_is_a_scenario_for_every_cause():
    warnings = {cause for cause, rule in BY_CAUSE.items() if not rule.verdicts}
    assert {scenario.cause for scenario in SCENARIOS} - {None} == set(BY_CAUSE) - warnings


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
        return ["--imds-url", f"http://{address}:{port}", "--wireserver-url", f"http://{address}:{port}"]

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


@pytest.fixture(scope="module")
def hostile():
    """A run against each hostile answer, side by side."""

    def run(name):
        host = Host(LINUX_VM, Behaviour(instance=name))
        url = "http://{}:{}".format(*host.listen())
        try:
            return imds_check("--imds-url", url, "--wireserver-url", url, "--no-files", nowhere=True)
        finally:
            host.close()

    with ThreadPoolExecutor(6) as pool:
        return dict(zip(sorted(ANSWERS), pool.map(run, sorted(ANSWERS))))


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
    assert ran.seconds < 21
    assert ran.peak_kib < 48 * 1024
    assert all(line.isprintable() for line in ran.out.split("\n"))
    assert ran.out.count("END IMDS-CHECK verdict=") == ran.out.count("\nEND IMDS-CHECK verdict=") == 1


def test_everything_misbehaves_at_once_and_the_deadline_holds(stand):
    hostile = stand(instance="trickle", attested="endless", wireserver="silent")
    ran = imds_check(*hostile, "--no-files", "--deadline", "3", nowhere=True)
    assert ran.seconds < 4 and ran.end["cause"] == "imds-not-imds"


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
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
        )
        assert done.returncode == 3 and done.stderr == ""
        assert "VERDICT  INCONCLUSIVE: tool-failed" in done.stdout and "KeyError: 'a bug'" in done.stdout
        assert "\nEND IMDS-CHECK verdict=inconclusive cause=tool-failed exit=3" in done.stdout


# --- streams, signals ---


@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_the_output_not_the_code(stand, closed):
    command = f'exec "$0" -m runcommand "$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *stand(instance="html"), "--no-files"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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
    """A run that gets a signal as soon as the host was asked so many times; its report and its seconds after that."""
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
    assert seconds < 2


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
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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
    command = [sys.executable, "-m", "runcommand", *stand(instance="silent"), "--no-files", "--deadline", "3"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)
    os.close(follower)
    seen = read_all(leader)
    process.wait()
    assert "asking IMDS ... 1 s" in seen
    assert seen.index("asking IMDS") < seen.index("\r" + " " * 60 + "\r") < seen.index("IMDS-CHECK 0.1.0")
