"""The Windows firewall's rules as they stand in the registry: what each does to a connect to IMDS,
and by which page.
"""

from dataclasses import replace

import pytest

from runcommand.collect import Board, NoFact
from runcommand.diagnosis import diagnose
from runcommand.facts import (
    Firewall,
    FirewallMatch,
    FirewallPlace,
    FirewallProfile,
    MatchField,
    Outcome,
    RuleVerdict,
    Service,
    ServiceState,
)
from runcommand.firewall.record import IN_FORCE, NOT_KEPT, RULES, all_rules
from runcommand.model.model import Model
from runcommand.report import json_report, text
from runcommand.system.windows import LIVE, firewall, netfw, registry

from .facts_of import WINDOWS

PROTOCOLS = "https://learn.microsoft.com/openspecs/windows_protocols"
GPFAS = f"{PROTOCOLS}/ms-gpfas 2.2.2.19, firewall rule grammar"
ADDRESSES = f"{PROTOCOLS}/ms-gpfas 2.2.2.9, address grammar"
RULE = f"{PROTOCOLS}/ms-fasp 2.2.37, FW_RULE"
ACTION = f"{PROTOCOLS}/ms-fasp 2.2.34, FW_RULE_ACTION"
KEYWORDS = f"{PROTOCOLS}/ms-fasp 2.2.21, FW_ADDRESS_KEYWORD"
POWERSHELL = "https://learn.microsoft.com/powershell/module/netsecurity/new-netfirewallrule"
PRECEDENCE = "https://learn.microsoft.com/windows/security/operating-system-security/network-security/windows-firewall/rules"
WINE = "experiment: the same rule under Wine, tests/lab/registry.py"
IMDS = "169.254.169.254"
BLOCKS, MAY, ONLY, NO = "blocks", "may block", "only some", "no"
HEAD = "v2.31|Action=Block|Active=TRUE|Dir=Out|"
SVCHOST = r"App=%SystemRoot%\system32\svchost.exe|"

