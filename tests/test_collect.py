"""Collecting: side by side, under one deadline, and no failure gets out."""

import threading
import time

from runcommand.collect import NoFact, Run, collect
from runcommand.facts import Note, Unavailable

HERE = Run("linux", "testlx", deadline_s=1.5)


def seconds(function):
    began = time.monotonic()
    result = function()
    return result, time.monotonic() - began


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
    assert facts.unavailable[0].reason.startswith("ZeroDivisionError: division by zero at test_collect.py:")


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
        lambda: collect(HERE, {"routes": lambda board: release.wait(30), "listeners": lambda board: ()})
    )
    release.set()
    assert elapsed < 1.5
    assert facts.listeners == ()
    assert facts.unavailable == (Unavailable("routes", "not finished when the time was up"),)


def test_collectors_run_side_by_side():
    slow = {
        name: lambda board: time.sleep(0.4) or () for name in ("routes", "listeners", "neighbours", "raw", "proxies")
    }
    facts, elapsed = seconds(lambda: collect(HERE, slow))
    assert elapsed < 1.0 and facts.unavailable == ()


def test_a_collector_can_wait_for_what_another_finds():
    def second(board):
        return board.wait("routes")

    facts = collect(HERE, {"listeners": second, "routes": lambda board: time.sleep(0.1) or ("found",)})
    assert facts.listeners == ("found",)


def test_waiting_for_one_that_fails_gives_nothing_at_once():
    facts, elapsed = seconds(
        lambda: collect(HERE, {"listeners": lambda board: (board.wait("routes"),), "routes": lambda board: 1 / 0})
    )
    assert facts.listeners == (None,) and elapsed < 0.5


def test_an_interrupt_ends_the_waiting_and_is_a_fact():
    interrupted = threading.Event()
    threading.Timer(0.2, interrupted.set).start()
    release = threading.Event()
    facts, elapsed = seconds(
        lambda: collect(HERE, {"routes": lambda board: release.wait(30)}, interrupted=interrupted.is_set)
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
    assert facts.routes == () and facts.notes == (Note("routes", "ip: not found; taken from elsewhere"),)


def test_programs_that_still_run_are_ended():
    ended = []
    collect(HERE, {}, cleanup=lambda: ended.append(True))
    assert ended == [True]


def test_progress_hears_what_is_waited_for():
    heard = []
    collect(HERE, {"routes": lambda board: time.sleep(0.2)}, progress=lambda name, elapsed: heard.append(name))
    assert set(heard) == {"routes"}


def test_no_thread_to_be_had_costs_facts_not_the_run(mocker):
    mocker.patch("threading.Thread.start", side_effect=RuntimeError("can't start new thread"))
    facts = collect(HERE, {"routes": lambda board: ()})
    assert "can't start new thread" in facts.unavailable[0].reason
