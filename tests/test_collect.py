"""Collecting: side by side, under one deadline, and no failure gets out."""

import errno
import json
import os
import select
import signal
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from runcommand import check
from runcommand.collect import Board, NoFact, RunOptions, collect, now, side_by_side, threads
from runcommand.facts import Facts, Note, Unavailable
from runcommand.system.program import DYING_S, Programs, process_group

from .clock import Waiting

HERE = RunOptions("linux", "testlx", deadline_s=1.5)


def seconds(function):
    """What a function returns, and the seconds that this process spent on it."""
    clock = Waiting()
    result = function()
    return result, clock.times(1)


def test_what_collectors_return_becomes_the_facts():
    facts = collect(HERE, {"listeners": lambda board: (), "routes": lambda board: ()})
    assert (facts.system, facts.host, facts.listeners, facts.routes, facts.unavailable) == (
        "linux",
        "testlx",
        (),
        (),
        (),
    )
    assert facts.neighbours is None


def test_a_missing_fact_says_why():
    def refuse(board):
        raise NoFact("ip: not found")

    facts = collect(HERE, {"routes": refuse})
    assert facts.routes is None
    assert facts.unavailable == (Unavailable("routes", "ip: not found"),)


def test_a_collector_that_crashes_costs_its_own_fact_and_says_where():
    facts = collect(HERE, {"routes": lambda board: 1 / 0, "listeners": lambda board: ()})
    assert facts.listeners == ()
    assert facts.unavailable[0].reason.startswith(
        "ZeroDivisionError: division by zero at test_collect.py:"
    )


def test_even_a_system_exit_or_a_full_stack_is_contained():
    def leave(board):
        raise SystemExit(7)

    def deep(board):
        return deep(board)

    facts = collect(HERE, {"routes": leave, "listeners": deep})
    assert sorted(item.fact for item in facts.unavailable) == ["listeners", "routes"]


def test_a_collector_that_ignores_the_deadline_is_left_behind():
    release = threading.Event()
    facts, elapsed = seconds(
        lambda: collect(
            HERE, {"routes": lambda board: release.wait(30), "listeners": lambda board: ()}
        )
    )
    release.set()
    assert elapsed < 1.5
    assert facts.listeners == ()
    assert facts.unavailable == (Unavailable("routes", "not finished when the time was up"),)


def test_time_is_kept_back_for_what_is_done_with_the_facts():
    release = threading.Event()
    told = []

    def hangs(board):
        told.append(board.remaining())
        release.wait(30)

    facts, elapsed = seconds(lambda: collect(HERE, {"routes": hangs}, ending_s=1.0))
    release.set()
    assert told[0] < 0.5 and elapsed < 1.0 and facts.unavailable[0].fact == "routes"


@pytest.mark.parametrize("redact", [True, False])
def test_more_is_kept_back_where_the_facts_are_to_be_redacted(mocker, redact):
    kept_back = mocker.patch(
        "runcommand.check.collect", side_effect=lambda run, *more: Facts("linux", "x", now())
    )
    system = SimpleNamespace(collectors=dict, cleanup=lambda: None, by_device=None)
    check.run(
        check.Target(system, None), RunOptions("linux", "testlx", deadline_s=20.0), redact=redact
    )
    assert kept_back.call_args[0][-1] == (4.3 if redact else 0.3)


def test_redacting_that_takes_too_long_costs_the_facts_and_never_the_report(mocker):
    release = threading.Event()
    mocker.patch("runcommand.redaction.redacted", side_effect=lambda facts: release.wait(30))
    facts = Facts("linux", "testlx", now(), routes=())
    made, elapsed = seconds(lambda: check.redacted_in_time(facts, time.monotonic() + 0.3))
    release.set()
    assert elapsed < 1 and made.redacted and (made.host, made.routes) == ("-", None)
    assert made.unavailable == (Unavailable("imds", "nothing could be redacted: TimeoutError"),)


def test_collectors_run_side_by_side():
    slow = {
        name: lambda board: time.sleep(0.4) or ()
        for name in ("routes", "listeners", "neighbours", "raw", "proxies")
    }
    facts, elapsed = seconds(lambda: collect(HERE, slow))
    assert elapsed < 1.0 and facts.unavailable == ()


