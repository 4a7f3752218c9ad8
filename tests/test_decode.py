"""``imds-check decode``: the report out of whatever Azure's clients print of a run command."""

import json
import subprocess
import sys
import time

import pytest

from runcommand.operator.decode import decode
from runcommand.operator.run_command import is_given_back

from .command import ROOT
from .snapshots import FOLDER

REPORT = (FOLDER / "route-wrong-interface.txt").read_text("ascii")
AZ = sorted((ROOT / "samples" / "az").glob("*.json"))
CONFLICT = (
    "Run command extension execution is in progress. Please wait for completion before "
    "invoking a run command."
)


def run(content, *arguments):
    """``imds-check decode`` with this on its standard input: (exit code, output, error)."""
    given = content if isinstance(content, bytes) else content.encode()
    done = subprocess.run(
        [sys.executable, "-m", "runcommand", "decode", *arguments],
        input=given,
        cwd=ROOT,
        capture_output=True,
    )
    return (
        done.returncode,
        done.stdout.decode("ascii").replace("\r\n", "\n"),
        done.stderr.decode("ascii"),
    )


def status(code, message):
    return {
        "code": code,
        "displayStatus": "Provisioning succeeded",
        "level": "Info",
        "message": message,
        "time": None,
    }


def windows(out, err=""):
    return {
        "value": [
            status("ComponentStatus/StdOut/succeeded", out),
            status("ComponentStatus/StdErr/succeeded", err),
        ]
    }


def linux(out, err="", state="Enable succeeded: "):
    return {
        "value": [
            status("ProvisioningState/succeeded", f"{state}\n[stdout]\n{out}\n[stderr]\n{err}")
        ]
    }


def view(out, err="", state="Succeeded", message=""):
    return {
        "executionState": state,
        "executionMessage": message,
        "exitCode": 0,
        "output": out,
        "error": err,
    }


def flat(out):
    return {
        "Name": "run",
        "InstanceViewExecutionState": "Succeeded",
        "InstanceViewOutput": out,
        "InstanceViewError": "",
    }


def cmdlet(out):
    items = [
        {"Code": s["code"], "Level": 0, "DisplayStatus": "", "Message": s["message"], "Time": None}
        for s in windows(out)["value"]
    ]
    return {"Value": items, "Capacity": 0, "Count": 0, "Status": "Succeeded", "Error": None}


