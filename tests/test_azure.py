"""From the operator's desk into the VM and back: the real Azure CLI, Azure's stand-in, and the
script run in the lab.
"""

import json
import os
import re
import shutil
import subprocess

import pytest

from runcommand.scripts.parameters import NAMES

from .azure import handlers, transcripts
from .azure.client import why_not
from .azure.setting import BREAK, MEND, Setting
from .azure.stand_in import GROUP, Nic, windows_in
from .command import ROOT, imds_check
from .lab import powershell, script_alone

SAMPLES, README = ROOT / "samples", ROOT / "README.md"
PWSH = str(powershell.engine("linux") or "")
with_az = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
with_pwsh = pytest.mark.skipif(
    not PWSH, reason="no PowerShell here: $IMDS_CHECK_PWSH names an engine's folder"
)
MAC, IP = "00-0D-3A-7F-20-04", "10.0.0.4"  # of the lab's primary NIC
SHOWS_PARAMETERS = {
    "sh": 'printf "%s|" "$ExpectedMac" "$ExpectedIp" "$Arguments"; printf "%s," "$@"\n',
    "ps1": "param([string]$ExpectedMac, [string]$ExpectedIp, [string]$ExeUri, [string]$Arguments)\n"
    '"$ExpectedMac|$ExpectedIp|$ExeUri|$Arguments"\nexit 0',
}


@pytest.fixture(scope="module")
def setting():
    with Setting() as setting:
        not_logged_in = diagnose(setting, "labvm")
        setting.client.login()
        setting.not_logged_in = not_logged_in
        yield setting


@pytest.fixture(scope="module")
def made(setting):
    return transcripts.make(setting)


@pytest.fixture
def broken(setting):
    setting.lab.vm(BREAK)
    yield
    setting.lab.vm(MEND)


@pytest.fixture
def changed(setting):
    """Sets what Azure says of the Linux VM, for one test: ``changed(is_running=False)``."""
    before = {}

    def change(**more):
        for name, value in more.items():
            before[name] = getattr(setting.linux, name)
            setattr(setting.linux, name, value)

    yield change
    for name, value in before.items():
        setattr(setting.linux, name, value)


def diagnose(setting, name, *more, group=GROUP, environment=None, cwd=None):
    command = ["samples/diagnose-vm.sh", "-g", group, "-n", name, *more]
    if cwd:
        command[0] = str(setting.checkout / command[0])
    return setting.client.run(command, cwd=cwd or setting.checkout, environment=environment or {})


def diagnose_ps1(setting, name, *more):
    command = [
        PWSH,
        "-File",
        "samples/diagnose-vm.ps1",
        "-ResourceGroup",
        GROUP,
        "-Name",
        name,
        *more,
    ]
    return setting.client.run(command, cwd=setting.checkout)


def end(out):
    """Verdict, cause and exit code of the last line."""
    last = out.rstrip("\n").rpartition("\n")[2]
    assert last.startswith("END IMDS-CHECK "), out
    words = dict(word.partition("=")[::2] for word in last.split()[2:])
    return words["verdict"], words["cause"], int(words["exit"])


def answer_of(setting, done):
    """The file in which a run of diagnose-vm kept Azure's answer."""
    return setting.checkout / re.search(r"answer is kept in (.+), for the ticket", done.stderr)[1]


# --- there and back ---


@with_az
@pytest.mark.parametrize(
    "name", [path.name for path in transcripts.FOLDER.iterdir() if "by-hand" not in path.name]
)
def test_the_samples_have_the_shape_of_what_comes_now(made, name):
    recorded = (transcripts.FOLDER / name).read_text("ascii")
    assert transcripts.shape(name, made[name]) == transcripts.shape(name, recorded)


@with_az
def test_every_transcript_is_among_the_samples(made):
    assert set(made) <= {path.name for path in transcripts.FOLDER.iterdir()}


