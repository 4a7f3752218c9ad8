"""imds-check.ps1 without the exe, on Windows .NET under Wine: it says enough for the exe's
diagnosis, within the room that Run Command gives, and no secret.
(``python -m tests.lab.script_alone`` has the table of all scenarios.)
"""

import json

import pytest

from runcommand.diagnosis import diagnose
from runcommand.operator import block
from runcommand.operator.decode import decode
from runcommand.operator.material import facts_of
from runcommand.simulator.host import Behaviour

from .clock import in_time
from .lab import powershell, script_alone
from .lab.namespace import IMDS
from .lab.obstacles import PROXY
from .lab.registry import (
    ENVIRONMENT,
    HKLM,
    SYSTEM,
    WITH_SECRETS,
    key,
    settings,
)
from .lab.script_alone import AloneLab, judged
from .lab.windows import guid, shown
from .wine import compiled

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
# Kinds that another kind repeats (a try has its own source, a chain the name), and a fact that
# needs them.
SEEN_BY = {
    "source": ("source-not-primary-ip", "lookups"),
    "extension": ("cert-san-mismatch (wrong-name)", "certificate_chains"),
}
HEALTHY = "healthy: as Azure's DHCP leaves it"
# the document is on standard error
OTHERS = ("attested-nonce-mismatch (other-nonce)", "cert-root-untrusted (in a user's store)")
SHOWN = (HEALTHY, *DECIDED_BY.values(), *(name for name, _ in SEEN_BY.values()), *OTHERS)
SECRETS = ("hunter2", "S3cret", "user:")
HOST, PORT = PROXY.split(":")


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


@runs
@pytest.mark.parametrize("name", ["route-wrong-interface", "nic-down", "imds-not-imds"])
def test_the_short_report_says_what_it_saw(results, name):
    seen = " ".join(results[name].printed.split())
    for text in powershell.BY_NAME[name].says:
        assert text in seen


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
@pytest.mark.parametrize("kind, name, fact", [(kind, *of) for kind, of in SEEN_BY.items()])
def test_without_the_records_of_a_kind_a_fact_is_not_whole(results, kind, name, fact):
    records = block.unpack(results[name].printed)
    others = facts_of([record for record in records if record[0] != kind])
    assert getattr(others, fact) != getattr(facts_of(records), fact)


@runs
def test_no_secret_leaves_the_vm():
    setting = f"http://user:hunter2@{PROXY}"
    with AloneLab(Behaviour(), ()) as lab:
        lab.web(HOST, int(PORT), "proxy-503")
        lab.registry("\n".join(WITH_SECRETS))
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


CLASS = "{4D36E972-E325-11CE-BFC1-08002BE10318}"
CONTROL = rf"{HKLM}\SYSTEM\CurrentControlSet\Control"
LEASES = rf"{HKLM}\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces"
GONE = "{99999999-2222-3333-4444-555555555555}"
CONSTRAINED = "$ExecutionContext.SessionState.LanguageMode = 'ConstrainedLanguage'\r\n"
# Wine prefers its own netsh.exe, which prints nothing.
OWN_NETSH = {
    "WINEDLLOVERRIDES": f"{script_alone.OWN_ARP['WINEDLLOVERRIDES']};netsh.exe=n;curl.exe=n"
}


def device(number, guid, name, flags):
    """What Windows' registry has of a network device."""
    instance = rf"VMBUS\{{f8615163-df3e-46c5-913f-f2d2f965ed0e}}\{number}"
    driver = {"NetCfgInstanceId": guid, "DriverDesc": "Hyper-V", "Characteristics": 132}
    return "\n".join(
        (
            key(rf"{CONTROL}\Class\{CLASS}\{number:04}", **driver, **{"*IfType": 6}),
            key(rf"{CONTROL}\Network\{CLASS}\{guid}\Connection", Name=name, PnpInstanceID=instance),
            key(rf"{HKLM}\SYSTEM\CurrentControlSet\Enum\{instance}", ConfigFlags=flags),
        )
    )


