"""``--redact``: nothing that names a VM or its owner is in any report, and the diagnosis is the
same.
"""

import dataclasses
import ipaddress
import json
import random
import re
import socket
from dataclasses import replace
from itertools import permutations
from typing import get_type_hints
from uuid import UUID

import pytest

from runcommand import facts as facts_module, redaction
from runcommand.diagnosis import diagnose
from runcommand.facts import (
    IMDS_ADDRESS,
    PLATFORM_ADDRESSES,
    WIRESERVER_ADDRESS,
    Body,
    Firewall,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallRule,
    Instance,
    MatchField,
    Proxy,
    ProxyKind,
    RawText,
    RoutingRule,
    RuleVerdict,
    Scope,
    Unavailable,
    is_distrusting,
    kinds,
    to_json,
)
from runcommand.facts.decoding import facts_from_json
from runcommand.model.azure import AZURE_ARP_MAC, AZURE_ASSET_TAG, AZURE_MAC_PREFIXES
from runcommand.redaction.addresses import Addresses, PrefixMap
from runcommand.redaction.key import Key
from runcommand.redaction.texts import TRUSTED_INSTALLER, Texts
from runcommand.redaction.vocabulary import NIC, WORDS
from runcommand.report import json_report, recorded as recorded_report, text
from runcommand.rules.issuers import CROSS, ROOTS
from runcommand.simulator import scenarios
from runcommand.simulator.host import Host
from runcommand.simulator.world import simulate

from . import customer
from .clock import LITTLE, Work
from .command import imds_check
from .conftest import seeds
from .facts_of import BOTH, LINUX, WINDOWS, http
from .generate import some_facts
from .snapshots import FOLDER
from .test_report import holds, size

KEY = Key(b"k" * 32)
RECORDED = sorted(FOLDER.glob("*.json"))  # of every scenario of the demo
SECOND = "2026-11-23T01:44:05Z"


def redacted(facts, key=KEY):
    """With a known key: a random one gives, once in ten thousand times, an address itself as its
    pseudonym.
    """
    return redaction.redacted(facts, key)


def judged(facts):
    """What must be the same: verdict, causes in their order, statuses of the checks."""
    diagnosis = diagnose(facts)
    findings = [(item.cause, item.severity, item.verdict) for item in diagnosis.findings]
    return diagnosis.verdict, findings, [(check.id, check.status) for check in diagnosis.checks]


def all_reports(facts):
    diagnosis = diagnose(facts)
    return [text.portal(diagnosis), text.full(diagnosis), json_report.as_json(diagnosis)]


# --- nothing of the original remains ---


@pytest.mark.parametrize("system", customer.FACTS)
def test_no_identity_is_in_any_report(system):
    for report in all_reports(redacted(customer.FACTS[system])):
        assert customer.found_in(report) == []


def test_the_identities_are_all_there_without_redaction():
    """Or the test above would prove nothing."""
    told = "".join(report for facts in customer.FACTS.values() for report in all_reports(facts))
    found = customer.found_in(told)
    assert {*customer.NAMES, *customer.ADDRESSES, *customer.MACS, *customer.CERTIFICATE_NUMBERS} - {
        *found
    } == {"Z\u00fcrich"}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_no_identity_of_a_demo_is_in_its_redacted_report(path):
    facts = recorded_report.facts_of_report(path.read_bytes())
    made = redacted(facts)
    old, new = identities(facts), "\n".join(all_reports(made)).lower()
    assert [
        item
        for item in old
        if re.search(rf"(?<![0-9a-z.]){re.escape(item.lower())}(?![0-9a-z]|\.[0-9])", new)
    ] == []


def identities(facts):
    """The addresses, MACs, ids and names that facts hold in fields of their own."""
    found = {facts.host}
    for address in re.findall(r'"(\d+\.\d+\.\d+\.\d+)(?:/\d+)?"', json.dumps(to_json(facts))):
        found.add(address)
    for adapter in facts.adapters or ():
        found |= {adapter.mac} - {None}
    for exchange in instances(facts):
        found |= {
            exchange.vm_id,
            exchange.name,
            exchange.subscription_id,
            exchange.resource_group_name,
        }
    mine = {str(address) for address in found if not is_everybodys(address)}
    return (
        mine
        | {item.replace("-", ":") for item in mine}
        | {item.replace("-", "") for item in mine if "." not in item}
    )


def instances(facts):
    exchanges = [
        *(facts.imds.attempts if facts.imds else ()),
        *(trial.exchange for trial in facts.differential or ()),
    ]
    return [
        exchange.instance
        for exchange in exchanges
        if exchange and isinstance(exchange.instance, Instance)
    ]


def is_everybodys(name):
    try:
        address = ipaddress.IPv4Address(name)
    except ValueError:
        return False
    same = (
        address.is_loopback or address.is_link_local or address.is_multicast or address.is_reserved
    )
    return (
        same
        or name in (*PLATFORM_ADDRESSES, "0.0.0.0")
        or name.startswith(("192.0.2.", "168.63.129."))
    )


def test_the_same_value_has_the_same_pseudonym_everywhere():
    facts = redacted(customer.FACTS["windows"])
    adapter, trial = facts.adapters[1], facts.differential[0]
    address = adapter.addresses[0].address
    assert trial.connection.local_address == address == facts.expected.ip
    assert trial.exchange.instance.interfaces[1].mac == adapter.mac == facts.expected.mac
    routes, ipconfig = (raw.text for raw in facts.raw)
    assert (
        f"On-link    {address:>14}"[-14:] in routes
        and f"IPv4 Address. . . . . . . . . . . : {address}(" in ipconfig
    )
    assert adapter.mac.replace("-", " ").lower() in routes and adapter.mac in ipconfig
    assert f"Host Name . . . . . . . . . . . . : {facts.host}\r\n" in ipconfig
    assert (
        facts.proxies[0].server
        == facts.proxy_trials[0].server
        == facts.endpoints[0].proxies[0].server
    )
    assert facts.proxies[3].pac_url == facts.pac_files[0].url
    leaf = facts.certificate_chains[0].certificates[0]
    assert leaf.authority_key_id == facts.certificate_chains[0].certificates[1].subject_key_id
    assert facts.certificate_chains[0].fetches[0].url == leaf.issuer_urls[0]