@with_az
def test_a_broken_vm_is_diagnosed_by_one_command(made):
    transcript = made["diagnose-vm.txt"]
    assert transcript.endswith("\n(exit code 1)\n")
    assert end(transcript[: -len("(exit code 1)\n")]) == ("broken", "route-wrong-interface", 1)
    assert f"the primary NIC has the MAC {MAC} and the address {IP}" in transcript
    assert (
        f"MAC {MAC} matches --expected-mac and IMDS; address {IP} matches --expected-ip and IMDS"
        in transcript
    )


@with_az
def test_a_healthy_vm_ends_with_0_and_the_answer_is_kept(setting, tmp_path):
    done = diagnose(setting, "labvm", "--answer", "kept here.json", cwd=tmp_path)
    assert (done.returncode, end(done.stdout)) == (0, ("healthy", "-", 0)), done.stderr
    assert imds_check("decode", tmp_path / "kept here.json").out == done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["kept here.json"]


@with_az
def test_options_of_imds_check_come_after_two_dashes(setting):
    done = diagnose(setting, "labvm", "--", "--no-files", "--deadline", "15")
    assert (done.returncode, "FILES    none (--no-files)" in done.stdout) == (0, True), done.stderr


@with_az
def test_more_than_4096_bytes_lose_their_head_and_the_reader_is_told(setting):
    done = diagnose(setting, "labvm", "--", "--format", "full")
    assert (done.returncode, end(done.stdout)[0]) == (0, "healthy")
    assert "The beginning of the report was cut off" in done.stderr


@with_az
def test_what_azure_says_of_the_nic_is_compared_with_the_guest(setting, changed):
    changed(nics=(Nic("labvm-nic", "00-0D-3A-99-99-99", (IP,)),))
    done = diagnose(setting, "labvm")
    assert (done.returncode, end(done.stdout)[0]) == (0, "healthy")  # IMDS answers
    assert "Azure expects MAC 00-0D-3A-99-99-99 (--expected-mac); the guest has" in done.stdout


# --- parameters on their way ---


@with_az
@pytest.mark.parametrize(
    "nics, said",
    [
        ((Nic("only", MAC, (IP,)),), f"{MAC}|{IP}|"),  # an only NIC has no flag
        ((Nic("other", MAC, (IP,), group="network-rg"),), f"{MAC}|{IP}|"),
        ((Nic("never-started", "", (IP,)),), f"|{IP}|"),
        ((Nic("one", MAC, (IP,)), Nic("two", MAC, (IP,))), "||"),  # Azure does not say which
        ((Nic("it's & more", MAC, ("10.0.0.5", IP)),), f"{MAC}|10.0.0.5|"),
    ],
)
def test_the_primary_nic_is_the_one_that_azure_says(setting, changed, nics, said):
    changed(nics=nics)
    assert arrived(setting)[0] == f"{said}|,"


@with_az
def test_a_nic_that_may_not_be_read_is_done_without(setting, changed):
    gone = Nic("gone", MAC, (IP,))
    changed(nics=(gone,))
    setting.azure.hidden.add(gone.id)
    parameters, said = arrived(setting)
    assert parameters == "|||," and "going on without them" in said


@with_az
def test_any_option_reaches_a_linux_vm_as_it_was_typed(setting):
    words = ["--out", "/srv/a b & c; d", "it's", '"x"', "$HOME", "", "50%"]
    assert arrived(setting, "--", *words)[0] == (
        f"{MAC}|{IP}|--out '/srv/a b & c; d' 'it'\\''s' '\"x\"' '$HOME' '' '50%'|,"
    )


def arrived(setting, *more):
    """What the Linux VM gets of the parameters, and what the operator is told."""
    script = setting.checkout / "shows parameters.sh"
    script.write_text(SHOWS_PARAMETERS["sh"])
    before = len(setting.linux.received)
    done = diagnose(setting, "labvm", "--script", "shows parameters.sh", *more)
    assert (done.returncode, len(setting.linux.received)) == (3, before + 1), (
        done.stderr
    )  # there is no report in it
    return re.search(r"What there is:\n(.*)", done.stderr)[1], done.stderr


