"""Printed commands: whatever the facts hold, each consists of expected words.

The forms of all commands stand here once more, by hand and as regular expressions, so that the
words of ``runcommand/fixes/commands.py`` are held to something that they do not share.
"""

from __future__ import annotations

import ast
import copy
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts.decoding import FactsError, facts_from_json
from runcommand.fixes import commands as words, linux, operator, windows  # noqa: F401 (their kinds of words)
from runcommand.fixes.commands import Fix, FixKind, RunOn, Shell, UnfitWord, phrase
from runcommand.fixes.iptables import delete_rule
from runcommand.report import text

from .command import ROOT
from .lab.namespace import Lab, why_not

SAMPLES = sorted((ROOT / "samples" / "reports").glob("*.json"))
HOSTILE = [
    "x&calc.exe&rem ",
    "$(calc)",
    "`calc`",
    "%PATH%calc%PATH%",
    '"calc"',
    "'calc'",
    "';calc;'",
    '" & calc & "',
    "a|calc",
    "a;calc",
    "a>calc",
    "<calc",
    "^calc",
    "a\ncalc",
    "a\r\ncalc\r\n",
    "fe80::1%x&calc.exe&rem -fe80::ffff",
    "fe80::1%$(calc)",
    "10.0.0.1%calc",
    "-calc",
    "--modprobe=calc",
    "-t filter -A OUTPUT -M calc -j DROP",
    "-t filter -A OUTPUT -j DROP --modprobe=calc",
    "-t nat -A OUTPUT -F",
    "-t filter -A OUTPUT -d 169.254.169.254/32 -j DROP -I OUTPUT -j ACCEPT",
    "inet filter output; calc",
    "eth0 $(calc)",
    "S-1-5-18 S-1-5-21&calc",
    "LocalMachine\\Root&calc",
    "http://x/$(calc).crt",
    "http://x/a'b.crt",
    "../../etc/calc.crt",
    "\u202ecalc\u2028",
    "\x00calc",
    "c" * 10_000,
    "1" * 5_000,
    "\u0661\u0662\u0663.\u0661.\u0662.\u0663",  # digits, and not ASCII's
    "LocalMachine\\My",
    "LocalMachine\\Root",
    "all",
    "\\",
    "",
]