def test_a_network_keeps_its_base_its_gateway_and_its_last_address():
    facts = redacted(customer.FACTS["windows"])
    base = next(row.destination for row in facts.routes if row.destination.endswith("/24"))
    net = ipaddress.IPv4Network(base)  # raises where host bits are set
    assert facts.adapters[1].lease_gateway == str(net[1])
    told = facts.raw[0].text
    assert f"{net[0]}    255.255.255.0" in told and f"{net[-1]}  255.255.255.255" in told


def test_the_vm_id_and_the_smbios_uuid_in_the_other_byte_order_remain_each_others():
    texts = Texts(KEY, Addresses(KEY))
    one, other = "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "A4B8AA02-EF74-6E47-8182-F6D2BA4166A6"
    first, second = texts.guid(one), texts.guid(other)
    assert UUID(first).bytes_le == UUID(second).bytes and first != one and second.isupper()


def test_what_everybody_has_keeps_its_name():
    facts = replace(
        WINDOWS.healthy(),
        host="localhost",
        proxies=tuple(
            Proxy(
                "WinHTTP",
                ProxyKind.WINHTTP,
                Scope.SYSTEM,
                user,
                server,
                bypass=("<local>", "localhost", IMDS_ADDRESS),
            )
            for user, server in (("SYSTEM", "localhost:80"), ("LOCAL SERVICE", "127.0.0.1:3128"))
        ),
    )
    made = redacted(facts)
    assert [(p.user, p.server, p.bypass) for p in made.proxies] == [
        (p.user, p.server, p.bypass) for p in facts.proxies
    ]
    assert [adapter.name for adapter in made.adapters] == [
        "Loopback Pseudo-Interface 1",
        "Ethernet",
        "Ethernet 2",
    ]
    assert (
        made.machine.asset_tag == AZURE_ASSET_TAG and made.machine.os_name == facts.machine.os_name
    )
    assert made.adapters[1].dhcp_server == WIRESERVER_ADDRESS and made.services == facts.services
    texts = Texts(KEY, Addresses(KEY))
    for name in (
        "S-1-5-18\\Root",
        "LocalMachine\\Disallowed",
        "LocalMachine\\AuthRoot",
        "Group Policy\\CA",
        "the document",
        "fetched",
    ):
        assert texts.rewrite(name, strict=True) == name
    assert is_distrusting(texts.rewrite("LocalMachine\\Disallowed", strict=True))
    for name in (
        *CROSS,
        *ROOTS,
        *(cross.issuer for cross in CROSS.values()),
        "Microsoft TLS G2 RSA CA OCSP 04",
    ):
        distinguished = f"CN={name}, O=DigiCert Inc, C=US"
        assert texts.rewrite(distinguished, strict=True) == distinguished
    for url in (*(cross.url for cross in CROSS.values()), *(root.url for root in ROOTS.values())):
        assert texts.url(url) == url


@pytest.mark.parametrize(
    "name",
    [
        "eth0",
        "eth0.100",
        "enP1s1",
        "enp0s3f1",
        "docker0",
        "veth1a2b3c4",
        "br-0123456789ab",
        "tun0",
        "lo",
        "Ethernet 2",
        "vEthernet (nat)",
        "Local Area Connection* 3",
    ],
)
def test_adapters_as_systems_name_them_keep_their_names(name):
    assert NIC.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["contoso0", "Contoso VPN", "eth0-contoso", "lan", "vpn-berlin", "enx000d3ae51cc0"]
)
def test_others_do_not(name):
    assert not NIC.fullmatch(name)


def test_a_nic_that_is_named_by_its_mac_is_named_by_its_new_one():
    nic = replace(scenarios.ETH0, name="enx000d3a7f2004")
    made = redacted(LINUX.healthy(adapters=(scenarios.LO, nic)))
    assert (
        made.adapters[1].name == "enx" + made.adapters[1].mac.replace("-", "").lower() != nic.name
    )


def test_words_of_everybody_name_nobody():
    assert not {"contoso", "fabrikam", "corp"} & WORDS and all(
        word == word.lower() and len(word) > 2 for word in WORDS
    )


TEXTS = [
    (
        "see http://user:pw@wiki.contoso.com/it/imds?x=1, please",
        "see http://name-{}.example/path-1, please",
    ),
    ("http://169.254.169.254/metadata/instance?x=1", "http://169.254.169.254/metadata/instance"),
    ("https://learn.microsoft.com/azure/x", "https://learn.microsoft.com/azure/x"),
    (
        r"C:\Users\wingtip\AppData and /home/wingtip/x and C:\Users\Public\x",
        r"C:\Users\user-1\AppData and /home/user-1/x and C:\Users\Public\x",
    ),
    (r"C:\Documents and Settings\Lab Wingtip\x", r"C:\Documents and Settings\User-1\x"),
    ("S-1-5-18, S-1-5-80-956008885-3418522649", "S-1-5-18, S-1-5-80-956008885-3418522649"),
    (
        "route.exe and waagent.conf at adapters.py:31",
        "route.exe and waagent.conf at adapters.py:31",
    ),
    ("contosostore.blob.core.windows.net", "name-1.blob.core.windows.net"),
    ("x1.y2.internal.cloudapp.net", "name-1.internal.cloudapp.net"),
    (
        "255.255.255.0 0.0.0.0 224.0.0.251 1.2.840.113549.1.1.11",
        "255.255.255.0 0.0.0.0 224.0.0.251 1.2.840.113549.1.1.11",
    ),
    (
        "ff:ff:ff:ff:ff:ff 12:34:56:78:9a:bc 01:44:05 fe80::1234:5678:9abc ::1",
        "ff:ff:ff:ff:ff:ff 12:34:56:78:9a:bc 01:44:05 fe80::1234:5678:9abc ::1",
    ),
]


