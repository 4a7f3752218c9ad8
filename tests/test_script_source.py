"""What a security team looks for in imds-check.ps1, by its source: what it starts, opens, sends
and writes, and that SECURITY.md says so.
"""

import re

import pytest

from .command import ROOT
from .framework import check, listing
from .framework.__main__ import SCRIPT
from .framework.inference import Script
from .framework.wording import ANY, Wording
from .test_framework import ENGINE, reads

TEXT = SCRIPT.read_text("ascii")
SOURCE = re.sub(r"(?m)(^|\s)#(\s.*)?$", "", TEXT)  # without comments
PAGE = re.search(
    r"^## What the PowerShell script does by itself\n(.*?)^## ",
    (ROOT / "SECURITY.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)[1]
SPANS = {re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", PAGE)}

# Whatever turns text or bytes into code, loads code, hides code, or fetches it.
FORBIDDEN = (
    *(r"Add-Type", r"Invoke-Expression", r"\biex\b", r"Invoke-Command", r"Start-Process"),
    *(r"EncodedCommand", r"-enc\b", r"New-Object", r"Import-Module", r"using (module|namespace)"),
    *(r"Reflection", r"Assembly", r"GetMethod", r"GetField", r"GetProperty", r"InvokeMember"),
    *(r"\.Invoke\(", r"InvokeScript", r"NewScriptBlock", r"scriptblock\]::", r"PowerShell\]::"),
    *(r"LoadLibrary", r"DllImport", r"Marshal", r"GetProcAddress", r"VirtualAlloc", r"Delegate"),
    *(r"WebClient", r"HttpClient", r"Invoke-WebRequest", r"Invoke-RestMethod", r"\biwr\b", r"Bits"),
    *(r"Amsi", r"-WindowStyle", r"Policy Bypass", r"SecureString", r"\bwmic?\b", r"Get-(Wmi|Cim)"),
)
SYSTEM_FOLDERS = {"[Environment]::SystemDirectory", r"$env:SystemRoot\System32"}
# of Microsoft.PowerShell.Core, which is PowerShell's engine itself
COMMANDS = {"ForEach-Object", "Where-Object", "Set-StrictMode"}
STARTED = {
    *("route.exe", "arp.exe", "netstat.exe", "netsh.exe", "sc.exe", "taskkill.exe"),
    *("curl.exe", "reg.exe", "whoami.exe"),  # in ConstrainedLanguage mode
}
# Which function alone uses what leaves the VM, starts something or writes.
PLACES = {
    "System.Net.Sockets.TcpClient::.ctor": {"connect-place"},
    "System.Net.Sockets.TcpClient.ConnectAsync": {"connect-place"},
    "System.Net.Sockets.Socket::.ctor": {"add-source"},
    "System.Net.Sockets.Socket.Connect": {"add-source"},  # UDP, of which nothing is sent
    "System.Net.Sockets.NetworkStream.Write": {"receive-answer"},
    "System.Net.Dns::GetHostAddressesAsync": {"get-proxyplace"},
    "System.Net.Dns::GetHostName": {""},
    "System.Net.WebRequest::Create": {"open-url"},
    "System.Security.Cryptography.X509Certificates.X509Chain.Build": {"add-chain"},
    "System.Diagnostics.Process::Start": {"invoke-program", "stop-program"},
    "System.Diagnostics.Process::GetProcessById": {"add-tcprow"},
    "System.Diagnostics.Process.Kill": {"stop-program"},
    "System.IO.File::Delete": {"save-exe"},
    "System.IO.File::Move": {"save-exe"},
    "System.IO.FileStream::.ctor": {"open-exe", "save-exe"},
    "System.IO.Directory::CreateDirectory": {"new-folder"},
    "System.IO.Stream.CopyTo": {"save-exe"},
    "System.Activator::CreateInstance": {"add-firewall"},
    "System.Type::GetTypeFromProgID": {"add-firewall"},
    "System.Convert::FromBase64String": {"get-uri", "add-identity", "get-text"},
}
# Of these types, all that is called is in PLACES, or harmless.
WATCHED = (
    r"System\.(Net\.(Dns|WebRequest|HttpWebRequest|Sockets\..*)|Diagnostics\.Process|Activator|Type"
)
WATCHED += r"|IO\.(File|FileStream|Directory|DirectoryInfo|FileInfo|Stream))"
HARMLESS = {
    *("Close", "Dispose", "Abort", "GetStream", "GetResponseAsync", "UserAgent", "Exists", "Bind"),
    *("ReadAsync", "ReadByte", "CopyToAsync", "Position", "WriteTimeout", "WaitForExit"),
    *("GetAccessControl", "Read"),
}
OBJECT_IDENTIFIERS = {"2.5.29.17"}  # of an extension; it looks like an address


@pytest.fixture(scope="module")
def tree():
    return check.syntax(ENGINE, SCRIPT)


@pytest.fixture(scope="module")
def script(tree):
    return Script(tree, listing.load())


@pytest.fixture(scope="module")
def wording(tree):
    return Wording(tree)


def called(wording, name):
    """The arguments of each call of a command, by the function that it stands in."""
    for function, parts in wording.functions.items():
        for node in parts:
            if node["kind"] == "Command" and node["CommandElements"][0].get("Value") == name:
                yield function, node["CommandElements"][1:]


def invoked(wording, member):
    for function, parts in wording.functions.items():
        for node in parts:
            if node["kind"] == "InvokeMemberExpression" and node["Member"].get("Value") == member:
                yield function, node["Arguments"] or []


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_it_has_no_word_for_running_loading_or_hiding_other_code(pattern):
    assert re.findall(pattern, SOURCE, re.IGNORECASE) == []


@reads
def test_it_calls_its_own_functions_and_the_core_of_powershell(script):
    used = {call.name for call in script.calls if call.name}
    foreign = {name for name in used if name.lower() not in script.functions}
    assert foreign == COMMANDS
    assert SPANS >= COMMANDS


@reads
def test_no_text_is_run_as_code(script, wording):
    """The call operator runs programs by their paths, and the parts of the collecting."""
    assert {call.operator for call in script.calls} == {"Unknown", "Ampersand"}
    run = {(call.function, call.text) for call in script.calls if call.operator == "Ampersand"}
    assert run == {
        ("receive-bycurl", r"$System\curl.exe"),
        ("invoke-tool", "$file"),
        ("invoke-part", "$part"),
    }
    assert '$file = "$System\\$name.exe"' in SOURCE
    for _, arguments in called(wording, "Invoke-Part"):
        assert arguments[1]["kind"] == "ScriptBlockExpression"


def places(script):
    """Which functions call what, as in ``PLACES``."""
    found = {}
    for use in script.uses:
        for name in use.types:
            if use.arguments is None or not use.member:
                continue
            key = f"{name}{'::' if use.is_static else '.'}{use.member}"
            found.setdefault((name, use.member, key), set()).add(use.function)
    return found


@reads
def test_only_certain_functions_connect_start_programs_or_write(script):
    seen = {}
    for (name, member, key), functions in places(script).items():
        if key in PLACES:
            seen[key] = functions
        elif re.fullmatch(WATCHED, name):
            assert member in HARMLESS or key == "System.IO.DirectoryInfo::.ctor", key
    assert seen == PLACES


@reads
def test_it_downloads_what_exe_uri_says_and_nothing_else(script):
    callers = {}
    for call in script.calls:
        callers.setdefault(call.name, set()).add(call.function)
    assert callers["Open-Url"] == {"receive-once"}
    assert callers["Receive-Once"] == {"receive-exe"}
    assert callers["Receive-Exe"] == {"get-exe"}
    assert callers["Get-Uri"] == {"get-exe"}
    assert "Save-Exe (Receive-Exe $uri) $kept" in SOURCE and "$uri = Get-Uri\n" in SOURCE
    assert callers["Save-Exe"] == {"get-exe"}


@reads
def test_com_is_used_for_the_firewall_alone(wording):
    texts = [
        wording.of(function, each[0]) for function, each in invoked(wording, "GetTypeFromProgID")
    ]
    assert texts == [{"HNetCfg.FwPolicy2"}]
    assert "HNetCfg.FwPolicy2" in SPANS


def started(wording):
    """The file name of each program that it starts, but for the exe."""
    found = set()
    for function, arguments in called(wording, "Invoke-Tool"):
        found |= {f"{name}.exe" for name in wording.of(function, arguments[0])}
    for function, parts in wording.functions.items():
        for node in parts:
            if node["kind"] == "Command" and node["InvocationOperator"] == "Ampersand":
                found |= wording.of(function, node["CommandElements"][0])
            owner = node.get("Expression") or {}
            if owner.get("TypeName") == "Diagnostics.Process" and node["Arguments"]:
                found |= wording.of(function, node["Arguments"][0])
    names = {path.rpartition("\\")[2] for path in found}
    return {name for name in names if ANY not in name}


@reads
def test_the_programs_that_it_starts_are_windows_own_and_the_page_names_them(script, wording):
    assert started(wording) == STARTED == {span for span in SPANS if span.endswith(".exe")}
    # Invoke-Tool runs what lies in System32; the other one starts the exe, which is verified
    runners = {call.function for call in script.calls if call.name == "Invoke-Program"}
    assert runners == {"start-check", "invoke-tool"}
    files = set(re.findall(r"[^\s(\"]+\\[$\w]+\.exe", SOURCE))
    assert files == {r"$System\$name.exe", r"$System\curl.exe", r"$System\taskkill.exe"}
    (system,) = re.findall(r"\$System = (.*)\n", SOURCE)
    assert set(re.findall(r"\[.*?\]::\w+|\$env:\w+\\\w+", system)) <= SYSTEM_FOLDERS


# The functions that open a key, and which of their arguments is its path.
OPENS = {"Add-Key": 1, "Get-KeyTable": 0, "Get-KeyValue": 0, "Get-SubKey": 0, "Open-Key": 0}


def registry_paths(wording):
    """Each key that the script opens; ``*`` for a part that differs."""
    found = set()
    for name, place in OPENS.items():
        for function, arguments in called(wording, name):
            found |= wording.of(function, arguments[place])
    return found - {ANY, "HKU"}  # one of these functions by another; whose hives there are


@reads
def test_one_function_opens_keys_and_only_for_reading(wording):
    opened = list(invoked(wording, "OpenSubKey"))
    assert [(function, len(arguments)) for function, arguments in opened] == [("open-key", 1)]
    written = r"SetValue|CreateSubKey|Delete(Value|SubKey)|SetAccess|'(add|delete|import|set)'"
    assert re.findall(written, SOURCE) == []


@reads
def test_the_page_names_the_registry_keys_that_it_opens(wording):
    told = {span.lower().rstrip("\\") for span in SPANS if span.startswith(("HKLM\\", "HKU\\"))}
    services = r"hklm\system\currentcontrolset\services"
    used = set()
    paths = {path.lower() for path in registry_paths(wording)}
    assert len(paths) > 40
    for path in paths:
        covers = [each for each in told if f"{path}\\".startswith(f"{each}\\")]
        assert covers, path
        cover = max(covers, key=len)
        used.add(cover)
        if cover == services:
            name = path[len(services) + 1 :]
            assert name in {span.lower() for span in SPANS}, name
    assert used == told
    assert all(each.count("\\") >= 3 or each == r"hku\*\environment" for each in told)


@reads
def test_the_page_names_the_stores_that_it_looks_for_certificates_in(wording):
    stores = set()
    for path in registry_paths(wording):
        stores |= set(re.findall(r"Certificates\\(\w+)\\Certificates", path))
    told = re.search(r"lie in the stores (.*?) there", PAGE, re.DOTALL)[1]
    assert stores == set(re.findall(r"`(\w+)`", told))


@reads
def test_the_page_names_the_addresses_and_ports_that_it_connects_to(wording):
    places_ = set()
    for function, arguments in called(wording, "Get-Place"):
        for address in wording.of(function, arguments[1]):
            port = arguments[2].get("Value", ANY)
            places_.add(f"{address}:{port}")
    fixed = {place for place in places_ if ANY not in place}
    assert fixed == {span for span in SPANS if re.fullmatch(r"[\d.]+:\d+", span)}
    written = set(re.findall(r"'(\d{1,3}(?:\.\d{1,3}){3})'", SOURCE)) - OBJECT_IDENTIFIERS
    assert written == {place.partition(":")[0] for place in fixed} | {"0.0.0.0"}
    (count,) = re.findall(r"\$Notes\.Proxies \| Select-First (\d+)", SOURCE)
    assert f"up to {count} of the proxies" in re.sub(r"\s+", " ", PAGE)


def test_the_page_names_the_requests_that_it_sends():
    sent = set(re.findall(r"/metadata/[a-z/]+|/\?comp=\w+", SOURCE))
    assert sent == {span for span in SPANS if span.startswith("/")}
    assert re.findall(r"https?://[^\s'\"()$?]+\w", SOURCE) == []  # no host but these


def test_the_page_names_the_variables_that_are_read():
    (names,) = re.findall(r"\$variables = ('.*')\n", SOURCE)
    read = set(re.findall(r"'(\w+)'", names))
    assert read == {span for span in SPANS if re.fullmatch(r"\w+_proxy", span)}


def test_the_page_names_the_folder_where_the_exe_is_kept():
    assert "%ProgramFiles%\\imds-check" in SPANS
    folders = set(re.findall(r"GetFolderPath\('(\w+)'\)", SOURCE))
    assert folders == {"ProgramFiles"} and '"$programs\\imds-check"' in SOURCE


def test_the_page_names_the_ports_whose_programs_are_named():
    (ports,) = re.findall(r"\$port -in ('\d+'(?:, '\d+')*)\)", SOURCE)
    told = " and ".join(re.findall(r"\d+", ports))
    assert f"listen on ports {told} or" in re.sub(r"\s+", " ", PAGE)
