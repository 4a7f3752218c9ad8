"""The real thing: a VM and a host in network namespaces, broken in every way, diagnosed, mended and
diagnosed again.
"""

import json
import re

import pytest

from runcommand.facts import to_json
from runcommand.facts.decoding import facts_from_json

from .lab.linux import LINUX
from .lab.namespace import IMDS, Lab, why_not
from .lab.run import run_all

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"the lab cannot run: {why_not()}")
NAMES = [scenario.name for scenario in LINUX]


@pytest.fixture(scope="module")
def results():
    return dict(zip(NAMES, run_all(LINUX)))


@pytest.mark.parametrize("scenario", LINUX, ids=NAMES)
def test_verdict_cause_and_fix(results, scenario):
    result = results[scenario.name]
    assert scenario.is_right(result.report), result.report["findings"]
    if scenario.heals:
        assert result.after == "healthy" and result.executed > 0, result.report["findings"][0][
            "fix"
        ]
    assert result.right


def test_no_two_scenarios_share_a_name():
    assert len(set(NAMES)) == len(NAMES)


def test_the_facts_agree_with_ip_in_the_same_namespace(results):
    with Lab() as lab:
        lab.vm("ip addr add 10.0.0.5/24 dev eth0")
        lab.vm(f"ip route add unreachable {IMDS}/32 metric 7 table 50")
        lab.vm("ip rule add pref 90 to 10.9.0.0/16 lookup 50")
        facts = lab.diagnose()[0]["facts"]
        links = json.loads(lab.vm("ip -j addr show"))
        rows = json.loads(lab.vm("ip -4 -j route show table all"))
        rules = json.loads(lab.vm("ip -4 -j rule show"))
    assert {a["name"]: (a["index"], a["mac"]) for a in facts["adapters"]} == {
        link["ifname"]: (
            link["ifindex"],
            None if link["ifname"] == "lo" else link["address"].replace(":", "-").upper(),
        )
        for link in links
    }
    eth0 = next(adapter for adapter in facts["adapters"] if adapter["name"] == "eth0")
    assert [(a["address"], a["prefix"], a["secondary"]) for a in eth0["addresses"]] == [
        ("10.0.0.4", 24, False),
        ("10.0.0.5", 24, True),
    ]
    assert (eth0["dhcp_server"], eth0["lease_address"], eth0["lease_gateway"]) == (
        "168.63.129.16",
        "10.0.0.4",
        "10.0.0.1",
    )
    kept = [row for row in rows if row.get("type") != "broadcast"]
    assert len(facts["routes"]) == len(kept)
    assert any(
        (r["kind"], r["table"], r["metric"], r["destination"])
        == ("unreachable", "50", 7, f"{IMDS}/32")
        for r in facts["routes"]
    )
    assert [rule["priority"] for rule in facts["routing_rules"]] == [
        rule["priority"] for rule in rules
    ]
    assert to_json(facts_from_json(facts)) == facts
    machine = facts["machine"]
    assert (machine["asset_tag"], machine["elevated"]) == ("7783-7084-3265-9085-8269-3286-77", True)
    assert [service["name"] for service in facts["services"]] == ["walinuxagent"]


def test_a_healthy_run_sends_imds_three_requests_and_keeps_the_pace():
    with Lab() as lab:
        lab.diagnose()
        asked = [path for _, path in lab.requests() if path.startswith("/metadata/")]
    assert asked == ["/metadata/instance", "/metadata/attested/document", "/metadata/identity/info"]


def test_the_differential_names_address_and_device():
    with Lab() as lab:
        lab.vm(f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1")
        report, _ = lab.diagnose()
    proof = next(trial for trial in report["facts"]["differential"] if trial["exchange"])
    assert (proof["connection"]["local_address"], proof["connection"]["device"]) == (
        "10.0.0.4",
        "eth0",
    )
    assert proof["exchange"]["instance"]["name"] == "labvm"
    assert report["primary_nic"] == {
        "name": "eth0",
        "mac": "00-0D-3A-7F-20-04",
        "ip": "10.0.0.4",
        "known_from": "imds-answer",
    }


def test_a_dead_next_hop_is_seen_in_the_neighbour_table():
    with Lab() as lab:
        lab.vm(f"ip route replace {IMDS}/32 via 10.0.0.99 dev eth0")
        report, _ = lab.diagnose()
    assert re.search(
        r"10\.0\.0\.99.*does not answer ARP \((incomplete|failed)\)",
        report["findings"][0]["detail"],
    )


def test_a_live_next_hop_that_is_not_the_gateway_is_named_too():
    with Lab() as lab:
        lab.host("rule add pref 9 iif h0 to 169.254.169.254 blackhole")
        lab.vm(f"ip route replace {IMDS}/32 via 10.0.0.50 dev eth0")
        report, _ = lab.diagnose()
    assert (
        report["cause"] == "route-wrong-gateway" and "10.0.0.50" in report["findings"][0]["detail"]
    )