@pytest.mark.parametrize("old, new", TEXTS, ids=range(len(TEXTS)))
def test_what_is_recognised_in_a_text(old, new):
    made = Texts(KEY, Addresses(KEY)).rewrite(old)
    assert re.fullmatch(re.escape(new).replace(r"\{\}", r"\d+"), made), made


@pytest.mark.parametrize(
    "secret",
    [
        "10.20.30.40",
        "10.20.30.40:3128",
        "(10.20.30.40)",
        "10.20.30.40-10.20.30.41",
        "v=10.20.30.40,",
        "10.20.30.40/24",
        "10.20.30.40.",
        "fd12:3456::20d:3aff:fee5:1cc0",
        "fd12:3456::1%eth0",
        "[fd12:3456::1]:80",
        "::ffff:10.20.30.40",
        "00-0D-3A-E5-1C-C0",
        "00:0d:3a:e5:1c:c0",
        "000d.3ae5.1cc0",
        "00-01-00-01-2B-7F-A1-33-00-0D-3A-E5-1C-C0",
        "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
        "{02AAB8A4-74EF-476E-8182-F6D2BA4166A6}",
        "02aab8a474ef476e8182f6d2ba4166a6",
        "S-1-5-21-1004336348-1177238915-682003330-1105",
        "S-1-12-1-1004336348-1177238915-682003330-77",
        "web01.contoso.com",
        "WEB01.CONTOSO.COM.",
        "*.contoso.com",
        ".contoso.com",
        "--contoso.com",
        "ops@contoso.com",
        "contoso.sh",
        "contoso.exe",
        "Z\u00fcrich.contoso.com",
        "\u65e5\u672c.contoso.com",
    ],
)
def test_an_identity_is_found_wherever_it_stands_in_a_text(secret):
    for before, after in (
        ("", ""),
        ("x ", " y"),
        ('"', '"'),
        ("a=", ";b"),
        ("[", "]"),
        ("\t", "\r\n"),
    ):
        made = Texts(KEY, Addresses(KEY)).rewrite(f"{before}{secret}{after}")
        assert secret.strip("-.*()") not in made and "contoso" not in made.lower(), made
        assert made.startswith(before) and made.endswith(after)


PARTS = (
    "/home/alice/x",
    "user alice",
    "alice@corp",
    "alice@mail.fabrikam.com",
    r"C:\Users\Alice\x",
    "/opt/alice/x",
)


@pytest.mark.parametrize("parts", list(permutations(PARTS, 3)), ids=" ".join)
def test_a_user_has_one_pseudonym_in_a_note_whatever_stands_first(parts):
    """In the facts: a note is this program's sentence, read before anything is written anew."""
    note = Unavailable("proxies", ", ".join(parts))
    made = redacted(replace(LINUX.healthy(), unavailable=(note,))).unavailable[0].reason
    assert "alice" not in made.lower()
    found = {
        name.lower()
        for name in re.findall(r"\b(?:user|name)-\d+(?=[@/\\,]|\Z)", made, re.IGNORECASE)
    }
    assert len(found) == 1, made


def test_a_user_has_the_same_pseudonym_in_every_note():
    notes = [Unavailable("proxies", said) for said in ("user alice", "/home/alice/x", "alice@corp")]
    made = [
        item.reason
        for item in redacted(replace(LINUX.healthy(), unavailable=tuple(notes))).unavailable
    ]
    assert made == ["user user-1", "/home/user-1/x", "user-1@corp"]


def test_a_word_of_a_url_is_no_user():
    assert (
        Texts(KEY, Addresses(KEY))
        .rewrite("http://h.contoso.com/home/other and other")
        .endswith(" and other")
    )


@pytest.mark.parametrize(
    "form",
    [
        "10-0-0-4",
        "ip-10-0-0-4",
        "ip-10-0-0-4.ec2.internal",
        "10_0_0_4",
        "(10-0-0-4)",
        "vm-10-0-0-4:80",
        "x=10-0-0-4;",
    ],
)
def test_an_address_with_dashes_has_the_pseudonym_of_the_address(form):
    addresses = Addresses(KEY)
    made = addresses("10.0.0.4")
    expected = form.replace("10-0-0-4", made.replace(".", "-")).replace(
        "10_0_0_4", made.replace(".", "_")
    )
    for strict in (False, True):
        assert Texts(KEY, addresses).rewrite(f"at {form} of", strict) == f"at {expected} of"
    note = Unavailable("proxies", f"at {form} of")
    shown = redacted(replace(LINUX.healthy(), unavailable=(note,))).unavailable[0].reason
    assert not re.search("10[-_]0[-_]0[-_]4", shown)


@pytest.mark.parametrize(
    "text",
    [
        "169-254-169-254",
        "2026-11-23 01-44-05",
        "1-2-3",
        "300-1-1-1",
        "01-02-03-04",
        "1-2-3-4-5",
        "a1-2-3-4b",
    ],
)
def test_other_numbers_with_dashes_stay(text):
    assert Texts(KEY, Addresses(KEY)).rewrite(text) == text


def test_a_known_name_is_found_in_capitals_in_pieces_and_escaped():
    texts = Texts(KEY, Addresses(KEY))
    texts.learn("web-Z\u00fcrich 01", "vm")
    made = texts.rewrite(
        "WEB-Z\u00dcRICH 01, web-z\u00fcrich-01 and web-Z\\u00FCrich 01; not web-02"
    )
    assert made == "VM-1, vm-1 and vm-1; not web-02"


