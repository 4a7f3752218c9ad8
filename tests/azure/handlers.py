"""What the agents of an Azure VM do with the script of a run command; here the VM is one of the
lab.

Managed run commands: as github.com/Azure/run-command-handler-linux does it (internal/exec,
internal/files, internal/cmds). Action run commands: as users tell of the script that they found on
their VM (azure-cli #9596, #10400 and #29750).
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Dict, List, Sequence, Tuple

from ..lab.namespace import ROOT, Lab
from ..lab.powershell import PowerShellLab

TAIL = 4 * 1024  # bytes of each stream that come back
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
BOM = "\ufeff"
Parameters = Sequence[Tuple[str, str]]  # name and value; no name: a word
_numbers = itertools.count()


@dataclass(frozen=True)
class Output:
    """What comes back of a script: the ends of its two streams, and its exit code."""

    out: str
    err: str
    code: int


def action(lab: Lab, script: Sequence[str], parameters: Parameters) -> Output:
    """RunShellScript. ``script``: as the client sends it, lines or whole files; the parameters
    become lines of it.

    They go on top, unquoted; but an element that begins with ``#!`` stays the first one, be it a
    line or a whole file.
    """
    top = script[:1] if script[0].startswith(("#!", BOM + "#!")) else []
    exported = " ".join(f"{name}={value}" for name, value in parameters)
    words = " ".join(value for _, value in parameters)
    lines = [f"export {exported}", f"set -- {words}"] if parameters else []
    return _run(lab, "\n".join([*top, *lines, *script[len(top) :]]), "/bin/sh", "", {})


def managed(lab: Lab, script: str, parameters: Parameters) -> Output:
    """A managed run command: parameters with a name become variables, the others words for the
    shell to split.
    """
    named = {name: value for name, value in parameters if name and value}
    words = "".join(f" {value}" for name, value in parameters if not name and value)
    return _run(lab, script, "/bin/bash", words, named)


def powershell(lab: PowerShellLab, script: Sequence[str], parameters: Parameters) -> Output:
    """RunPowerShellScript. Of a value, what stands before its first blank arrives (azure-powershell
    #7269).
    """
    done = lab.power_shell(
        "\n".join(script), {name: value.partition(" ")[0] for name, value in parameters}
    )
    return Output(_tail(done.out), _tail(done.err), done.code)


@lru_cache
def demo(scenario: str) -> Output:
    """What the demo prints, in the place of a run in a Windows VM."""
    command = [sys.executable, "-m", "runcommand", "demo", scenario]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True)
    return Output(_tail(done.stdout), _tail(done.stderr), 0)


def _run(lab: Lab, text: str, shell: str, words: str, variables: Dict[str, str]) -> Output:
    folder = f"/var/lib/waagent/run-command/download/{next(_numbers)}"
    script = f"{folder}/script.sh"
    lab.write(script, (text[1:] if text.startswith(BOM) else text).replace("\r\n", "\n"))
    lab.vm(f"chmod 500 {script}")
    command = f"cd {folder} && exec {shell} -c {shlex.quote(script + words)}"
    done = subprocess.run(
        lab.enter(["/bin/sh", "-c", command]),
        env={"PATH": PATH, "LANG": "C.UTF-8", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    return Output(_tail(done.stdout), _tail(done.stderr), done.returncode)


def _tail(stream: bytes) -> str:
    return stream[-TAIL:].decode("utf-8", "replace")


def status(output: Output, os: str) -> List[Dict[str, object]]:
    """What an action run command's answer says of an output. Exit codes are not reported there."""

    def entry(code: str, message: str) -> Dict[str, object]:
        return {
            "code": code,
            "level": "Info",
            "displayStatus": "Provisioning succeeded",
            "message": message,
        }

    if os == "Windows":
        streams = (("StdOut", output.out), ("StdErr", output.err))
        return [entry(f"ComponentStatus/{name}/succeeded", text) for name, text in streams]
    return [
        entry(
            "ProvisioningState/succeeded",
            f"Enable succeeded: \n[stdout]\n{output.out}\n[stderr]\n{output.err}",
        )
    ]


def instance_view(output: Output, began: str, ended: str) -> Dict[str, object]:
    """What a managed run command's instance view says of an output."""
    failed = (
        "Execution failed: failed to execute command: command terminated with exit "
        f"status={output.code}"
    )
    return {
        "executionState": "Failed" if output.code else "Succeeded",
        "executionMessage": failed if output.code else "Execution completed",
        "exitCode": output.code,
        "output": output.out,
        "error": output.err,
        "startTime": began,
        "endTime": ended,
    }
