"""imds-check.ps1 uses what Windows PowerShell 5.1 has on .NET Framework 4.6.2, and no more.

``tests/framework/net462.json`` has the part of .NET Framework that the script reaches. Where the
script comes to use a member that is not in it: ``python -m tests.framework``.
"""

import re
from pathlib import Path

import pytest

from .framework import check, listing
from .framework.__main__ import ASSEMBLIES, SCRIPT
from .framework.inference import Script
from .lab.powershell import engine

ENGINE = engine("linux")
reads = pytest.mark.skipif(
    ENGINE is None, reason="no PowerShell engine: $IMDS_CHECK_PWSH names its folder"
)
REFERENCES = Path("/usr/lib/mono/4.6.2-api")  # Debian's mono-devel
# Types of PowerShell 7 that the script uses behind $IsFramework, and members.
OF_POWERSHELL_7 = {
    "[IO.FileSystemAclExtensions]",
    "?::CreateDirectory(?, ?)",
    "?::GetAccessControl(?)",
    "System.Diagnostics.Process.Kill(?)",
    "System.Security.Cryptography.X509Certificates.X509ChainPolicy.DisableCertificateDownloads",
}


@pytest.fixture(scope="module")
def framework():
    return listing.load()


@pytest.fixture(scope="module")
def tree():
    return check.syntax(ENGINE, SCRIPT)


@pytest.fixture(scope="module")
def script(tree, framework):
    return Script(tree, framework)


@reads
def test_framework_4_6_2_has_every_type_and_member_that_the_script_uses(script):
    assert check.missing(script) == []
    assert len(script.uses) > 500


@reads
def test_the_types_are_in_assemblies_that_powershell_has_loaded(script):
    """``Add-Type -AssemblyName`` is not there to load others."""
    used = set()
    for use in script.uses:
        if not use.is_guarded:
            used |= {listing.parts(name.replace("[]", ""))[0] for name in use.types}
    found = {script.framework.types[name].assembly for name in used}
    assert found == {*ASSEMBLIES, "System.Management.Automation", "COM"}


@reads
def test_what_powershell_7_alone_has_is_known_and_guarded(script):
    lacking = set()
    for use in script.uses:
        if use.is_guarded and check.why_missing(use, script.framework):
            lacking.add(str(use).partition(": ")[2])
    assert lacking == OF_POWERSHELL_7


@reads
def test_the_list_has_nothing_that_the_script_does_not_reach(script, framework):
    """So it is made anew where the script comes to use less."""
    assert set(framework.types) >= set(framework.asked())
    unused = []
    for name, kept in framework.asked().items():
        if len(kept.members) < len(framework.types[name].members):
            unused.append(name)
    assert unused == []


FAULTS = {  # a line of a script, and why .NET Framework 4.6.2 cannot run it
    "[IO.File]::ReadAllTextAsync('x')": "no such member",
    "[IO.FileSystemAclExtensions]::CreateDirectory($null, 'x')": "no such type",
    "[Text.Json.JsonDocument]::Parse('{}')": "no such type",
    "[IO.Compression.ZipFile]::OpenRead('x')": "no such type",
    "[IO.FileStream]::new('x', 'Opened', 'Read', 'Read')": "System.IO.FileMode has no Opened",
    "[IO.FileStream]::new()": "no overload takes 0 arguments",
    "$start.ArgumentList.Add('x')": "no such member",
    "$start.UseShellExecut = $false": "no such member",
    "$process.Kill($true)": "no overload takes 1 arguments",
    "'a'.PadRight(3, 'xy')": "is not one character",
    "'a--b'.Split('--')": "Windows PowerShell at each character",
    "$start.WindowStyle = 'Hide'": "no such member",
    "if (-not $IsFramework) { } else { $process.Kill($true) }": "no overload takes 1 arguments",
    "if ($IsFramework) { $process.Kill($true) }": "no overload takes 1 arguments",
    "if ($PSVersionTable.PSVersion -ge [Version]'5.1') { $process.Kill($true) }": "no overload",
    "(Get-Process2).Kill($true)": "no overload takes 1 arguments",
    "$processes | ForEach-Object { $_.Kill($true) }": "no overload takes 1 arguments",
    "foreach ($each in $processes) { $each.Kill($true) }": "no overload takes 1 arguments",
    "@{ Key = $process }.Key.Kill($true)": "no overload takes 1 arguments",
    "$unheard.Kill($true)": "its type is not known",
    "try { } catch { $_.Exception.Kill() }": "no such member",
}
SOUND = (
    "if ($IsFramework) { } else { $process.Kill($true) }",
    "if (-not $IsFramework) { $process.Kill($true) }",
    "if ($PSVersionTable.PSVersion -ge [Version]'7.2') { $process.Kill($true) }",
    "$process.Kill()",
    "'a,b'.Split(',')",
    "$start.UseShellExecute = $false",
)
BEGINNING = """param()
$start = [Diagnostics.ProcessStartInfo]::new('x', 'y')
$process = [Diagnostics.Process]::Start($start)
$processes = @($process, $process)
$IsFramework = $true
function Get-Process2 { $process }
"""


