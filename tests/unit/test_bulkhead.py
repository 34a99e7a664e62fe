"""Jobs that hang for real, on events that nobody has set yet: each costs itself and nothing else."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kvmhost.bulkhead import Bulkhead
from tests.programs import wait_until

STALL_SECONDS = 0.05


@contextmanager
def hanging() -> Iterator[Callable[[], str]]:
    """A job that returns at the end of the block."""
    end = threading.Event()

    def job() -> str:
        end.wait()
        return "late"

    try:
        yield job
    finally:
        end.set()


def returning(value: str) -> Callable[[], str]:
    return lambda: value


def bulkhead(most_at_once: int = 4) -> Bulkhead[str]:
    return Bulkhead("test", stall_seconds=STALL_SECONDS, most_at_once=most_at_once)


def await_return(guarded: Bulkhead[str]) -> None:
    wait_until(lambda: not guarded.stalled, "all have returned")


def test_jobs_run_in_their_order() -> None:
    order: list[str] = []
    run = bulkhead().run([(key, lambda key=key: order.append(key)) for key in "dacb"])  # type: ignore[misc]
    assert order == list("dacb")
    assert run.results == dict.fromkeys("dacb")
    assert not run.stalled
    assert not run.skipped


def test_one_that_hangs_costs_only_itself_and_is_not_started_again() -> None:
    guarded = bulkhead()
    with hanging() as hangs:
        first = guarded.run([("a", returning("1")), ("b", hangs), ("c", returning("3"))])
        assert (first.results, first.stalled, first.skipped) == ({"a": "1", "c": "3"}, {"b"}, frozenset())
        again = guarded.run([("b", returning("never")), ("c", returning("4"))])
        assert (again.results, again.stalled) == ({"c": "4"}, {"b"})
    await_return(guarded)
    assert first.results == {"a": "1", "c": "3"}  # what came late is nobody's
    assert guarded.run([("b", returning("5"))]).results == {"b": "5"}


@pytest.mark.parametrize("most", [1, 2, 4])
def test_no_more_than_so_many_are_under_way_at_once(most: int) -> None:
    guarded = bulkhead(most)
    with hanging() as hangs:
        run = guarded.run([(str(number), hangs) for number in range(6)])
        assert run.stalled == {str(number) for number in range(most)}
        assert run.skipped == {str(number) for number in range(most, 6)}
        assert guarded.run([("healthy", returning("x"))]).skipped == {"healthy"}
    await_return(guarded)
    assert guarded.run([("healthy", returning("x"))]).results == {"healthy": "x"}


def test_a_run_ends_at_its_deadline() -> None:
    guarded = Bulkhead[str]("test", stall_seconds=60, most_at_once=4)
    with hanging() as hangs:
        run = guarded.run([("a", returning("1")), ("b", hangs), ("c", returning("3"))], within_seconds=STALL_SECONDS)
        assert (run.results, run.stalled, run.skipped) == ({"a": "1"}, {"b"}, {"c"})
    await_return(guarded)


def test_what_a_job_raises_is_raised_where_the_run_was_asked_for() -> None:
    guarded = bulkhead()
    with pytest.raises(ZeroDivisionError):
        guarded.run([("a", lambda: 1 // 0), ("b", returning("2"))])
    assert guarded.run([("b", returning("2"))]).results == {"b": "2"}


def test_one_thread_is_kept_until_the_last_run_and_none_outlives_its_job() -> None:
    def threads() -> int:
        return sum(thread.name == "of this test" for thread in threading.enumerate())

    guarded = Bulkhead[str]("of this test", stall_seconds=STALL_SECONDS, most_at_once=4)
    with hanging() as hangs:
        guarded.run([("a", hangs), ("b", returning("2"))])
        guarded.run([("c", returning("3"))])
        assert threads() == 2
    wait_until(lambda: threads() == 1, "the one that hung has ended")
    del guarded
    wait_until(lambda: threads() == 0, "none is left")


def test_what_a_job_returned_is_not_kept() -> None:
    class Result:
        pass

    guarded = Bulkhead[str]("test", stall_seconds=STALL_SECONDS, most_at_once=4)
    result = weakref.ref(guarded.run([("a", Result)]).results["a"])
    wait_until(lambda: result() is None, "it is gone")