def constrained(lab, text=None):
    """Runs the script where a policy keeps PowerShell to ConstrainedLanguage mode."""
    lab.put("/run/lab/inner.ps1", (text or script_alone.script()).encode("ascii"))
    call = f"{CONSTRAINED}& 'Z:/run/lab/inner.ps1' -ExitCode verdict\r\nexit $LASTEXITCODE\r\n"
    return lab.power_shell(call, {}, OWN_NETSH)


def with_programs(lab):
    """Puts stand-ins for programs that Wine has not into a VM."""
    for name in ("netsh", "curl"):
        program = compiled(f"{name}.c", "iphlpapi", "ws2_32")
        lab.put(f"{powershell.DRIVE_C}/windows/system32/{name}.exe", program)


@runs
@pytest.mark.parametrize("mode", ["full", "constrained"])
def test_hardware_disabled_nics_and_skip_as_source_are_known(mode):
    with AloneLab(Behaviour(), ()) as lab:
        lab.registry(
            "\n".join(
                (
                    device(1, guid(lab.index("eth0")), "eth0", 0),
                    device(2, GONE, "Ethernet 9", 1),
                    key(rf"{LEASES}\{GONE}", EnableDHCP=1),
                )
            )
        )
        lab.warm_up()
        with_programs(lab)
        lab.put(f"{powershell.DRIVE_C}/skip", b"10.0.0.4\n")
        # where IMDS answers, a plain block has no room beside its answer
        lab.vm(f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1")
        run_in = {"full": lambda lab: lab.alone({}, OWN_NETSH), "constrained": constrained}
        done = run_in[mode](lab)
    (decoded,) = decode(done.out + b"\n" + done.err)
    found = {adapter.name: adapter for adapter in decoded.facts.adapters}
    assert found["eth0"].physical and not found["eth1"].physical
    assert (found["Ethernet 9"].state.value, found["Ethernet 9"].dhcp) == ("down", True)
    skipped = [item.address for item in found["eth0"].addresses if item.skip_as_source]
    assert skipped == ["10.0.0.4"]


@runs
def test_where_powershell_is_constrained_the_cause_is_named_too():
    with AloneLab(Behaviour(), ()) as lab:
        lab.registry("\n".join(device(n, guid(lab.index(f"eth{n}")), f"eth{n}", 0) for n in (0, 1)))
        lab.vm(f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1")
        lab.warm_up()
        with_programs(lab)
        done = constrained(lab)
    found = judged(done.out, ("broken", "route-wrong-interface"), done.seconds, 0.0, done.err)
    assert found.is_equal, (found.script, found.printed)
    assert found.size <= script_alone.REPORT_LIMIT and "\r\nRAW 2 " in found.printed
    reasons = {item["fact"]: item["reason"] for item in found.report["facts"]["unavailable"]}
    assert "language mode" in reasons["lookups"]


@runs
def test_no_secret_leaves_the_vm_where_powershell_is_constrained():
    with AloneLab(Behaviour(), ()) as lab:
        with_programs(lab)
        # for more room in the block
        lab.vm(f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1")
        lab.registry("\n".join(WITH_SECRETS))
        lab.warm_up()
        done = constrained(lab)
    printed = done.out.decode("ascii")
    raw = unpacked(printed)
    assert f"xxxx@{PROXY}" in raw and "AutoConfigURL" in raw
    for secret in SECRETS:
        for text in (raw, printed, done.err.decode("ascii")):
            assert secret not in text and secret.encode().hex() not in text


HOSTILE = ("endless", "trickle", "html", "broken-json", "redirect", "other-json")


@runs
@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_imds_costs_no_report(how):
    with AloneLab(Behaviour(instance=how), ()) as lab:
        lab.warm_up()
        done = lab.alone()
    found = judged(done.out, ("broken", "imds-not-imds"), done.seconds, 0.0, done.err)
    assert found.is_equal, (found.script, found.printed)
    assert found.size <= script_alone.REPORT_LIMIT and in_time(done.seconds, 20)
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