@with_az
@with_pwsh
@pytest.mark.parametrize("way", ["sh", "ps1"])
def test_any_option_reaches_powershell_as_it_was_typed(setting, tmp_path, way):
    script = setting.checkout / "shows parameters.ps1"
    script.write_text(SHOWS_PARAMETERS["ps1"])
    uri = "https://contoso.example.com/x?sv=1&sig=a%2Bb='c'"
    if way == "sh":
        options = ["--out", "C:\\it's here", "--deadline", "9"]
        diagnose(setting, "testWs", "--script", script.name, "--exe-uri", uri, "--", *options)
    else:
        arguments = '-Arguments:--out "C:\\it\'s here" --deadline 9'
        diagnose_ps1(setting, "testWs", "-Script", script.name, "-ExeUri", uri, arguments)
    sent = tmp_path / "sent.ps1"
    sent.write_text("\n".join(setting.windows.received[-1]["script"]))
    ran = subprocess.run([PWSH, "-File", str(sent)], stdout=subprocess.PIPE, text=True)
    assert (
        ran.stdout == f'00-0D-3A-E5-1C-C0|172.16.69.7|{uri}|--out "C:\\it\'s here" --deadline 9\n'
    )


@with_az
def test_run_commands_own_parameters_reach_the_script_too(made):
    for name in ("invoke-linux.json", "show-instance-view.json"):
        assert "matches --expected-mac and IMDS" in made[name]


@with_az
def test_a_script_with_a_first_line_for_the_kernel_would_get_none_of_them(setting):
    parameters = [("ExpectedMac", MAC)]
    script = SHOWS_PARAMETERS["sh"]
    assert handlers.action(setting.lab, [script], parameters).out == f"{MAC}|||{MAC},"
    assert handlers.action(setting.lab, [f"#!/bin/sh\n{script}"], parameters).out == "|||,"
    assert not (setting.checkout / "dist" / "imds-check.sh").read_text().startswith("#!")


@with_az
def test_a_managed_run_command_takes_words_as_well(setting):
    script = (setting.checkout / "dist" / "imds-check.sh").read_text()
    output = handlers.managed(
        setting.lab, script, [("", f"ExpectedMac={MAC}"), ("Arguments", "--no-files")]
    )
    assert end(output.out) == ("healthy", "-", 0)
    assert "matches --expected-mac and IMDS" in output.out and "FILES    none" in output.out


@with_az
def test_line_ends_of_windows_and_a_mark_at_the_beginning_do_no_harm(setting):
    text = (setting.checkout / "dist" / "imds-check.sh").read_text()
    (setting.checkout / "dos.sh").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    done = diagnose(setting, "labvm", "--script", "dos.sh")
    assert (done.returncode, end(done.stdout)[0]) == (0, "healthy"), done.stderr


@with_az
def test_a_managed_run_command_can_end_with_the_verdicts_code(made):
    for name, code, state in (
        ("show-instance-view.json", 0, "Succeeded"),
        ("show-instance-view-verdict.json", 1, "Failed"),
    ):
        view = json.loads(made[name])["instanceView"]
        assert (view["exitCode"], view["executionState"]) == (code, state)
        assert end(view["output"]) == ("broken", "route-wrong-interface", 1)


@with_az
def test_a_windows_vm_answers_in_its_own_shape(made):
    codes = [status["code"] for status in json.loads(made["invoke-windows.json"])["value"]]
    assert codes == ["ComponentStatus/StdOut/succeeded", "ComponentStatus/StdErr/succeeded"]


@with_az
@pytest.mark.skipif(powershell.why_not_here() is not None, reason=str(powershell.why_not_here()))
def test_a_broken_windows_vm_is_diagnosed_by_the_exe_that_it_downloads(setting):
    (setting.checkout / "for the exe.ps1").write_bytes(powershell.made().encode("ascii"))
    with powershell.PowerShellLab() as lab:
        lab.offer()
        lab.vm(BREAK)
        setting.azure.machines.append(windows_in(lab, "labwin"))
        done = diagnose(
            setting, "labwin", "--script", "for the exe.ps1", "--exe-uri", powershell.SIGNED
        )
    assert (done.returncode, end(done.stdout)) == (1, ("broken", "route-wrong-interface", 1)), (
        done.stdout + done.stderr
    )
    assert "matches --expected-mac" in done.stdout and "matches --expected-ip" in done.stdout, (
        done.stdout
    )


