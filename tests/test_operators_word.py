"""--expected-mac and --expected-ip are typed by hand: what the platform itself answers outranks
them.
"""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from runcommand import redaction
from runcommand.diagnosis import diagnose
from runcommand.facts import (
    Body,
    Expected,
    InterfaceAddress,
    LinkState,
    Outcome,
    Trial,
    to_json,
)
from runcommand.facts.decoding import facts_from_json
from runcommand.report import text
from runcommand.simulator.scenarios import ETH0, ETH1, ETHERNET, ETHERNET2, LO, LOOPBACK, held, row

from .facts_of import BOTH, LINUX, WINDOWS, http, imds, metadata, wireserver

ON_BOTH = pytest.mark.parametrize("side", BOTH, ids=("windows", "linux"))
SAMPLES = sorted((Path(__file__).parents[1] / "samples" / "reports").glob("*.json"))
NOBODYS_MAC, NOBODYS_IP = "00-0D-3A-11-22-33", "20.1.2.3"
CHECK_FIRST = "Before you change anything, check the value"
MISMATCHES = {"nic-mac-mismatch", "nic-ip-mismatch"}


def recorded(path):
    """The facts of a sample, as if the operator had said nothing."""
    return replace(
        facts_from_json(json.loads(path.read_text("ascii"))["facts"]), expected=Expected()
    )


def is_answered(facts):
    """Whether IMDS gave its metadata, or the WireServer its versions. (Asked of the facts, not of
    the rules.)
    """
    tries = [
        *(facts.imds.attempts if facts.imds else ()),
        *(trial.exchange for trial in facts.differential or ()),
    ]
    return any(item and item.instance for item in tries) or bool(
        facts.wireserver and facts.wireserver.http.versions
    )


ALL = {path.stem: recorded(path) for path in SAMPLES}
ANSWERED = [name for name, facts in ALL.items() if is_answered(facts)]
SILENT = [name for name, facts in ALL.items() if not is_answered(facts)]


def words(facts):
    """Everything that an operator may say of a VM: what is true, what nobody has, what another NIC
    has.
    """
    macs, ips = [None, NOBODYS_MAC], [None, NOBODYS_IP]
    for adapter in facts.adapters or ():
        if adapter.kind != "loopback":
            macs += [adapter.mac] if adapter.mac else []
            ips += [item.address for item in adapter.addresses]
    return [
        Expected(mac, ip)
        for mac, ip in product(dict.fromkeys(macs), dict.fromkeys(ips))
        if mac or ip
    ]


def commands(diagnosis):
    return {
        fix.text
        for finding in diagnosis.findings
        for fix in finding.fix
        if fix.kind.value == "command"
    }


def outcome(diagnosis):
    primary = diagnosis.model.primary_nic
    return (
        diagnosis.verdict,
        diagnosis.cause,
        diagnosis.exit_code,
        primary and (primary.adapter, primary.ip),
    )


def mismatches(diagnosis):
    return {finding.cause: finding for finding in diagnosis.findings if finding.cause in MISMATCHES}


def identity(diagnosis):
    return next(check for check in diagnosis.checks if check.id == "nic.identity")


def says_it_is_mistaken(finding):
    assert (
        finding.severity.value == "warn"
        and "the value given is most likely mistyped, or belongs to" in finding.detail
    )
    (fix,) = finding.fix
    assert fix.kind.value == "advice" and fix.text.startswith(
        "Check the value given: az vm nic show"
    )


def nics_of(side):
    return (ETHERNET, ETHERNET2) if side is WINDOWS else (ETH0, ETH1)


# --- every recorded run, with everything that may be said of it ---


def test_the_samples_are_of_both_kinds():
    assert len(ANSWERED) > 50 and len(SILENT) >= 8


@pytest.mark.parametrize("name", ANSWERED)
def test_where_the_platform_answers_no_word_of_the_operator_changes_anything(name):
    facts = ALL[name]
    without = diagnose(facts)
    right = without.model.primary_nic
    for expected in words(facts):
        diagnosis = diagnose(replace(facts, expected=expected))
        assert outcome(diagnosis) == outcome(without), expected
        assert commands(diagnosis) == commands(without), expected
        wrong = set()
        if expected.mac not in (None, right.adapter.mac):
            wrong.add("nic-mac-mismatch")
        if expected.ip not in (None, right.ip):
            wrong.add("nic-ip-mismatch")
        found = mismatches(diagnosis)
        assert set(found) == wrong, expected
        for finding in found.values():
            says_it_is_mistaken(finding)
        assert identity(diagnosis).status.value == ("warn" if wrong else "ok")


