"""The chain's probe: issuers fetched over real sockets, from hosts that behave and hosts that do
not; and the hosts themselves.
"""

import base64
import socket
import threading
import time
from dataclasses import replace

import pytest

from runcommand.attest import document as attested
from runcommand.collect import Board, NoFact, side_by_side, threads
from runcommand.collect.board import DOCUMENT
from runcommand.facts import (
    Address,
    ChainFault,
    Connection,
    Exchange,
    Imds,
    Outcome,
    Proxy,
    ProxyKind,
    Scope,
)
from runcommand.probes import certificates, web
from runcommand.probes.tcp import Connector
from runcommand.simulator import pki
from runcommand.simulator.host import Behaviour, Host
from runcommand.simulator.scenarios import WINDOWS_VM, windows
from runcommand.simulator.world import SimulatedSystem

from .clock import Waiting

LEAF = pki.leaf("metadata.azure.com", "eastus")
NOW = "2026-11-23T01:44:05Z"
PROXY = Proxy("WinHTTP", ProxyKind.WINHTTP, Scope.MACHINE, server="proxy.contoso.com:8080")


class Names(Connector):
    """Names that lead to servers on loopback; what has no server is dark."""

    def __init__(self):
        self.places = {}  # address: where it is served, None where it is dark
        self.names = {}
        self.asked = []
        self._held = []

    def add(self, name, place):
        self.names[name] = Address(f"192.0.2.{len(self.names) + 1}")
        self.places[self.names[name]] = place

    def resolve(self, host):
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [self.names[host]]

    def local_address(self, sock):
        return None

    def begin(self, attempt):
        place = self.places[attempt.address]
        if place is not None:
            return super().begin(replace(attempt, address=place[0], port=place[1]))
        one, other = socket.socketpair()
        one.setblocking(False)
        try:
            while True:
                one.send(bytes(65536))
        except BlockingIOError:
            pass
        self._held.append(other)
        return one


class World:
    """Hosts by name, a VM's stores, and what the probe makes of them."""

    def __init__(self):
        self.connector, self.hosts, self.logs = Names(), [], {}

    def serve(self, name, how):
        if how in ("drops", None):
            self.connector.add(name, None)
            return
        host = Host(WINDOWS_VM, Behaviour(everything=how), self.logs.setdefault(name, []))
        self.hosts.append(host)
        self.connector.add(name, host.listen())

    def board(self, document=LEAF, *embedded, proxies=(), seconds=20.0, signature=None):
        board = Board(seconds)
        signed = pki.sign(b'{"nonce": "1"}', [document, *embedded], 5)
        read = attested.read("pkcs7", base64.b64encode(signed).decode(), "1")
        found = read.document if signature is None else replace(read.document, signature=signature)
        exchange = Exchange(
            "/x",
            Connection(Address("169.254.169.254"), 80, Outcome.ANSWERED),
            Outcome.HTTP,
            200,
            date=NOW,
        )
        board.post(DOCUMENT, read.certificates)
        board.post(
            "imds", Imds((exchange,), attested=exchange, attested_document=True, document=found)
        )
        board.post("proxies", tuple(proxies))
        return board

    def ask(self, board, stores=None, is_true=True):
        return certificates.ask(self.connector, SimulatedSystem(windows(), stores), board, is_true)

    def close(self):
        for host in self.hosts:
            host.close()


@pytest.fixture
def world():
    made = World()
    yield made
    made.close()


ISSUING, CROSS = f"{pki.AIA}{pki.ISSUING_FILE}", pki.CROSS_URL
TWO = ("www.microsoft.com", "caissuers.microsoft.com")


def test_issuers_are_fetched_one_after_the_other(world):
    for host in TWO:
        world.serve(host, "certificates")
    first, last = world.ask(world.board())
    assert (first.fetched, first.trusted, [e.fault for e in first.errors]) == (
        False,
        False,
        [ChainFault.ISSUER_MISSING],
    )
    assert (last.fetched, last.trusted, last.errors) == (True, True, ())
    assert [item.stores for item in last.certificates] == [
        ("the document",),
        ("fetched",),
        ("fetched",),
        ("LocalMachine\\Root",),
    ]
    fetched = [
        item.certificate.subject.partition(",")[0] for item in last.fetches if item.certificate
    ]
    assert sorted(set(fetched)) == [
        "CN=Microsoft TLS G2 RSA CA OCSP 04",
        "CN=Microsoft TLS RSA Root G2",
    ]
    assert last.judged_at == NOW