# (rule, what it does to TCP 80 of IMDS while the public profile is active, the page that says so)
TABLE = [
    # addresses
    (f"{HEAD}Protocol=6|RPort=80|RA4={IMDS}|Name=a|", BLOCKS, RULE),
    (f"{HEAD}RA4={IMDS}|Name=a|", BLOCKS, RULE),
    (f"{HEAD}Name=a|", BLOCKS, RULE),
    (f"{HEAD}RA4=10.0.0.1|RA4={IMDS}|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}RA4=169.254.0.0-169.254.255.255|Name=a|", BLOCKS, ADDRESSES),
    (f"{HEAD}RA4={IMDS}-{IMDS}|Name=a|", BLOCKS, ADDRESSES),
    (f"{HEAD}RA4=169.254.0.0/255.255.0.0|Name=a|", BLOCKS, ADDRESSES),
    (f"{HEAD}RA4=169.254.169.254/255.255.255.255|Name=a|", BLOCKS, ADDRESSES),
    (f"{HEAD}RA4=169.254.169.0/24|Name=a|", BLOCKS, ADDRESSES),
    (f"{HEAD}RA4=0.0.0.0-255.255.255.255|Name=a|", BLOCKS, ADDRESSES),
    (
        f"{HEAD}RA4=0.0.0.0-169.254.169.253|RA4=169.254.169.255-255.255.255.255|Name=a|",
        NO,
        ADDRESSES,
    ),
    (f"{HEAD}RA4=169.254.169.253|Name=a|", NO, ADDRESSES),
    (f"{HEAD}RA4=169.254.170.0/255.255.255.0|Name=a|", NO, ADDRESSES),
    (f"{HEAD}RA4=10.0.0.0/8|RA4=192.168.0.0/16|Name=a|", NO, ADDRESSES),
    (f"{HEAD}RA4=LocalSubnet|RA6=LocalSubnet|Name=a|", NO, KEYWORDS),
    (f"{HEAD}RA4=DefaultGateway|Name=a|", NO, KEYWORDS),
    (f"{HEAD}RA4=DNS|RA4=WINS|RA4=DHCP|Name=a|", NO, KEYWORDS),
    (f"{HEAD}RA42=IntErnet|RA62=IntErnet|Name=a|", MAY, KEYWORDS),
    (f"{HEAD}RA42=IntrAnet|Name=a|", MAY, KEYWORDS),
    (f"{HEAD}RA42=RmtIntrAnet|RA4={IMDS}|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}RA42=Ply2Renders|RA62=Ply2Renders|Name=a|", NO, KEYWORDS),
    (f"{HEAD}RA6=fe80::/64|Name=a|", NO, RULE),
    (f"{HEAD}RA6=2001:db8::1|RA4={IMDS}|Name=a|", BLOCKS, RULE),
    (f"{HEAD}RA4=nonsense|Name=a|", MAY, WINE),
    (f"{HEAD}RA4=169.254.169.254/0.255.0.255|Name=a|", MAY, ADDRESSES),
    (f"{HEAD}LA4=172.16.69.7|Name=a|", BLOCKS, RULE),
    (f"{HEAD}LA4=10.9.9.9|Name=a|", NO, RULE),
    # protocol and ports
    (f"{HEAD}Protocol=6|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}Protocol=17|Name=a|", NO, GPFAS),
    (f"{HEAD}Protocol=0|Name=a|", NO, GPFAS),
    (f"{HEAD}Protocol=1|ICMP4=8:*|Name=a|", NO, GPFAS),
    (f"{HEAD}Protocol=256|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}Protocol=tcp|rport=80,443|Name=a|", BLOCKS, WINE),
    (f"{HEAD}Protocol=6|RPort=443|RPort=80|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}Protocol=6|RPort=443|Name=a|", NO, GPFAS),
    (f"{HEAD}Protocol=6|RPort=3389|RPort2_10=21-79|Name=a|", NO, GPFAS),
    (f"{HEAD}Protocol=6|RPort2_10=1-1024|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}Protocol=6|RPort2_10=0-79|RPort2_10=81-65535|Name=a|", NO, GPFAS),
    (f"{HEAD}Protocol=6|RPort2_10=IPTLSOut|RPort2_10=IPHTTPSOut|Name=a|", MAY, GPFAS),
    (f"{HEAD}Protocol=6|LPort2_10=1-1000|Name=a|", NO, GPFAS),
    (f"{HEAD}Protocol=6|LPort2_10=1024-65535|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}Protocol=6|LPort2_10=49152-50000|Name=a|", MAY, GPFAS),
    # profiles
    (f"{HEAD}Profile=Public|RA4={IMDS}|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}Profile=Domain|Profile=Private|Profile=Public|RA4={IMDS}|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}Profile=Domain|RA4={IMDS}|Name=a|", NO, GPFAS),
    (f"{HEAD}Profile=Domain|Profile=Private|RA4={IMDS}|Name=a|", NO, GPFAS),
    # active, direction, action
    (f"v2.31|Action=Block|Active=FALSE|Dir=Out|RA4={IMDS}|Name=a|", NO, GPFAS),
    (f"v2.31|Action=Block|Dir=Out|RA4={IMDS}|Name=a|", NO, GPFAS),
    (f"v2.31|Action=Block|Active=TRUE|Dir=In|RA4={IMDS}|Name=a|", NO, GPFAS),
    (f"v2.31|Action=Block|Active=TRUE|RA4={IMDS}|Name=a|", NO, RULE),
    (f"v2.31|Action=Allow|Active=TRUE|Dir=Out|RA4={IMDS}|Name=a|", NO, ACTION),
    (f"v2.31|Active=TRUE|Dir=Out|RA4={IMDS}|Name=a|", NO, RULE),
    (f"V2.10|dir=OUT|ACTION=block|active=True|ra4={IMDS}|name=a|", BLOCKS, GPFAS),
    # one program, service, user, app
    (rf"{HEAD}RA4={IMDS}|App=C:\Windows\System32\curl.exe|Name=a|", ONLY, POWERSHELL),
    (f"{HEAD}{SVCHOST}Svc=DiagTrack|Name=a|", ONLY, POWERSHELL),
    (f"{HEAD}{SVCHOST}Svc==Display|Name=a|", ONLY, WINE),
    (f"{HEAD}Svc=*|RA4={IMDS}|Name=a|", ONLY, POWERSHELL),
    (f"{HEAD}RA4={IMDS}|LUAuth=O:LSD:(A;;CC;;;S-1-5-21-1-2-3-1001)|Name=a|", ONLY, POWERSHELL),
    (
        f"{HEAD}RA4={IMDS}|LUAuth=O:LSD:(D;;CC;;;S-1-5-32-544)(A;;CC;;;S-1-1-0)|Name=a|",
        ONLY,
        POWERSHELL,
    ),
    (f"{HEAD}RA4={IMDS}|LUAuth=O:LSD:(A;;CC;;;WD)|Name=a|", BLOCKS, POWERSHELL),
    (f"{HEAD}RA4={IMDS}|LUOwn=S-1-5-21-1-2-3-1001|Name=a|", ONLY, POWERSHELL),
    (
        f"{HEAD}AppPkgId=S-1-15-2-1-2-3-4-5-6-7|Platform=2:6:2|Platform2=GTEQ|Name=a|",
        ONLY,
        POWERSHELL,
    ),
    (f"{HEAD}PFN=Contoso.App_8wekyb3d8bbwe|Name=a|", ONLY, RULE),
    # interfaces, platforms, and what is newer or unknown
    (f"{HEAD}IFType=Lan|RA4={IMDS}|Name=a|", BLOCKS, POWERSHELL),
    (f"{HEAD}IFType=Wireless|IFType=RemoteAccess|Name=a|", NO, POWERSHELL),
    (f"{HEAD}IF={{4D36E972-E325-11CE-BFC1-08002BE10318}}|Name=a|", MAY, POWERSHELL),
    (f"{HEAD}RA4={IMDS}|Platform=2:6:1|Platform2=GTEQ|Name=a|", BLOCKS, GPFAS),
    (f"{HEAD}RA4={IMDS}|Platform=2:6:1|Name=a|", MAY, GPFAS),
    (f"{HEAD}RA4={IMDS}|Quux=1|Name=a|", MAY, RULE),
    (f"{HEAD}RA4={IMDS}|TTK2_22=WFDDisplay|Name=a|", MAY, GPFAS),
    (f"v2.99|Action=Block|Active=TRUE|Dir=Out|RA4={IMDS}|Name=a|", BLOCKS, GPFAS),
    (f"v3.0|Action=Block|Active=TRUE|Dir=Out|RA4={IMDS}|Name=a|", NO, GPFAS),
    (f"Action=Block|Active=TRUE|Dir=Out|RA4={IMDS}|Name=a|", NO, GPFAS),
    (
        f"{HEAD}RA4={IMDS}|Edge=TRUE|Defer=App|LSM=TRUE|EmbedCtxt=x|Desc=@x.dll,-1|Name=a|",
        BLOCKS,
        GPFAS,
    ),
]