def test_a_name_is_found_inside_longer_words_and_whatever_its_letters_become_in_small():
    texts = Texts(KEY, Addresses(KEY))
    texts.host("web.contoso.com")
    texts.learn("\u0130zmir", "vm")
    made = texts.rewrite("ContosoVPN, mycontoso01 and --contoso-dns on \u0130ZMIR, \u0130zmir")
    assert re.fullmatch(r"name-\d+, name-\d+ and name-\d+ on VM-1, Vm-1", made), made


def test_what_iptables_and_docker_call_things_stays():
    line = (
        "-t filter -A OUTPUT -o br-0123456789ab -p tcp -m multiport --dports 80,443 -m owner "
        "--uid-owner 33 -j REJECT --reject-with icmp-port-unreachable"
    )
    assert Texts(KEY, Addresses(KEY)).rewrite(line, strict=True) == line


# --- planted, one at a time: no other field has told of the name ---


def planted(value, field, name):
    """The same facts with a name in every text of one field, and how many there were."""
    if isinstance(value, tuple):
        made = [planted(item, field, name) for item in value]
        return tuple(item for item, _ in made), sum(count for _, count in made)
    if not dataclasses.is_dataclass(value):
        return value, 0
    new, count = {}, 0
    for item in dataclasses.fields(value):
        old = getattr(value, item.name)
        if f"{type(value).__name__}.{item.name}" == field:
            is_list = isinstance(old, tuple)
            new[item.name], more = ((name,) if is_list else name), 1
        else:
            new[item.name], more = planted(old, field, name)
        count += more
    return replace(value, **new), count


NAMED = {  # how a name stands in the text of a field, where it is not the whole of it
    "Unavailable.reason": "PermissionError: /opt/{0}/agent.conf at services.py:31",
    "Note.text": r"nft: exit status 1: C:\{0}\x of {0} is missing",
    "Machine.kernel": "6.8.0-1017-{0}",
    "Machine.os_name": "{0} Linux 9.4",
    "Machine.os_version": "9-{0}",
    "Adapter.description": "{0} Tunnel Adapter",
    "Adapter.profile": "/run/systemd/network/10-netplan-{0}.network",
    "FirewallRule.id": '-t filter -A OUTPUT -d 10.0.0.0/8 -j LOG --log-prefix "{0}: "',
    "Proxy.place": "/home/{0}/proxy.sh",
    "Instance.resource_id": (
        "/subscriptions/x/resourceGroups/{0}/providers/Microsoft.Compute/virtualMachines/{0}"
    ),
}
FACTS_CLASSES = [
    cls
    for cls in vars(facts_module).values()
    if isinstance(cls, type) and dataclasses.is_dataclass(cls)
]


def leaf(hint):
    """The type of what a field holds: of ``Optional[Tuple[X, ...]]``, X."""
    while getattr(hint, "__args__", None):
        hint = hint.__args__[0]
    return hint


KINDS = {  # of every text
    f"{cls.__name__}.{name}": leaf(hint)
    for cls in FACTS_CLASSES
    for name, hint in get_type_hints(cls).items()
    if leaf(hint) is str or leaf(hint) in vars(kinds).values()
}
KEPT = {kinds.Term, kinds.CertificateNumber, kinds.Output, kinds.MatchValue, kinds.Message}
NAMEABLE = sorted(field for field, kind in KINDS.items() if kind not in KEPT)


@pytest.mark.parametrize("field", NAMEABLE)
def test_a_name_that_stands_in_one_field_alone_is_in_no_report(field):
    name = "Zyxtron.example" if field in ("Certificate.names", "EndpointTrial.host") else "Zyxtron"
    text_of_it = NAMED.get(field, "http://{0}/x" if "url" in field else "{0}").format(name)
    found = 0
    for facts in customer.FACTS.values():
        facts, count = planted(facts, field, text_of_it)
        found += count
        assert count == 0 or any("zyxtron" in report.lower() for report in all_reports(facts))
        for report in all_reports(redacted(facts)):
            assert "zyxtron" not in report.lower()
    assert found > 0


@pytest.mark.parametrize(
    "option",
    ["--log-prefix", "--nflog-prefix", "--ulog-prefix", "--comment", "log prefix", "comment"],
)
@pytest.mark.parametrize(
    "said", ['"4711 AB: "', '"main office HQ "', '"-zyx-"', '"say \\"hq\\" 4711"']
)
def test_what_the_author_of_a_rule_wrote_is_replaced_whole(option, said):
    line = f"-t filter -A OUTPUT -p tcp -j LOG {option} {said} --log-level 4"
    for strict in (True, False):
        made = Texts(KEY, Addresses(KEY)).rewrite(line, strict)
        assert made == f'-t filter -A OUTPUT -p tcp -j LOG {option} "comment-1" --log-level 4', made


def test_a_prefix_without_quotes_is_replaced_too():
    for said in ("4711", "-HQ-", "main"):
        made = Texts(KEY, Addresses(KEY)).rewrite(f"-j LOG --log-prefix {said} --log-level 4")
        assert made == "-j LOG --log-prefix comment-1 --log-level 4"


@pytest.mark.parametrize(
    "old, new",
    [
        ("--uid-owner 1005 and --gid-owner 1005", "--uid-owner 1001 and --gid-owner 1001"),
        ("-m owner ! --uid-owner 1005-1010 -j DROP", "-m owner ! --uid-owner 1001-1002 -j DROP"),
        ("uidrange 0-1005 lookup 100", "uidrange 0-1001 lookup 100"),
        ("meta skuid 1004336348 drop", "meta skuid 1001 drop"),
        ("uid=5000(", "uid=1001("),
        (
            "--uid-owner 0, --uid-owner 33, skgid 65534",
            "--uid-owner 0, --uid-owner 33, skgid 65534",
        ),
    ],
)
def test_the_number_of_an_owner_is_replaced_and_the_systems_own_stay(old, new):
    assert Texts(KEY, Addresses(KEY)).rewrite(old) == new