@pytest.mark.parametrize("name", SILENT)
def test_where_nothing_answers_no_command_comes_of_it_before_the_word_to_check_it(name):
    facts = ALL[name]
    without = diagnose(facts)
    for expected in words(facts):
        diagnosis = diagnose(replace(facts, expected=expected))
        assert diagnosis.cause != "tool-failed"
        for finding in diagnosis.findings:
            own = {fix.text for fix in finding.fix if fix.kind.value == "command"}
            if own - commands(without):
                assert finding.fix[0].text.startswith(CHECK_FIRST), (expected, finding)


@pytest.mark.parametrize("name", SILENT)
def test_where_nothing_answers_a_word_that_says_what_the_leases_say_changes_no_fix(name):
    primary = diagnose(ALL[name]).model.primary_nic
    if primary.ip is None:
        expected = Expected(primary.adapter.mac)
    else:
        expected = Expected(primary.adapter.mac, primary.ip)
    without, diagnosis = diagnose(ALL[name]), diagnose(replace(ALL[name], expected=expected))
    assert outcome(diagnosis) == outcome(without) and commands(diagnosis) == commands(without)
    assert not any(
        fix.text.startswith(CHECK_FIRST) for finding in diagnosis.findings for fix in finding.fix
    )


@pytest.mark.parametrize(
    "name",
    ["firewall-blocks-imds", "route-wrong-interface-vpn", "healthy", "source-not-primary-ip"],
)
def test_a_redacted_run_is_judged_alike(name):
    for expected in words(ALL[name]):
        facts = replace(ALL[name], expected=expected)
        plain, hidden = diagnose(facts), diagnose(redaction.redacted(facts))
        assert (hidden.verdict, hidden.cause) == (plain.verdict, plain.cause)
        assert set(mismatches(hidden)) == set(mismatches(plain)), expected


# --- the inputs that brought this up ---


def test_a_mistyped_mac_does_not_hide_the_firewalls_rule():
    diagnosis = diagnose(
        replace(ALL["firewall-blocks-imds"], expected=Expected("00-0D-3A-E5-1C-C9"))
    )
    assert diagnosis.cause == "firewall-blocks-imds"
    assert not any("Set-NetAdapter" in line for line in commands(diagnosis))
    warning = mismatches(diagnosis)["nic-mac-mismatch"]
    assert warning.detail == (
        'Azure expects MAC 00-0D-3A-E5-1C-C9 (--expected-mac); the guest has "Ethernet" '
        "00-0D-3A-E5-1C-C0. But the WireServer "
        'answered "Ethernet" (172.16.69.7), so the value given is most likely mistyped, or belongs '
        "to another VM."
    )


@pytest.mark.parametrize(
    "expected", [Expected(ETH1.mac), Expected(ip="10.0.1.5"), Expected(ETH1.mac, "10.0.1.5")]
)
def test_the_second_nics_values_bring_no_route_through_it(expected):
    diagnosis = diagnose(replace(ALL["route-wrong-interface-vpn"], expected=expected))
    assert diagnosis.cause == "route-wrong-interface" and not any(
        "eth1" in line for line in commands(diagnosis)
    )
    assert "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0" in commands(diagnosis)


def test_a_healthy_vm_stays_healthy_and_the_report_shows_the_warning():
    diagnosis = diagnose(replace(ALL["healthy"], expected=Expected(NOBODYS_MAC)))
    report = text.portal(diagnosis)
    assert diagnosis.exit_code == 0 and "END IMDS-CHECK verdict=healthy cause=- exit=0" in report
    assert f"Azure expects MAC {NOBODYS_MAC} (--expected-mac)" in report
    assert (
        next(check for check in diagnosis.checks if check.id == "imds.metadata").status.value
        == "ok"
    )


# --- relatives ---


@ON_BOTH
def test_one_right_and_one_wrong_value_is_one_warning(side):
    nic, _ = nics_of(side)
    for facts in (side.healthy(), side.dark(), side.dark(proof=False)):
        wrong_ip = diagnose(replace(facts, expected=Expected(nic.mac, NOBODYS_IP)))
        wrong_mac = diagnose(replace(facts, expected=Expected(NOBODYS_MAC, side.ip)))
        assert (set(mismatches(wrong_ip)), set(mismatches(wrong_mac))) == (
            {"nic-ip-mismatch"},
            {"nic-mac-mismatch"},
        )
        for diagnosis in (wrong_ip, wrong_mac):
            assert outcome(diagnosis) == outcome(diagnose(facts)) and commands(
                diagnosis
            ) == commands(diagnose(facts))


