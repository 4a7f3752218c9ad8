"""Asking IMDS on real sockets: versions, retries, the rate limit, hostile answers."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from runcommand.collect import Board
from runcommand.facts import Body, Outcome, is_from_imds
from runcommand.probes import imds, wireserver
from runcommand.probes.imds import API_VERSIONS, Asking, NotImds, Pace, read_instance
from runcommand.probes.tcp import Connector, Endpoint
from runcommand.simulator.host import ANSWERS, Behaviour, Host, instance_document
from runcommand.simulator.scenarios import LINUX_VM, WINDOWS_VM

from .clock import Waiting


class Stand:
    """A host on loopback and one run's asking of it."""

    def __init__(self, vm=WINDOWS_VM, deadline=20.0, pace=None, **behaviour):
        self.host = Host(vm, Behaviour(**behaviour))
        address, port = self.host.listen()
        self.endpoint = Endpoint(address, port, False)
        self.board = Board(deadline)
        self.asking = Asking(Connector(), self.endpoint, pace or Pace(), self.board.remaining)
        self.so_far = []

    def ask(self):
        try:
            return imds.ask(self.asking, self.so_far.append)
        finally:
            self.host.close()

    @property
    def asked(self):
        return Counter(path for _, path in self.host.log)


def test_a_healthy_run_makes_three_requests():
    stand = Stand()
    found = stand.ask()
    assert stand.asked == {
        "/metadata/instance": 1,
        "/metadata/attested/document": 1,
        "/metadata/identity/info": 1,
    }
    assert found.requests == 3
    assert found.api_version == "2025-04-07"
    assert found.attempts[0].instance.name == "testWs"
    assert found.attested_document is True and found.identity_present is True
    assert [draft.attempts for draft in stand.so_far] == [found.attempts]


def test_no_managed_identity_is_told_apart():
    assert Stand(vm=LINUX_VM).ask().identity_present is False


def test_a_token_is_never_asked_for():
    stand = Stand()
    stand.ask()
    assert not any("token" in path for _, path in stand.host.log)


def test_the_nonce_is_ten_digits():
    path = Stand().ask().attested.path
    nonce = path.rpartition("nonce=")[2]
    assert len(nonce) == 10 and nonce.isdigit()


def test_the_version_falls_back_to_what_the_400_offers():
    stand = Stand(versions=("2021-02-01", "2020-09-01", "2019-03-11"))
    found = stand.ask()
    assert found.api_version == "2021-02-01" and found.attempts[-1].instance
    assert stand.asked["/metadata/versions"] == 0


def test_versions_are_asked_for_when_the_400_offers_none_that_is_known():
    stand = Stand(versions=("2031-01-01", "2030-01-01", "2029-01-01", "2019-11-01"))
    found = stand.ask()
    assert found.api_version == "2019-11-01" and found.attempts[-1].instance
    assert stand.asked["/metadata/versions"] == 1


def test_no_common_version_ends_with_the_400():
    found = Stand(versions=("2031-01-01",)).ask()
    assert found.attempts[-1].status == 400 and found.attested is None


def test_known_versions_are_newest_first():
    assert (
        list(API_VERSIONS) == sorted(API_VERSIONS, reverse=True) and API_VERSIONS[0] == "2025-04-07"
    )


@pytest.mark.parametrize("status", ["410", "429", "500", "503"])
def test_a_transient_error_is_retried(status):
    found = Stand(instance=status, recovers_after=1).ask()
    assert [attempt.status for attempt in found.attempts] == [int(status), 200]


def test_retries_end_inside_the_deadline():
    clock = Waiting()
    found = Stand(instance="429", deadline=3.0).ask()
    assert clock.times(3.0) < 1
    assert {attempt.status for attempt in found.attempts} == {429}


@pytest.mark.parametrize("status", ["400", "401", "403", "404"])
def test_other_errors_are_not_retried(status):
    assert len(Stand(instance=status).ask().attempts) == 1


def test_never_more_than_three_requests_in_any_second_nor_twelve_in_all():
    pace = Pace()
    sent = []
    began = time.monotonic()
    while pace.take(1.5):
        sent.append(time.monotonic() - began)
    assert len(sent) == 12
    assert all(sent[i + 3] - sent[i] > 1.0 for i in range(len(sent) - 3))


def test_no_request_left_is_a_named_outcome():
    stand = Stand(pace=Pace(in_all=0))
    found = stand.ask()
    assert found.attempts[0].outcome is Outcome.FAILED
    assert "rate limit" in found.attempts[0].connection.error
    assert stand.host.log == []


def test_the_hosts_date_is_kept_with_the_local_time():
    exchange = Stand(clock_ahead_s=-86400).ask().attempts[0]
    assert exchange.date and exchange.read_at and exchange.date[:10] < exchange.read_at[:10]


def test_secrets_of_the_metadata_are_never_read():
    found = Stand().ask()
    assert not any(secret in repr(found) for secret in ("c2VjcmV0", "SECRETKEY", "secret-tag"))


def test_the_query_and_the_credentials_of_a_redirect_are_not_kept():
    exchange = Stand(instance="redirect").ask().attempts[0]
    assert exchange.location == "http://portal.contoso.com/in"


# --- hostile answers ---