@with_az
@pytest.mark.skipif(powershell.why_not_here() is not None, reason=str(powershell.why_not_here()))
def test_a_broken_windows_vm_is_diagnosed_without_any_exe(setting):
    (setting.checkout / "alone.ps1").write_bytes(script_alone.script().encode("ascii"))
    with script_alone.AloneLab() as lab:
        lab.warm_up()
        lab.vm(BREAK)
        setting.azure.machines.append(windows_in(lab, "labalone"))
        done = diagnose(setting, "labalone", "--script", "alone.ps1")
    assert (done.returncode, end(done.stdout)) == (1, ("broken", "route-wrong-interface", 1)), (
        done.stdout + done.stderr
    )
    assert "route -p add 169.254.169.254" in done.stdout
    assert "matches --expected-mac" in done.stdout and "RAW" not in done.stdout, done.stdout


# --- what goes wrong ---


@with_az
@pytest.mark.parametrize(
    "state, said",
    [
        ({"is_running": False}, "start the VM"),
        ({"agent_reports": False}, "README: When Run Command gives nothing back"),
        ({"may_run": False}, "Virtual Machine Contributor"),
        ({"os": "Plan9"}, "does not say whether labvm runs Linux or Windows: Plan9"),
    ],
)
def test_a_vm_that_cannot_be_asked(setting, changed, state, said):
    changed(**state)
    cannot(setting, diagnose(setting, "labvm"), said)


@with_az
@pytest.mark.parametrize(
    "name, more, said",
    [
        ("nosuch", {}, "look at the names"),
        ("a name with 'quotes' & more", {}, "look at the names"),
        ("labvm", {"group": "nosuch"}, "look at the names"),
    ],
)
def test_a_vm_that_is_not_there(setting, name, more, said):
    cannot(setting, diagnose(setting, name, **more), said)


@with_az
def test_a_subscription_that_is_not_there(setting):
    cannot(
        setting,
        diagnose(setting, "labvm", "--subscription", "no such"),
        "Subscription 'no such' not found",
    )


@with_az
def test_a_second_run_command_at_a_time_has_to_wait(setting, made):
    transcript = made["diagnose-vm-conflict.txt"]
    assert transcript.endswith("wait until it has ended, and run again.\n(exit code 2)\n")


@with_az
def test_a_cli_that_is_not_logged_in(setting):
    cannot(setting, setting.not_logged_in, "run 'az login'")


@with_az
def test_what_is_missing_here_is_named(setting, tmp_path):
    nothing = tmp_path / "bin"
    nothing.mkdir()
    for program in ("bash", "dirname", "sed", "mktemp", "rm"):
        (nothing / program).symlink_to(shutil.which(program))
    path = {"PATH": str(nothing)}
    cannot(
        setting, diagnose(setting, "labvm", environment=path), "az, the Azure CLI, is not installed"
    )
    (nothing / "az").symlink_to("/bin/false")
    cannot(setting, diagnose(setting, "labvm", environment=path), "python3 is not installed")
    built = setting.checkout / "dist" / "imds-check.sh"
    built.rename(tmp_path / built.name)
    try:
        cannot(setting, diagnose(setting, "labvm"), "run 'python3 build.py'")
    finally:
        (tmp_path / built.name).rename(built)


@with_az
@pytest.mark.parametrize(
    "words, said",
    [
        ([], "which VM?"),
        (["-g", "g"], "which VM?"),
        (["-g"], "-g needs a value"),
        (
            ["-g", "g", "-n", "v", "--no-files"],
            "unknown option: --no-files (options of imds-check come after --)",
        ),
    ],
)
def test_wrong_arguments(setting, words, said):
    done = setting.client.run(["samples/diagnose-vm.sh", *words], cwd=setting.checkout)
    cannot(setting, done, said)
    assert done.stderr.count("\n") == 1


