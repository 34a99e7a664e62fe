"""Samples in memory: what is kept, found, ended and forgotten. Times are unix seconds."""

import math
import sys

import pytest

from actuator import promql
from actuator.promql.labels import Labels
from actuator.promql.nodes import Selector
from actuator.promql.types import STALE_MARKER, is_stale
from actuator.store import Store, StoreFullError

USED_A: Labels = (("__name__", "used"), ("domain", "a"))
USED_B: Labels = (("__name__", "used"), ("domain", "b"))
FREE: Labels = (("__name__", "free"),)


def selected(store: Store, text: str) -> set[Labels]:
    root = promql.compile(text).root
    assert isinstance(root, Selector)
    return {series.labels for series in store.select(root.matchers)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("used", {USED_A, USED_B}),
        ('used{domain="b"}', {USED_B}),
        ('used{domain!="b"}', {USED_A}),
        ('used{domain=~"[ab]"}', {USED_A, USED_B}),
        ('{domain=~".+"}', {USED_A, USED_B}),
        ('{__name__=~"used|free"}', {USED_A, USED_B, FREE}),
        ('{__name__=~".+", domain=""}', {FREE}),
        ('{__name__=~"used", __name__="used"}', {USED_A, USED_B}),
        ('{__name__="used", __name__="free"}', set()),
        ("nothing", set()),
    ],
)
def test_select(text: str, found: set[Labels]) -> None:
    store = Store(window_seconds=60)
    for labels in (USED_A, USED_B, FREE):
        store.append(labels, 1.0, 1.0)
    assert selected(store, text) == found


def test_windows_and_latest_are_open_on_the_left() -> None:
    store = Store(window_seconds=60)
    for second in range(5):
        store.append(FREE, second, second * 10.0)
    series = store.series(FREE)
    times, values = series.window(1000, 3000)
    assert (list(times), list(values)) == ([2000, 3000], [20.0, 30.0])
    assert series.latest(0, 3500) == (3000, 30.0)
    assert series.latest(2999, 3000) == (3000, 30.0)
    assert series.latest(3000, 3999) is None
    assert series.latest(-1000, -1) is None
    assert series.latest(0, 99_000) == (4000, 40.0)


def test_times_are_kept_to_the_millisecond() -> None:
    store = Store(window_seconds=60)
    store.append(FREE, 1_700_000_000.0014, 1.0)
    assert list(store.series(FREE).times_ms) == [1_700_000_000_001]


def test_a_sample_replaces_what_is_at_or_after_its_time() -> None:
    """So that a clock that is set back does not silence the store until it has caught up."""
    store = Store(window_seconds=60)
    for second, value in ((1, 1.0), (2, 2.0), (3, 3.0), (2, 8.0), (2, 9.0)):
        store.append(FREE, second, value)
    times, values = store.series(FREE).window(0, 10_000)
    assert (list(times), list(values)) == ([1000, 2000], [1.0, 9.0])


def test_a_series_ends_once() -> None:
    store = Store(window_seconds=60)
    store.append(FREE, 1, 1.0)
    store.mark_stale(FREE, 2)
    store.mark_stale(FREE, 3)
    assert list(store.series(FREE).times_ms) == [1000, 2000]
    assert is_stale(store.series(FREE).values[-1])
    store.append(FREE, 4, math.nan)
    store.mark_stale(FREE, 5)
    assert len(store.series(FREE).times_ms) == 4


def test_marking_an_unknown_series_makes_none() -> None:
    store = Store(window_seconds=60)
    store.mark_stale(FREE, 1)
    assert len(store) == 0


def test_series_without_recent_samples_are_forgotten() -> None:
    store = Store(window_seconds=60)
    store.append(USED_A, 0, 1.0)
    store.append(USED_B, 30, 1.0)
    store.append(USED_B, 31, STALE_MARKER)
    store.expire(60.0)
    assert len(store) == 2
    store.expire(60.5)
    assert selected(store, "used") == {USED_B}
    store.expire(92.0)
    assert len(store) == 0
    assert selected(store, "used") == set()


def test_memory_is_bounded_by_the_window() -> None:
    """At most 20 bytes a sample, however long the store runs."""
    store = Store(window_seconds=1000)
    for second in range(5000):
        store.append(FREE, second, 1.0)
        store.expire(second)
    series = store.series(FREE)
    assert 1000 <= len(series.times_ms) <= 1000 + 1000 // 16 + 1
    assert sys.getsizeof(series.times_ms) + sys.getsizeof(series.values) <= 20 * 1001
    assert series.times_ms[0] <= 3_999_000


def test_a_target_that_explodes_is_a_fault_and_not_the_end_of_the_known_series() -> None:
    store = Store(window_seconds=60, max_series=2)
    store.append(USED_A, 1, 1.0)
    store.append(USED_B, 1, 1.0)
    with pytest.raises(StoreFullError, match=r'no room for \{__name__="free"\}.* 2 series'):
        store.append(FREE, 1, 1.0)
    store.append(USED_A, 2, 2.0)
    assert len(store) == 2
    store.expire(61.5)
    store.append(FREE, 62, 1.0)
    assert selected(store, "free") == {FREE}