@ON_BOTH
def test_a_secondary_address_as_expected_ip_never_becomes_the_source(side):
    nic, second = nics_of(side)
    other = f"{side.ip.rpartition('.')[0]}.8"
    nic = replace(nic, addresses=(*nic.addresses, replace(held(other), secondary=True)))
    adapters = (LOOPBACK if side is WINDOWS else LO, nic, second)
    for make in (side.healthy, side.dark, lambda **more: side.dark(proof=False, **more)):
        diagnosis = diagnose(make(adapters=adapters, expected=Expected(ip=other)))
        assert outcome(diagnosis) == outcome(diagnose(make(adapters=adapters)))
        assert commands(diagnosis) == commands(diagnose(make(adapters=adapters)))
        says_it_is_mistaken(mismatches(diagnosis)["nic-ip-mismatch"])
        assert f"{other} is an address of" in identity(diagnosis).summary


@ON_BOTH
def test_where_nothing_answers_a_secondary_address_is_believed_but_to_be_checked(side):
    nic, second = nics_of(side)
    other = f"{side.ip.rpartition('.')[0]}.8"
    nic = replace(nic, addresses=(*nic.addresses, held(other)))
    adapters = (LOOPBACK if side is WINDOWS else LO, nic, second)
    diagnosis = diagnose(side.silent(adapters=adapters, expected=Expected(ip=other)))
    assert diagnosis.cause == "source-not-primary-ip" and diagnosis.main.fix[0].text.startswith(
        CHECK_FIRST
    )


def test_the_mac_that_a_synthetic_nic_shares_with_its_virtual_function_is_right():
    function = replace(ETH0, index=9, name="enP1", driver="mlx5_core", master="eth0", addresses=())
    for order in ((LO, ETH0, function, ETH1), (LO, function, ETH0, ETH1)):
        facts = LINUX.dark(proof=False, adapters=order, expected=Expected(ETH0.mac))
        assert not mismatches(diagnose(facts)) and identity(diagnose(facts)).status.value == "ok"


def test_the_mac_of_a_nic_beneath_a_bridge_is_right():
    port = replace(ETH0, master="br0", addresses=())
    bridge = replace(
        ETH0, index=9, name="br0", kind="bridge", physical=False, mac="02-00-00-00-00-09"
    )
    facts = LINUX.healthy(adapters=(LO, port, bridge, ETH1), expected=Expected(ETH0.mac))
    assert not mismatches(diagnose(facts))


@ON_BOTH
def test_imds_own_report_of_other_macs_is_a_failure_whatever_the_operator_says(side):
    facts = side.healthy()
    strangers = tuple(
        replace(a, mac=a.mac and f"00-0D-3A-99-99-{a.index:02d}") for a in facts.adapters
    )
    for mac in (None, strangers[1].mac, NOBODYS_MAC):
        diagnosis = diagnose(replace(facts, adapters=strangers, expected=Expected(mac)))
        assert (diagnosis.verdict.value, diagnosis.cause) == ("degraded", "nic-mac-mismatch")
        assert (
            "(IMDS); the guest has" in diagnosis.main.detail
            and identity(diagnosis).status.value == "fail"
        )


@ON_BOTH
@pytest.mark.parametrize(
    "status, cause",
    [(429, "imds-throttled"), (403, "imds-access-denied"), (500, "imds-unavailable")],
)
def test_an_error_of_imds_itself_is_an_answer_too(side, status, cause):
    _nic, second = nics_of(side)
    facts = side.answers(http(side.ip, status, server="IMDS/150.870.65.1854"))
    facts = replace(facts, wireserver=wireserver(side.ip, Outcome.TIMED_OUT))
    for expected in (
        Expected(NOBODYS_MAC),
        Expected(ip=NOBODYS_IP),
        Expected(second.mac),
        Expected(ip=side.other),
    ):
        diagnosis = diagnose(replace(facts, expected=expected))
        assert diagnosis.cause == cause
        assert outcome(diagnosis) == outcome(diagnose(facts)) and commands(diagnosis) == commands(
            diagnose(facts)
        )
        (finding,) = mismatches(diagnosis).values()
        says_it_is_mistaken(finding)


@ON_BOTH
def test_an_error_of_something_else_is_none(side):
    nic, second = nics_of(side)
    facts = side.answers(
        http(side.other, 403, Body.JSON, server="nginx"),
        routes=(row("169.254.169.254/32", "10.1.0.1", second), *side.make().routes[1:]),
        lookups=None,
    )
    facts = replace(
        facts, wireserver=wireserver(side.ip, Outcome.TIMED_OUT), expected=Expected(nic.mac)
    )
    assert diagnose(facts).cause == "route-wrong-interface"