def test_a_policy_rule_and_a_firewall_rule_name_the_same_owner():
    rules = (
        FirewallRule(
            "-t filter -A OUTPUT -m owner --uid-owner 1005 -j DROP",
            FirewallPlace.IPTABLES,
            RuleVerdict.DROP,
            chain="ip filter OUTPUT",
            matches=(
                FirewallMatch(MatchField.USER, ("1005",)),
                FirewallMatch(MatchField.GROUP, ("1005-1007", "0", "0-999")),
            ),
        ),
    )
    policy = RoutingRule(100, uid_start=1005, uid_end=1007, table="100")
    made = redacted(
        LINUX.healthy(
            routing_rules=(policy,), firewall=Firewall(rules, sources=("iptables",), rules_read=1)
        )
    )
    (user, group), (rule,) = made.firewall.rules[0].matches, made.routing_rules
    assert user.values[0] == str(rule.uid_start) == made.firewall.rules[0].id.split()[7] != "1005"
    assert (
        group.values == (f"{rule.uid_start}-{rule.uid_end}", "0", "0-999")
        and rule.uid_start < rule.uid_end
    )
    for report in all_reports(made):
        assert "1005" not in report and "1007" not in report


@pytest.mark.parametrize(
    "sid, kept",
    [
        ("S-1-5-21-1004336348-1177238915-682003330-500", "-500"),
        ("S-1-5-21-1004336348-1177238915-682003330-1105", "-1001"),
        ("S-1-5-80-3028837079-3186095147-955107200-3701964851-1150726376", ""),
        ("S-1-5-82-3006700770-424185619-1745488364-794895919-4004696415", ""),
        ("S-1-15-2-1430448594-2639229838-973813799-439329657-1197984847-4069167804-1277922394", ""),
        ("S-1-22-1-1005", ""),
    ],
)
def test_a_sid_that_leads_to_a_name_is_replaced(sid, kept):
    made = Texts(KEY, Addresses(KEY)).sid(sid)
    assert (
        made != sid
        and made.endswith(kept)
        and not set(made.split("-")[5:-1]) & set(sid.split("-")[5:-1])
    )


@pytest.mark.parametrize(
    "sid",
    [
        "S-1-5-18",
        "S-1-5-32-544",
        "S-1-1-0",
        "S-1-15-2-1",
        "S-1-15-3-1",
        "S-1-5-80-0",
        TRUSTED_INSTALLER,
    ],
)
def test_a_sid_that_every_system_has_stays(sid):
    assert (
        Texts(KEY, Addresses(KEY)).sid(sid)
        == Texts(KEY, Addresses(KEY)).rewrite(sid, strict=True)
        == sid
    )


@pytest.mark.parametrize("mac", ["02-42-AC-11-00-02", "0A-58-0A-F4-01-17"])
def test_of_a_mac_that_was_given_locally_only_that_stays(mac):
    """docker and CNI make theirs of the address: the second to the sixth byte tell it."""
    made = {Addresses(Key(bytes([number]))).mac(mac) for number in range(64)}
    assert (
        len(made) == 64
        and len({one[3:8] for one in made}) > 50
        and all(one[:2] == mac[:2] for one in made)
    )


# --- the diagnosis is the same ---


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_demo_gets_the_same_diagnosis(path):
    facts = recorded_report.facts_of_report(path.read_bytes())
    assert judged(redacted(facts)) == judged(facts)


@pytest.mark.parametrize("system", customer.FACTS)
def test_a_customers_vm_gets_the_same_diagnosis(system):
    assert judged(redacted(customer.FACTS[system])) == judged(customer.FACTS[system])


def test_a_run_is_redacted_before_it_is_judged():
    diagnosis = simulate(scenarios.BY_NAME["route-wrong-interface"], redact=True)
    assert diagnosis.facts.redacted and diagnosis.cause == "route-wrong-interface"
    assert not any(
        name in "".join(all_reports(diagnosis.facts))
        for name in ("testWs", "172.16.69.7", "E5-1C-C0")
    )


@pytest.mark.parametrize("seed", seeds(50, 150))
def test_any_facts_at_all_get_the_same_diagnosis(seed):
    facts = some_facts(seed)
    made = redacted(facts, Key(bytes([seed + 1])))
    assert (
        made.redacted
        and made.unavailable[:1] != redaction.nothing_of(facts, ValueError()).unavailable
    )
    assert judged(made) == judged(facts)
    assert facts_from_json(to_json(made)) == made
    holds(made)


@pytest.mark.parametrize("side", BOTH, ids=["windows", "linux"])
def test_any_firewall_decides_the_same(side, is_exhaustive):
    for seed in range(300 if is_exhaustive else 100):
        facts = replace(side.dark(proof=False), firewall=some_firewall(random.Random(seed), side))
        assert judged(redacted(facts, Key(b"%d" % seed))) == judged(facts), seed


LOCAL = ("10.0.0.4", "172.16.69.7", "10.0.1.5", "10.1.0.5")
ENDS = (
    *LOCAL,
    IMDS_ADDRESS,
    WIRESERVER_ADDRESS,
    "169.254.0.0",
    "168.63.129.17",
    "9.255.255.255",
    "10.0.0.0",
    "10.0.0.5",
    "172.16.0.1",
    "200.1.2.3",
)