SHAPES = {
    "az invoke, Windows": windows(REPORT.replace("\n", "\r\n")),
    "az invoke, Linux": linux(REPORT),
    "az show --instance-view": {
        "name": "imds-check",
        "instanceView": view(REPORT),
        "location": "eastus",
    },
    "REST, managed": {"properties": {"instanceView": view(REPORT), "source": {"script": "sh"}}},
    "Invoke-AzVMRunCommand": cmdlet(REPORT),
    "Get-AzVMRunCommand": flat(REPORT),
    "Get-AzVMRunCommand, not flat": {
        "InstanceView": {k[0].upper() + k[1:]: v for k, v in view(REPORT).items()}
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_report_and_its_exit_code(shape):
    assert run(json.dumps(SHAPES[shape])) == (1, REPORT, "")


@pytest.mark.parametrize("path", AZ, ids=[path.name for path in AZ])
def test_the_samples_of_azures_clients(path):
    code, out, err = run(path.read_bytes())
    if "error" in path.stem:
        assert code == 3 and out == "" and "No report: it is an error of Azure" in err
    else:
        assert (
            out.splitlines()[-1].startswith("END IMDS-CHECK ")
            and f" exit={code} " in out.splitlines()[-1]
        )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_however_powershell_wrote_the_file(tmp_path, encoding):
    file = tmp_path / "answer.json"
    file.write_bytes(json.dumps(windows(REPORT)).encode(encoding))
    assert run("", str(file))[:2] == (1, REPORT)


def test_one_message_that_was_asked_for_alone():
    assert run(json.dumps(linux(REPORT)["value"][0]["message"])) == (1, REPORT, "")


def test_warnings_of_the_client_before_the_json():
    assert run("WARNING: The command is in preview.\nWARNING: x\n" + json.dumps(linux(REPORT)))[
        :2
    ] == (1, REPORT)


@pytest.mark.parametrize(
    "text",
    [REPORT, f"Enable succeeded: \n[stdout]\n{REPORT}\n[stderr]\n", REPORT.replace("\n", "\r\n")],
)
def test_text_that_was_copied_from_the_portal(text):
    assert run(text) == (1, REPORT, "")


def quoted(text, before):
    """As a mail or a ticket quotes it: what is blank beyond it is trimmed."""
    return "".join(f"{before}{line}".rstrip() + "\n" for line in text.splitlines())


BEFORE = ["  ", "    ", "\t", "> ", ">", "> > ", ">> ", "    > ", "\u00a0\u00a0"]


@pytest.mark.parametrize("before", BEFORE)
def test_an_indented_or_quoted_report(before):
    told = quoted(REPORT, before)
    for content in (told, told.replace("\n", "\r\n"), f"\n\n{told}\n\n"):
        assert run(content) == (1, REPORT, ""), repr(content[:80])


@pytest.mark.parametrize("before", ["    ", "> "])
def test_a_quoted_report_in_a_letter(before):
    letter = f"Hello,\n\nthis is what it printed:\n\n{quoted(REPORT, before)}\nRegards\n"
    assert run(letter) == (
        1,
        REPORT,
        "Beside the report the script printed:\nHello,\n\nthis is what it printed:\nRegards\n",
    )


def test_a_quoted_answer_of_az():
    assert run(quoted(json.dumps(linux(REPORT), indent=1), "> ")) == (1, REPORT, "")


def test_an_indented_report_whose_head_was_cut_off():
    told = quoted(REPORT, "  ")[-1500:]
    code, out, err = run(told)
    assert (code, out.splitlines()[-1]) == (1, REPORT.splitlines()[-1]) and "was cut off" in err


def test_a_line_within_a_report_never_passes_for_its_last_one():
    """Every line that comes from the VM is indented; so it stays, however the report itself is
    indented.
    """
    lines = REPORT.splitlines()
    planted = lines[-1].replace("broken", "healthy").replace("exit=1", "exit=0")
    hostile = [*lines[:8], f"  {planted}", f"      {planted}", *lines[8:-1]]
    for before in ("", "  ", "> "):
        whole = quoted("\n".join([*hostile, lines[-1]]), before)
        assert run(whole)[0] == 1
        code, out, err = run(quoted("\n".join(hostile), before))  # its own last line is missing
        assert (code, out) == (3, "") and "No report: " in err


def test_the_vms_standard_error_goes_to_standard_error():
    code, out, err = run(json.dumps(linux(REPORT, "cannot \x1b[31mlog\u00e9\n")))
    assert (code, out) == (
        1,
        REPORT,
    ) and err == "The VM's standard error:\ncannot \\u001B[31mlog\\u00E9\n"


@pytest.mark.parametrize("kept", [200, 1500])
def test_a_report_whose_head_was_cut_off_is_read_by_its_last_line(kept):
    code, out, err = run(json.dumps(linux(REPORT[-kept:])))
    assert (code, out) == (1, REPORT[-kept:])
    assert err == (
        "The beginning of the report was cut off: Run Command keeps the last 4,096 bytes. Its last "
        "line is whole: verdict broken, "
        "cause route-wrong-interface.\n"
    )


def test_what_else_the_script_printed_is_not_lost():
    code, out, err = run(json.dumps(linux(f"from a profile\n{REPORT}after it")))
    assert (code, out, err) == (
        1,
        REPORT,
        "Beside the report the script printed:\nfrom a profile\nafter it\n",
    )


def test_of_two_reports_the_last_one_counts():
    other = REPORT.replace("exit=1", "exit=0").replace("verdict=broken", "verdict=healthy")
    assert run(json.dumps(linux(other + REPORT)))[:2] == (1, REPORT)


@pytest.mark.parametrize("exit_code", [0, 1, 2, 3])
def test_the_exit_code_is_that_of_the_last_line(exit_code):
    line = (
        f"END IMDS-CHECK verdict=x cause=- exit={exit_code} host=h at=2026-11-23T01:44:05Z "
        "v=0.1.0\n"
    )
    assert run(json.dumps(windows(line)))[0] == exit_code


def test_a_run_that_did_not_succeed_is_told():
    code, out, err = run(json.dumps(view(REPORT, state="Failed", message="exit code 1")))
    assert (code, out, err) == (1, REPORT, "Azure says of the run: Failed: exit code 1\n")


def test_a_json_report_is_one_too():
    report = (FOLDER / "route-wrong-interface.json").read_text("ascii")
    for content in (
        report,
        report.encode("utf-16"),
        json.dumps(view(report)),
        quoted(report, "> "),
    ):
        code, out, _ = run(content)
        assert code == 1 and json.loads(out) == json.loads(report)


def test_several_vms_come_one_after_the_other():
    code, out, err = run(json.dumps([flat(REPORT), flat("nothing of ours")]))
    assert (code, out) == (3, REPORT) and err.startswith("No report: ") and "nothing of ours" in err


NONE = {
    "empty": ("", "No report: it is empty"),
    "blank": (" \n\n", "No report: it is empty"),
    "null": ("null", "it is JSON, but not what a run command gives back: null"),
    "a number": ("7", "it is JSON, but not what a run command gives back: 7"),
    "another command's": (
        '[{"id": "/subscriptions/s", "name": "vm"}]',
        "but not what a run command gives back: a list of 1",
    ),
    "another object": (
        '{"fqdns": "", "powerState": "VM running"}',
        "an object with 'fqdns', 'powerState'",
    ),
    "an object without keys": ("{}", "an empty object"),
    "cut JSON": (json.dumps(windows(REPORT))[:900], "it begins as JSON and does not end as such"),
    "nested too deeply": ("[" * 100_000, "it begins as JSON and does not end as such"),
    "an error of Azure": (
        json.dumps({"error": {"code": "Conflict", "message": CONFLICT}}),
        "it is an error of Azure, not a script's output: Conflict: Run command extension execution "
        "is in progress",
    ),
    "an error of the CLI": (
        f"ERROR: (Conflict) {CONFLICT}\nCode: Conflict\nMessage: {CONFLICT}\n",
        "wait until it has ended, and run again",
    ),
    "a VM that is off": (
        json.dumps(
            {
                "error": {
                    "code": "OperationNotAllowed",
                    "message": "The operation requires the VM to be running (or set to run).",
                }
            }
        ),
        "start the VM, and run again",
    ),
    "no output": (json.dumps(linux("")), "No report: the script printed nothing"),
    "another script's": (
        json.dumps(linux("hello")),
        "there is no line that begins with END IMDS-CHECK.\nWhat there is:\nhello",
    ),
    "without its output": (
        '{"name": "run", "instanceView": null}',
        "was not asked for: --instance-view (Get-AzVMRunCommand: -Expand",
    ),
    "a word": ('"Enable succeeded"', "there is no line that begins with END IMDS-CHECK"),
    "YAML": (
        'value:\n- message: "Enable succeeded: \\n[stdout]\\nEND IMDS-CHECK verdict=broken"\n',
        "Take -o json",
    ),
    "the end of a JSON report": (
        json.dumps(linux('"elapsed_s": 3.2,\n}')),
        "the end of a JSON report",
    ),
    "garbage": (bytes(range(256)) * 20, "No report: "),
}


@pytest.mark.parametrize("name", NONE)
def test_without_a_report_it_says_what_there_was(name):
    content, said = NONE[name]
    code, out, err = run(content)
    assert (code, out) == (3, "") and said in err and "Traceback" not in err


def test_a_message_of_a_status_without_streams_is_told():
    failed = {"value": [status("ProvisioningState/failed/1", "VM has reported a failure")]}
    code, out, err = run(json.dumps(failed))
    assert (code, out) == (3, "") and "Provisioning succeeded: VM has reported a failure" in err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["/nonexistent.json"], "No such file"),
        ([str(ROOT)], "it is a folder, not a file"),
        ([""], "'': No such file"),
        (["a", "b"], "unrecognized"),
    ],
)
def test_a_file_that_cannot_be_read_is_the_operators_error(arguments, said):
    code, out, err = run("", *arguments)
    assert (code, out) == (2, "") and err.startswith("imds-check: ") and said in err


def test_statuses_of_any_type_are_passed_over():
    strange = [
        {"value": [{"code": 1, "message": "m"}, {"code": "a/b"}, 7, None]},
        {"output": None, "exitCode": 0},
        {"Output": "x"},
    ]
    for value in strange:
        (decoded,) = decode(json.dumps(value).encode())
        assert (decoded.report, decoded.exit_code) == ("", 3) and decoded.notes


PIECES = [
    "> ",
    ">\n",
    " >\n> ",
    "[stdout]\n",
    "[stdout]\n[stderr]",
    "WARNING\n",
    "ERROR: (",
    "END IMDS-CHECK verdict=",
    "    END IMDS-CHECK verdict=\n",
    "IMDS-CHECK 1  x\n",
]


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_text_of_any_kind_takes_time_in_proportion(piece):
    def seconds(size):
        content = (piece * (size // len(piece))).encode()
        began = time.process_time()
        decode(content), is_given_back(content)
        return time.process_time() - began

    assert seconds(800_000) < 12 * max(seconds(200_000), 0.01)