BODIES = {
    "html": Body.HTML,
    "html-403": Body.HTML,
    "proxy-503": Body.HTML,
    "other-json": Body.JSON,
    "json-list": Body.JSON,
    "broken-json": Body.BROKEN,
    "deep-json": Body.BROKEN,
    "empty": Body.EMPTY,
    "text": Body.TEXT,
    "invalid-utf8": Body.BROKEN,
    "endless": Body.ENDLESS,
    "trickle-body": Body.ENDLESS,
    "reset-in-body": Body.CUT,
    "chunked-garbage": Body.CUT,
    "control-characters": Body.JSON,
    "forged-end": Body.JSON,
    "redirect": Body.EMPTY,
    "token-html": Body.HTML,
}
NO_HTTP = {
    "trickle": Outcome.GARBLED,
    "header-flood": Outcome.GARBLED,
    "long-header": Outcome.GARBLED,
    "http-0.9": Outcome.GARBLED,
    "reset": Outcome.RESET,
    "closes": Outcome.RESET,
    "silent": Outcome.TIMED_OUT,
}
OTHER = {"terminal", "continue-for-ever", "pac", "token-json"}


def test_every_hostile_answer_is_tested():
    assert set(ANSWERS) == set(BODIES) | set(NO_HTTP) | OTHER


@pytest.fixture(scope="module")
def hostile():
    """What asking finds at each hostile host, and the seconds it took; all side by side."""

    def ask(name):
        clock = Waiting()
        return Stand(instance=name).ask(), clock.times(1)

    names = [*BODIES, *NO_HTTP]
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(ask, names)))


@pytest.mark.parametrize("name", [*BODIES, *NO_HTTP])
def test_a_hostile_answer_has_a_name_within_the_limits(hostile, name):
    found, seconds = hostile[name]
    exchange = found.attempts[-1]
    assert seconds < (12 if exchange.status == 503 else 8)
    assert exchange.instance is None
    assert not is_from_imds(exchange)
    if name in BODIES:
        assert (exchange.outcome, exchange.body) == (Outcome.HTTP, BODIES[name])
    else:
        assert exchange.outcome is NO_HTTP[name]


def test_interim_answers_without_end_are_bounded():
    exchange = Stand(instance="continue-for-ever").ask().attempts[-1]
    assert exchange.outcome is Outcome.GARBLED


def test_a_body_is_never_read_past_one_mebibyte():
    assert Stand(instance="endless").ask().attempts[0].body_bytes <= 1024 * 1024


# --- reading the document ---


def test_what_imds_reports_of_the_nics_is_read():
    instance = read_instance(instance_document(WINDOWS_VM))
    assert {(i.mac, i.addresses, i.subnet) for i in instance.interfaces} == {
        ("00-0D-3A-E5-1C-C0", ("172.16.69.7", "172.16.69.8"), "172.16.69.0/24"),
        ("00-0D-3A-E5-1C-C1", ("10.1.0.5",), "10.1.0.0/24"),
    }


@pytest.mark.parametrize(
    "compute, reason",
    [
        (None, "the JSON has no compute object"),
        ([], "the JSON has no compute object"),
        ({}, "the JSON has no vmId that is a UUID"),
        ({"vmId": "i-0123"}, "the JSON has no vmId that is a UUID"),
        ({"vmId": {"a": 1}}, "the JSON has no vmId that is a UUID"),
        (
            {"vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "name": "a\nb"},
            "name holds control characters",
        ),
    ],
)
def test_a_document_that_is_not_imds_says_what_gives_it_away(compute, reason):
    with pytest.raises(NotImds, match=reason):
        read_instance({"compute": compute})


@pytest.mark.parametrize(
    "network",
    [
        None,
        [],
        {},
        {"interface": 7},
        {"interface": [7, None, {}]},
        {"interface": [{"macAddress": 7, "ipv4": []}]},
        {
            "interface": [
                {
                    "macAddress": "zz",
                    "ipv4": {
                        "ipAddress": [{"privateIpAddress": "::1"}, 7],
                        "subnet": [{"address": "x", "prefix": "99"}],
                    },
                }
            ]
        },
    ],
)
def test_a_network_part_that_makes_no_sense_is_left_out(network):
    vm = {"vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6"}
    for interface in read_instance({"compute": vm, "network": network}).interfaces:
        assert (interface.mac, interface.addresses, interface.subnet) == (None, (), None)


def test_a_value_of_another_type_costs_that_value_only():
    compute = {
        "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
        "zone": 1,
        "sku": None,
        "name": "vm",
        "tags": [],
        "isHostCompatibilityLayerVm": True,
    }
    instance = read_instance({"compute": compute})
    assert (
        instance.zone,
        instance.sku,
        instance.name,
        instance.is_host_compatibility_layer_vm,
    ) == (
        "",
        "",
        "vm",
        "true",
    )


def test_addresses_in_an_answers_texts_are_kept_without_their_secrets():
    from runcommand.probes.imds import _text

    assert (
        _text("see http://user:pw@host/path?sig=abc#x for more") == "see http://host/path for more"
    )


# --- WireServer ---


def test_the_wireserver_is_known_by_its_versions():
    stand = Stand()
    found = wireserver.ask(Connector(), stand.endpoint, stand.board.remaining)
    stand.host.close()
    assert found.http.versions == ("2015-04-05", "2015-04-05", "2012-11-30", "2011-12-31")
    assert found.host_plugin.outcome is Outcome.ANSWERED


@pytest.mark.parametrize("name", ["html", "endless", "http-0.9", "reset", "closes"])
def test_something_else_at_the_wireservers_address_is_not_taken_for_it(name):
    stand = Stand(wireserver=name)
    found = wireserver.ask(Connector(), stand.endpoint, stand.board.remaining)
    stand.host.close()
    assert found.http.versions == ()