def test_a_collector_can_wait_for_what_another_finds():
    def second(board):
        return board.wait("routes")

    facts = collect(
        HERE, {"listeners": second, "routes": lambda board: time.sleep(0.1) or ("found",)}
    )
    assert facts.listeners == ("found",)


def test_waiting_for_one_that_fails_gives_nothing_at_once():
    facts, elapsed = seconds(
        lambda: collect(
            HERE,
            {"listeners": lambda board: (board.wait("routes"),), "routes": lambda board: 1 / 0},
        )
    )
    assert facts.listeners == (None,) and elapsed < 0.5


def test_an_interrupt_ends_the_waiting_and_is_a_fact():
    interrupted = threading.Event()
    threading.Timer(0.2, interrupted.set).start()
    release = threading.Event()
    facts, elapsed = seconds(
        lambda: collect(
            HERE, {"routes": lambda board: release.wait(30)}, interrupted=interrupted.is_set
        )
    )
    release.set()
    assert facts.interrupted and elapsed < 1.2


def test_what_a_collector_has_so_far_counts_when_the_run_ends_before_it():
    release = threading.Event()

    def slow(board):
        board.draft("routes", ("half",))
        release.wait(30)

    facts = collect(HERE, {"routes": slow})
    release.set()
    assert facts.routes == ("half",) and facts.unavailable == ()


def test_a_draft_is_no_draft_any_more_when_the_collector_fails():
    def fails(board):
        board.draft("routes", ("half",))
        raise NoFact("no")

    facts = collect(HERE, {"routes": fails})
    assert facts.routes is None and facts.unavailable == (Unavailable("routes", "no"),)


def test_another_way_of_finding_out_is_noted():
    def found(board):
        board.note("routes", "ip: not found; taken from elsewhere")
        return ()

    facts = collect(HERE, {"routes": found})
    assert facts.routes == () and facts.notes == (
        Note("routes", "ip: not found; taken from elsewhere"),
    )


def test_programs_that_still_run_are_ended():
    ended = []
    collect(HERE, {}, cleanup=lambda: ended.append(True))
    assert ended == [True]


def test_progress_hears_what_is_waited_for():
    heard = []
    collect(
        HERE,
        {"routes": lambda board: time.sleep(0.2)},
        progress=lambda name, elapsed: heard.append(name),
    )
    assert set(heard) == {"routes"}


# --- too little of something ---


class Threads:
    """In the place of the system's threads: gives so many at a time."""

    def __init__(self, mocker, at_most):
        self._start, self._left = (
            threads.start,
            threading.BoundedSemaphore(at_most) if at_most else None,
        )
        mocker.patch("runcommand.collect.threads.start", self.start)

    def start(self, work):
        if self._left is None or not self._left.acquire(blocking=False):
            raise threads.NoThread("can't start new thread")

        def counted():
            work()
            self._left.release()

        self._start(counted)


@pytest.mark.parametrize("at_most", [0, 1, 2, 3])
def test_what_has_no_thread_of_its_own_runs_in_turn(mocker, at_most):
    Threads(mocker, at_most)
    names = ("routes", "listeners", "neighbours", "raw", "proxies")
    facts = collect(HERE, {name: lambda board: time.sleep(0.05) or () for name in names})
    assert facts.unavailable == () and all(getattr(facts, name) == () for name in names)


@pytest.mark.parametrize("at_most", [0, 1, 2])
def test_one_that_waits_for_another_that_nobody_has_begun_does_its_work(mocker, at_most):
    Threads(mocker, at_most)
    waiting = {
        "listeners": lambda board: board.wait("neighbours"),
        "neighbours": lambda board: board.wait("routes"),
        "raw": lambda board: board.wait("listeners", or_draft=True),
        "routes": lambda board: ("found",),
    }
    facts, elapsed = seconds(lambda: collect(HERE, waiting))
    assert (facts.listeners, facts.neighbours, facts.raw, facts.routes) == (
        ("found",),
    ) * 4 and elapsed < 0.5