A, CIDR, N, MAC = (
    r"\d{1,3}(\.\d{1,3}){3}",
    r"\d{1,3}(\.\d{1,3}){3}/\d{1,2}",
    r"\d{1,12}",
    r"[0-9A-F]{2}(-[0-9A-F]{2}){5}",
)
HOP = rf"(inet6 [0-9a-f:.]{{2,39}}|{A}( onlink)?)"
IF = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}"
TABLE = r"( table [A-Za-z0-9][A-Za-z0-9._-]{0,31})?"
NAME = r'"[A-Za-z0-9][A-Za-z0-9 ._:@()#+-]{0,62}"'
FILE = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,80}\.(crt|cer|der)"
REMOTE = r"[0-9a-f.:]{2,39}(-[0-9a-f.:]{2,39})?(,[0-9a-f.:]{2,39}(-[0-9a-f.:]{2,39})?)*"
SID = r"(S-1-5(-\d{1,10}){1,14}|\.DEFAULT)"
SERVER = r"(http://)?[A-Za-z0-9.-]{1,120}(:\d{1,5})?"
ENTRIES = r"[A-Za-z0-9.*:/_<>;,-]{1,1000}"
SERVICE = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}"
HERE = re.escape("C:\\Program Files\\imds-check")
IPTABLES_OPTION = (
    r"!|-[sd] [0-9./,]{7,400}|-p [a-z0-9]{1,32}|-[io] [A-Za-z0-9_+.@-]{1,32}|-[mjg] [A-Za-z0-9_]{1,"
    r"32}|--syn|"
    r"--(s|d)ports? [0-9:,]{1,96}|--(src|dst)-range [0-9.-]{7,31}|--[ug]id-owner [0-9-]{1,21}|"
    r"--(ct)?state [A-Z,]{1,128}|--comment ('[A-Za-z0-9 ./:,_@%+=#()\[\]-]{0,255}'|[A-Za-z0-9./:,"
    r"_@%+=-]{1,255})|"
    r"--reject-with [a-z0-9-]{1,32}|--to-destination [0-9.:-]{2,40}|--to-ports [0-9-]{1,11}|"
    r"--to-source [0-9.:-]{2,40}|"
    r"--(set-)?x?mark [0-9a-fx/]{1,21}"
)
ROUTE = rf"ip route replace (default|{CIDR})( via {HOP})? dev {IF}( src {A})?( metric {N})?{TABLE}"
STEPS = [  # of a line for ``sh``, between ``&&``
    rf"ip addr (del|replace) {CIDR} dev {IF}",
    ROUTE,
    rf"ip link set dev {IF} (up|down)",
    rf"\{{ ip link set dev {IF} address [0-9a-f:]{{17}}; ip link set dev {IF} up; \}}",
    rf"\{{ {ROUTE}(; {ROUTE})*; \}}",
]
FORMS = {
    Shell.SH: [
        rf"({'|'.join(STEPS)})( && ({'|'.join(STEPS)}))*",
        rf"ip route del ((local|unreachable|blackhole|prohibit|throw) )?{CIDR}( via {HOP})?( dev "
        rf"{IF})?( metric {N})?{TABLE}",
        rf"ip rule add pref {N} to {A} lookup main",
        rf"ip rule del pref {N}( not)? from (all|{CIDR})( to {CIDR})?( iif {IF})?( oif {IF})?( "
        rf"fwmark [0-9a-fx/]{{1,30}})?"
        rf"( ipproto [a-z0-9]{{1,32}})?( sport [0-9-]{{1,11}})?( dport [0-9-]{{1,11}})?( uidrange "
        rf"{N}-{N})? (unreachable|blackhole|prohibit)",
        rf"ip neigh del [0-9a-f.:]{{2,39}} dev {IF}",
        rf"networkctl (up|reconfigure) {IF}",
        rf"nmcli (device (connect|reapply) {IF}|connection up uuid [0-9a-fA-F-]{{36}} ifname {IF})",
        r"nft -a list chain (ip|ip6|inet|arp|bridge|netdev)( [A-Za-z0-9_./-]{1,64}){2}",
        rf"nft (delete rule (ip|ip6|inet|arp|bridge|netdev)( [A-Za-z0-9_./-]{{1,64}}){{2}} handle "
        rf"{N}|"
        r"insert rule (ip|ip6|inet|arp|bridge|netdev)( [A-Za-z0-9_./-]{1,64}){2} "
        rf"ip (daddr|saddr) {A} tcp (dport|sport) (\d+|\{{ \d+, \d+ \}}) accept)",
        rf"iptables(-legacy|-nft)? -t [a-z]{{1,29}} -[DI] [A-Za-z0-9_.:-]{{1,29}}( "
        rf"({IPTABLES_OPTION}))*",
        rf"ufw prepend allow out to {A} port [0-9,]{{1,12}} proto tcp",
        rf"systemctl restart {SERVICE}",
        r"ss -tnp dst 169\.254\.169\.254",
        r"chronyc makestep",
        rf'date -u -s "@\$\(\( \$\(date \+%s\) [+-] {N} \)\)"',
        r"mkdir -p /etc/systemd/system\.conf\.d",
        rf"printf '\\n%s\\n' no_proxy={ENTRIES} NO_PROXY={ENTRIES} >> /etc/environment",
        rf"printf '%s\\n' '\[Manager\]' 'DefaultEnvironment=no_proxy={ENTRIES} NO_PROXY={ENTRIES}' "
        rf"> "
        r"/etc/systemd/system\.conf\.d/zzzz-azure-platform\.conf",
        rf"systemctl set-environment no_proxy={ENTRIES} NO_PROXY={ENTRIES}",
        r"printf '%s\\n' 'export no_proxy=\"\$\{no_proxy:\+\$no_proxy,\}[0-9.,]+\" "
        r"NO_PROXY=\"\$\{NO_PROXY:\+\$NO_PROXY,\}[0-9.,]+\"' > "
        r"/etc/profile\.d/zzzz-azure-platform\.sh",
        r"\[ -e (?P<target>/(usr/local/share/ca-certificates|etc/pki/ca-trust/source/anchors|"
        r"etc/pki/trust/anchors)/[a-z0-9-]{1,81}"
        rf"\.crt) \] \|\| \{{ (curl -fsS( -x http://{SERVER})? 'http://[A-Za-z0-9:/._%~-]{{1,"
        rf"300}}' \| openssl x509 -inform DER|"
        rf"openssl x509 -inform DER -in '/run/{FILE}') -out (?P=target) && (openssl verify "
        rf"(?P=target)( && openssl x509 -in (?P=target) "
        r"-noout -text \| grep -A1 'Subject Key Id' \| grep -q [0-9A-F]{2}(:[0-9A-F]{2}){19})?|"
        r"openssl x509 -in (?P=target) "
        r"-outform DER \| sha1sum \| grep -q '\^[0-9a-f]{40} ') \|\| ! rm -f (?P=target); \}",
        r"update-ca-(certificates|trust)",
    ],
    Shell.CMD: [
        rf"ipconfig /renew( {NAME})?",
        rf"route -p add {A} mask {A} {A} if {N}",
        rf"route delete {A}( mask {A})?",
        rf"route -p delete {A} mask {A} {A}",
        rf"arp -d {A}",
        rf"netsh interface ipv4 (delete neighbors {N} {A}|delete address name={N} address={A}|set "
        rf"address name={N} source=dhcp)",
        rf"netsh advfirewall firewall set rule name={NAME} dir=out new (enable=no|"
        rf"remoteip={REMOTE})",
        rf'netsh advfirewall firewall add rule name="Azure platform" dir=out action=allow '
        rf"protocol=TCP remoteip={REMOTE} remoteport=80,32526",
        r"gpresult /scope computer /r|gpupdate /target:computer /force|fclip\.exe|netsh winhttp "
        r"show proxy",
        r"sc\.exe config w32time start= auto|net start w32time|w32tm /resync /force",
        rf'setx /M NO_PROXY "{ENTRIES}"',
        rf'reg add "HKU\\{SID}\\Environment" /v NO_PROXY /t REG_SZ /d "{ENTRIES}" /f',
        rf'reg add "(HKU\\{SID}|HKLM)\\Software\\Microsoft\\Windows\\CurrentVersion\\Internet '
        rf'Settings" '
        rf'/v ProxyOverride /t REG_SZ /d "{ENTRIES}" /f',
        rf'netsh winhttp set proxy proxy-server="{SERVER}" bypass-list="{ENTRIES}"',
        rf"bitsadmin /util /setieproxy (LOCALSYSTEM|LOCALSERVICE|NETWORKSERVICE) MANUAL_PROXY "
        rf'{SERVER} "{ENTRIES}"',
        rf'mkdir "{HERE}"',
        rf'certutil -addstore CA "{HERE}\\{FILE}"',
        r"certutil -delstore (CA|Disallowed) [0-9A-Fa-f]{40}",
    ],
    Shell.POWERSHELL: [
        rf"Get-NetAdapter -InterfaceIndex {N} \| Enable-NetAdapter -Confirm:0",
        rf"Get-NetAdapter -InterfaceIndex {N} \| Remove-NetAdapterAdvancedProperty "
        rf"-RegistryKeyword NetworkAddress",
        rf"New-NetIPAddress -InterfaceIndex {N} -IPAddress {A} -PrefixLength {N} -ErrorAction Stop;"
        rf" Get-NetIPAddress -InterfaceIndex {N} "
        rf"-AddressFamily IPv4 \| Where-Object IPAddress -ne {A} \| Set-NetIPAddress "
        rf"-SkipAsSource 1",
        rf"Get-NetIPAddress -InterfaceIndex {N} -AddressFamily IPv4 \| Where-Object IPAddress -ne "
        rf"{A} \| Set-NetIPAddress -SkipAsSource 1",
        rf"Set-NetIPAddress -IPAddress {A} -SkipAsSource [01]",
        rf"Restart-Service {SERVICE} -Force",
        r"Get-Process -Id \(Get-NetTCPConnection -RemoteAddress "
        r"169\.254\.169\.254\)\.OwningProcess \| Format-Table Id, ProcessName",
        r"Disable-NetFirewallRule -Name '[A-Za-z0-9{}._-]{1,120}'",
        rf"Set-NetFirewallRule -Name '[A-Za-z0-9{{}}._-]{{1,120}}' -RemoteAddress {REMOTE}",
        rf"if \(\(Get-FileHash -Algorithm SHA1 '(?P<file>{HERE}\\{FILE})'\)\.Hash -eq "
        rf"'[0-9A-F]{{40}}'\) "
        r"\{ certutil -addstore Root '(?P=file)' \} else \{ Remove-Item '(?P=file)'; 'NOT "
        r"INSTALLED: it is another file' \}",
        rf"Invoke-WebRequest -UseBasicParsing( -Proxy http://{SERVER})? 'http://[A-Za-z0-9:/._~ "
        rf"-]{{1,300}}' -OutFile '{HERE}\\{FILE}'",
    ],
}
EXPECTED = {shell: [re.compile(form, re.ASCII) for form in forms] for shell, forms in FORMS.items()}


