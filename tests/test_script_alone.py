"""imds-check.ps1 without the exe, on Windows .NET under Wine: it says enough for the exe's
diagnosis, within the room that Run Command gives, and no secret.
(``python -m tests.lab.script_alone`` has the table of all scenarios.)
"""

import json

import pytest

from runcommand.diagnosis import diagnose
from runcommand.operator import block
from runcommand.operator.material import facts_of
from runcommand.simulator.host import Behaviour

from .lab import powershell, script_alone
from .lab.namespace import WIRESERVER
from .lab.registry import (
    ENVIRONMENT,
    HKLM,
    SETTINGS,
    SYSTEM,
    USER,
    blob,
    key,
    settings,
    winhttp,
)
from .lab.script_alone import AloneLab, judged
from .lab.windows import shown

REASON = powershell.why_not_here()
runs = pytest.mark.skipif(REASON is not None, reason=f"the lab cannot run imds-check.ps1: {REASON}")
SCENARIOS = {scenario.name: scenario for scenario in shown()}
# Of each kind of record a scenario whose cause it decides.
DECIDED_BY = {
    "try": "imds-not-imds",
    "adapter": "nic-down",
    "route": "route-wrong-interface",
    "neighbour": "route-wrong-gateway (static ARP entry)",
    "given": "nic-mac-mismatch",
    "rule": "firewall-blocks-imds (local rule)",
    "key": "firewall-blocks-imds (default outbound action)",
    "variable": "proxy-intercepts-imds (this process's environment)",
    "service": "guest-proxy-agent-failing",
    "chain": "cert-intermediate-missing (its hosts refuse)",
}
HEALTHY = "healthy: as Azure's DHCP leaves it"
# Two kinds only confirm what another has: a source the address of a try, an extension the subject.
CONFIRMED = ("source-not-primary-ip", "cert-san-mismatch (wrong-name)")
SHOWN = (HEALTHY, *CONFIRMED, *DECIDED_BY.values())
SECRETS = ("hunter2", "S3cret", "user:")
HOST, PORT = "10.0.0.50", "3128"
PROXY = f"{HOST}:{PORT}"


def unpacked(printed):
    return "\n".join("\t".join(record) for record in block.unpack(printed))


@pytest.fixture(scope="module")
def results():
    return script_alone.run_all([SCENARIOS[name] for name in SHOWN])


@runs
@pytest.mark.parametrize("name", SHOWN)
def test_it_names_the_cause_that_the_exe_names(results, name):
    found = results[name]
    assert found.is_equal, (found.script, found.printed)
    assert found.size <= script_alone.REPORT_LIMIT
    assert found.printed.rstrip().rpartition("\n")[2].startswith("END IMDS-CHECK ")


def test_what_the_script_cannot_show_is_a_scenario_of_the_lab():
    assert set(script_alone.UNSEEN) < set(SCENARIOS)
    assert len(script_alone.UNSEEN) <= len(SCENARIOS) * 5 / 100


@runs
@pytest.mark.parametrize("kind, name", DECIDED_BY.items(), ids=list(DECIDED_BY))
def test_without_the_records_of_a_kind_the_cause_is_not_named(results, kind, name):
    records = block.unpack(results[name].printed)
    others = [record for record in records if record[0] != kind]
    assert len(others) < len(records)
    assert diagnose(facts_of(others)).cause != SCENARIOS[name].cause


@runs
def test_no_secret_leaves_the_vm():
    setting = f"http://user:hunter2@{PROXY}"
    registry = (
        winhttp(f"user:hunter2@{PROXY}", f"<local>;u:hunter2@x;{WIRESERVER}"),
        settings(
            SYSTEM,
            f"http={setting};https=u:hunter2@h:1",
            "<local>",
            AutoConfigURL=f"http://u:hunter2@{PROXY}/proxy.pac?sig=S3cret",
        ),
        settings(USER, setting, "u:hunter2@x"),
        key(
            rf"{SYSTEM}\{SETTINGS}\Connections",
            DefaultConnectionSettings=blob(
                0x46, 7, setting, "u:hunter2@x", f"http://{PROXY}/p.pac?token=S3cret"
            ),
        ),
        key(ENVIRONMENT, HTTP_PROXY=setting, API_KEY="S3cret"),
        key(rf"{SYSTEM}\Environment", http_proxy=f"{setting}/?sig=S3cret"),
        key(rf"{HKLM}\SOFTWARE\Contoso", Password="hunter2"),
    )
    with AloneLab(Behaviour(), ()) as lab:
        lab.web(HOST, int(PORT), "proxy-503")
        lab.registry("\n".join(registry))
        lab.warm_up()
        variables = {"AZURE_CLIENT_SECRET": "S3cret", "all_proxy": setting}
        done = lab.alone({}, variables)
    printed = done.out.decode("ascii")
    raw = unpacked(printed)
    assert PROXY in raw and "AutoConfigURL" in raw
    for secret in SECRETS:
        assert secret not in raw and secret not in printed
    found = judged(done.out, ("degraded", "proxy-intercepts-imds"), done.seconds, 0.0)
    assert found.is_equal, (found.script, printed)


HOSTILE = ("endless", "trickle", "html", "broken-json", "redirect", "other-json")


@runs
@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_imds_costs_no_report(how):
    with AloneLab(Behaviour(instance=how), ()) as lab:
        lab.warm_up()
        done = lab.alone()
    found = judged(done.out, ("broken", "imds-not-imds"), done.seconds, 0.0, done.err)
    assert found.is_equal, (found.script, found.printed)
    assert found.size <= script_alone.REPORT_LIMIT and done.seconds < 35
    assert "secret" not in unpacked(found.printed)


@runs
def test_values_of_a_megabyte_and_names_of_any_kind_cost_no_report():
    registry = (
        key(ENVIRONMENT, http_proxy="a" * 1_000_000, no_proxy="*'a;" * 1000),
        settings(SYSTEM, "p" * 1_000_000, ";" * 100_000, AutoConfigURL=7),
    )
    with AloneLab(Behaviour(), ()) as lab:
        lab.registry("\n".join(registry))
        lab.warm_up()
        done = lab.alone()
    found = judged(done.out, ("healthy", None), done.seconds, 0.0, done.err)
    assert found.size <= script_alone.REPORT_LIMIT, found.printed
    assert json.dumps(found.report["facts"]["unavailable"])