@pytest.mark.parametrize("at_most", [0, 1])
def test_two_that_wait_for_each_other_end_with_the_time(mocker, at_most):
    Threads(mocker, at_most)
    collectors = {
        "routes": lambda board: board.wait("listeners"),
        "listeners": lambda board: board.wait("routes"),
        "raw": lambda board: (),
    }
    facts, elapsed = seconds(lambda: collect(HERE, collectors))
    assert elapsed < 1.5 and facts.routes is None


@pytest.mark.skipif(os.name == "nt", reason="Windows' main thread cannot be called back")
def test_without_any_thread_one_that_hangs_costs_its_fact_and_ends_with_the_time(mocker):
    Threads(mocker, 0)
    hanging = {
        "routes": lambda board: (),
        "listeners": lambda board: time.sleep(30),
        "raw": lambda board: (),
    }
    facts, elapsed = seconds(lambda: collect(HERE, hanging))
    assert elapsed < 2 and facts.routes == ()
    assert [(item.fact, item.reason) for item in facts.unavailable] == [
        ("listeners", "not finished when the time was up"),
        ("raw", "not begun when the time was up: can't start new thread"),
    ]


@pytest.mark.parametrize("at_most", [0, 1])
def test_an_interrupt_ends_the_turns(mocker, at_most):
    Threads(mocker, at_most)
    interrupted = threading.Event()
    turns = {
        "routes": lambda board: (interrupted.set(), ())[1],
        "listeners": lambda board: time.sleep(0.3),
    }
    facts = collect(HERE, turns, interrupted=interrupted.is_set)
    assert facts.interrupted and facts.routes == () and facts.listeners is None


SHORTAGES = [
    MemoryError(),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.EAGAIN, "x"),
    threads.NoThread("x"),
]


@pytest.mark.parametrize("failure", SHORTAGES, ids=repr)
@pytest.mark.parametrize("at_most", [0, 9])
def test_what_fails_for_want_of_something_runs_again_when_the_others_have_ended(
    mocker, at_most, failure
):
    Threads(mocker, at_most)
    ended = []

    def needs_much(board):
        if not ended:
            raise failure
        return ("found",)

    def other(board):
        time.sleep(0.2)
        ended.append(True)
        return ()

    facts = collect(HERE, {"routes": needs_much, "listeners": other})
    assert facts.routes == ("found",) and facts.listeners == ()


def test_what_fails_for_want_of_memory_twice_says_so():
    def fails(board):
        raise MemoryError()

    facts, elapsed = seconds(lambda: collect(HERE, {"routes": fails}))
    assert facts.unavailable[0].reason.startswith("MemoryError") and elapsed < 1.0


@pytest.mark.parametrize("at_most", [0, 1, 9])
def test_one_that_waits_for_a_second_try_gets_it_at_once(mocker, at_most):
    Threads(mocker, at_most)
    tries = []

    def first_fails(board):
        time.sleep(0.05)
        tries.append(True)
        if len(tries) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return ("found",)

    waiting = {
        "listeners": lambda board: board.wait("routes"),
        "routes": first_fails,
        "raw": lambda board: board.wait("routes"),
        "neighbours": lambda board: (),
    }
    facts, elapsed = seconds(lambda: collect(HERE, waiting))
    assert (facts.listeners, facts.routes, facts.raw) == (("found",),) * 3 and len(tries) == 2
    assert elapsed < HERE.deadline_s / 2


def test_what_is_short_while_another_holds_it_is_tried_until_it_is_free():
    """One that waits for it takes every such try: the last one comes when the other has ended."""
    is_free = threading.Event()

    def needs_it(board):
        if not is_free.is_set():
            raise OSError(errno.EMFILE, "Too many open files")
        return ("found",)

    def holds_it(board):
        time.sleep(0.5)
        is_free.set()
        return ()

    collectors = {
        "routes": needs_it,
        "listeners": holds_it,
        "raw": lambda board: board.wait("routes"),
    }
    facts = collect(HERE, collectors)
    assert (facts.routes, facts.raw) == (("found",),) * 2


