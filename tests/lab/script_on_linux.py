"""imds-check.ps1 on PowerShell's engine for Linux: what it reads of Windows (the registry,
programs, adapters) stands in tables that the test writes, and everything else is the script's own.

It starts in half a second, so that many inputs can be tried. What only Windows can show is tried
under Wine (``script_alone``).
"""

from __future__ import annotations

import base64
import os
import subprocess
import time
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Union

import build

from .. import wine
from .namespace import Lab, own_environment
from .powershell import engine

# A value by its type: DWord or QWord, String, Binary, MultiString. In place of a key's values: why
# it cannot be opened.
Value = Union[int, str, bytes, List[str]]
Keys = Mapping[str, Union[str, Mapping[str, Value]]]

# The registry as .NET shows it. A method of a class gives an array as it is.
CLASSES = r"""
class Key {
    [Collections.IDictionary]$Held
    [string[]]$Below
    Key([Collections.IDictionary]$held, [string[]]$below) {
        $this.Held, $this.Below = $held, $below
    }
    [string[]] GetSubKeyNames() { return $this.Below }
    [string[]] GetValueNames() { return [string[]]@($this.Held.Keys) }
    [object] GetValue([string]$name) { return $this.Held[$name] }
    [object] GetValue([string]$name, [object]$default, [object]$options) {
        return $this.Held[$name]
    }
    [object] GetValueKind([string]$name) {
        $found = $this.Held[$name]
        if ($found -is [byte[]]) { return 'Binary' }
        if ($found -is [string[]]) { return 'MultiString' }
        if ($found -is [int]) { return 'DWord' }
        if ($found -is [long]) { return 'QWord' }
        return 'String'
    }
    [void] Close() { }
}
class Hive {
    [Collections.IDictionary]$Keys
    Hive([Collections.IDictionary]$keys) { $this.Keys = $keys }
    [object] OpenSubKey([string]$path) {
        if (-not $path) { return [Key]::new(@{}, $this.GetSubKeyNames()) }
        $found = $this.Keys[$path]
        if ($found -is [string]) { throw [Security.SecurityException]::new($found) }
        if ($null -eq $found) { return $null }
        $below = @($this.Keys.Keys | Where-Object { $_.StartsWith("$path\") })
        return [Key]::new($found, @($below | ForEach-Object { $_.Substring($path.Length + 1) }))
    }
    [string[]] GetSubKeyNames() {
        $names = [Collections.Generic.HashSet[string]]::new()
        foreach ($path in $this.Keys.Keys) { [void]$names.Add($path.Split('\')[0]) }
        return [string[]]@($names)
    }
}
"""
# The only NIC, as ``Add-Adapter`` finds it on Windows.
ADAPTER = r"""
function Add-Adapter {
    Add-Record 3 'adapter', 7, '{11111111-2222-3333-4444-555555555555}', 'Ethernet', 'Hyper-V', 6,
        '000D3A7F2004', 1, '10.0.0.4/24/3/4', '10.0.0.1', '168.63.129.16', 1
    $LocalAddresses[$LocalAddresses.Count] = '10.0.0.4'
    $Notes.Adapters = @('  7 "Ethernet"  00-0D-3A-7F-20-04  up  10.0.0.4')
}
"""
# The programs of System32 that the script runs. On Linux that folder has no name, so that
# "\\arp.exe" is looked for on PATH.
PROGRAMS = ("route", "arp", "netstat", "netsh", "sc")
# The script's own way into the registry, and the table in its place.
HIVES = {
    "[Microsoft.Win32.Registry]::LocalMachine": "$Machine",
    "[Microsoft.Win32.Registry]::Users": "$Users",
}
HANGS = "#!/bin/sh\nexec sleep 60\n"
NO_KEYS: Keys = {}
NOTHING = dict.fromkeys(PROGRAMS, b"")


def run(
    folder: Path,
    *,
    lab: Optional[Lab] = None,
    machine: Keys = NO_KEYS,
    users: Keys = NO_KEYS,
    printed: Mapping[str, bytes] = NOTHING,
    more: str = "",
    arguments: str = "",
    variables: Mapping[str, str] = {},
) -> wine.Done:
    """Runs the whole script.

    :param lab: the VM to run in; without one, in a network namespace without any NIC
    :param printed: what each program of System32 prints; the others hang
    :param more: PowerShell that stands behind the script's own settings
    """
    whole = build.powershell_script(None)
    for hive, table in HIVES.items():
        assert whole.count(hive) == 1
        whole = whole.replace(hive, table)
    functions, marker, rest = whole.partition("# --- run ---")
    settings, begins, end = rest.partition("$HostName = '-'")
    assert marker and begins
    tables = [
        f"$Machine = [Hive]::new({_keys(machine)})",
        f"$Users = [Hive]::new({_keys(users)})",
        more,
    ]
    parts = [functions, CLASSES, ADAPTER, settings, *tables, begins + end]
    for name in PROGRAMS:
        _program(folder, name, printed.get(name))
    path = folder / "script.ps1"
    path.write_text("\n".join(parts), encoding="ascii")
    command = [str(engine("linux")), "-File", str(path), *arguments.split()]
    inside = ["unshare", "--net", *command]
    if lab:
        inside = lab.enter(command)
    began = time.monotonic()
    done = subprocess.run(
        inside,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**own_environment(), "PATH": f"{folder}:{os.environ['PATH']}", **variables},
        timeout=120,
    )
    return wine.Done(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def _program(folder: Path, name: str, printed: Optional[bytes]) -> None:
    """A program that prints some bytes, or hangs."""
    program, content = folder / f"\\{name}.exe", folder / f"{name}.txt"
    script = HANGS
    if printed is not None:
        content.write_bytes(printed)
        script = f"#!/bin/sh\nexec cat '{content}'\n"
    program.write_text(script)
    program.chmod(0o755)


def text(value: str) -> str:
    """A text of any characters as an expression of PowerShell."""
    content = _bytes(value.encode("utf-8", "surrogatepass"))
    return f"[Text.Encoding]::UTF8.GetString({content})"


def _bytes(content: bytes) -> str:
    encoded = base64.b64encode(content).decode("ascii")
    return f"[Convert]::FromBase64String('{encoded}')"


def _keys(keys: Keys) -> str:
    found: Dict[str, str] = {}
    for path, values in keys.items():
        if isinstance(values, str):
            found[path] = text(values)
        else:
            found[path] = _table({name: _value(value) for name, value in values.items()})
    return _table(found)


def _table(items: Mapping[str, str]) -> str:
    """A hash table of expressions."""
    lines = [f"({text(name)}) = ({value})" for name, value in items.items()]
    return "@{" + "\n".join(lines) + "}"


def _value(value: Value) -> str:
    if isinstance(value, int):
        kind = "int" if -(2**31) <= value < 2**31 else "long"
        return f"[{kind}]{value}"
    if isinstance(value, bytes):
        return f"[byte[]]{_bytes(value)}"
    if isinstance(value, str):
        return text(value)
    return f"[string[]]@({', '.join(f'({text(item)})' for item in value)})"