@ON_BOTH
def test_metadata_that_an_agent_on_the_vm_relays_refutes_a_mistyped_value(side):
    facts = side.answers(metadata("127.0.0.1", side.vm), expected=Expected(NOBODYS_MAC, NOBODYS_IP))
    facts = replace(facts, wireserver=None)
    diagnosis = diagnose(facts)
    assert (
        diagnosis.verdict.value == "healthy"
        and set(mismatches(diagnosis)) == MISMATCHES
        and not commands(diagnosis)
    )
    assert "IMDS answered this VM" in mismatches(diagnosis)["nic-mac-mismatch"].detail


def test_what_holds_the_address_of_imds_is_not_the_primary_nic():
    claimed = replace(ETH1, addresses=(*ETH1.addresses, held("169.254.169.254", 32)))
    facts = LINUX.healthy(adapters=(LO, ETH0, claimed))
    facts = replace(facts, imds=imds(metadata("169.254.169.254", LINUX.vm)), wireserver=None)
    primary = diagnose(facts).model.primary_nic
    assert (primary.adapter.name, primary.ip, primary.known_from.value) == (
        "eth0",
        "10.0.0.4",
        "dhcp-lease",
    )


def test_an_old_lease_is_no_mismatch_where_the_wireserver_answers():
    eth0 = replace(ETH0, addresses=(held("10.0.0.99"),))
    facts = replace(
        LINUX.dark("10.0.0.99", proof=False, adapters=(LO, eth0, ETH1)),
        wireserver=wireserver("10.0.0.99"),
    )
    assert diagnose(facts).cause == "imds-no-answer" and not mismatches(diagnose(facts))


# --- where nothing answers, the operator decides ---


@ON_BOTH
def test_the_operators_nic_is_the_primary_one_and_the_fix_says_to_check_it(side):
    _nic, second = nics_of(side)
    diagnosis = diagnose(side.silent(expected=Expected(second.mac)))
    assert diagnosis.cause == "route-wrong-interface" and second.name in diagnosis.main.detail
    assert "assumed because --expected-mac or --expected-ip names it" in diagnosis.main.detail
    assert diagnosis.main.fix[0].text.startswith(CHECK_FIRST) and len(commands(diagnosis)) > 1


@ON_BOTH
def test_the_operators_nic_that_is_down_is_named_and_to_be_checked(side):
    nic, second = nics_of(side)
    down = replace(second, state=LinkState.DOWN)
    facts = side.silent(adapters=(LOOPBACK if side is WINDOWS else LO, nic, down))
    for expected in (Expected(second.mac), Expected(ip=side.other)):
        diagnosis = diagnose(replace(facts, expected=expected))
        assert diagnosis.cause == "nic-down" and diagnosis.main.fix[0].text.startswith(CHECK_FIRST)
        with_an_answer = diagnose(replace(facts, expected=expected, wireserver=wireserver(side.ip)))
        assert with_an_answer.cause == "imds-no-answer"


def test_an_address_that_another_nic_holds_brings_no_command():
    diagnosis = diagnose(LINUX.silent(expected=Expected(ETH0.mac, "10.0.1.5")))
    assert (diagnosis.verdict.value, diagnosis.cause) == (
        "broken",
        "nic-ip-mismatch",
    ) and not commands(diagnosis)
    assert 'But "eth1" holds it' in diagnosis.main.detail and diagnosis.main.fix[0].text.startswith(
        CHECK_FIRST
    )


def test_a_mac_that_nobody_has_beside_an_address_that_a_nic_has_is_of_that_nic():
    diagnosis = diagnose(LINUX.silent(expected=Expected(NOBODYS_MAC, "10.0.0.4")))
    assert (
        diagnosis.cause == "nic-mac-mismatch"
        and diagnosis.model.primary_nic.known_from.value == "expected"
    )
    assert any(
        "ip link set dev eth0 address 00:0d:3a:11:22:33;" in line for line in commands(diagnosis)
    )


# --- the check ---


def test_the_check_says_what_is_the_same_and_what_differs():
    nic = ETHERNET
    for expected, status, summary in (
        (
            Expected(nic.mac, "172.16.69.7"),
            "ok",
            f"MAC {nic.mac} matches --expected-mac and IMDS; address 172.16.69.7 matches "
            "--expected-ip and IMDS",
        ),
        (
            Expected(),
            "ok",
            f"MAC {nic.mac} matches IMDS; address 172.16.69.7 matches IMDS",
        ),
        (
            Expected(ip=NOBODYS_IP),
            "warn",
            f"Azure expects address {NOBODYS_IP} (--expected-ip); the guest has 172.16.69.7 on "
            '"Ethernet"; '
            f"MAC {nic.mac} matches IMDS; address 172.16.69.7 matches IMDS",
        ),
    ):
        check = identity(diagnose(WINDOWS.healthy(expected=expected)))
        assert (check.status.value, check.summary) == (status, summary)