def test_what_was_short_is_begun_again_one_after_the_other():
    """As if there were one descriptor: side by side, all but one would fail for good."""
    descriptor = threading.Lock()

    def needs_it(board):
        if not descriptor.acquire(blocking=False):
            raise OSError(errno.EMFILE, "Too many open files")
        time.sleep(0.1)
        descriptor.release()
        return ("found",)

    names = ("routes", "listeners", "raw", "neighbours")
    facts = collect(HERE, dict.fromkeys(names, needs_it))
    assert [getattr(facts, name) for name in names] == [("found",)] * 4


def test_a_thread_whose_work_fails_is_no_thread_at_work(mocker):
    """What it had no memory to post is missing; what is left to do is begun all the same."""
    board = Board(1.5)

    def fails():
        raise MemoryError()

    board._threads = 1
    with pytest.raises(MemoryError):
        board._take_turns(fails)
    assert board._threads == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows' main thread cannot be called back")
class TestTheTimeIsUpBetweenTwoCollectors:
    @pytest.fixture(autouse=True)
    def nothing_is_left(self, mocker):
        Threads(mocker, 0)
        before = signal.getsignal(signal.SIGALRM)
        yield
        assert signal.getsignal(signal.SIGALRM) == before
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_while_a_fact_is_posted(self, mocker):
        post = Board.post

        def slow_post(board, name, value):
            post(board, name, value)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                pass

        mocker.patch.object(Board, "post", slow_post)
        facts, elapsed = seconds(
            lambda: collect(HERE, {"routes": lambda board: (), "raw": lambda board: ()})
        )
        assert facts.routes == () and facts.raw is None and elapsed < 1.5

    def test_outside_of_any_collector(self):
        board = Board(0.8)
        board.give_turn("routes", lambda: time.sleep(5))
        board.give_turn("raw", lambda: None)
        board.start(lambda: False)
        assert board.next_turn() is None and board.remaining() == 0

    def test_a_ring_after_the_end_does_nothing(self, mocker):
        installed = []
        real = signal.signal
        mocker.patch(
            "signal.signal", lambda number, what: installed.append(what) or real(number, what)
        )
        collect(HERE, {"routes": lambda board: ()})
        installed[0](signal.SIGALRM, None)


@pytest.mark.parametrize("at_most", [0, 9])
def test_an_interrupted_run_says_so_of_each_fact_that_is_missing(mocker, at_most):
    Threads(mocker, at_most)
    release = threading.Event()
    facts = collect(
        HERE,
        {"routes": lambda board: release.wait(9), "raw": lambda board: ()},
        interrupted=lambda: True,
    )
    release.set()
    assert facts.interrupted
    assert facts.unavailable == tuple(
        Unavailable(name, "the run was interrupted") for name in ("routes", "raw")
    )


@pytest.mark.parametrize("at_most", [0, 1, 2])
def test_works_side_by_side_take_turns_too(mocker, at_most):
    Threads(mocker, at_most)
    done = []
    works = [lambda number=number: done.append(number) for number in range(4)] + [lambda: 1 / 0]
    reasons = side_by_side.run(works, 5.0)
    assert sorted(done) == [0, 1, 2, 3] and reasons == [None] * 4 + [
        "ZeroDivisionError: division by zero"
    ]


def test_a_thread_has_room_for_the_deepest_recursion():
    deepest = []

    def down(depth):
        return sorted([depth], key=down_again)[0]

    def down_again(depth):
        return down(depth + 1)

    def work():
        try:
            down(0)
        except RecursionError:
            deepest.append("recursion")
        try:
            json.loads("[" * 100_000)
        except RecursionError:
            deepest.append("json")

    side_by_side.run([work], 5.0)
    assert deepest == ["recursion", "json"]


# --- programs ---

BOTH_WAYS = pytest.mark.parametrize(
    "has_poll", [True, False], ids=["one thread", "a thread a stream"]
)


def programs(mocker, has_poll):
    if not has_poll:  # as on Windows
        mocker.patch.object(select, "poll", create=True)
        del select.poll
    return Programs(("/bin", "/usr/bin"), {"PATH": "/bin:/usr/bin"})