def some_firewall(dice, side):
    """Rules for single addresses, networks, ranges, keywords, sets and adapters, in two chains."""

    def address():
        one, other = dice.choice(ENDS), dice.choice(ENDS)
        if dice.random() < 0.8 and ipaddress.ip_address(one) > ipaddress.ip_address(other):
            one, other = other, one
        length = dice.choice((0, 1, 8, 12, 16, 24, 31, 32))
        mask = ipaddress.ip_network(f"0.0.0.0/{length}")
        more = (
            "LocalSubnet",
            "@corp",
            "Contoso",
            "fe80::1-fe80::9",
            "::/0",
            "010.0.0.1",
            "any",
            "*",
        )
        forms = (
            one,
            f"{one}/{length}",
            f"{one}-{other}",
            f"{one}/{mask.netmask}",
            f"{one}/{mask.hostmask}",
            dice.choice(more),
        )
        return dice.choice(forms)

    def match():
        field = dice.choice(
            (
                MatchField.DESTINATION,
                MatchField.SOURCE,
                MatchField.INTERFACE_OUT,
                MatchField.USER,
                MatchField.DESTINATION_PORT,
                MatchField.PROGRAM,
            )
        )
        values = {
            MatchField.INTERFACE_OUT: lambda: dice.choice(
                ("eth0", "eth1", "eth*", "e+", "Ethernet", "Ether*", "corp+", "corp0", "+", "vpn")
            ),
            MatchField.USER: lambda: dice.choice(
                (
                    "0",
                    "root",
                    "ops",
                    "0-999",
                    "O:LSD:(A;;CC;;;S-1-5-21-1-2-3-500)",
                    "D:(A;;CC;;;WD)",
                )
            ),
            MatchField.DESTINATION_PORT: lambda: dice.choice(("80", "443", "1-1024")),
            MatchField.PROGRAM: lambda: "C:\\Contoso\\x.exe",
        }.get(field, address)
        return FirewallMatch(
            field, tuple(values() for _ in range(dice.randint(1, 3))), dice.random() < 0.2
        )

    chains = ("ip filter OUTPUT", "ip filter CONTOSO-OUT") if side is LINUX else (None,)
    actions = (
        (RuleVerdict.DROP, RuleVerdict.REJECT, RuleVerdict.ACCEPT, RuleVerdict.JUMP)
        if side is LINUX
        else (RuleVerdict.BLOCK, RuleVerdict.ALLOW)
    )
    place = FirewallPlace.IPTABLES if side is LINUX else FirewallPlace.LOCAL
    rules = []
    for number in range(dice.randint(1, 5)):
        action = dice.choice(actions)
        target = chains[1] if action is RuleVerdict.JUMP else None
        rules.append(
            FirewallRule(
                f"rule {number}",
                place,
                action,
                "Contoso",
                dice.choice(chains),
                target,
                tuple(match() for _ in range(dice.randint(0, 2))),
            )
        )
    kept = tuple(
        FirewallChain(chain, place, "output" if chain.endswith("OUTPUT") else None)
        for chain in chains
        if chain
    )
    profiles = side.make().firewall.profiles if side is WINDOWS else ()
    return Firewall(tuple(rules), kept, profiles, "INetFwPolicy2", ("x",), len(rules))


@pytest.mark.parametrize("side", BOTH, ids=["windows", "linux"])
def test_any_bypass_list_is_worth_the_same(side, is_exhaustive):
    entries = (
        "*",
        "<local>",
        "<-loopback>",
        IMDS_ADDRESS,
        WIRESERVER_ADDRESS,
        "169.254.*",
        "169.254.",
        ".254",
        "254",
        "169.254",
        "*254*",
        "1*",
        "16*.*",
        "10.1.*",
        "10.*",
        "10.2*",
        "10.",
        "169.254.0.0/16",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "http://169.254.169.254",
        "169.254.169.254:80",
        "https://*",
        "*.contoso.com",
        ".contoso.com",
        "contoso",
        "http://proxy.contoso.com:80",
        "169.254.169.254 168.63.129.16 *.contoso.com",
        "[::1]",
        "",
        "168.63.*.*",
        "*.16",
    )
    for seed in range(300 if is_exhaustive else 100):
        dice = random.Random(seed)
        own = tuple(dice.choice(entries) for _ in range(dice.randint(0, 4)))
        capitals = dice.choice((None, own, (), (dice.choice(entries),)))
        proxy = Proxy(
            "/etc/environment",
            dice.choice(list(ProxyKind)),
            Scope.MACHINE,
            None,
            "proxy.contoso.com:80",
            "http_proxy",
            bypass=own,
            bypass_capitals=capitals,
        )
        facts = replace(side.healthy(), proxies=(proxy,), proxy_trials=())
        made = redacted(facts)
        assert judged(made) == judged(facts), own
        assert "contoso" not in repr(made.proxies)


def test_a_message_that_refuses_the_api_version_still_does():
    says = "Bad request. api-version is invalid or was not specified in the request."
    facts = LINUX.answers(http(LINUX.ip, 400, Body.JSON, says=says))
    assert redacted(facts).imds.attempts[0].says == says and judged(redacted(facts)) == judged(
        facts
    )


# --- the map of addresses ---


def four(number):
    return str(ipaddress.IPv4Address(number))


def shared(one, other, bits):
    return bits - (one ^ other).bit_length()


def test_addresses_share_as_long_a_prefix_as_before():
    addresses, dice = Addresses(KEY), random.Random(1)
    addresses.know("10.1.2.4", 24)
    numbers = [dice.getrandbits(32) for _ in range(300)]
    numbers += [number ^ 1 << dice.randrange(32) for number in numbers] + [
        int(ipaddress.IPv4Address(text)) for text in ENDS
    ]
    mapped = [int(ipaddress.IPv4Address(addresses(four(number)))) for number in numbers]
    for one, its in zip(numbers, mapped):
        for other, others in zip(numbers[::7], mapped[::7]):
            assert shared(one, other, 32) == shared(its, others, 32)


def test_a_prefix_map_is_a_bijection():
    small = PrefixMap(8, KEY)
    small.keep(0x30, 8)
    small.keep_all(0xA0, 4)
    small.keep_ends(0x50, 5)
    mapped = [small(value) for value in range(256)]
    assert sorted(mapped) == list(range(256)) and mapped != list(range(256))
    assert mapped[0x30] == 0x30 and mapped[0xA0:0xB0] == list(range(0xA0, 0xB0))
    assert (mapped[0x50] & 7, mapped[0x51], mapped[0x57]) == (0, mapped[0x50] + 1, mapped[0x50] + 7)


