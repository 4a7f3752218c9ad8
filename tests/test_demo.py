"""The demo's catalogue through the real pipeline, real sockets included: each scenario shows the
cause that it promises.
"""

import socket
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

    seen = set()
    real = socket.socket.connect_ex
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(8) as pool:
        patch.setattr(
            socket.socket,
            "connect_ex",
            lambda self, address: seen.add(address[0]) or real(self, address),
        )
        return {**dict(zip(NAMES, pool.map(show, SCENARIOS))), "connected to": seen}


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


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if name in ("healthy", "healthy-linux", "healthy-default-route")],
)
def test_a_healthy_run_makes_three_requests(shown, name):
    asked = Counter(path for _, path in shown[name][1])
    assert asked == {
        "/metadata/instance": 1,
        "/metadata/attested/document": 1,
        "/metadata/identity/info": 1,
        "/": 1,
    }


def test_the_differential_proves_the_primary_address(shown):
    diagnosis, _ = shown["route-wrong-interface"]
    assert diagnosis.model.answers.proof.connection.local_address == "172.16.69.7"
    assert "IMDS answered when asked from 172.16.69.7" in diagnosis.main.detail


def test_no_socket_was_led_anywhere_but_to_loopback(shown):
    assert shown["connected to"] == {"127.0.0.1"}