@ON_BOTH
def test_the_check_has_nothing_to_compare_with_where_nobody_says_anything(side):
    check = identity(diagnose(side.silent()))
    assert (check.status.value, check.summary) == (
        "skip",
        "nothing to compare with: give --expected-mac, --expected-ip",
    )


# --- answers without an address of a NIC, and answers that are no metadata ---


def without_a_nic(facts, local_address):
    """The same run, whose answers the guest proxy agent relayed (127.0.0.1), or whose local address
    is not known.
    """
    document = to_json(facts)
    exchanges = list((document["imds"] or {}).get("attempts", ()))
    exchanges += [
        trial["exchange"] for trial in document["differential"] or () if trial["exchange"]
    ]
    exchanges += [document["wireserver"]["http"]] if document["wireserver"] else []
    for exchange in exchanges:
        exchange["connection"]["local_address"] = local_address
    return facts_from_json(document)


@pytest.mark.parametrize("local_address", ["127.0.0.1", None])
@pytest.mark.parametrize("name", ANSWERED)
def test_answers_without_an_address_of_a_nic_leave_the_operators_word_no_say(name, local_address):
    facts = without_a_nic(ALL[name], local_address)
    alone = diagnose(facts)
    for said in words(facts):
        diagnosis = diagnose(replace(facts, expected=said))
        assert outcome(diagnosis) == outcome(alone), said
        assert commands(diagnosis) <= commands(alone), said


@pytest.mark.parametrize("status", [429, 503, 403])
def test_a_refusal_of_imds_in_the_differential_is_an_answer(status):
    facts = WINDOWS.silent()
    connection = replace(
        facts.imds.attempts[-1].connection, outcome=Outcome.ANSWERED, local_address=WINDOWS.ip
    )
    refusal = replace(
        facts.imds.attempts[-1],
        connection=connection,
        outcome=Outcome.HTTP,
        status=status,
        body=Body.JSON,
        server="IMDS/150.870.65.1103",
    )
    facts = replace(facts, differential=(Trial(connection, refusal),))
    diagnosis = diagnose(replace(facts, expected=Expected(mac=NOBODYS_MAC)))
    assert diagnosis.cause == diagnose(facts).cause and not commands(diagnosis) - commands(
        diagnose(facts)
    )
    assert f"IMDS answered HTTP {status}" in diagnosis.main.detail


def test_the_second_port_of_the_wireserver_is_an_answer_too():
    facts = WINDOWS.silent()
    plugin = replace(
        facts.wireserver.host_plugin, outcome=Outcome.ANSWERED, local_address=WINDOWS.ip
    )
    facts = replace(facts, wireserver=replace(facts.wireserver, host_plugin=plugin))
    diagnosis = diagnose(replace(facts, expected=Expected(mac=NOBODYS_MAC)))
    assert diagnosis.cause == diagnose(facts).cause and not commands(diagnosis) - commands(
        diagnose(facts)
    )


@pytest.mark.parametrize(
    "name", ["firewall-group-policy", "firewall-default-outbound", "firewall-nftables"]
)
def test_what_never_left_the_vm_is_not_explained_by_its_mac_or_address(name):
    facts = ALL[name]
    server = facts.wireserver
    silent = replace(
        server,
        http=replace(server.http, outcome=Outcome.TIMED_OUT, versions=(), status=None),
        host_plugin=replace(server.host_plugin, outcome=Outcome.TIMED_OUT),
    )
    facts = replace(facts, wireserver=silent)
    for said in (Expected(mac=NOBODYS_MAC), Expected(ip=NOBODYS_IP)):
        diagnosis = diagnose(replace(facts, expected=said))
        assert diagnosis.cause == "firewall-blocks-imds" and not commands(diagnosis) - commands(
            diagnose(facts)
        )


def test_an_address_of_a_bridge_is_not_the_primary_nics():
    docker = replace(
        ETH0,
        index=9,
        name="docker0",
        kind="bridge",
        physical=False,
        mac="02-42-AC-11-00-01",
        addresses=(InterfaceAddress("172.17.0.1", 16),),
        lease_address=None,
        lease_gateway=None,
        dhcp_server=None,
    )
    facts = LINUX.silent()
    facts = replace(facts, adapters=(*facts.adapters, docker), expected=Expected(ip="172.17.0.1"))
    assert not any("docker0" in command for command in commands(diagnose(facts)))