AZURE = [  # on the operator's own machine
    re.compile(form, re.ASCII)
    for form in (
        r"az vm show -g [A-Za-z0-9._-]{1,90} -n [A-Za-z0-9._-]{1,90} --query "
        r"securityProfile\.proxyAgentSettings\.imds",
        r"az sig in-vm-access-control-profile-version (show --ids PROFILE|update --ids PROFILE "
        r"--mode Audit)",
        r"az vm update -g [A-Za-z0-9._-]{1,90} -n [A-Za-z0-9._-]{1,90} --imds-mode Audit",
    )
]


def is_expected(fix: Fix) -> bool:
    if fix.run_on is RunOn.OPERATOR:
        return any(form.fullmatch(fix.text) for form in AZURE)
    return any(form.fullmatch(fix.text) for form in EXPECTED[fix.shell])


def commands_of(facts):
    """All commands of a run, and the report in full, which has to come."""
    diagnosis = diagnose(facts)
    failures = [finding.detail for finding in diagnosis.findings if finding.cause == "tool-failed"]
    assert not any(" failed: " in detail for detail in failures), failures
    return [
        fix for finding in diagnosis.findings for fix in finding.fix if fix.kind is FixKind.COMMAND
    ]


def recorded(path: Path):
    return json.loads(path.read_text("ascii"))["facts"]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_forms_cover_what_the_samples_print(path):
    for fix in commands_of(facts_from_json(recorded(path))):
        assert is_expected(fix), fix.text