def facts_with(*values, place=FirewallPlace.LOCAL, profiles=None, active_from="test", **more):
    """A VM whose connect is forbidden, with these rules."""
    rules = []
    for number, value in enumerate(values):
        fields = firewall.split(value)
        if fields is not None and firewall.state_of(fields, place) == IN_FORCE:
            rules.append(firewall.parse(f"{{{number}}}", fields, place))
    default = tuple(
        FirewallProfile(
            name, enabled=True, active=name == "public", default_outbound=RuleVerdict.ALLOW
        )
        for name in ("domain", "private", "public")
    )
    wall = Firewall(
        tuple(rules), profiles=profiles or default, active_from=active_from, sources=("local",)
    )
    return replace(WINDOWS.dark(outcome=Outcome.FORBIDDEN, proof=False, **more), firewall=wall)


def does(facts):
    found = Model(facts).filtering.to_imds
    return BLOCKS if found.blocked else MAY if found.possible else ONLY if found.limited else NO


@pytest.mark.parametrize("value, expected, source", TABLE, ids=[f"{n}" for n in range(len(TABLE))])
def test_what_a_rule_does(value, expected, source):
    assert does(facts_with(value)) == expected, source


def test_a_rule_with_more_unknown_conditions_than_are_kept_is_as_doubtful_and_says_so():
    unknown = "".join(f"Quux{n}={n}|" for n in range(firewall.UNDECIDED_KEPT + 5))
    facts = facts_with(f"{HEAD}RA4={IMDS}|{unknown}Name=a|")
    assert does(facts) == MAY
    matches = facts.firewall.rules[0].matches
    assert len(matches) == firewall.UNDECIDED_KEPT + 2
    assert matches[-1] == FirewallMatch(MatchField.OTHER, ("5 more conditions",))