def test_what_is_at_hand_needs_no_network(world):
    chains = world.ask(world.board(LEAF, pki.issuing(), pki.cross()))
    assert len(chains) == 1 and chains[0].trusted and world.connector.asked == []


def test_a_root_that_is_not_trusted_is_fetched_up_to(world):
    for host in (*TWO, "cacerts.digicert.com"):
        world.serve(host, "certificates")
    last = world.ask(world.board(), stores={})[-1]
    assert [e.fault for e in last.errors] == [ChainFault.ROOT_UNTRUSTED] and len(
        last.certificates
    ) == 4


def test_a_fetched_cross_certificate_leads_past_a_root_that_is_not_trusted(world):
    world.serve("caissuers.microsoft.com", "certificates")
    first, last = world.ask(world.board(LEAF, pki.issuing(), pki.tls_root()))
    assert [e.fault for e in first.errors] == [ChainFault.ROOT_UNTRUSTED]
    assert last.trusted and last.certificates[2].issuer.startswith(f"CN={pki.ROOT}")


def test_an_expired_leaf_is_nothing_to_fetch_for(world):
    chains = world.ask(
        world.board(pki.leaf("metadata.azure.com", "eastus"), pki.issuing(), pki.cross()),
        stores=None,
    )
    assert len(chains) == 1
    expired = certificates.ask(
        world.connector,
        SimulatedSystem(windows(), None),
        _board_of_expired(world),
        True,
    )
    assert len(expired) == 1 and [e.fault for e in expired[0].errors] == [ChainFault.OUTSIDE_DATES]
    assert world.connector.asked == []


def _board_of_expired(world):
    board = world.board()
    old = pki.leaf("metadata.azure.com", "eastus", True)
    board.post(DOCUMENT, (old, pki.issuing(), pki.cross()))
    return board


def test_one_of_two_hosts_is_enough_and_the_other_is_not_waited_for(world):
    world.serve(TWO[0], "drops")
    world.serve(TWO[1], "certificates")
    clock = Waiting()
    assert world.ask(world.board())[-1].trusted
    assert clock.times(certificates.FETCH_S) < 0.8


def test_through_the_proxy_where_nothing_else_works(world):
    world.serve("proxy.contoso.com", "certificates")
    last = world.ask(world.board(proxies=(PROXY,)))[-1]
    assert last.trusted
    assert {item.proxy for item in last.fetches if item.certificate} == {PROXY.server}
    asked = [path for _, path in world.logs["proxy.contoso.com"]]
    assert asked and all(path.startswith("/pkiops/certs/") for path in asked)


@pytest.mark.parametrize(
    "scope, kind, server",
    [
        (Scope.USER, ProxyKind.WINHTTP, "proxy.contoso.com:8080"),
        (Scope.MACHINE, ProxyKind.GUEST_AGENT, "proxy.contoso.com:8080"),
        (Scope.MACHINE, ProxyKind.WINHTTP, "socks5://proxy.contoso.com:1080"),
    ],
)
def test_proxies_that_are_not_the_machines_are_not_asked(world, scope, kind, server):
    world.serve("proxy.contoso.com", "certificates")
    world.ask(world.board(proxies=(replace(PROXY, scope=scope, kind=kind, server=server),)))
    assert "proxy.contoso.com" not in world.connector.asked


@pytest.mark.parametrize(
    "how",
    [
        "html",
        "404",
        "500",
        "empty",
        "redirect",
        "endless",
        "trickle",
        "header-flood",
        "http-0.9",
        "reset",
        "reset-in-body",
        "closes",
        "silent",
        "chunked-garbage",
        "long-header",
    ],
)
def test_a_hostile_host_of_certificates(world, how):
    for host in TWO:
        world.serve(host, how)
    clock = Waiting()
    _first, last = world.ask(world.board())
    assert (
        not last.trusted
        and last.fetched
        and [e.fault for e in last.errors] == [ChainFault.ISSUER_MISSING]
    )
    assert len(last.fetches) == 2 and all(not item.certificate for item in last.fetches)
    assert clock.times(certificates.FETCH_S) < 1.4