@pytest.mark.skipif(os.name == "nt", reason="POSIX programs")
@BOTH_WAYS
def test_a_programs_streams_are_read_to_their_ends(mocker, has_poll):
    script = "head -c 300000 /dev/zero; head -c 90000 /dev/zero >&2; exit 3"
    done = programs(mocker, has_poll).complete("sh", ["-c", script])
    assert (done.status, len(done.output), len(done.errors)) == (3, 300000, 4096)


@pytest.mark.skipif(os.name == "nt", reason="POSIX programs")
@BOTH_WAYS
@pytest.mark.parametrize("warnings", [100, 2000])
def test_a_program_that_warns_at_length_is_not_lost(mocker, has_poll, warnings):
    script = (
        f"i=0; while [ $i -lt {warnings} ]; do echo warning: this table is deprecated >&2; "
        "i=$((i+1)); done; echo ok"
    )
    assert programs(mocker, has_poll).run("sh", ["-c", script]) == b"ok\n"


@pytest.mark.skipif(os.name == "nt", reason="POSIX programs")
@BOTH_WAYS
def test_a_program_that_never_stops_printing_is_ended(mocker, has_poll):
    mocker.patch("runcommand.system.program.OUTPUT_LIMIT", 1 << 20)
    with pytest.raises(NoFact, match="yes : printed more than 1 MiB"):
        programs(mocker, has_poll).run("yes", [])


@pytest.mark.skipif(os.name == "nt", reason="POSIX programs")
def test_the_end_of_a_run_does_not_wait_for_a_program_that_is_being_started():
    started, go_on = [], threading.Event()

    def contain(process):
        started.append(process)
        go_on.wait(10)
        return process_group(process)

    made = Programs(("/bin", "/usr/bin"), {}, contain)
    reasons = []
    runs = threading.Thread(
        target=lambda: reasons.extend(side_by_side.run([lambda: made.run("sleep", ["30"])], 9))
    )
    runs.start()
    while not started:
        time.sleep(0.01)
    assert seconds(made.close)[1] < 1
    go_on.set()
    runs.join(9)
    assert (
        reasons == ["sleep 30: not started, the run is over"]
        and started[0].returncode == -signal.SIGKILL
    )


@pytest.mark.skipif(os.name == "nt", reason="POSIX programs")
def test_programs_that_cannot_be_killed_are_waited_for_together():
    started = []
    made = Programs(
        ("/bin", "/usr/bin"), {}, lambda process: started.append(process) or (lambda: None)
    )
    runs = [
        threading.Thread(target=lambda: side_by_side.run([lambda: made.run("sleep", ["3"])], 9))
        for _ in range(6)
    ]
    for item in runs:
        item.start()
    while len(started) < 6:
        time.sleep(0.01)
    time.sleep(0.1)
    assert seconds(made.close)[1] < 6 * DYING_S / 2
    for process in started:
        process.kill()
    for item in runs:
        item.join(9)


@pytest.mark.skipif(os.name == "nt", reason="POSIX programs")
@BOTH_WAYS
def test_a_program_that_hangs_is_ended(mocker, has_poll):
    (reason,), elapsed = seconds(
        lambda: side_by_side.run(
            [lambda: programs(mocker, has_poll).run("sleep", ["30"], 0.3)], 5.0
        )
    )
    assert reason == "sleep 30: not finished in 0 s" and elapsed < 2


@pytest.mark.skipif(os.name == "nt", reason="POSIX programs")
def test_a_program_starts_when_what_it_needs_is_free_again(mocker):
    real, tries = subprocess.Popen, []

    def popen(*arguments, **more):
        tries.append(True)
        if len(tries) < 3:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(*arguments, **more)

    made = programs(mocker, True)
    mocker.patch("subprocess.Popen", popen)
    assert made.run("echo", ["x"]) == b"x\n" and len(tries) == 3


@pytest.mark.skipif(os.name == "nt", reason="POSIX programs")
def test_a_lasting_want_costs_a_run_little_and_is_named(mocker):
    made = programs(mocker, True)
    mocker.patch("subprocess.Popen", side_effect=OSError(errno.ENOMEM, "Cannot allocate memory"))

    def all_of_them():
        for _ in range(10):
            with pytest.raises(NoFact, match="echo x: Cannot allocate memory"):
                made.run("echo", ["x"])

    assert seconds(all_of_them)[1] < 4