def cannot(setting, done, said):
    """The VM was not asked: exit code 2, what to do about it, and no report."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr
    assert "answer is kept" not in done.stderr


# --- the README ---


@with_az
def test_the_readmes_commands_do_what_it_says(setting, broken, tmp_path):
    blocks = re.findall(r"^```\w*\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    typed = [block for block in blocks if "az vm run-command" in block]
    assert len(typed) == 2  # invoke, and a managed run command
    program = tmp_path / "imds-check"
    program.write_text('#!/bin/sh\nexec python3 -m runcommand "$@"\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{setting.client.environment['PATH']}"}
    meant = {"GROUP": GROUP, "VM": "labvm", "NIC": "labvm-nic1", "REGION": "eastus"}
    for block in typed:
        text = re.sub(r"\b(GROUP|VM|NIC|REGION)\b", lambda found: meant[found[0]], block)
        done = setting.client.run(["bash", "-c", text], cwd=setting.checkout, environment=path)
        assert (
            "END IMDS-CHECK verdict=broken cause=route-wrong-interface exit=1 host=labvm"
            in done.stdout
        ), done.stderr
        assert "matches --expected-mac and IMDS" in done.stdout, done.stdout
    assert not setting.linux.commands  # the managed one was deleted


# --- from PowerShell ---


@pytest.mark.skipif(
    "IMDS_CHECK_PWSH" not in os.environ, reason="$IMDS_CHECK_PWSH names no engine with -Check"
)
def test_windows_powershell_5_1_knows_all_of_the_language_in_it():
    checked = subprocess.run(
        [PWSH, "-Check", str(SAMPLES / "diagnose-vm.ps1")], stdout=subprocess.PIPE
    )
    assert (checked.returncode, checked.stdout) == (0, b"")


@with_az
@with_pwsh
def test_a_broken_vm_is_diagnosed_from_powershell(setting, broken):
    done = diagnose_ps1(setting, "labvm")
    assert (done.returncode, end(done.stdout)) == (1, ("broken", "route-wrong-interface", 1)), (
        done.stderr
    )
    assert f"the primary NIC has the MAC {MAC} and the address {IP}" in done.stderr
    assert imds_check("decode", answer_of(setting, done)).out == done.stdout


@with_az
@with_pwsh
def test_a_windows_vm_is_diagnosed_from_powershell(setting):
    done = diagnose_ps1(setting, "testWs", "-Answer", "kept here.json")
    assert (done.returncode, end(done.stdout)[1]) == (1, "route-wrong-interface"), done.stderr
    assert (setting.checkout / "kept here.json").exists()


@with_az
@with_pwsh
@pytest.mark.parametrize(
    "state, name, said",
    [
        ({}, "nosuch", "look at the names"),
        ({"is_running": False}, "labvm", "start the VM"),
        ({}, "", "which VM?"),
    ],
)
def test_a_vm_that_cannot_be_asked_from_powershell(setting, changed, state, name, said):
    changed(**state)
    cannot(setting, diagnose_ps1(setting, name), said)


# --- the template ---


def test_the_templates_parameters_are_those_of_the_scripts():
    text = (SAMPLES / "managed-run-command.bicep").read_text("ascii")
    named = re.findall(r"\{ name: '(\w+)', value:", text)
    assert set(named) == {*NAMES, "ExeUri"}
    windows = (ROOT / "runcommand" / "scripts" / "imds-check.ps1").read_text("ascii")
    assert all(f"[string]${name}" in windows for name in named)


def test_the_template_reads_no_file_and_so_compiles_whichever_script_is_built():
    text = (SAMPLES / "managed-run-command.bicep").read_text("ascii")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    assert not re.search(r"\b(load\w+|module|import|using|extends)\b", code)
    assert re.search(r"^@secure\(\)\n@minLength\(1\)\nparam script string$", code, re.MULTILINE)
    assert re.findall(r"^ +script: (.+)$", code, re.MULTILINE) == ["script"]
    for documented in (text, README.read_text("utf-8")):
        given = re.findall(r"\bscript=@(dist/imds-check\.\w+)", documented)
        assert set(given) == {"dist/imds-check.sh", "dist/imds-check.ps1"}