SPECIAL = [
    IMDS_ADDRESS,
    WIRESERVER_ADDRESS,
    "0.0.0.0",
    "127.0.0.1",
    "127.8.9.1",
    "169.254.7.7",
    "224.0.0.251",
    "255.255.255.255",
    "255.255.240.0",
    "128.0.0.0",
    "192.0.0.0",
]


@pytest.mark.parametrize(
    "address", [*SPECIAL, "::", "::1", "fe80::1234:5678:9abc", "ff02::1", "ff02::1:2", "ff00::"]
)
def test_what_everybody_has_is_mapped_to_itself(address):
    for number in range(20):
        assert Addresses(Key(bytes([number])))(address) == address


def test_every_address_lies_on_the_same_side_of_the_special_ones():
    addresses, dice = Addresses(KEY), random.Random(2)
    specials = [int(ipaddress.IPv4Address(text)) for text in SPECIAL]
    for _ in range(3000):
        number = (
            dice.choice(specials) + dice.randint(-70000, 70000)
            if dice.random() < 0.5
            else dice.getrandbits(32)
        )
        number = min(max(number, 0), 2**32 - 1)
        mapped = int(ipaddress.IPv4Address(addresses(four(number))))
        assert all(
            (number < special) == (mapped < special) and (number > special) == (mapped > special)
            for special in specials
        )


@pytest.mark.parametrize(
    "private", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
)
def test_a_private_address_remains_private(private):
    net, dice = ipaddress.IPv4Network(private), random.Random(3)
    for number in range(100):
        address = net[dice.randrange(net.num_addresses)]
        assert ipaddress.IPv4Address(Addresses(Key(bytes([number])))(str(address))) in net


@pytest.mark.parametrize(
    "address",
    ["fd12:3456:789a::1", "2001:db8:85a3::8a2e", "fe80::20d:3aff:fee5:1cc0", "ff02::1:ffe5:1cc0"],
)
def test_an_ipv6_address_remains_in_its_kind(address):
    mapped = Addresses(KEY)(address)
    assert (mapped != address and mapped[:2] == address[:2]) or mapped[0] in "23"
    old, new = ipaddress.IPv6Address(address), ipaddress.IPv6Address(mapped)
    assert (old.is_private, old.is_link_local, old.is_multicast)[1:] == (
        new.is_private,
        new.is_link_local,
        new.is_multicast,
    )[1:]


def test_an_ipv4_mapped_address_is_mapped_as_its_ipv4_address():
    addresses = Addresses(KEY)
    assert addresses("::ffff:10.20.30.40") == f"::ffff:{addresses('10.20.30.40')}"


def test_networks_have_no_host_bits_and_hold_what_they_held():
    addresses, dice = Addresses(KEY), random.Random(4)
    for _ in range(500):
        net = ipaddress.IPv4Network((dice.getrandbits(32), dice.randint(0, 32)), strict=False)
        mapped = ipaddress.IPv4Network(addresses.network(str(net)))
        member = net[dice.randrange(net.num_addresses)]
        assert (
            mapped.prefixlen == net.prefixlen
            and ipaddress.IPv4Address(addresses(str(member))) in mapped
        )


def test_a_mac_keeps_its_vendor_and_changes_the_rest():
    addresses = Addresses(KEY)
    made = {addresses.mac(f"00-0D-3A-E5-1C-{number:02X}") for number in range(256)}
    assert (
        len(made) == 256
        and all(mac.startswith(AZURE_MAC_PREFIXES[0]) for mac in made)
        and "00-0D-3A-E5-1C-C0" not in made
    )
    for mac in (AZURE_ARP_MAC, "00-00-00-00-00-00", "FF-FF-FF-FF-FF-FF"):
        assert addresses.mac(mac) == mac
    plain = addresses.mac("00-0D-3A-E5-1C-C0")
    assert addresses.mac("00:0d:3a:e5:1c:c0") == plain.replace("-", ":").lower()
    assert addresses.mac("000d.3ae5.1cc0") == "{}{}.{}{}.{}{}".format(*plain.lower().split("-"))


def test_another_key_gives_other_names():
    some = {Addresses(Key(bytes([number])))("10.20.30.40") for number in range(100)}
    assert len(some) > 80


# --- once, twice, again ---


@pytest.mark.parametrize("system", customer.FACTS)
def test_with_one_key_redacting_is_the_same_each_time_and_once_is_enough(system):
    facts = customer.FACTS[system]
    made = redacted(facts, KEY)
    assert made == redacted(facts, KEY) and redacted(made) == made


@pytest.mark.parametrize("system", customer.FACTS)
def test_every_run_draws_a_key_of_its_own(system):
    """The same facts twice: what the one report tells of a pseudonym, the other does not."""
    facts = customer.FACTS[system]
    reports = [redaction.redacted(facts) for _ in range(12)]
    assert len({report.adapters[1].mac for report in reports}) == 12
    assert len({report.machine.smbios_uuid for report in reports}) == 12
    assert len({report.adapters[1].addresses[0].address for report in reports}) > 4


def test_a_mac_is_not_found_by_trying_all_of_a_vendors():
    """Whatever digest of what the report shows was the key: no MAC address of this vendor gives the
    pseudonym more often than chance.
    """
    mac, drawn = scenarios.ETHERNET.mac, []
    for _ in range(4096):
        drawn.append(int(Addresses(Key()).mac(mac).replace("-", ""), 16) & 0xFFFFFF)
    for bit in range(24):
        assert 1600 < sum(value >> bit & 1 for value in drawn) < 2496, f"bit {bit} tells something"


def test_the_key_is_in_no_report(mocker):
    secret = bytes(range(200, 232))
    mocker.patch("runcommand.redaction.key.os.urandom", return_value=secret)
    diagnosis = simulate(scenarios.BY_NAME["route-wrong-interface"], redact=True)
    for report in all_reports(diagnosis.facts):
        assert secret.hex() not in report.lower() and repr(secret)[2:-1] not in report