def strings(value, path=()):
    """Where the strings of a JSON value stand: ("firewall", "rules", 3, "name")."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from strings(item, (*path, number))


def replaced(facts, places, hostile):
    made = copy.deepcopy(facts)
    for place in places:
        at = made
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = hostile
    return made


def test_any_string_of_the_facts_may_be_hostile(is_exhaustive):
    """Each field of each sample in turn, in all its rows at once, with a share of the hostile
    texts; over all samples, all of them.
    """
    share = 3 if is_exhaustive else 1
    seen: Counter = Counter()
    for path in SAMPLES:
        facts = recorded(path)
        fields = {}
        for place in strings(facts):
            fields.setdefault(tuple(key for key in place if isinstance(key, str)), []).append(place)
        for field, places in fields.items():
            for _ in range(share):
                hostile = HOSTILE[seen[field] % len(HOSTILE)]
                seen[field] += 1
                try:
                    made = facts_from_json(replaced(facts, places, hostile))
                except FactsError:
                    continue  # it never becomes a fact
                for fix in commands_of(made):
                    assert is_expected(fix), (path.stem, field, hostile, fix.text)
    assert len(seen) > 150, "fields"
    assert sum(count >= len(HOSTILE) for count in seen.values()) > 50, (
        "fields that have met every hostile text"
    )


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: repr(hostile)[:24])
@pytest.mark.parametrize(
    "name, field",
    [
        ("firewall-blocks-imds", "firewall.rules.matches.values"),
        ("firewall-blocks-imds", "firewall.rules.name"),
        ("firewall-blocks-imds", "firewall.rules.id"),
        ("firewall-nftables", "firewall.rules.chain"),
        ("firewall-redirects", "firewall.rules.id"),
        ("cert-chain-rejected", "certificate_chains.certificates.stores"),
        ("cert-chain-rejected", "certificate_chains.certificates.thumbprint"),
        ("cert-root-untrusted", "certificate_chains.certificates.issuer_urls"),
        ("cert-intermediate-missing-cross", "certificate_chains.certificates.issuer_urls"),
        ("proxy-intercepts-imds", "proxies.server"),
        ("proxy-intercepts-imds", "proxies.bypass"),
        ("proxy-intercepts-imds", "proxies.place"),
        ("route-wrong-interface", "adapters.name"),
        ("route-wrong-interface-table", "routes.table"),
        ("guest-proxy-agent-failing", "services.name"),
    ],
)
def test_the_fields_that_commands_are_made_of(name, field, hostile):
    facts = recorded(ROOT / "samples" / "reports" / f"{name}.json")
    wanted = tuple(field.split("."))
    places = [
        place
        for place in strings(facts)
        if tuple(key for key in place if isinstance(key, str)) == wanted
    ]
    assert places, "a field of this sample"
    for chosen in [places, *([place] for place in places[:6])]:
        try:
            made = facts_from_json(replaced(facts, chosen, hostile))
        except FactsError:
            continue
        for fix in commands_of(made):
            assert is_expected(fix), fix.text
        assert text.full(diagnose(made)).isascii()


def test_the_zone_of_an_ipv6_address_is_no_word():
    facts = recorded(ROOT / "samples" / "reports" / "firewall-blocks-imds.json")
    for rule in facts["firewall"]["rules"]:
        rule["matches"].append(
            {
                "field": "destination",
                "values": ["fe80::1%x&calc.exe&rem -fe80::ffff"],
                "negated": False,
            }
        )
    diagnosis = diagnose(facts_from_json(facts))
    assert not any("calc" in fix.text for finding in diagnosis.findings for fix in finding.fix)


# --- iptables ---


@pytest.mark.parametrize(
    "rule",
    [
        "-t filter -A OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DROP",
        "-t filter -A OUTPUT ! -s 10.0.0.0/8 -o eth0 -m conntrack --ctstate NEW,RELATED -j REJECT "
        "--reject-with tcp-reset",
        "-t nat -A OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination "
        "127.0.0.1:8181",
        '-t filter -A OUTPUT -m comment --comment "blocked by policy (42)" -j DROP',
        '-t filter -A OUTPUT -m owner --uid-owner 1000-2000 -j LOG --log-prefix "imds: " '
        "--log-level 4",
        "-t filter -A OUTPUT -m iprange --dst-range 169.254.1.0-169.254.254.255 -j DROP",
        "-t mangle -A OUTPUT -m set --match-set blocked dst -j MARK --set-xmark 0x1/0xffffffff",
        "-t filter -A OUTPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
    ],
)
def test_a_rule_of_known_options_is_deleted_in_full(rule):
    words_of = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {delete_rule(rule).text}"],
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.splitlines()
    wanted = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {rule.replace(' -A ', ' -D ')}"],
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.splitlines()
    assert words_of == wanted


@pytest.mark.parametrize(
    "rule",
    [
        "-t filter -A OUTPUT -M /tmp/x -j DROP",
        "-t filter -A OUTPUT --modprobe=/tmp/x -j DROP",
        "-t filter -A OUTPUT --modprobe /tmp/x -j DROP",
        "-t filter -A OUTPUT -F",
        "-t filter -A OUTPUT -j DROP -F OUTPUT",
        "-t filter -A OUTPUT -d 169.254.169.254/32 -j DROP -I INPUT -j ACCEPT",
        "-t filter -A OUTPUT -P ACCEPT",
        "-t filter -A OUTPUT -X",
        "-t filter -A OUTPUT -Z",
        "-t filter -A OUTPUT -j DROP -t nat",
        "-t filter -A OUTPUT -j DROP ; calc",
        "-t filter -A OUTPUT -j $(calc)",
        "-t filter -A OUTPUT -d 169.254.169.254/32 calc",
        "-t filter -A OUTPUT -d",
        "-t filter -A -F -j DROP",
        "-t filter;calc -A OUTPUT -j DROP",
        "-t filter -D OUTPUT -j DROP",
        "-A OUTPUT -j DROP",
        "-t filter -A OUTPUT --comment 'a'\"'\"';calc' -j DROP",
        "-t filter -A OUTPUT --comment 'unfinished -j DROP",
        "-t filter -A OUTPUT " + "-m tcp " * 100 + "-j DROP",
    ],
)
def test_a_rule_with_any_other_option_or_value_is_no_command(rule):
    with pytest.raises(UnfitWord):
        delete_rule(rule)


# --- the words themselves ---


def subclasses(kind):
    for own in kind.__subclasses__():
        yield own
        yield from subclasses(own)


# A valid word of each kind; a test below holds the table to all kinds that there are.
VALID = {
    "Address": "10.0.0.4",
    "NextHop": "fe80::1",
    "Network": "10.0.0.0/24",
    "Remote": "10.0.0.1-10.0.0.9",
    "Mac": "00-0D-3A-E5-1C-C0",
    "Interface": "eth0",
    "TableName": "main",
    "Selector": "0x10/0xff",
    "NftName": "filter",
    "NftFamily": "inet",
    "Handle": "7",
    "ChainName": "OUTPUT",
    "DisplayName": "Block web",
    "RuleId": "{A-1}",
    "ServiceName": "walinuxagent",
    "Uuid": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
    "Thumbprint": "0A" * 20,
    "KeyId": "0A" * 20,
    "Store": "CA",
    "CertificateFile": "a b.crt",
    "LinuxUrl": "http://x.example/a%20b.crt",
    "WindowsUrl": "http://x.example/a b.crt",
    "ProxyServer": "10.0.0.1:3128",
    "BypassEntry": "10.0.0.0/8",
    "WindowsBypassEntry": "*.contoso.com",
    "AccountKey": "S-1-5-18",
    "IptablesWord": "a b",
    "RuleOption": "--dport",
    "AnchorFile": "a-b",
    "_MacWithColons": "00:0d:3a:e5:1c:c0",
    "AzureName": "contoso-rg",
    "Number": "7",
}
READ_BY_A_SHELL = "$`\"'|&;<>\n\r\\^%\x00\u2028\u0661"
PLAIN_IN_ITS_SHELL = {
    "LinuxUrl": "%",
    "IptablesWord": "%",
    "WindowsBypassEntry": "<>",
}  # the last one in double quotes


def test_every_kind_of_word_is_tried():
    assert {kind.__name__ for kind in subclasses(words.Word)} == set(VALID)


@pytest.mark.parametrize("kind", subclasses(words.Word), ids=lambda kind: kind.__name__)
def test_no_kind_of_word_takes_what_a_shell_reads(kind):
    valid = VALID[kind.__name__]
    if kind is words.Number:
        for wrong in (-1, 10**12, 1.5, "7; calc"):
            with pytest.raises(UnfitWord):
                kind(wrong)
        return
    assert kind(valid).text
    for special in READ_BY_A_SHELL:
        if special in PLAIN_IN_ITS_SHELL.get(kind.__name__, ""):
            continue
        for text_with_it in (special + valid, valid[:1] + special + valid[1:], valid + special):
            with pytest.raises(UnfitWord):
                kind(text_with_it)


@pytest.mark.parametrize("value", [None, 5, b"x", ["10.0.0.1"], words.Address("10.0.0.1")])
def test_a_word_is_made_of_text(value):
    with pytest.raises(UnfitWord):
        words.Address(value)


def test_a_command_is_made_of_words_and_of_nothing_else():
    with pytest.raises(TypeError, match="is a str, and not a word"):
        phrase("ip route del {to}", to="10.0.0.1; calc")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="made of words"):
        Fix(FixKind.COMMAND, "calc", Shell.SH)
    with pytest.raises(UnfitWord):
        words.Word("anything")


def test_every_template_is_a_constant_of_the_source():
    """No f-string, no variable: what comes from elsewhere comes as a word."""
    checked = 0
    for path in (ROOT / "runcommand").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == "phrase":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"
                checked += 1
            if node.func.id == "in_a_row" and len(node.args) > 1:
                assert isinstance(node.args[1], ast.Constant) or path.name == "windows.py", (
                    f"{path.name}:{node.lineno}"
                )
            assert node.func.id not in ("Phrase",) or path.name == "commands.py", (
                f"{path.name}:{node.lineno}"
            )
    assert checked > 80


# --- a system that is not known ---


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_an_unknown_system_gets_advice_and_no_command_for_the_vm(path):
    facts = {**recorded(path), "system": "freebsd14"}
    diagnosis = diagnose(facts_from_json(facts))
    fixes = [fix for finding in diagnosis.findings for fix in finding.fix]
    assert not [
        fix.text
        for fix in fixes
        if fix.kind is FixKind.COMMAND and fix.run_on is not RunOn.OPERATOR
    ]
    known = diagnose(facts_from_json(recorded(path)))
    if known.main and known.main.fix and diagnosis.cause == known.cause:
        assert diagnosis.main.fix, "advice in the commands' place"


# --- answers that can be ignored ---


@pytest.mark.skipif(why_not() is not None, reason=f"the lab cannot run: {why_not()}")
@pytest.mark.parametrize(
    "command, harmless",
    [
        ("ip addr del 10.9.9.9/32 dev lo", linux.NOT_THERE["address"]),
        ("ip route del 203.0.113.0/24 via 10.0.0.1 dev eth0", linux.NOT_THERE["route"]),
        ("ip route del 203.0.113.0/24 table 4711", linux.NOT_THERE["route"]),
        ("ip rule del pref 4711 from all to 10.0.0.0/8 prohibit", linux.GONE),
        ("ip neigh del 10.0.0.77 dev eth0", linux.GONE),
        (
            "sh -c 'ip rule add pref 9 to 10.0.0.1 lookup main; ip rule add pref 9 to 10.0.0.1 "
            "lookup main'",
            linux.NOT_THERE["file"],
        ),
    ],
)
def test_what_can_be_ignored_is_what_the_program_answers(command, harmless):
    with Lab() as lab:
        done = subprocess.run(lab.enter(["sh", "-c", command]), stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0 and any(
        answer in done.stderr for answer in harmless.split(" / ")
    ), done.stderr
