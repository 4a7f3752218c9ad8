"""``dist/imds-check.sh``: the script that is pasted into RunShellScript, made by ``build.py`` and
run in the lab.
"""

import ast
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tokenize
from functools import partial
from pathlib import Path

import pytest

import build
from runcommand.scripts.parameters import WrongParameter, arguments
from runcommand.simulator.host import Behaviour

from .command import ROOT
from .lab.linux import LINUX
from .lab.namespace import IMDS, why_not
from .lab.run import run_all
from .lab.script import SYSTEM_PATH, ScriptLab

lab_runs = pytest.mark.skipif(why_not() is not None, reason=f"the lab cannot run: {why_not()}")
END = re.compile(r"^END IMDS-CHECK verdict=(\S+) cause=(\S+) exit=(\d) host=(\S+) at=\S+Z v=\S+$")
INSIDE = "/run/lab/imds-check.sh"
WRONG = f"route add {IMDS}/32 via 10.0.1.1 dev eth1"


def python38():
    """The folder of a Python 3.8 of this machine; None where there is none."""
    folders = [
        Path(folder) for folder in os.environ["PATH"].split(os.pathsep) if "shims" not in folder
    ]
    folders += Path.home().glob(".pyenv/versions/3.8.*/bin")
    return next((str(folder) for folder in folders if (folder / "python3.8").exists()), None)


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("dist") / "imds-check.sh"
    path.write_text(build.shell_script(), "ascii", newline="\n")
    return path


@pytest.fixture(scope="module")
def lab(script):
    """One healthy VM for all tests that change nothing in it."""
    with ScriptLab(script) as lab:
        yield lab


@pytest.fixture
def fresh(script):
    """A VM that a test may change."""
    with ScriptLab(script) as lab:
        yield lab


def end(done):
    """Verdict, cause and exit code of the last line; the report is ASCII, and fits."""
    assert done.stdout.isascii() and len(done.stdout.replace("\n", "\r\n")) <= 3900, done.stdout
    match = END.match(done.stdout.splitlines()[-1])
    assert match, done.stdout + done.stderr
    return match[1], match[2], int(match[3])


# --- what build.py makes ---


def test_it_is_one_small_file_of_ascii_and_the_same_each_time(script):
    text = script.read_text("ascii")
    assert (
        len(text) < build.SCRIPT_LIMIT == 160 * 1024
        and "\r" not in text
        and "@VERSION@" not in text
    )
    assert build.shell_script() == text


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_shells_can_read_it(script, shell):
    if shutil.which(shell):
        assert subprocess.run([shell, "-n", str(script)], stderr=subprocess.PIPE).stderr == b""


def test_it_carries_the_package_in_python_38_without_what_no_linux_vm_needs():
    names = set(build.files_for_linux())
    assert {
        "__main__.py",
        "runcommand/cli.py",
        "runcommand/system/linux/routes.py",
        "runcommand/rules/route.py",
    } <= names
    assert not [
        name for name in names if "windows" in name or "simulator" in name or "operator/" in name
    ]
    for source in build.files_for_linux().values():
        ast.parse(source, feature_version=(3, 8))


def code(source):
    """The tree without what may be left out: docstrings, annotations, imports."""
    tree = ast.parse(source)
    fields = [
        field for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for field in node.body
    ]

    class Bare(ast.NodeTransformer):
        def visit_AnnAssign(self, node):
            if node in fields or node.value is None:
                return node
            return ast.Assign([node.target], self.visit(node.value), lineno=0)

        def visit_ImportFrom(self, node):
            return ast.Pass()

        def generic_visit(self, node):
            super().generic_visit(node)
            has_docstring = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            if has_docstring and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
            if isinstance(node, ast.Module):
                node.body = [item for item in node.body if not isinstance(item, ast.Pass)]
            if isinstance(node, ast.arg):
                node.annotation = None
            if isinstance(node, ast.FunctionDef):
                node.returns = None
            return node

    return ast.dump(Bare().visit(tree))