def test_the_table_is_as_long_as_promised():
    assert len(TABLE) >= 60 and len({value for value, _, _ in TABLE}) == len(TABLE)


BLOCK = f"{HEAD}Protocol=6|RPort=80|RA4={IMDS}|Name=Block metadata|"
ALLOW = BLOCK.replace("Action=Block", "Action=Allow")


def profile(name="public", enabled=True, active=True, outbound=RuleVerdict.ALLOW, **more):
    return FirewallProfile(name, enabled, active, outbound, **more)


@pytest.mark.parametrize(
    "values, more, expected, source",
    [
        ((BLOCK, ALLOW), {}, BLOCKS, PRECEDENCE),
        ((BLOCK, ALLOW.replace("Action=Allow", "Action=ByPass")), {}, MAY, ACTION),
        ((BLOCK, f"{ALLOW}Security=Authenticate|AuthByPassOut=TRUE|"), {}, MAY, ACTION),
        (
            (BLOCK, ALLOW.replace("Action=Allow", "Action=ByPass").replace(IMDS, "10.0.0.1")),
            {},
            BLOCKS,
            ACTION,
        ),
        ((BLOCK,), {"profiles": (profile(enabled=False),)}, NO, RULE),
        ((BLOCK,), {"profiles": (profile(enabled=False), profile("domain"))}, MAY, RULE),
        ((BLOCK,), {"profiles": (profile(local_rules=False),)}, NO, PRECEDENCE),
        (
            (BLOCK,),
            {"profiles": (profile(local_rules=False),), "place": FirewallPlace.GROUP_POLICY},
            BLOCKS,
            PRECEDENCE,
        ),
        ((BLOCK,), {"profiles": (profile(active=None),), "active_from": None}, BLOCKS, GPFAS),
        (
            (BLOCK.replace("RA4", "Profile=Public|RA4"),),
            {"profiles": (profile(active=None),), "active_from": None},
            MAY,
            GPFAS,
        ),
        (
            (BLOCK.replace("RA4", "Profile=Public|RA4"),),
            {"profiles": (profile(), profile("domain"))},
            MAY,
            GPFAS,
        ),
        ((), {"profiles": (profile(outbound=RuleVerdict.BLOCK),)}, BLOCKS, PRECEDENCE),
        ((ALLOW,), {"profiles": (profile(outbound=RuleVerdict.BLOCK),)}, NO, PRECEDENCE),
        (
            (f"{ALLOW}App=C:\\curl.exe|",),
            {"profiles": (profile(outbound=RuleVerdict.BLOCK),)},
            BLOCKS,
            PRECEDENCE,
        ),
        (
            (f"{ALLOW}Security=Authenticate|",),
            {"profiles": (profile(outbound=RuleVerdict.BLOCK),)},
            MAY,
            POWERSHELL,
        ),
        (
            (ALLOW.replace(f"RA4={IMDS}", "RA42=IntErnet"),),
            {"profiles": (profile(outbound=RuleVerdict.BLOCK),)},
            MAY,
            KEYWORDS,
        ),
        (
            (),
            {"profiles": (profile(outbound=RuleVerdict.BLOCK), profile("domain"))},
            MAY,
            PRECEDENCE,
        ),
        ((), {"profiles": (profile(enabled=False, outbound=RuleVerdict.BLOCK),)}, NO, RULE),
        ((BLOCK,), {"services": (Service("MpsSvc", ServiceState.STOPPED, "disabled"),)}, NO, RULE),
        ((BLOCK,), {"services": (Service("MpsSvc", ServiceState.UNKNOWN),)}, BLOCKS, RULE),
    ],
)
def test_what_rules_and_profiles_come_to(values, more, expected, source):
    assert does(facts_with(*values, **more)) == expected, source