@reads
def test_what_the_framework_lacks_is_found(tmp_path, framework):
    path = tmp_path / "faults.ps1"
    path.write_text(BEGINNING + "\n".join([*FAULTS, *SOUND]) + "\n")
    found = check.missing(Script(check.syntax(ENGINE, path), framework))
    first = BEGINNING.count("\n") + 1
    for number, (fault, reason) in enumerate(FAULTS.items(), first):
        said = [line for line in found if line.startswith(f"line {number}: ")]
        assert said and reason in said[-1], (fault, said)
    last = first + len(FAULTS)
    assert [line for line in found if int(line.split()[1].strip(":")) >= last] == []


NEWER = {  # what Windows PowerShell 5.1 cannot run
    "$a = $b ? 1 : 2": "TernaryExpression",
    "$a = $b ?? 1": "QuestionQuestion",
    "$a ??= 1": "QuestionQuestionEquals",
    "Get-Date && Get-Date": "PipelineChain",
    "${a}?.Length": "NullConditional",
    "${a}?[0]": "NullConditional",
    "Get-Date &": "Background",
    "'a' -replace 'a', { 'b' }": "-replace by a script block",
    "'a'..'c'": "a range of characters",
    "function Get-It { clean { 1 } }": "CleanBlock",
}


@reads
def test_nothing_in_it_is_newer_than_windows_powershell_5_1(tree):
    assert check.newer_than_5_1(tree) == []
    escapes = re.findall(r"`(?:e|u\{)", SCRIPT.read_text("ascii"))
    assert escapes == []


@reads
def test_what_is_newer_is_found(tmp_path):
    path = tmp_path / "newer.ps1"
    path.write_text("\n".join([*NEWER, "'a' -replace 'a', 'b'", "1..3"]))
    found = check.newer_than_5_1(check.syntax(ENGINE, path))
    for number, reason in enumerate(NEWER.values(), 1):
        assert f"line {number}: {reason}" in found
    assert max(int(line.split()[1].strip(":")) for line in found) == len(NEWER)


@reads
def test_every_variable_is_set_by_the_script_or_by_windows_powershell(tree, tmp_path):
    assert check.unset(tree) == []
    path = tmp_path / "unset.ps1"
    path.write_text("param($a)\n$b, $c = $a, $IsWindows\nforeach ($d in $b) { $d + $e }\n")
    assert check.unset(check.syntax(ENGINE, path)) == ["line 3: $e", "line 2: $iswindows"]


@pytest.mark.skipif(
    not REFERENCES.exists(), reason="no reference assemblies of .NET Framework: mono-devel"
)
def test_the_list_says_what_the_reference_assemblies_say(framework):
    pytest.importorskip("dnfile")
    from .framework import metadata

    real = metadata.read(REFERENCES, ASSEMBLIES)
    for name, kept in framework.types.items():
        if kept.assembly in ASSEMBLIES:
            assert (real[name].assembly, real[name].base) == (kept.assembly, kept.base)
            assert set(kept.members) <= set(real[name].members), name
