"""Samples in memory: what is kept, found, ended and forgotten. Times are unix seconds."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actuator import promql
from actuator.data.frame import Frame
from actuator.data.query import LocalQuery
from actuator.data.store import Selection, Store, StoreFullError
from actuator.promql.columns import is_stale
from actuator.promql.labels import Labels
from actuator.promql.nodes import Selector
from actuator.promql.types import STALE_MARKER

USED_A: Labels = (("__name__", "used"), ("domain", "a"))
USED_B: Labels = (("__name__", "used"), ("domain", "b"))
FREE: Labels = (("__name__", "free"),)


def select(store: Store, text: str) -> Selection:
    root = promql.compile(text).root
    assert isinstance(root, Selector)
    return store.select(root.matchers)


def selected(store: Store, text: str) -> set[Labels]:
    return set(select(store, text).sets.labels)


def samples(store: Store, text: str, start_ms: int = 0, end_ms: int = 10**15) -> dict[Labels, list[tuple[int, float]]]:
    """Times and values of each series in a window, without the staleness markers."""
    return {
        labels: [
            (time, value)
            for time, value, gone in zip(
                times.tolist(), values[:, i].tolist(), is_stale(values[:, i]).tolist(), strict=True
            )
            if not gone
        ]
        for part, times, values in select(store, text).windows(start_ms, end_ms)
        for i, labels in enumerate(part)
    }


def latest(store: Store, start_ms: int, end_ms: int) -> tuple[int, float] | None:
    times, values = select(store, "free").latest(start_ms, end_ms)
    return None if is_stale(values)[0] else (int(times[0]), float(values[0]))


def row(store: Store, frame: Frame, time: float, values: dict[Labels, float]) -> None:
    store.append_row(frame, {store.series(labels, frame): value for labels, value in values.items()}, time)


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
    assert samples(store, "free", 1000, 3000) == {FREE: [(2000, 20.0), (3000, 30.0)]}
    assert samples(store, "free", 4000, 9000) == {FREE: []}
    assert latest(store, 0, 3500) == (3000, 30.0)
    assert latest(store, 2999, 3000) == (3000, 30.0)
    assert latest(store, 3000, 3999) is None
    assert latest(store, -1000, -1) is None
    assert latest(store, 0, 99_000) == (4000, 40.0)


def test_times_are_kept_to_the_millisecond() -> None:
    store = Store(window_seconds=60)
    store.append(FREE, 1_700_000_000.0014, 1.0)
    assert samples(store, "free") == {FREE: [(1_700_000_000_001, 1.0)]}


def test_a_sample_replaces_what_is_at_or_after_its_time() -> None:
    """So that a clock that is set back does not silence the store until it has caught up."""
    store = Store(window_seconds=60)
    for second, value in ((1, 1.0), (2, 2.0), (3, 3.0), (2, 8.0), (2, 9.0)):
        store.append(FREE, second, value)
    assert samples(store, "free") == {FREE: [(1000, 1.0), (2000, 9.0)]}


def test_a_clock_that_is_set_back_by_far() -> None:
    store = Store(window_seconds=1000)
    for second in range(100):
        store.append(FREE, second, 1.0)
    store.append(FREE, 5, 2.0)
    assert samples(store, "free", 3000) == {FREE: [(4000, 1.0), (5000, 2.0)]}
    store.expire(1006.0)
    assert len(store) == 0


def test_a_series_that_is_not_in_a_row_ends() -> None:
    store, frame = Store(window_seconds=60), Frame()
    row(store, frame, 1, {USED_A: 1.0, FREE: math.nan})
    row(store, frame, 2, {USED_A: 2.0})
    row(store, frame, 3, {USED_A: 3.0, USED_B: 4.0})
    assert samples(store, "used") == {USED_A: [(1000, 1.0), (2000, 2.0), (3000, 3.0)], USED_B: [(3000, 4.0)]}
    assert latest(store, 0, 1000) is not None
    assert latest(store, 0, 2000) is None
    row(store, frame, 4, {})
    assert is_stale(select(store, '{__name__=~".+"}').latest(0, 4000)[1]).all()
    row(store, frame, 5, {FREE: 5.0})
    assert latest(store, 0, 5000) == (5000, 5.0)


def test_a_staleness_marker_ends_a_series() -> None:
    store = Store(window_seconds=60)
    store.append(FREE, 1, math.nan)
    store.append(FREE, 2, STALE_MARKER)
    assert latest(store, 0, 1000) is not None
    assert latest(store, 0, 2000) is None


def test_a_series_belongs_to_who_wrote_it_last() -> None:
    store, first, second = Store(window_seconds=60), Frame(), Frame()
    row(store, first, 1, {USED_A: 1.0, USED_B: 1.0})
    row(store, second, 2, {USED_B: 2.0})
    row(store, first, 3, {USED_A: 3.0})
    assert samples(store, "used") == {USED_A: [(1000, 1.0), (3000, 3.0)], USED_B: [(2000, 2.0)]}
    store.append(USED_A, 4, 4.0)
    row(store, second, 4, {USED_A: 5.0})
    assert samples(store, "used") == {USED_A: [(4000, 5.0)], USED_B: [(2000, 2.0)]}


def test_a_column_has_nothing_of_who_had_it_before() -> None:
    store, frame = Store(window_seconds=10), Frame()
    for second in range(20):
        row(store, frame, second, {USED_A: 1.0, USED_B: 1.0})
    for second in range(20, 35):
        row(store, frame, second, {USED_A: 1.0})
        store.expire(second)
    assert selected(store, "used") == {USED_A}
    row(store, frame, 35, {USED_A: 1.0, FREE: 7.0})
    assert samples(store, "free") == {FREE: [(35_000, 7.0)]}


def test_a_selection_is_made_anew_when_series_come_or_go() -> None:
    store, frame = Store(window_seconds=10), Frame()
    row(store, frame, 1, {USED_A: 1.0, FREE: 1.0})
    used, everything = select(store, "used"), select(store, '{__name__=~".+"}')
    row(store, frame, 2, {USED_A: 1.0})
    assert select(store, "used") is used
    assert select(store, '{__name__=~".+"}') is everything
    store.expire(11.5)
    assert selected(store, '{__name__=~".+"}') == {USED_A}
    assert select(store, "used") is used
    row(store, frame, 3, {USED_A: 1.0, USED_B: 1.0})
    assert selected(store, "used") == {USED_A, USED_B}


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


@pytest.mark.parametrize(
    "text",
    [
        "used",
        "rate(used[1m])",
        "avg_over_time(used[2m] offset 3m)",
        "max_over_time(rate(used[1m])[5m:30s])",
        "used - used offset 10m",
        "sum(increase(used[10m])) + sum_over_time((used > 3)[1m:7s] offset 90s)",
    ],
)
def test_the_window_of_a_rule_holds_all_that_it_looks_at(text: str) -> None:
    expr = promql.compile(text)
    bounded, whole = Store(expr.window_seconds), Store(window_seconds=1e9)
    for number in range(400):
        now = 5.0 * number
        for store in (bounded, whole):
            if number not in (350, 351):
                store.append(USED_A, now, number % 50)
            store.append(USED_B, now, number**0.5)
            store.expire(now)
        assert LocalQuery(bounded).instant(expr, now) == LocalQuery(whole).instant(expr, now)


@pytest.mark.parametrize(("series", "scrapes"), [(1, 1000), (1000, 60), (1000, 1000)])
def test_memory_is_bounded_by_the_window(series: int, scrapes: int) -> None:
    """At most 20 bytes a sample, however long the store runs."""
    store, frame = Store(window_seconds=scrapes), Frame()
    names: list[Labels] = [(("__name__", "used"), ("domain", f"{number}")) for number in range(series)]
    values = {store.series(labels, frame): 1.0 for labels in names}
    for second in range(3 * scrapes):
        store.append_row(frame, values, second)
        store.expire(second)
        assert store.nbytes <= 20 * series * max(scrapes, 16)
    assert {len(found) for found in samples(store, "used", 1000 * (2 * scrapes - 1)).values()} == {scrapes}


def test_rows_without_series_are_not_kept() -> None:
    """A recording rule whose result is empty for days."""
    store, frame = Store(window_seconds=60), Frame()
    row(store, frame, 0, {USED_A: 1.0})
    for second in range(1, 1000):
        row(store, frame, second, {})
        store.expire(second)
    assert len(store) == 0
    assert frame.nbytes < 20 * 200
    row(store, frame, 1000, {USED_B: 2.0})
    assert samples(store, "used") == {USED_B: [(1_000_000, 2.0)]}


def test_rows_get_shorter_when_series_go() -> None:
    store, frame = Store(window_seconds=60), Frame()
    many: list[Labels] = [(("__name__", "used"), ("domain", f"{number}")) for number in range(1000)]
    row(store, frame, 0, dict.fromkeys([FREE, *many], 1.0))
    for second in range(1, 200):
        row(store, frame, second, {FREE: float(second)})
        store.expire(second)
    assert len(store) == 1
    assert store.nbytes < 20 * 200
    assert latest(store, 0, 199_000) == (199_000, 199.0)


def test_a_column_that_comes_back_has_nothing_of_who_had_it_before() -> None:
    store, frame = Store(window_seconds=10), Frame()
    row(store, frame, 0, {FREE: 1.0, USED_A: 1.0, USED_B: 1.0})
    for second in range(1, 12):
        row(store, frame, second, {FREE: 1.0, **({USED_A: 1.0, USED_B: 1.0} if second < 2 else {})})
        store.expire(second)
    store.expire(11.5)
    assert selected(store, "used") == set()
    row(store, frame, 12, {FREE: 1.0, USED_B: 7.0})
    assert samples(store, "used") == {USED_B: [(12_000, 7.0)]}


CHURN = st.lists(st.tuples(st.integers(-3, 9), st.sets(st.integers(0, 60), max_size=40)), max_size=60)
"""Seconds until the next row (backwards: the clock was set back), and the series that are in it."""


@given(CHURN, st.integers(5, 100))
@settings(deadline=None, max_examples=50)
def test_series_that_come_and_go_have_their_own_samples(rows: list[tuple[int, set[int]]], window: int) -> None:
    store, frame = Store(window), Frame()
    expected: dict[Labels, list[tuple[int, float]]] = {}
    now = newest = 1000
    for number, (pause, present) in enumerate(rows):
        now += pause
        newest = max(newest, now)
        for known in expected.values():
            known[:] = [(time, value) for time, value in known if time < now * 1000]
        written: dict[Labels, float] = {(("__name__", "used"), ("n", str(n))): float(number * 100 + n) for n in present}
        row(store, frame, now, written)
        for labels, value in written.items():
            expected.setdefault(labels, []).append((now * 1000, value))
        store.expire(now)
    start = (newest - window) * 1000
    stored = samples(store, "used", start, newest * 1000)
    recent = {labels: [point for point in points if point[0] > start] for labels, points in expected.items()}
    assert {labels: points for labels, points in stored.items() if points} == {
        labels: points for labels, points in recent.items() if points
    }


@pytest.mark.parametrize(("new", "bytes_a_sample"), [(0, 20), (10, 40), (100, 100)])
def test_series_that_come_and_go_do_not_widen_the_rows_of_others(new: int, bytes_a_sample: int) -> None:
    """Of 300 series so many are others at each scrape."""
    store, frame = Store(window_seconds=100), Frame()
    for second in range(150):
        names = [str(number) for number in range(300 - new)] + [f"{second}-{number}" for number in range(new)]
        row(store, frame, second, {(("__name__", "used"), ("n", name)): 1.0 for name in names})
        store.expire(second)
    assert store.nbytes <= bytes_a_sample * 300 * 100


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