def test_a_service_that_is_not_known_leaves_a_doubt_unless_the_connect_is_forbidden():
    facts = facts_with(BLOCK, services=())
    assert does(facts) == BLOCKS
    assert does(replace(WINDOWS.dark(proof=False, services=()), firewall=facts.firewall)) == MAY


# --- what is said, and how it is mended ---


def commands(diagnosis):
    return [fix.text for fix in diagnosis.main.fix if fix.kind.value == "command"]


def found(*values, **more):
    facts = facts_with(*values, **more)
    unique = more.get("unique", True)
    rules = tuple(replace(rule, is_name_unique=unique) for rule in facts.firewall.rules)
    return diagnose(replace(facts, firewall=replace(facts.firewall, rules=rules)))


def test_a_local_rule_and_a_default_block_are_mended_at_once():
    facts = facts_with(BLOCK, profiles=(profile(outbound=RuleVerdict.BLOCK),))
    made = commands(diagnose(facts))
    assert [text.split(" rule ")[0] for text in made] == [
        "netsh advfirewall firewall set",
        "netsh advfirewall firewall add",
    ]


def test_a_rule_for_the_address_alone_is_switched_off():
    diagnosis = found(BLOCK)
    assert (diagnosis.verdict.value, diagnosis.cause) == ("broken", "firewall-blocks-imds")
    assert '"Block metadata" (local policy)' in diagnosis.main.detail
    assert commands(diagnosis) == [
        'netsh advfirewall firewall set rule name="Block metadata" dir=out new enable=no'
    ]


