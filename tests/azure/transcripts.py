"""What the Azure CLI and ``samples/diagnose-vm.sh`` print against the stand-in, as ``samples/az``
keeps it.

Times are settled, so that two recordings differ only where something changed.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, Dict, List, Sequence

from ..lab.namespace import ROOT
from .setting import BREAK, MEND, Setting
from .stand_in import GROUP, LOCATION

FOLDER = ROOT / "samples" / "az"
THEN = "2026-11-23T01:44:05"


def make(setting: Setting) -> Dict[str, str]:
    """The contents of the files, by their names. The CLI has to be logged in."""
    linux, windows = setting.linux, setting.windows
    at, managed = ["-g", GROUP, "--vm-name", linux.name], ["--name", "imds-check"]
    parameters = ["ExpectedMac=00-0D-3A-7F-20-04", "ExpectedIp=10.0.0.4"]
    made = {}
    setting.lab.vm(BREAK)
    try:
        made["nic-list.txt"] = _transcript(setting, ["az", "vm", "nic", "list", *at])
        nic = ["--nic", f"{linux.name}-nic1"]
        made["nic-show.txt"] = _transcript(setting, ["az", "vm", "nic", "show", *at, *nic])
        invoke = ["vm", "run-command", "invoke", "-g", GROUP, "--command-id"]
        made["invoke-linux.json"] = _json(
            setting,
            [
                *invoke,
                "RunShellScript",
                "-n",
                linux.name,
                "--scripts",
                "@dist/imds-check.sh",
                "--parameters",
                *parameters,
            ],
        )
        made["invoke-windows.json"] = _json(
            setting,
            [
                *invoke,
                "RunPowerShellScript",
                "-n",
                windows.name,
                "--scripts",
                "@dist/imds-check.ps1",
            ],
        )
        for name, more in (
            ("show-instance-view.json", []),
            ("show-instance-view-verdict.json", ["ExitCode=verdict"]),
        ):
            create = ["vm", "run-command", "create", *at, *managed, "--location", LOCATION]
            setting.client.json(
                *create,
                "--script",
                "@dist/imds-check.sh",
                "--parameters",
                *parameters,
                *more,
                cwd=setting.checkout,
            )
            made[name] = _json(
                setting, ["vm", "run-command", "show", *at, *managed, "--instance-view"]
            )
            setting.client.az("vm", "run-command", "delete", *at, *managed, "--yes")
        made["diagnose-vm.txt"] = _transcript(
            setting, ["samples/diagnose-vm.sh", "-g", GROUP, "-n", linux.name]
        )
        with linux.busy:
            made["diagnose-vm-conflict.txt"] = _transcript(
                setting, ["samples/diagnose-vm.sh", "-g", GROUP, "-n", linux.name]
            )
    finally:
        setting.lab.vm(MEND)
    return made


def _transcript(setting: Setting, command: Sequence[str]) -> str:
    """The command as it is typed, what it prints to the terminal, and its exit code where it is not
    0.
    """
    done = setting.client.run(
        ["sh", "-c", f"exec {shlex.join(command)} 2>&1"], cwd=setting.checkout
    )
    ended = f"(exit code {done.returncode})\n" if done.returncode else ""
    return settled(f"$ {shlex.join(command)}\n{done.stdout}{ended}")


def _json(setting: Setting, arguments: Sequence[str]) -> str:
    answer = setting.client.json(*arguments, cwd=setting.checkout)
    script = answer.get("source")
    if script:
        script["script"] = "(the content of dist/imds-check.sh)"
    return settled(json.dumps(answer, indent=2) + "\n")


def settled(text: str) -> str:
    text = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", THEN, text)
    text = re.sub(r"20\d{6}T\d{6}Z", re.sub("[-:]", "", THEN) + "Z", text)
    text = re.sub(r"\bin \d+ ms", "in 4 ms", text)
    return re.sub(r"(IMDS-CHECK \S+  \S+  \S+)  [\d.]+ s", r"\1  4.0 s", text)


def shape(name: str, text: str) -> List[str]:
    """What is the same in every recording: keys and their types, and of text the beginnings of its
    lines.
    """
    if name.endswith(".json"):
        return sorted(_keys(json.loads(text), ""))
    return [" ".join(re.sub(r"\d+", "0", line).split()[:2]) for line in text.splitlines()]


def _keys(value: Any, path: str) -> List[str]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in _keys(item, f"{path}.{key}")]
    if isinstance(value, list):
        return [
            found for number, item in enumerate(value) for found in _keys(item, f"{path}[{number}]")
        ]
    # a report inside is told by its last line
    end = re.search(r"END IMDS-CHECK (.*) host=", value) if isinstance(value, str) else None
    return [f"{path}: {type(value).__name__}" + (f" {end[1]}" if end else "")]


def write() -> None:
    """Makes the files anew; those that were written by hand stay."""
    with Setting() as setting:
        setting.client.login()
        made = make(setting)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (FOLDER / name).write_text(text, "ascii")
    print(f"{len(made)} files in samples/{FOLDER.name}")
