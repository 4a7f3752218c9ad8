"""The demo's catalogue through the real pipeline, real sockets included: each scenario shows the cause that it promises."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from runcommand.report import text
from runcommand.simulator.scenarios import SCENARIOS
from runcommand.simulator.world import simulate

NAMES = [scenario.name for scenario in SCENARIOS]


@pytest.fixture(scope="module")
def shown():
    """The diagnosis of every scenario, and the log of what its host was asked; eight at a time."""

    def show(scenario):
        log = []
        return simulate(scenario, log=log), log

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(NAMES, pool.map(show, SCENARIOS)))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_the_cause_is_the_one_that_the_list_promises(shown, scenario):
    diagnosis, _ = shown[scenario.name]
    assert diagnosis.cause == scenario.cause, diagnosis.findings
    assert (diagnosis.exit_code == 0) == (scenario.cause is None)
    report = text.portal(diagnosis)
    assert len(report) + report.count("\n") <= 3900


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_limit_holds(shown, name):
    times = [when for when, path in shown[name][1] if path.startswith("/metadata/")]
    assert len(times) <= 12
    assert all(later - earlier > 1.0 for earlier, later in zip(times, times[3:]))


@pytest.mark.parametrize("name", [name for name in NAMES if name in ("healthy", "healthy-linux", "healthy-default-route")])
def test_a_healthy_run_makes_three_requests(shown, name):
    asked = Counter(path for _, path in shown[name][1])
    assert asked == {"/metadata/instance": 1, "/metadata/attested/document": 1, "/metadata/identity/info": 1, "/": 1}


def test_the_differential_proves_the_primary_address(shown):
    diagnosis, _ = shown["route-wrong-interface"]
    assert diagnosis.case.proof.connection.local_address == "172.16.69.7"
    assert "IMDS answered when asked from 172.16.69.7" in diagnosis.main.detail


def test_nothing_was_asked_of_the_network_but_loopback(mocker):
    """Every socket that the demo connects goes to 127.0.0.1."""
    import socket

    seen = []
    real = socket.socket.connect_ex
    mocker.patch.object(socket.socket, "connect_ex", lambda self, address: seen.append(address[0]) or real(self, address))
    simulate(next(scenario for scenario in SCENARIOS if scenario.name == "healthy"))
    assert set(seen) == {"127.0.0.1"}