def test_a_broader_rule_keeps_all_but_the_addresses():
    (command,) = commands(found(f"{HEAD}Protocol=6|RPort=80|Name=No web|"))
    assert command == (
        'netsh advfirewall firewall set rule name="No web" dir=out new '
        "remoteip=0.0.0.0-168.63.129.15,168.63.129.17-169.254.169.253,169.254.169.255-255.255.255.255,::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    )


@pytest.mark.parametrize(
    "conditions",
    ["RA42=RmtIntrAnet|", "".join(f"RA4=169.{n}.0.0-169.{n}.9.9|" for n in range(100))],
)
def test_where_the_rest_cannot_be_told_or_is_too_long_it_is_done_by_hand(conditions):
    diagnosis = found(f"{HEAD}{conditions}RA4=169.254.0.0/255.255.0.0|Name=No web|")
    assert (
        diagnosis.cause == "firewall-blocks-imds"
        and not commands(diagnosis)
        and "deliberate" in diagnosis.main.fix[0].text
        and "In wf.msc" in diagnosis.main.fix[1].text
    )


def test_what_the_rule_says_of_ipv6_is_kept():
    (command,) = commands(found(f"{HEAD}RA6=fe80::/10|RA4={IMDS}|Name=No web|"))
    assert command.endswith("new remoteip=fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff")


@pytest.mark.parametrize(
    "name", ["all", "Bl\u00f6ck", 'a"b', "@FirewallAPI.dll,-25427", "a|b;c", "%PATH%", "x&y"]
)
def test_a_name_that_cannot_be_pasted_is_replaced_by_the_id(name):
    facts = facts_with(BLOCK)
    rule = replace(facts.firewall.rules[0], name=name, id="{6E1C1C4B-2B33}")
    (command,) = commands(diagnose(replace(facts, firewall=replace(facts.firewall, rules=(rule,)))))
    assert command == "Disable-NetFirewallRule -Name '{6E1C1C4B-2B33}'"


def test_a_name_that_several_rules_have_is_replaced_by_the_id():
    facts = facts_with(BLOCK)
    rule = replace(facts.firewall.rules[0], is_name_unique=False)
    (command,) = commands(diagnose(replace(facts, firewall=replace(facts.firewall, rules=(rule,)))))
    assert command == "Disable-NetFirewallRule -Name '{0}'"


def test_group_policy_is_changed_in_the_policy():
    diagnosis = found(BLOCK, place=FirewallPlace.GROUP_POLICY)
    assert (
        "Group Policy sets this" in diagnosis.main.fix[0].text
        and '"Block metadata"' in diagnosis.main.fix[0].text
    )
    assert "gpupdate /target:computer /force" in commands(diagnosis)
    assert not any("netsh" in command for command in commands(diagnosis))


@pytest.mark.parametrize(
    "place, word", [(FirewallPlace.MDM, "Intune"), (FirewallPlace.APP_ISOLATION, "product")]
)
def test_other_places_have_words_of_their_own(place, word):
    fixes = found(BLOCK, place=place).main.fix
    assert any(word in fix.text for fix in fixes) and "ask" in fixes[0].text


def test_a_default_block_is_answered_by_an_allow():
    (command,) = commands(found(profiles=(profile(outbound=RuleVerdict.BLOCK),)))
    assert command.startswith(
        'netsh advfirewall firewall add rule name="Azure platform" dir=out action=allow'
    )
    assert "169.254.169.254,168.63.129.16" in command and "80,32526" in command


def test_where_local_rules_are_off_an_allow_of_ones_own_is_no_fix():
    block = profile(outbound=RuleVerdict.BLOCK, local_rules=False)
    diagnosis = found(profiles=(block,))
    assert diagnosis.cause == "firewall-blocks-imds" and not commands(diagnosis)


def test_what_may_block_is_a_warning_and_says_why():
    diagnosis = diagnose(facts_with(f"{HEAD}RA42=IntErnet|Name=No internet|"))
    warning = next(
        finding for finding in diagnosis.findings if finding.cause == "firewall-blocks-imds"
    )
    assert diagnosis.cause == "firewall-unknown" and warning.severity.value == "warn"
    assert "may block" in warning.detail and "IntErnet" in warning.detail


def test_what_hits_one_program_is_told_for_what_it_is():
    facts = facts_with(rf"{HEAD}RA4={IMDS}|App=C:\Tools\curl.exe|Name=No curl|")
    (warning,) = [item for item in diagnose(facts).findings if item.cause == "firewall-blocks-imds"]
    assert warning.severity.value == "warn" and "only the program curl.exe" in warning.detail


def test_a_rule_that_works_for_others_is_no_fault_when_imds_answers():
    facts = replace(WINDOWS.healthy(), firewall=facts_with(BLOCK).firewall)
    diagnosis = diagnose(facts)
    assert diagnosis.verdict.value == "healthy"
    assert (
        "IMDS answers nonetheless" in diagnosis.findings[0].detail and not diagnosis.findings[0].fix
    )


def test_windows_own_restrictions_of_services_are_not_worth_a_word():
    value = f"V2.0|Action=Block|Dir=Out|{SVCHOST}Svc=BFE|Name=Block any other traffic|"
    facts = facts_with(value, place=FirewallPlace.APP_ISOLATION)
    assert facts.firewall.rules and does(facts) == NO
    diagnosis = diagnose(replace(WINDOWS.healthy(), firewall=facts.firewall))
    assert not diagnosis.findings


# --- the registry ---


def tree(mocker, keys):
    """A registry of these keys: {key: {name: value}}."""

    def values(key, root=registry.Root.MACHINE):
        if key not in keys:
            raise registry.NoKey(f"{key}: no such key")
        if isinstance(keys[key], Exception):
            raise keys[key]
        return keys[key]

    mocker.patch.object(registry, "values", side_effect=values)
    mocker.patch.object(registry, "subkeys", side_effect=registry.NoKey("no NetworkList"))
    mocker.patch.object(netfw, "active_profiles", return_value=frozenset(["public"]))


LOCAL, POLICY = firewall.LOCAL, firewall.POLICY


def test_all_stores_are_read_and_the_place_is_kept(mocker):
    keys = {key: {f"r{n}": BLOCK} for n, (key, _) in enumerate(firewall.STORES)}
    tree(mocker, keys)
    read = firewall.collect(LIVE, Board(5))
    assert [rule.place for rule in read.rules] == [place for _, place in firewall.STORES]
    assert not any(rule.is_name_unique for rule in read.rules)


def test_rules_that_cannot_concern_the_platform_are_kept_as_lines(mocker):
    values = {
        "a": BLOCK,
        "b": BLOCK.replace(IMDS, "10.0.0.1"),
        "c": BLOCK.replace("TRUE", "FALSE"),
        "d": BLOCK.replace("Dir=Out", "Dir=In"),
        "e": BLOCK.replace("Action=Block|", ""),
    }
    tree(mocker, {f"{LOCAL}\\FirewallRules": values})
    read = firewall.collect(LIVE, Board(5))
    assert [rule.id for rule in read.rules] == ["a"] and read.rules_read == 5
    everything = all_rules(read)
    assert [rule.id for rule in everything.rules] == list(values)
    assert everything.states == ["", "", "off", "in", ""]
    assert everything.rules[1].matches[-1].values == ("10.0.0.1",)
    assert not any(rule.is_name_unique for rule in everything.rules)


def test_more_rules_than_the_report_holds_are_counted_and_nothing_else_changes(mocker):
    other = BLOCK.replace(IMDS, "10.0.0.1")
    values = {f"r{number}": other for number in range(20_000)}
    tree(mocker, {f"{LOCAL}\\FirewallRules": {**values, "a": BLOCK}})
    board = Board(5)
    read = firewall.collect(LIVE, board)
    (note,) = board.notes()
    assert note.text == f"{NOT_KEPT}: {read.lines_cut}" and 0 < read.lines_cut < 20_000
    facts = replace(facts_with(BLOCK), firewall=read, notes=board.notes())
    diagnosis = diagnose(facts)
    assert diagnosis.cause == "firewall-blocks-imds" and not diagnosis.model.filtering.left_out
    assert len(json_report.as_json(diagnosis)) < 2_000_000
    assert text.full(diagnosis).count("r19") == 0


def test_what_cannot_be_read_is_counted_and_told(mocker):
    values = {
        "a": 7,
        "b": b"\0\1",
        "c": None,
        "d": ["x"],
        "e": "",
        "f": "v2.31",
        "g": "x" * 20000,
        "h": BLOCK,
    }
    tree(mocker, {f"{LOCAL}\\FirewallRules": values})
    board = Board(5)
    assert [rule.id for rule in firewall.collect(LIVE, board).rules] == ["h"]
    assert "of 8 rules" in board.notes()[0].text


def test_a_store_that_may_not_be_read_is_told_and_the_others_count(mocker):
    tree(
        mocker,
        {
            f"{LOCAL}\\FirewallRules": {"a": BLOCK},
            f"{POLICY}\\FirewallRules": NoFact("Access is denied"),
        },
    )
    board = Board(5)
    assert len(firewall.collect(LIVE, board).rules) == 1 and "denied" in board.notes()[0].text


def test_neither_rules_nor_profiles_are_no_fact(mocker):
    tree(mocker, {})
    with pytest.raises(NoFact):
        firewall.collect(LIVE, Board(5))


def test_more_rules_than_are_kept_are_told_and_allows_go_first(mocker):
    many = {f"a{n}": ALLOW for n in range(RULES)}
    tree(mocker, {f"{LOCAL}\\FirewallRules": {**many, "b": BLOCK}})
    board = Board(5)
    read = firewall.collect(LIVE, board)
    assert (
        len(read.rules) == RULES and read.rules[0].id == "b" and "left out" in board.notes()[0].text
    )


@pytest.mark.parametrize(
    "keys, expected",
    [
        (
            {f"{LOCAL}\\PublicProfile": {"EnableFirewall": 0}},
            (False, None, FirewallPlace.LOCAL, True),
        ),
        (
            {
                f"{LOCAL}\\PublicProfile": {"EnableFirewall": 0},
                f"{POLICY}\\PublicProfile": {"EnableFirewall": 1},
            },
            (True, None, FirewallPlace.LOCAL, True),
        ),
        (
            {f"{POLICY}\\PublicProfile": {"DefaultOutboundAction": 1, "AllowLocalPolicyMerge": 0}},
            (None, RuleVerdict.BLOCK, FirewallPlace.GROUP_POLICY, False),
        ),
        (
            {f"{LOCAL}\\PublicProfile": {"AllowLocalPolicyMerge": 0}},
            (None, None, FirewallPlace.LOCAL, True),
        ),
        (
            {f"{firewall.MDM}\\PublicProfile": {"AllowLocalPolicyMerge": 0}},
            (None, None, FirewallPlace.LOCAL, False),
        ),
        (
            {f"{POLICY}\\StandardProfile": {"EnableFirewall": 0}},
            (False, None, FirewallPlace.LOCAL, True),
        ),
        (
            {
                f"{POLICY}\\StandardProfile": {"EnableFirewall": 0},
                f"{POLICY}\\PrivateProfile": {"EnableFirewall": 1},
            },
            (None, None, FirewallPlace.LOCAL, True),
        ),
        (
            {f"{LOCAL}\\PublicProfile": {"EnableFirewall": "0", "DefaultOutboundAction": b"\1"}},
            (None, None, FirewallPlace.LOCAL, True),
        ),
        (
            {f"{LOCAL}\\PublicProfile": {"DefaultOutboundAction": 7}},
            (None, None, FirewallPlace.LOCAL, True),
        ),
    ],
)
def test_the_policy_that_counts(keys, expected):
    public = firewall.profiles(None, lambda key: keys.get(key, {}))[2]
    assert (
        public.enabled,
        public.default_outbound,
        public.default_place,
        public.local_rules,
    ) == expected


def test_the_local_private_profile_is_called_standard():
    private = firewall.profiles(
        None, lambda key: {"EnableFirewall": 0} if key.endswith("StandardProfile") else {}
    )[1]
    assert private.enabled is False


@pytest.mark.parametrize(
    "categories, expected",
    [
        ([0, 0], "public"),
        ([1], "private"),
        ([2], "domain"),
        ([0, 1], None),
        ([], None),
        (["x"], None),
    ],
)
def test_without_the_interface_the_known_networks_tell_the_profile(mocker, categories, expected):
    mocker.patch.object(
        netfw, "active_profiles", side_effect=NoFact("INetFwPolicy2: error 2147500033")
    )
    mocker.patch.object(registry, "subkeys", return_value=[str(n) for n in range(len(categories))])
    mocker.patch.object(
        registry,
        "values",
        side_effect=lambda key, root: {"Category": categories[int(key.rpartition("\\")[2])]},
    )
    board = Board(5)
    active, source = firewall.active_profiles(LIVE, board)
    assert (active, source) == (
        (frozenset([expected]), "NetworkList") if expected else (None, None)
    )
    assert bool(board.notes()) is (expected is None)


def test_the_second_form_of_a_users_condition_is_base64():
    import base64

    encoded = base64.b64encode("O:LSD:(A;;CC;;;WD)".encode("utf-16-le")).decode()
    rule = firewall.parse(
        "a", firewall.split(f"{HEAD}LUAuth2_24={encoded}|Name=a|"), FirewallPlace.LOCAL
    )
    assert [match.values for match in rule.matches if match.field is MatchField.USER] == [
        ("O:LSD:(A;;CC;;;WD)",)
    ]
    broken = firewall.parse(
        "a", firewall.split(f"{HEAD}LUAuth2_24=@@@|Name=a|"), FirewallPlace.LOCAL
    )
    assert [match.values for match in broken.matches if match.field is MatchField.USER] == [
        ("@@@",)
    ]