def imported(source):
    return {
        (node.level, node.module, alias.name, alias.asname or alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_what_is_left_of_the_source_is_the_same_program():
    for name, kept in build.files_for_linux().items():
        path = ROOT / (name if name != "__main__.py" else "runcommand/scripts/__main__.py")
        source = path.read_text("ascii")
        assert code(kept) == code(source), name
        tokens = tokenize.generate_tokens(io.StringIO(kept).readline)
        assert not [token for token in tokens if token.type == tokenize.COMMENT], name
        used = {node.id for node in ast.walk(ast.parse(kept)) if isinstance(node, ast.Name)}
        assert imported(kept) <= imported(source), name
        left_out = {bound for *_, bound in imported(source) - imported(kept)}
        assert not left_out & used, name


@pytest.mark.parametrize(
    "source, kept",
    [
        ("x = f(\n    a,\n    # why\n    b,\n)\n", "x = f(a, b)\n"),
        ("x = (\n    1,\n)\n", "x = (1,)\n"),
        ("x = [\n    1,\n    2,\n]\n\n\ny = 1\n", "x = [1, 2]\ny = 1\n"),
        ("if a:\n    if b \\\n        and c:\n        d()\n", "if a:\n if b and c:\n  d()\n"),
        ("x: List[int] = []\n", "x = []\n"),
        ("class A:\n    x: int = 1\n", "class A:\n x: int = 1\n"),
        ("def f(a: A) -> B:\n    b: B\n", "def f(a):\n b: B\n"),
        ('x = """a\n\n    b,\n)"""\n', 'x = """a\n\n    b,\n)"""\n'),
        ('x = f"{a} {{\\n}}" "b"\n', 'x = f"{a} {{\\n}}" "b"\n'),
        (
            "from a import (\n    B,\n    c,\n)\n\ndef f(b: B):\n    c(b)\n",
            "from a import c\ndef f(b):\n c(b)\n",
        ),
        ("from a import B\n\ndef f(b: B):\n    c(b)\n", "def f(b):\n c(b)\n"),
        (
            "from a import B\n\ndef f(b: B):\n    c(b)\n__all__ = ['B']\n",
            "from a import B\ndef f(b):\n c(b)\n__all__ = ['B']\n",
        ),
        ("from a import B\n", "from a import B\n"),
    ],
)
def test_a_statement_is_one_line_and_nothing_in_a_text_is_touched(source, kept):
    assert build.slim(source) == kept


def test_of_a_help_page_title_and_address_remain():
    page = (
        "import rule\n@rule(1)\ndef a_cause(case):\n"
        '    """The title\n\n    Text.\n\n    https://example.com/\n    """\n    return 1\n'
    )
    assert build.slim(page).splitlines()[3] == " 'The title\\n\\n-\\nhttps://example.com/'"


# --- parameters ---


@pytest.mark.parametrize(
    "words, environment, expected",
    [
        ([], {}, []),
        ([], {"ExpectedMac": "00-0D-3A-E5-1C-C0"}, ["--expected-mac", "00-0D-3A-E5-1C-C0"]),
        (
            [],
            {"EXPECTED_MAC": "000D3AE51CC0", "EXPECTED_IP": "10.0.0.4"},
            ["--expected-mac", "000D3AE51CC0", "--expected-ip", "10.0.0.4"],
        ),
        (["ExpectedIp=10.0.0.4"], {}, ["--expected-ip", "10.0.0.4"]),
        (["expected_ip=10.0.0.4"], {}, ["--expected-ip", "10.0.0.4"]),
        (
            ["00:0d:3a:e5:1c:c0", "10.0.0.4"],
            {},
            ["--expected-mac", "00:0d:3a:e5:1c:c0", "--expected-ip", "10.0.0.4"],
        ),
        (["10.0.0.4"], {}, ["--expected-ip", "10.0.0.4"]),
        (["", " "], {"ExpectedMac": ""}, []),
        (["--format", "full", "--deadline", "30"], {}, ["--format", "full", "--deadline", "30"]),
        (["Arguments=--format full"], {}, ["--format", "full"]),
        (
            [],
            {"Arguments": "--out '/var/my files' --no-files"},
            ["--out", "/var/my files", "--no-files"],
        ),
        (["ExitCode=verdict"], {}, []),
        (
            ["ExpectedIp=10.0.0.4", "--redact"],
            {"Arguments": "--endpoints"},
            ["--expected-ip", "10.0.0.4", "--endpoints", "--redact"],
        ),
        (["ExpectedMac=a & b 'c' \"d\" \u00e4"], {}, ["--expected-mac", "a & b 'c' \"d\" \u00e4"]),
    ],
)
def test_parameters_however_run_command_passes_them(words, environment, expected):
    assert arguments(words, environment) == ["check", *expected]


@pytest.mark.parametrize(
    "words, environment, said",
    [
        (
            ["ExpectedMak=00-0D-3A-E5-1C-C0"],
            {},
            "no parameter is called 'ExpectedMak': ExpectedMac, ExpectedIp, Arguments, ExitCode",
        ),
        (
            ["https://contoso.example/x?sig=S3cret"],
            {},
            "a value without a name; the names are ExpectedMac",
        ),
        (
            ["https://contoso.example/S3cret"],
            {},
            "a value without a name; the names are ExpectedMac",
        ),
        ([], {"Arguments": "--out 'x"}, "Arguments: No closing quotation"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(words, environment, said):
    with pytest.raises(WrongParameter, match=re.escape(said)):
        arguments(words, environment)


# --- in the lab ---

SHOWN = [
    scenario
    for scenario in LINUX
    if scenario.name
    in (
        "healthy: as Azure's DHCP leaves it",
        "nic-down",
        "route-wrong-interface",
        "firewall-blocks-imds (nft drop)",
        "imds-no-answer",
        "platform-unreachable",
        "cert-intermediate-missing (its hosts refuse)",
        "clock-skew",
        "proxy-intercepts-imds",
        "not-azure",
        "nic-mac-mismatch",
        "attested-signature-invalid (tampered)",
    )
]


@lab_runs
def test_it_says_what_the_package_says_and_its_commands_mend(script):
    assert len(SHOWN) >= 11
    for scenario, result in zip(SHOWN, run_all(SHOWN, partial(ScriptLab, script))):
        assert result.right, (scenario.name, result)


@lab_runs
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_it_ends_with_zero_unless_the_verdict_is_asked_for(fresh, shell):
    fresh.vm(f"ip {WRONG}")
    plain = fresh.run(shell, str(fresh.script))
    asked = fresh.run(shell, str(fresh.script), environment={"EXIT_CODE": "verdict"})
    assert end(plain) == end(asked) == ("broken", "route-wrong-interface", 1)
    assert (plain.returncode, asked.returncode) == (0, 1) and plain.stderr == asked.stderr == ""


@lab_runs
@pytest.mark.skipif(python38() is None, reason="no Python 3.8 on this machine")
def test_python_38_will_do(fresh):
    fresh.vm(f"ip {WRONG}")
    another_python(fresh, f'exec {python38()}/python3.8 "$@"')
    version = fresh.run("/usr/sbin/python3", "--version")
    done = fresh.run("sh", str(fresh.script))
    assert version.stdout.startswith("Python 3.8.")
    assert end(done) == ("broken", "route-wrong-interface", 1) and done.stderr == ""


@lab_runs
@pytest.mark.parametrize(
    "on_top", ["export ExpectedMac='00-0D-3A-7F-20-99'\n", "set -- 00-0D-3A-7F-20-99\n"]
)
def test_lines_that_the_action_run_command_puts_on_top(lab, on_top):
    lab.write("/run/lab/script.sh", on_top + lab.script.read_text("ascii"))
    done = lab.run("sh", "/run/lab/script.sh")
    assert end(done) == ("healthy", "-", 0)
    assert "Azure expects MAC 00-0D-3A-7F-20-99 (--expected-mac); the guest has" in done.stdout


@lab_runs
def test_neither_the_callers_shell_nor_noise_of_the_loader_matters(fresh):
    fresh.vm(f"ip {WRONG}")
    done = fresh.run(
        "bash",
        "-eu",
        str(fresh.script),
        "--no-files",
        environment={"LD_PRELOAD": "/nonexistent.so"},
    )
    assert end(done) == ("broken", "route-wrong-interface", 1) and done.returncode == 0


@lab_runs
def test_a_value_without_a_name_is_not_repeated(lab):
    done = lab.run("sh", str(lab.script), "https://contoso.example/x?sig=S3cret")
    assert end(done) == ("inconclusive", "-", 2) and "S3cret" not in done.stdout + done.stderr
    done = lab.run("sh", str(lab.script), "ExpectedMac=10-20-30", "--redact")
    assert end(done) == ("inconclusive", "-", 2) and "10-20" not in done.stdout


@lab_runs
@pytest.mark.parametrize(
    "value", ["a & b", "it's", 'say "x"', "$(reboot) `reboot` ; reboot", "\u00e4\u6f22"]
)
def test_a_value_of_any_characters_arrives_and_a_wrong_one_is_named(lab, value):
    for done in (
        lab.run("sh", str(lab.script), f"ExpectedMac={value}", "ExitCode=verdict"),
        lab.run("sh", str(lab.script), environment={"ExpectedMac": value, "ExitCode": "verdict"}),
    ):
        assert end(done) == ("inconclusive", "-", 2) and done.returncode == 2
        assert "not a MAC address" in done.stdout and "not a MAC address" in done.stderr


@lab_runs
def test_with_the_line_ends_of_windows_and_pasted_twice(lab):
    text = lab.script.read_text("ascii")
    for number, changed in enumerate(
        (text.replace("\n", "\r\n"), text + text, "\n\n" + text, text.replace("\n", "\r\n") * 2)
    ):
        path = f"/run/lab/changed{number}.sh"
        subprocess.run(
            lab.enter(["sh", "-c", 'cat > "$1"', "sh", path]), input=changed.encode(), check=True
        )
        done = lab.run("sh", path, "ExitCode=verdict")
        assert end(done) == ("healthy", "-", 0) and done.returncode == 0 and done.stderr == ""
        assert done.stdout.count("END IMDS-CHECK") == 1


@lab_runs
def test_read_from_standard_input(lab):
    assert end(lab.run("sh", "-s", "--", "--no-files", given=lab.script.read_text("ascii"))) == (
        "healthy",
        "-",
        0,
    )


@lab_runs
def test_it_leaves_nothing_but_the_report_folder(fresh):
    fresh.write(INSIDE, fresh.script.read_text("ascii"))
    fresh.vm("mount -t tmpfs none /tmp")
    # what is written to /root lands here; other processes of this machine write there too
    fresh.vm("mkdir -p /run/root/written /run/root/work")
    layers = "lowerdir=/root,upperdir=/run/root/written,workdir=/run/root/work"
    fresh.vm(f"mount -t overlay root -o {layers} /root")
    before = fresh.vm("find /tmp /run /var /etc -xdev -newer /run/lab/units")
    assert end(fresh.run("sh", INSIDE))[0] == "healthy"
    after = fresh.vm("find /tmp /run /var /etc /var/log /var/tmp -xdev -newer /run/lab/units")
    new = sorted(set(after.split()) - set(before.split()) - {"/var/log", "/var/tmp"})
    assert [re.sub(r"\d{8}T\d{6}Z", "AT", path) for path in new] == [
        "/var/log/azure",
        "/var/log/azure/imds-check",
        "/var/log/azure/imds-check/AT",
        "/var/log/azure/imds-check/AT/report.json",
        "/var/log/azure/imds-check/AT/report.txt",
    ]


@lab_runs
def test_where_nothing_can_be_written_there_is_a_report_all_the_same(fresh):
    fresh.write(INSIDE, fresh.script.read_text("ascii"))
    for folder in ("/tmp", "/var/tmp", "/var/log", "/dev/shm"):
        fresh.vm(f"mount -t tmpfs -o ro none {folder}")
    done = fresh.run("sh", INSIDE)
    assert (
        end(done)[0] == "healthy" and "FILES    not written: Read-only file system" in done.stdout
    )


@lab_runs
def test_a_script_that_was_changed_on_its_way_says_so(lab):
    text = lab.script.read_text("ascii")
    middle = text.rindex("tool='") + 50_000
    lab.write("/run/lab/changed.sh", text[:middle] + "0000" + text[middle + 4 :])
    done = lab.run("sh", "/run/lab/changed.sh")
    assert end(done) == ("inconclusive", "-", 3) and "it was changed on its way" in done.stdout
    assert "Copy the script to the VM again" in done.stdout and "Install Python" not in done.stdout


# --- without Python ---


def without_python(lab):
    lab.hide("python3", *(f"python3.{minor}" for minor in range(8, 15)))


def another_python(lab, script):
    """Puts a program of this text before every other ``python3`` of the folders that the script
    knows.
    """
    another_program(lab, "python3", script)


def another_program(lab, name, script):
    lab.write(f"/run/lab/another/{name}", f"#!/bin/sh\n{script}\n")
    lab.vm(f"chmod 755 /run/lab/another/{name}")
    lab.vm("mount -t overlay another -o lowerdir=/run/lab/another:/run/lab/bin:/usr/sbin /usr/sbin")


def short(lab, *words, **environment):
    """The short report's END line and text."""
    done = lab.run("sh", str(lab.script), *words, environment={"PATH": SYSTEM_PATH, **environment})
    assert done.returncode == 0, done
    return end(done), done.stdout


@lab_runs
def test_without_python_it_says_whether_imds_answers(fresh):
    without_python(fresh)
    last, text = short(fresh)
    assert last == ("inconclusive", "-", 3)
    assert "IMDS answers" in text and "no python3 was found" in text
    assert re.search(r"^  imds +HTTP 200, vmId 9a1f0c86-", text, re.MULTILINE)
    assert re.search(r"^  wireserver:32526 +HTTP 200$", text, re.MULTILINE)
    assert (
        "169.254.169.254 via 10.0.0.1 dev eth0 src 10.0.0.4" in text
        and "eth1  00:0d:3a:7f:20:05  up  10.0.1.5/24" in text
    )


@lab_runs
@pytest.mark.parametrize(
    "vm, behaviour, said",
    [
        (WRONG, Behaviour(), "169.254.169.254 via 10.0.1.1 dev eth1 src 10.0.1.5"),
        ("link set eth0 down", Behaviour(), "eth0  00:0d:3a:7f:20:04  down"),
        (f"route add blackhole {IMDS}/32 metric 1", Behaviour(), "blackhole 169.254.169.254"),
        ("link show lo", Behaviour(instance="html"), "HTTP 200, and not this VM's metadata"),
        ("link show lo", Behaviour(instance="403"), "HTTP 403, and not this VM's metadata"),
        ("link show lo", Behaviour(instance="endless"), "and not this VM's metadata"),
        ("link show lo", Behaviour(instance="other-json"), "HTTP 200, and not this VM's metadata"),
    ],
)
def test_without_python_a_broken_vm_is_called_broken(script, vm, behaviour, said):
    with ScriptLab(script, behaviour) as lab:
        lab.vm(f"ip {vm}")
        without_python(lab)
        last, text = short(lab)
    assert last == ("broken", "-", 1) and said in text


@lab_runs
def test_an_older_python_is_named(fresh):
    without_python(fresh)
    another_python(fresh, "echo 3.6.8")
    last, text = short(fresh)
    assert last == ("inconclusive", "-", 3) and "python3 is 3.6.8" in text


@lab_runs
def test_a_python_without_its_modules_is_named(fresh):
    another_python(fresh, f'exec {sys.executable} "$@"')
    fresh.write("/run/lab/nothing", "")
    fresh.vm(f"mount --bind /run/lab/nothing {sysconfig.get_paths()['stdlib']}/bz2.py")
    last, text = short(fresh)
    assert last == ("inconclusive", "-", 3) and "ended with 97" in text and "bz2" in text


@lab_runs
def test_a_python_that_dies_is_named(fresh):
    without_python(fresh)
    dies = "case $* in *version_info*) echo 3.9.2 ;; *) echo Killed >&2; kill -9 $$ ;; esac"
    another_python(fresh, dies)
    last, text = short(fresh)
    assert last == ("inconclusive", "-", 3) and "python3 ended with 137" in text


@lab_runs
def test_without_ip_the_kernels_table_is_read(fresh):
    without_python(fresh)
    fresh.hide("ip")
    last, text = short(fresh)
    assert last == ("inconclusive", "-", 3)
    assert "169.254.169.254 mask 255.255.255.255 via 10.0.0.1 dev eth0 metric 100" in text


@lab_runs
def test_without_curl_nothing_is_claimed_of_imds(fresh):
    without_python(fresh)
    fresh.hide("curl")
    last, text = short(fresh)
    assert (
        last == ("inconclusive", "-", 3) and "Whether IMDS answers could not be found out." in text
    )


@lab_runs
def test_the_short_report_asks_without_a_proxy_and_prints_no_secret(fresh):
    without_python(fresh)
    fresh.write(
        "/etc/environment",
        "http_proxy=http://user1:s/ecr@t@proxy.contoso.com:3128/?sig=abc\nTOKEN=secret\n",
    )
    fresh.write("/etc/waagent.conf", "HttpProxy.Host=user1:secret@proxy.contoso.com\n")
    last, text = short(
        fresh, http_proxy="http://127.0.0.1:9", ALL_PROXY="socks5://user1:secret@127.0.0.1:9"
    )
    assert last == ("inconclusive", "-", 3) and "http_proxy=http://proxy.contoso.com:3128/" in text
    for secret in ("secret", "ecr", "user1", "sig", "customData", "userData"):
        assert secret not in text


@lab_runs
@pytest.mark.parametrize("option", ["--imds-url=http://127.0.0.1:1", "--imds-url"])
def test_pointed_elsewhere_the_short_report_asks_nobody(fresh, option):
    without_python(fresh)
    last, text = short(fresh, option, "http://127.0.0.1:1", Arguments="--no-files")
    assert last == ("inconclusive", "-", 3)
    assert re.search(r"^  imds +not asked: --imds-url$", text, re.MULTILINE)
    assert "wireserver:" not in text


@lab_runs
def test_the_short_report_redacted(fresh):
    without_python(fresh)
    last, text = short(fresh, "--redact")
    assert last == ("inconclusive", "-", 3) and "host=- " in text
    for known in ("labvm", "10.0.0.", "00:0d:3a", "9a1f0c86"):
        assert known not in text


@lab_runs
@pytest.mark.parametrize(
    "curl",
    [
        "echo 'curl: error while loading shared libraries: libcurl.so.4: failed to map segment' "
        ">&2; exit 127",
        "kill -9 $$",
        "echo 'curl: (2) Failed initialization' >&2; exit 2",
        "echo 'curl: (27) Out of memory' >&2; exit 27",
        "exit 1",
    ],
)
def test_a_curl_that_does_not_work_says_nothing_of_imds(fresh, curl):
    without_python(fresh)
    another_program(fresh, "curl", curl)
    last, text = short(fresh)
    assert (
        last == ("inconclusive", "-", 3) and "Whether IMDS answers could not be found out." in text
    )
    assert "curl did not work" in text and "Install curl" not in text


@lab_runs
@pytest.mark.parametrize("ended", [6, 7, 28, 52, 56])
def test_what_curl_says_of_the_network_is_an_answer(fresh, ended):
    without_python(fresh)
    another_program(
        fresh, "curl", f"echo 'curl: ({ended}) it says why' >&2; printf '\\n000'; exit {ended}"
    )
    last, text = short(fresh)
    assert last == ("broken", "-", 1) and re.search(
        rf"^  imds +curl: \({ended}\) it says why$", text, re.MULTILINE
    )


@lab_runs
@pytest.mark.parametrize("limit", [12000, 14000, 16000, 20000, 24000, 28000])
def test_with_very_little_memory_nothing_is_claimed(fresh, limit):
    limited = f"ulimit -v {limit}; exec sh {fresh.script} --no-files"
    done = fresh.run("sh", "-c", limited, environment={"PATH": SYSTEM_PATH})
    last = end(done)
    assert last[0] in ("inconclusive", "healthy") and "changed on its way" not in done.stdout
    assert "Install Python" not in done.stdout


@lab_runs
def test_a_python_that_does_not_start_is_not_to_be_installed(fresh):
    without_python(fresh)
    another_python(
        fresh, "echo 'python3: error while loading shared libraries: libm.so.6' >&2; exit 127"
    )
    last, text = short(fresh)
    assert last == ("inconclusive", "-", 3) and "a Python that does not start" in text
    assert "Install Python" not in text and "Raise the limits on memory" in text


@lab_runs
def test_a_python_without_memory_does_not_say_that_the_script_was_changed(fresh):
    fresh.write("/run/lab/no_memory.py", "def decompress(data):\n    raise MemoryError()\n")
    another_python(fresh, f'exec {sys.executable} "$@"')
    fresh.vm(f"mount --bind /run/lab/no_memory.py {sysconfig.get_paths()['stdlib']}/bz2.py")
    last, text = short(fresh)
    assert last == ("inconclusive", "-", 3) and "not enough memory to read the tool" in text
    assert "changed on its way" not in text and "Install Python" not in text


# --- a hostile caller ---


@lab_runs
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"])
@pytest.mark.parametrize("to_all", [False, True], ids=["the shell", "the process group"])
def test_a_signal_at_any_moment_costs_no_report(script, name, to_all):
    with ScriptLab(script) as lab:
        lab.vm(f"ip {WRONG}")
        for after_s in (0.05, 0.15, 0.3, 0.4, 0.6):
            process = subprocess.Popen(
                lab.enter(["sh", str(script), "--no-files"]),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                universal_newlines=True,
                start_new_session=True,
            )
            time.sleep(after_s)
            (os.killpg if to_all else os.kill)(process.pid, getattr(signal, name))
            out = process.communicate(timeout=60)[0]
            assert len(re.findall("^END IMDS-CHECK verdict=", out, re.MULTILINE)) == 1, (
                after_s,
                out,
            )
            assert process.returncode == 0


@lab_runs
@pytest.mark.parametrize("path", [".", "", "/run/lab/planted"])
@pytest.mark.parametrize("has_python", [True, False])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_no_program_of_the_callers_folders_is_run(fresh, path, has_python, line_end):
    copy = "/run/lab/copy.sh"
    text = fresh.script.read_text("ascii").replace("\n", line_end)
    subprocess.run(
        fresh.enter(["sh", "-c", 'cat > "$1"', "sh", copy]), input=text.encode(), check=True
    )
    if not has_python:
        without_python(fresh)
    for program in (
        "ip",
        "python3.14",
        "curl",
        "tr",
        "sh",
        "date",
        "uname",
        "awk",
        "fold",
        "sed",
        "nft",
        "head",
    ):
        fresh.write(f"/run/lab/planted/{program}", "#!/bin/sh\ntouch /run/lab/was-run\n")
        fresh.vm(f"chmod 755 /run/lab/planted/{program}")
    fresh.vm(f"ip {WRONG}")
    inside = (
        f'cd /run/lab/planted; PATH="{path}:$PATH"; exec /bin/sh {copy} ExitCode=verdict --no-files'
    )
    done = fresh.run("/bin/sh", "-c", inside, environment={"PATH": SYSTEM_PATH})
    assert end(done) == ("broken", "route-wrong-interface" if has_python else "-", 1)
    assert fresh.vm("ls /run/lab/was-run", check=False) == ""


@lab_runs
def test_a_python_that_takes_the_texts_away_is_named(fresh):
    without_python(fresh)
    another_python(fresh, f'exec {sys.executable} -OO "$@"')
    last, text = short(fresh)
    assert last == ("inconclusive", "-", 3) and "with -OO" in text


@lab_runs
@pytest.mark.parametrize("command", ["sh -s --", "bash -s --", "bash {}"])
@pytest.mark.parametrize("limit", [6, 8, 12, 24])
def test_few_open_files_are_enough_for_a_report(fresh, command, limit):
    """From a file, dash itself refuses every script below eleven: it wants the descriptor 10 to
    read it.
    """
    if not shutil.which(command.partition(" ")[0]):
        pytest.skip("no such shell")
    fresh.vm(f"ip {WRONG}")
    limited = f"ulimit -n {limit}; exec {command.format(fresh.script)} ExitCode=verdict --no-files"
    done = fresh.run(
        "sh", "-c", limited, given="" if "{}" in command else fresh.script.read_text("ascii")
    )
    if (
        end(done)[0] == "inconclusive" and limit < 16
    ):  # a root that may raise its own limit sees everything
        assert (
            done.returncode == 3 and done.stderr == "" and "the limit of open files" in done.stdout
        )
    else:
        assert end(done) == ("broken", "route-wrong-interface", 1) and done.stderr == ""


HOSTILE = {
    "variables": {
        "IFS": "x-/.",
        "CDPATH": "/tmp",
        "GREP_OPTIONS": "-v",
        "POSIXLY_CORRECT": "1",
        "HOME": "/nonexistent",
    },
    "Python's variables": {
        "PYTHONHOME": "/nonexistent",
        "PYTHONPATH": "/run/lab/planted",
        "PYTHONSTARTUP": "/run/lab/planted/json.py",
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "2",
        "PYTHONINSPECT": "1",
        "PYTHONIOENCODING": "utf-16",
    },
}


@lab_runs
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_variables_do_not_matter(fresh, what):
    fresh.write("/run/lab/planted/json.py", "raise SystemExit(9)\n")
    fresh.vm(f"ip {WRONG}")
    done = fresh.run("sh", str(fresh.script), environment=HOSTILE[what])
    assert end(done) == ("broken", "route-wrong-interface", 1) and done.stderr == ""


@lab_runs
@pytest.mark.parametrize(
    "before", ["exec <&-", "exec 2>&-", "exec <&- 2>&-", "exec 3>/dev/null", "umask 777"]
)
def test_closed_streams_and_odd_masks_do_not_matter(fresh, before):
    fresh.vm(f"ip {WRONG}")
    done = fresh.run("sh", "-c", f"{before}; exec sh {fresh.script}")
    assert end(done) == ("broken", "route-wrong-interface", 1)


@lab_runs
def test_a_current_folder_that_is_gone_does_not_matter(fresh):
    fresh.vm(f"ip {WRONG}")
    done = fresh.run(
        "sh", "-c", f"mkdir /run/lab/gone; cd /run/lab/gone; rmdir ../gone; exec sh {fresh.script}"
    )
    assert end(done) == ("broken", "route-wrong-interface", 1)