def test_another_certificate_in_its_place_is_not_taken(world, mocker):
    mocker.patch.object(pki, "files", return_value=dict.fromkeys(_paths(), pki.cross()))
    for host in TWO:
        world.serve(host, "certificates")
    last = world.ask(world.board())[-1]
    assert {item.error for item in last.fetches} == {
        "what came is another certificate"
    } and not last.trusted


def _paths():
    from urllib.parse import unquote, urlsplit

    return [unquote(urlsplit(url).path) for url in (ISSUING, CROSS)]


def test_a_certificate_as_text_is_read_too(world, mocker):
    from runcommand.attest.x509 import to_pem

    real = {path: to_pem(content) for path, content in pki.files().items()}
    mocker.patch.object(pki, "files", return_value=real)
    for host in TWO:
        world.serve(host, "certificates")
    assert world.ask(world.board())[-1].trusted


def test_dark_hosts_cost_one_time_out(world):
    for host in TWO:
        world.serve(host, "drops")
    clock = Waiting()
    last = world.ask(world.board())[-1]
    assert not last.trusted and last.certificates[0].stores == ("the document",)
    assert {item.outcome for item in last.fetches} == {Outcome.TIMED_OUT}
    assert clock.times(certificates.FETCH_S) < 1.4


@pytest.mark.parametrize(
    "urls",
    [
        ["ldap:///CN=x", "https://www.microsoft.com/x.crt", "ftp://www.microsoft.com/x.crt"],
        ["http://169.254.169.254/metadata/identity/oauth2/token", "http://168.63.129.16/x.crt"],
        ["http://imds.contoso.com/x.crt"],
        [
            "http://www.microsoft.com:99999/x.crt",
            "http://[::1/x",
            "http:///x",
            "http://www.micro soft.com/x.crt",
        ],
        ["http://www.microsoft.com/x\r\nMetadata: true"],
    ],
    ids=[
        "other protocols",
        "the platform itself",
        "a name of the platform's address",
        "none that can be asked",
        "a header in it",
    ],
)
def test_addresses_that_are_not_asked(world, urls):
    world.serve("www.microsoft.com", "certificates")
    world.connector.names["imds.contoso.com"] = Address("169.254.169.254")
    leaf = pki.certificate(
        "metadata.azure.com", "leaf", pki.ISSUING, "issuing", 5, is_ca=False, urls=urls
    )
    last = world.ask(world.board(leaf))[-1]
    assert last.fetches and all(item.error and item.certificate is None for item in last.fetches)
    assert (
        world.logs["www.microsoft.com"] == []
        and Address("169.254.169.254") not in world.connector.places
    )


def test_a_hundred_addresses_are_a_few_requests(world):
    world.serve("www.microsoft.com", "404")
    urls = [f"http://www.microsoft.com/{number}.crt" for number in range(60)]
    leaf = pki.certificate(
        "metadata.azure.com", "leaf", pki.ISSUING, "issuing", 5, is_ca=False, urls=urls
    )
    assert len(world.ask(world.board(leaf))[-1].fetches) == certificates.URLS


def test_pointed_elsewhere_nothing_is_judged(world):
    with pytest.raises(NoFact, match="pointed elsewhere"):
        world.ask(world.board(), is_true=False)