@pytest.mark.parametrize("system", customer.FACTS)
def test_a_redacted_report_judged_again_is_the_same(system):
    diagnosis = diagnose(redacted(customer.FACTS[system]))
    content = json_report.as_json(diagnosis)
    assert json.loads(content)["redacted"] is True
    again = diagnose(recorded_report.facts_of_report(content.encode()))
    assert json_report.as_json(again) == content and text.full(again) == text.full(diagnosis)


def test_facts_of_before_are_not_redacted():
    document = to_json(LINUX.healthy())
    del document["redacted"]
    assert facts_from_json(document).redacted is False


def test_every_text_of_the_facts_says_what_it_is():
    """Who adds a field decides what redaction makes of it."""
    assert len(FACTS_CLASSES) > 30 and len(KINDS) > 120
    assert [field for field, kind in KINDS.items() if kind is str] == []


def test_every_kind_of_text_is_rewritten_in_its_own_way():
    """Those of ``MatchValue`` and ``Output`` are in the hands of the field beside them."""
    by_neighbour = {kinds.MatchValue: ["FirewallMatch.values"], kinds.Output: ["RawText.text"]}
    assert set(KINDS.values()) - set(redaction.REWRITES) == set(by_neighbour)
    for kind, fields in by_neighbour.items():
        assert [field for field, its in KINDS.items() if its is kind] == fields
    assert set(redaction.REWRITES) <= set(KINDS.values())


def test_only_certificates_have_numbers_that_are_kept():
    numbered = [field for field, kind in KINDS.items() if kind is kinds.CertificateNumber]
    assert {field.partition(".")[0] for field in numbered} == {"Certificate"}


# --- what it says, and what it costs ---


@pytest.mark.parametrize("system", customer.FACTS)
def test_the_reports_say_that_the_commands_cannot_be_pasted(system):
    portal, full, _ = all_reports(redacted(customer.FACTS[system]))
    for report in (portal, full):
        lines = report.splitlines()
        (line,) = [line for line in lines if line.startswith("REDACTED")]
        assert "cannot be pasted" in line and "FIX" in [
            other[:3] for other in lines[lines.index(line) :]
        ]
    assert size(portal) <= 3900
    assert not any("REDACTED" in report for report in all_reports(customer.FACTS[system])[:2])


def test_a_fault_of_redaction_costs_the_facts_and_tells_no_name(mocker):
    mocker.patch.object(redaction._Redaction, "made", side_effect=KeyError("ctsweb-contoso"))
    made = redacted(customer.FACTS["windows"])
    assert made == facts_from_json(to_json(made)) and made.redacted and made.adapters is None
    for report in all_reports(made):
        assert (
            customer.found_in(report) == [] and "nothing could be redacted: KeyError at" in report
        )


@pytest.mark.parametrize("part", ["collect", "diagnose"])
def test_a_run_that_fails_tells_no_name(mocker, part):
    mocker.patch(f"runcommand.check.{part}", side_effect=OSError("testWs is broken"))
    diagnosis = simulate(scenarios.BY_NAME["healthy"], redact=True)
    assert diagnosis.cause == "tool-failed" and not any(
        "testWs" in report for report in all_reports(diagnosis.facts)
    )


HOSTILE = [
    "a",
    "a.",
    "a-",
    "a" * 62 + ".",
    ":",
    "0:",
    "00-",
    "00 ",
    "/home/",
    "\\Users\\",
    "S-1-",
    "a://",
    "a@",
    "1.",
    " ",
    ".",
    "\u00e4",
    "host: ",
    "contoso.com ",
    "enx",
    "-",
    "_a",
]


@pytest.mark.parametrize("command", ["route print", "ipconfig /all", "ip -4 addr show"])
def test_a_long_text_of_any_kind_costs_a_moment(command):
    for piece in HOSTILE:
        facts = WINDOWS.healthy(raw=(RawText(command, piece * (2**16 // len(piece))),))
        work = Work()
        redacted(facts)
        assert work.loops() < LITTLE, piece


# --- the command line ---


def test_demo_redact():
    ran = imds_check("demo", "imds-refused", "--redact", "--format", "json")
    report = json.loads(ran.out)
    assert report["redacted"] is True and report["facts"]["redacted"] is True and ran.code == 1
    assert report["host"] == "vm-1" and "testlx" not in ran.out and "testWs" not in ran.out


def test_a_ticket_can_be_redacted_afterwards(tmp_path):
    path = FOLDER / "route-wrong-interface.json"
    redacted_once = imds_check("replay", path, "--redact", "--format", "json")
    ticket = tmp_path / "report.json"
    ticket.write_text(redacted_once.out)
    assert redacted_once.code == 1 and "172.16.69.7" not in redacted_once.out
    for arguments in ((), ("--redact",)):
        again = imds_check("replay", ticket, *arguments)
        assert again.end == {**imds_check("replay", path).end, "host": "vm-1"}
        assert "REDACTED" in again.out
    assert imds_check("replay", ticket, "--redact", "--format", "json").out == redacted_once.out
    other = imds_check("replay", path, "--redact", "--format", "json")
    assert other.code == 1 and other.out != redacted_once.out


def test_check_redact_on_this_machine(tmp_path):
    host = Host(scenarios.LINUX_VM)
    url = "http://{}:{}".format(*host.listen())
    try:
        ran = imds_check("--imds-url", url, "--wireserver-url", url, "--redact", "--out", tmp_path)
    finally:
        host.close()
    (folder,) = tmp_path.iterdir()
    texts = [ran.out, *(path.read_text() for path in folder.iterdir())]
    vm = scenarios.LINUX_VM
    assert len(texts) == 3 and ran.end["host"].lower() == "vm-1"
    for name in (vm.vm_id, vm.name, vm.nics[0].mac, vm.nics[0].addresses[0], socket.gethostname()):
        found = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", re.IGNORECASE)
        assert len(name) < 4 or not any(map(found.search, texts)), (
            name
        )  # "vm" is a word of the reports'
