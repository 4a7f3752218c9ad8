"""TCP connects on real sockets: each outcome has its name."""

import errno
import os
import socket
import time

import pytest

from runcommand.facts import Outcome
from runcommand.network import error_text, outcome_of
from runcommand.probes.tcp import Attempt, Connector, connect

from .clock import Waiting

BY_DEVICE = pytest.mark.skipif(
    not hasattr(socket, "SO_BINDTODEVICE"), reason="sockets cannot be bound to a device here"
)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def full_listener():
    """A listener whose queue is full: on Linux the next SYN is dropped without a word."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    port = server.getsockname()[1]
    waiting = []
    for _ in range(8):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        waiting.append(sock)
    time.sleep(0.1)
    yield port
    for sock in (*waiting, server):
        sock.close()


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def one(attempt, timeout=1.0):
    ((connection, sock),) = connect(Connector(), [attempt], timeout)
    if sock:
        sock.close()
    return connection


def test_answered_with_the_source_address_that_was_used(listener):
    connection = one(Attempt("127.0.0.1", listener))
    assert (connection.outcome, connection.local_address, connection.error) == (
        Outcome.ANSWERED,
        "127.0.0.1",
        None,
    )


def test_a_source_address_can_be_asked_for(listener):
    connection = one(Attempt("127.0.0.1", listener, source="127.5.6.7"))
    assert (connection.outcome, connection.source, connection.local_address) == (
        Outcome.ANSWERED,
        "127.5.6.7",
        "127.5.6.7",
    )


def test_refused():
    connection = one(Attempt("127.0.0.1", closed_port()))
    assert connection.outcome is Outcome.REFUSED
    assert connection.error == "ECONNREFUSED (connection refused)"


def test_timed_out_within_the_limit(full_listener):
    clock, began = Waiting(), time.monotonic()
    connection = one(Attempt("127.0.0.1", full_listener), 0.5)
    assert connection.outcome is Outcome.TIMED_OUT
    assert time.monotonic() - began > 0.4 and clock.times(0.5) < 1.8


def test_all_attempts_share_one_time_out(full_listener, listener):
    clock = Waiting()
    attempts = [Attempt("127.0.0.1", full_listener)] * 50 + [Attempt("127.0.0.1", listener)]
    results = connect(Connector(), attempts, 0.5)
    assert clock.times(0.5) < 2.4
    assert [connection.outcome for connection, _ in results] == [Outcome.TIMED_OUT] * 50 + [
        Outcome.ANSWERED
    ]
    results[-1][1].close()


def test_a_source_that_cannot_be_bound_is_no_statement_about_the_network(listener):
    connection = one(Attempt("127.0.0.1", listener, source="203.0.113.7"))
    assert connection.outcome is Outcome.FAILED
    assert connection.error.startswith("cannot be bound to it: EADDRNOTAVAIL")


@BY_DEVICE
def test_a_device_that_is_not_there(listener):
    assert one(Attempt("127.0.0.1", listener, device="nosuchdev")).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "code, outcome",
    [
        (errno.ECONNREFUSED, Outcome.REFUSED),
        (errno.ETIMEDOUT, Outcome.TIMED_OUT),
        (errno.EHOSTUNREACH, Outcome.UNREACHABLE),
        (errno.ENETUNREACH, Outcome.UNREACHABLE),
        (errno.EINVAL, Outcome.UNREACHABLE),  # a blackhole route
        (errno.EACCES, Outcome.FORBIDDEN),  # a prohibit route, a BPF filter
        (errno.EPERM, Outcome.FORBIDDEN),
        (errno.ECONNRESET, Outcome.RESET),
        (errno.EMFILE, Outcome.FAILED),
    ],
)
def test_errors_have_names(code, outcome):
    assert outcome_of(OSError(code, os.strerror(code))) is outcome


def test_an_error_is_shown_by_symbol_and_words():
    assert error_text(OSError(errno.EACCES, "x")) == "EACCES (permission denied)"


def test_no_file_descriptors_left_is_a_named_failure(mocker):
    mocker.patch("socket.socket", side_effect=OSError(errno.EMFILE, "Too many open files"))
    assert one(Attempt("127.0.0.1", 1)).error == "EMFILE (too many open files)"


class TwoDescriptors(Connector):
    """As if there were descriptors for two connects."""

    def __init__(self):
        self.begun = []

    def begin(self, attempt):
        if len(self.begun) == 2:
            raise OSError(errno.EMFILE, "Too many open files")
        self.begun.append(super().begin(attempt))
        return self.begun[-1]


def test_what_is_needed_and_has_no_descriptor_is_raised_and_leaves_nothing_open(listener):
    connector = TwoDescriptors()
    with pytest.raises(OSError, match="Too many open files"):
        connect(connector, [Attempt("127.0.0.1", listener)] * 4, 1.0, needed=3)
    assert [sock.fileno() for sock in connector.begun] == [-1, -1]


def test_what_is_not_needed_and_has_no_descriptor_is_a_named_failure(listener):
    results = connect(TwoDescriptors(), [Attempt("127.0.0.1", listener)] * 3, 1.0, needed=2)
    answered = [Outcome.ANSWERED] * 2
    assert [connection.outcome for connection, _ in results] == [*answered, Outcome.FAILED]
    for _, sock in results[:2]:
        sock.close()


def test_what_is_needed_and_is_refused_is_a_named_failure():
    ((connection, _),) = connect(Connector(), [Attempt("127.0.0.1", closed_port())], 1.0, needed=1)
    assert connection.outcome is Outcome.REFUSED


@BY_DEVICE
def test_a_device_name_that_is_no_text_is_a_named_failure(listener):
    assert one(Attempt("127.0.0.1", listener, device="eth\udcff")).outcome is Outcome.FAILED
    assert one(Attempt("127.0.0.1", listener, device="eth\ud800")).outcome is Outcome.FAILED


def test_how_long_it_could_have_taken_is_kept(listener):
    assert one(Attempt("127.0.0.1", listener), 0.7).allowed_s == 0.7