def test_a_document_that_fails_is_judged_no_further(world):
    from runcommand.facts import SignatureState

    assert world.ask(world.board(signature=SignatureState.INVALID)) is None
    assert world.ask(world.board(signature=SignatureState.UNVERIFIABLE)) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x.crt",
        "http://localhost/x.crt",
        "http://0.0.0.0/x.crt",
        "http://2130706433/x.crt",
        "http://2852039166/x.crt",
        "http://0xA9FEA9FE/x.crt",
        "http://[::1]/x.crt",
        "http://[::ffff:169.254.169.254]/x.crt",
        "http://user@www.microsoft.com/x.crt",
        "http://www.microsoft.com:8080/x.crt",
        "http://intranet/x.crt",
    ],
)
@pytest.mark.parametrize("proxies", [(), (PROXY,)], ids=["directly", "proxy"])
def test_only_hosts_with_names_are_asked(world, url, proxies):
    """Anybody who answers in IMDS's place names the address."""
    for host in ("proxy.contoso.com", "www.microsoft.com", "localhost"):
        world.serve(host, "certificates")
    leaf = pki.certificate(
        "metadata.azure.com", "leaf", pki.ISSUING, "issuing", 5, is_ca=False, urls=[url]
    )
    engine = Fetching("fetches")
    chains = certificates.ask(world.connector, engine, world.board(leaf, proxies=proxies), True)
    assert len(chains) == 2 and engine.calls == [False], "the engine was let follow the address"
    assert all(item.error and not item.certificate for item in chains[-1].fetches)
    assert not any(world.logs.values())


def test_a_name_that_leads_to_this_machine_is_not_asked(world):
    world.connector.names["www.microsoft.com"] = Address("127.0.0.1")
    world.connector.places[Address("127.0.0.1")] = None
    assert all(item.outcome is Outcome.FAILED for item in world.ask(world.board())[-1].fetches)


def test_a_fetch_that_the_runs_own_end_cuts_off_says_nothing(world):
    for host in TWO:
        world.serve(host, "drops")
    board = world.board(seconds=1.2)
    chains = world.ask(board)
    assert [chain.fetched for chain in chains] == [False]
    assert board.notes()[0].text.startswith("fetching by imds-check: no")


# --- an engine that fetches itself ---


class Fetching(SimulatedSystem):
    """As Windows: its engine asks the network for itself."""

    fetches_itself = True

    def __init__(self, how):
        super().__init__(windows(), None)
        self.how, self.calls = how, []

    def judge_chain(self, certificates, at, fetch, seconds):
        self.calls.append(fetch)
        if fetch and self.how == "hangs":
            time.sleep(30)
        if fetch and self.how == "fails":
            raise NoFact("CertGetCertificateChain: error 5")
        if fetch and self.how == "fetches":
            certificates = [*certificates, pki.issuing(), pki.cross()]
        return replace(super().judge_chain(certificates, at, False, seconds), fetched=fetch)


@pytest.mark.parametrize("how, trusted", [("fetches", True), ("finds nothing", False)])
def test_the_engines_own_fetching_has_the_last_word(world, how, trusted):
    for host in TWO:
        world.serve(host, "certificates" if not trusted else "drops")
    engine = Fetching(how)
    chains = certificates.ask(world.connector, engine, world.board(), True)
    assert [chain.fetched for chain in chains] == [False, True, True] and chains[
        -1
    ].trusted is trusted
    assert chains[1].trusted is not trusted


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_an_engine_that_hangs_or_fails_costs_only_itself(world, how, mocker):
    mocker.patch.object(certificates, "CHAIN_S", 0.5)
    for host in TWO:
        world.serve(host, "certificates")
    clock = Waiting()
    chains = certificates.ask(world.connector, Fetching(how), world.board(), True)
    assert [chain.trusted for chain in chains] == [
        False,
        True,
        None,
    ] and clock.times(0.5) < 6


# --- the hosts of certificates ---


def tried(world, board, wanted=False, is_true=True):
    return certificates.try_endpoints(world.connector, board, wanted, is_true)


def judged(world, board):
    board.post("certificate_chains", world.ask(board))
    return board


def test_hosts_are_tried_only_where_they_matter(world):
    assert tried(world, judged(world, world.board(LEAF, pki.issuing(), pki.cross()))) is None
    assert world.connector.asked == []
    found = tried(world, judged(world, world.board()))
    assert {trial.host for trial in found} == set(certificates.ENDPOINTS)
    assert tried(world, judged(world, world.board(LEAF, pki.issuing(), pki.cross())), wanted=True)


