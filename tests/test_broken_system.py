"""A broken VM breaks the tools of the diagnosis too: each costs facts, never the report, and the
cause is still named.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from .clock import in_time
from .lab.namespace import IMDS, ROOT, Lab, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"the lab cannot run: {why_not()}")
PATHS = {**os.environ, "PYTHONPATH": str(ROOT)}
WRONG_WAY = f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1"


@pytest.fixture
def lab():
    with Lab() as made:
        yield made


def stand_in(lab, text, name="ip"):
    """Puts a script in the place of a system program (in the VM's own mount namespace)."""
    lab.write(f"/run/lab/bin2/{name}", f"#!/bin/sh\n{text}\n")
    lab.vm(f"chmod 755 /run/lab/bin2/{name}")
    lab.vm("mount -t overlay lab2 -o lowerdir=/run/lab/bin2:/run/lab/bin:/usr/sbin /usr/sbin")


def command_lines():
    """The command line of every process, its words ended by NUL."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_text("utf-8", "replace")


def report_of(lab, *arguments, **more):
    began = time.monotonic()
    done = lab.tool("--format", "json", "--no-files", *arguments, **more)
    assert done.stderr == "" and done.stdout, done.stderr
    return json.loads(done.stdout), time.monotonic() - began


def start_s(lab):
    """What a run that does nothing takes now, the longer of two: the part of a limit that the
    machine decides.
    """
    taken = []
    for _ in range(2):
        began = time.monotonic()
        assert lab.tool("--version").returncode == 0
        taken.append(time.monotonic() - began)
    return max(taken)


BROKEN_IP = {
    "missing": "exit 127",
    "prints garbage": "head -c 100000 /dev/urandom",
    "prints half a list": 'echo \'[{"dst": "default"\'',
    "prints a list of nonsense": 'echo \'[1, null, {}, {"dst": 7, "ifname": [], "ifindex": "x"}, '
    '"x"]\'',
    "prints objects of nonsense": 'echo \'[{"dst": 7, "ifname": [], "ifindex": "x"}]\'',
    "fails": "echo 'Cannot open netlink socket: Permission denied' >&2; exit 1",
    "hangs": "sleep 600",
    "never stops printing": "yes",
}


@pytest.mark.parametrize("how", BROKEN_IP)
def test_without_a_working_ip_the_wrong_route_is_still_named(lab, how):
    lab.vm(WRONG_WAY)
    stand_in(lab, BROKEN_IP[how])
    report, seconds = report_of(lab)
    assert (report["verdict"], report["cause"]) == ("broken", "route-wrong-interface"), report[
        "findings"
    ]
    assert report["facts"]["unavailable"] or report["facts"]["notes"]
    assert in_time(seconds, 12 + 4 * start_s(lab))


def test_garbage_among_the_rows_of_ip_does_not_cost_the_others(lab):
    lab.vm(WRONG_WAY)
    lab.vm("cp /usr/sbin/ip /run/lab/realip")
    garbage = '[7,{"dst":"nonsense","priority":"x","ifname":7},'
    stand_in(lab, f"""/run/lab/realip "$@" | sed '1s/^\\[/{garbage}/'""")
    report, _ = report_of(lab)
    assert (report["verdict"], report["cause"]) == ("broken", "route-wrong-interface"), report[
        "findings"
    ]
    noted = {note["fact"] for note in report["facts"]["notes"] if "cannot be read" in note["text"]}
    assert noted >= {"routes", "routing_rules", "adapters"}, report["facts"]["notes"]
    assert report["facts"]["routing_rules"] and not report["facts"]["unavailable"]


def test_without_ip_a_missing_route_is_still_named(lab):
    for command in (f"ip route del {IMDS}/32", "ip route del default"):
        lab.vm(command)
    stand_in(lab, "exit 127")
    assert report_of(lab)[0]["cause"] == "route-missing"


def test_without_ip_a_healthy_vm_is_healthy(lab):
    stand_in(lab, "exit 127")
    report, _ = report_of(lab)
    assert (report["verdict"], report["cause"]) == ("healthy", None)
    assert report["primary_nic"]["mac"] == "00-0D-3A-7F-20-04"


@pytest.mark.parametrize("how", ["sleep 600", "head -c 1000 /dev/urandom", "exit 1"])
def test_a_systemctl_that_misbehaves_costs_the_services_only(lab, how):
    stand_in(lab, how, "systemctl")
    report, seconds = report_of(lab)
    assert report["verdict"] == "healthy" and in_time(seconds, 7 + 6 * start_s(lab))


def test_an_ordinary_user_gets_the_same_cause(lab):
    lab.vm(WRONG_WAY)
    report = ordinary(lab)
    assert (
        report["cause"] == "route-wrong-interface"
        and report["facts"]["machine"]["elevated"] is False
    )
    finding = report["findings"][0]
    assert finding["detail"].startswith("This was not run as root, so ")
    assert finding["fix"][0]["text"] == "Run this again as root, with sudo."


@pytest.mark.parametrize("how", ["sleep 600", "echo 'x: not found' >&2; exit 1"])
def test_a_firewall_of_which_nft_shows_nothing_is_not_without_fault(lab, how):
    lab.host(f"rule add pref 0 to {IMDS} blackhole")
    stand_in(lab, how, "nft")
    finding = report_of(lab)[0]["findings"][0]
    assert finding["cause"] == "imds-no-answer" and finding["detail"].startswith(
        "Could not check: all of the firewall (nft"
    )
    assert not any("Redeploy the VM" in fix["text"] for fix in finding["fix"])


def test_an_ordinary_user_of_a_healthy_vm(lab):
    assert ordinary(lab)["verdict"] == "healthy"


def ordinary(lab):
    """The report of a run as nobody: with an interpreter and a copy of the package that everybody
    can read.
    """
    python = next(
        path
        for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")
        if readable(path)
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(
            ROOT / "runcommand",
            Path(folder) / "runcommand",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        command = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
            "env",
            f"PYTHONPATH={folder}",
            python,
        ]
        command += ["-m", "runcommand", "--format", "json"]
        done = subprocess.run(
            lab.enter(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            cwd="/",
        )
    assert done.stderr == b""
    return json.loads(done.stdout)


def readable(python):
    command = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "env",
        python,
        "-c",
        "import json, http.client",
    ]
    return (
        Path(python).exists()
        and subprocess.run(command, stderr=subprocess.DEVNULL, cwd="/").returncode == 0
    )


# --- where the report goes ---


def files_line(lab, *arguments):
    done = lab.tool(*arguments)
    assert done.returncode == 0 and done.stderr == "" and "VERDICT  HEALTHY" in done.stdout, done
    return next(line for line in done.stdout.splitlines() if line.startswith("FILES"))


def test_the_usual_place(lab):
    line = files_line(lab)
    folder = line.split()[1]
    assert folder.startswith("/var/log/azure/imds-check/20")
    assert lab.vm(f"ls {folder}").split() == ["report.json", "report.txt"]
    assert lab.vm("stat -c %a:%U /var/log/azure/imds-check").strip() == "700:root"
    assert "OUTPUT of ip -4 route show" in lab.vm(f"cat {folder}/report.txt")


def test_a_full_disk(lab):
    lab.vm("mkdir -p /var/log/azure")
    lab.vm("mount -t tmpfs -o size=4k small /var/log/azure")
    assert "not written: No space left on device" in files_line(lab)
    assert lab.vm("find /var/log/azure -type f").strip() == ""  # and no half report


def test_a_read_only_disk(lab):
    lab.vm("mount -o remount,ro /var/log")
    assert "not written: Read-only file system" in files_line(lab)


def test_a_planted_link(lab):
    lab.vm("mkdir -p /var/log/elsewhere")
    lab.vm("ln -s /var/log/elsewhere /var/log/azure")
    assert "not written:" in files_line(lab)
    assert lab.vm("ls -A /var/log/elsewhere").strip() == ""


def test_a_foreign_folder(lab):
    lab.vm("mkdir -p /var/log/azure/imds-check")
    lab.vm("chown 12345 /var/log/azure/imds-check")
    assert "not written: other users could write there" in files_line(lab)


def test_a_file_in_the_place_of_the_folder(lab):
    lab.vm("touch /var/log/azure")
    assert "not written: Not a directory" in files_line(lab)


def test_a_file_system_that_hangs(lab):
    """Nothing here can make one: the function that opens the folder is held instead."""
    script = (
        "import sys, time, runcommand.system.linux.folder as folder\n"
        "from runcommand.cli import main\n"
        "folder.make = lambda *a: time.sleep(60)\n"
        "sys.exit(main(['--deadline', '3']))"
    )
    lab.host(f"rule add pref 0 to {IMDS} blackhole")
    began = time.monotonic()
    done = subprocess.run(
        lab.enter([sys.executable, "-c", script]),
        env=PATHS,
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
    )
    assert (
        in_time(time.monotonic() - began, 3 + 1 + 4 * start_s(lab))
        and "not written: the file system does not answer" in done.stdout
    )


# --- size ---


def test_20000_routes_and_200_nics(lab):
    lab.vm(WRONG_WAY)
    batch = "".join(
        f"link add dummy{i} type bridge\nlink set dummy{i} up\naddr add "
        f"10.{50 + i // 250}.{i % 250}.1/24 dev dummy{i}\n"
        for i in range(200)
    )
    batch += "".join(
        f"route add 100.{i // 250}.{i % 250}.0/24 via 10.0.0.1 dev eth0\n" for i in range(20000)
    )
    lab.write("/run/lab/batch", batch)
    lab.vm("ip -batch /run/lab/batch")
    report, seconds = report_of(lab)
    assert report["cause"] == "route-wrong-interface", report["findings"]
    assert len(report["facts"]["routes"]) > 20000 and len(report["facts"]["adapters"]) > 200
    # IMDS's silence, then the tries from each address; the rest is work
    assert in_time(seconds, 3 + 1 + 30 * start_s(lab))
    done = lab.tool("--no-files")
    assert len(done.stdout) + done.stdout.count("\n") <= 3900
    assert (
        done.stdout.rstrip("\n")
        .rpartition("\n")[2]
        .startswith("END IMDS-CHECK verdict=broken cause=route-wrong-interface")
    )


def test_20000_routes_of_other_networks_are_redacted_in_time(lab):
    lab.host(f"rule add pref 0 to {IMDS} blackhole")
    rows = (
        f"route add 100.{i // 250}.{i % 250}.0/24 via 10.0.0.1 dev eth0\n" for i in range(20000)
    )
    lab.write("/run/lab/batch", "".join(rows))
    lab.vm("ip -batch /run/lab/batch")
    report, elapsed = report_of(lab, "--redact", "--deadline", "6")
    assert report["facts"]["redacted"] and report["facts"]["host"] != "labvm"
    assert in_time(elapsed, 6 + 1 + 4 * start_s(lab))


def test_few_file_descriptors(lab):
    lab.vm(WRONG_WAY)
    script = 'ulimit -n 24; exec "$0" -m runcommand --format json --no-files'
    done = subprocess.run(
        lab.enter(["sh", "-c", script, sys.executable]),
        env=PATHS,
        capture_output=True,
        timeout=60,
    )
    assert done.stderr == b"" and json.loads(done.stdout)["cause"] == "route-wrong-interface"


def test_an_interrupt_in_the_dark_still_names_what_is_known(lab):
    lab.host(f"rule add pref 0 to {IMDS} blackhole")
    command = lab.enter([sys.executable, "-m", "runcommand", "--no-files"])
    process = subprocess.Popen(
        command, env=PATHS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )
    while not any("runcommand" in line and "--no-files" in line for line in command_lines()):
        time.sleep(0.05)
    threading.Timer(1.5, process.terminate).start()
    out, err = process.communicate(timeout=30)
    assert (
        err == ""
        and "END IMDS-CHECK verdict=inconclusive cause=tool-failed exit=3 host=labvm" in out
    )


def test_the_whole_run_ends_at_the_deadline_whatever_hangs(lab):
    lab.host(f"rule add pref 0 to {IMDS} blackhole")
    stand_in(lab, "trap '' TERM; sleep 613")
    began = time.monotonic()
    done = lab.tool("--no-files", "--deadline", "2")
    assert in_time(time.monotonic() - began, 2 + 1 + 4 * start_s(lab))
    time.sleep(0.3)
    assert not any(
        line.endswith("sleep\x00613\x00") for line in command_lines()
    )  # no child is left
    assert done.stdout.rstrip("\n").rpartition("\n")[2].startswith("END IMDS-CHECK")


# --- signals ---

MOMENTS_S = (
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    0.9,
)  # after the interpreter has started, which no program can speed up
SIGNALS = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT")


def signalled(lab, name, after_s):
    """A run in the dark that gets a signal so long after its start."""
    command = lab.enter([sys.executable, "-m", "runcommand", "--no-files"])
    process = subprocess.Popen(
        command, env=PATHS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )
    time.sleep(after_s)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=30)
    return out, err, process.returncode


def interpreter_s(lab):
    """What it takes now to start Python and nothing else, the longest of three."""
    taken = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(lab.enter([sys.executable, "-c", "import runpy"]), env=PATHS, check=True)
        taken.append(time.monotonic() - began)
    return max(taken)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_at_any_moment_ends_the_collecting_and_not_the_report(lab, name):
    lab.host(f"rule add pref 0 to {IMDS} blackhole")
    for after_s in MOMENTS_S:
        out, err, code = signalled(lab, name, interpreter_s(lab) + after_s)
        if code == -getattr(
            signal, name
        ):  # this machine was busy just then, and the interpreter had not started: once more
            out, err, code = signalled(lab, name, 2 * interpreter_s(lab) + after_s)
        assert err == "" and code == 3 and "the run was interrupted" in out, (after_s, out, err)
        assert out.splitlines()[-1].startswith(
            "END IMDS-CHECK verdict=inconclusive cause=tool-failed exit=3"
        )
        assert "issue tracker" not in out and "when the time was up" not in out


# --- too little of something ---


def limited(lab, limit, *arguments):
    script = f'ulimit {limit}; exec "$@"'
    command = [sys.executable, "-m", "runcommand", "--no-files", *arguments]
    return subprocess.run(
        lab.enter(["sh", "-c", script, "sh", *command]),
        env=PATHS,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("limit", ["-v 600000", "-v 150000", "-v 90000", "-v 60000"])
def test_with_little_memory_the_cause_is_named_all_the_same(lab, limit):
    lab.vm(WRONG_WAY)
    done = limited(lab, limit)
    assert done.stderr == "" and "VERDICT  BROKEN: route-wrong-interface" in done.stdout, done


@pytest.mark.parametrize("limit", ["-n 5", "-n 6"])
def test_what_could_not_be_looked_at_is_said_first_and_nothing_is_redeployed(lab, limit):
    lab.vm(WRONG_WAY)
    done = limited(lab, limit)
    assert done.stderr == "" and done.returncode == 1, done
    assert "Redeploy the VM" not in done.stdout
    verdict, _, rest = done.stdout.partition("VERDICT  BROKEN: ")[2].partition("FIX\n")
    if "route-wrong-interface" in verdict:  # a root that may raise its own limit sees everything
        return
    assert verdict.split("\n")[1].startswith("  Could not check: ")
    assert rest.startswith("  - Run this again with --deadline 60")


@pytest.mark.parametrize("limit", ["-n 5", "-n 6", "-n 9"])
def test_with_few_file_descriptors_a_healthy_vm_is_healthy(lab, limit):
    done = limited(lab, limit)
    assert done.stderr == "" and "VERDICT  HEALTHY" in done.stdout, done


def test_an_ordinary_user_in_the_dark_is_told_first_to_run_it_as_root(lab):
    lab.host(f"rule add pref 0 to {IMDS} blackhole")
    finding = ordinary(lab)["findings"][0]
    assert finding["cause"] == "imds-no-answer" and finding["detail"].startswith(
        "This was not run as root"
    )
    fixes = [fix["text"] for fix in finding["fix"]]
    assert fixes[0] == "Run this again as root, with sudo." and not any(
        "Redeploy the VM" in text for text in fixes
    )


# --- the interpreter ---


def pythons(*versions):
    found = {
        version: sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        for version in versions
    }
    return [str(paths[0]) for paths in found.values() if paths]


@pytest.mark.parametrize("python", pythons("2.7", "3.6", "3.7"))
def test_a_python_that_is_too_old_is_told_so(lab, python):
    done = subprocess.run(
        lab.enter([python, "-m", "runcommand"]),
        env=PATHS,
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 3
        and done.stderr == ""
        and "Python 3.8 or later is needed" in done.stdout
    )
    assert done.stdout.splitlines()[-1].startswith(
        "END IMDS-CHECK verdict=inconclusive cause=tool-failed exit=3 host="
    )


@pytest.mark.parametrize("how", [(["-OO"], {}), ([], {"PYTHONOPTIMIZE": "2"})])
def test_a_python_that_takes_the_texts_away_is_told_so(lab, how):
    flags, environment = how
    done = subprocess.run(
        lab.enter([sys.executable, *flags, "-m", "runcommand", "--redact"]),
        env={**PATHS, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3 and done.stderr == "" and "without -OO" in done.stdout
    assert (
        "cause=tool-failed exit=3 host=- at=" in done.stdout.splitlines()[-1]
        and "labvm" not in done.stdout
    )