def test_names_and_ports_are_told_apart(world):
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    world.serve("www.microsoft.com", "404")
    world.serve("oneocsp.microsoft.com", "drops")
    world.connector.add("ocsp.digicert.com", closed.getsockname())
    found = {trial.host: trial for trial in tried(world, judged(world, world.board()))}
    assert found["www.microsoft.com"].connection.outcome is Outcome.ANSWERED
    assert found["oneocsp.microsoft.com"].connection.outcome is Outcome.TIMED_OUT
    assert found["ocsp.digicert.com"].connection.outcome is Outcome.REFUSED
    assert (
        found["crl3.digicert.com"].is_name_unknown and found["crl3.digicert.com"].connection is None
    )
    assert found["www.microsoft.com"].purposes == ("AIA", "CRL") and found[
        "oneocsp.microsoft.com"
    ].purposes == ("OCSP",)
    closed.close()


def test_all_dark_is_one_time_out(world):
    for host in certificates.ENDPOINTS:
        world.serve(host, "drops")
    board = judged(world, world.board())
    clock = Waiting()
    found = tried(world, board)
    assert clock.times(3) < 1.3
    assert {trial.connection.outcome for trial in found} == {Outcome.TIMED_OUT} and len(
        found
    ) == len(certificates.ENDPOINTS)


def test_a_resolver_that_hangs_is_one_time_out(world, mocker):
    board = judged(world, world.board())
    mocker.patch.object(world.connector, "resolve", side_effect=lambda host: time.sleep(30))
    clock = Waiting()
    found = tried(world, board)
    assert clock.times(3) < 1.3 and all(trial.is_name_unknown and trial.error for trial in found)


def test_through_the_proxy_as_well_as_directly(world):
    world.serve("proxy.contoso.com", "certificates")
    found = {
        trial.host: trial
        for trial in tried(
            world, judged(world, world.board(proxies=(PROXY,), document=LEAF)), wanted=True
        )
    }
    ways = {host: trial.proxies[0] for host, trial in found.items()}
    assert ways["caissuers.microsoft.com"].status == 200 and ways["ocsp.digicert.com"].status == 404
    assert all(trial.connection is None for trial in found.values())


def test_the_hosts_of_the_certificate_itself_are_among_them(world):
    leaf = pki.certificate(
        "metadata.azure.com",
        "leaf",
        pki.ISSUING,
        "issuing",
        5,
        is_ca=False,
        urls=[
            "http://pki.contoso.com/x.crt",
            "http://169.254.169.254/x",
            "http://other.contoso.com:8080/x",
        ],
    )
    hosts = {trial.host: trial for trial in tried(world, judged(world, world.board(leaf)))}
    assert hosts["pki.contoso.com"].purposes == ("AIA",) and "other.contoso.com" not in hosts
    assert "169.254.169.254" not in hosts


# --- side by side ---


def test_works_end_together_or_are_left_behind():
    clock = Waiting()
    reasons = side_by_side.run([lambda: None, lambda: time.sleep(20), lambda: 1 / 0], 0.3)
    assert (
        reasons == [None, "not done in time", "ZeroDivisionError: division by zero"]
        and clock.times(0.3) < 3
    )
    assert side_by_side.run([], 5) == []


def test_enough_is_enough():
    done = []
    clock = Waiting()
    side_by_side.run([lambda: done.append(1), lambda: time.sleep(20)], 5, lambda: bool(done))
    assert clock.times(5) < 0.2


def test_what_gets_no_thread_is_done_in_turn(mocker):
    mocker.patch(
        "runcommand.collect.threads.start", side_effect=threads.NoThread("can't start new thread")
    )
    done = []
    assert side_by_side.run([lambda: done.append(1), lambda: done.append(2)], 5.0) == [None, None]
    assert done == [1, 2]


def test_a_get_is_one_request_with_the_whole_address_to_a_proxy(world):
    server = socket.create_server(("127.0.0.1", 0))
    got = []

    def answer():
        connection, _ = server.accept()
        got.append(connection.recv(4096).decode())
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.close()

    threading.Thread(target=answer, daemon=True).start()
    world.connector.add("proxy.contoso.com", server.getsockname())
    found = web.get(
        world.connector, "http://www.microsoft.com/a%20b?c=d", 2.0, True, "proxy.contoso.com:3128"
    )
    assert found.body == b"ok" and got[0].startswith(
        "GET http://www.microsoft.com/a%20b?c=d HTTP/1.1\r\nHost: www.microsoft.com\r\n"
    )
    server.close()
