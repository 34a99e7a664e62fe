"""Samples in memory: a bounded window per series, indexed by metric name.

Pure: time is a parameter, in unix seconds; inside it is whole milliseconds, as in Prometheus.
Not thread-safe: one thread scrapes, records and queries.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from actuator.data.frame import Choice, Frame
from actuator.promql.columns import Floats, LabelSets, Times, stale
from actuator.promql.labels import NAME, Labels, get, text
from actuator.promql.nodes import Matcher

_MAX_SELECTIONS = 1_000


class StoreFullError(Exception):
    """A new series would exceed the limit of the store; nothing was stored for it."""


class Series:
    """A label set and the column of its samples; ``column`` None: the store has forgotten it."""

    __slots__ = ("column", "frame", "labels")

    def __init__(self, labels: Labels, frame: Frame) -> None:
        self.labels = labels
        self.frame = frame
        self.column: int | None = frame.add()

    def append(self, time_ms: int, value: float) -> None:
        """Add a sample to a series that has a frame of its own; those at or after its time are dropped."""
        self.frame.append(time_ms, slice(_column(self), _column(self) + 1), np.array([value]))


class Selection(Sequence[Series]):
    """Series that fulfil some matchers, those of a frame together (``promql.columns.Selection``)."""

    def __init__(self, series: Sequence[Series]) -> None:
        by_frame: dict[int, list[Series]] = {}
        for one in series:
            by_frame.setdefault(id(one.frame), []).append(one)
        self._parts: list[tuple[Frame, Choice, tuple[Labels, ...]]] = []
        self._series: list[Series] = []
        for members in by_frame.values():
            members.sort(key=_column)
            self._series += members
            labels = tuple(one.labels for one in members)
            self._parts.append((members[0].frame, _choice(list(map(_column, members))), labels))
        self.sets = LabelSets(one.labels for one in self._series)

    def __len__(self) -> int:
        return len(self._series)

    def __getitem__(self, index):  # type: ignore[no-untyped-def] # as of a list
        return self._series[index]

    def latest(self, start_ms: int, end_ms: int) -> tuple[Times, Floats]:
        times = np.zeros(len(self), np.int64)
        values = stale((len(self),))
        end = 0
        for frame, columns, labels in self._parts:
            start, end = end, end + len(labels)
            found = frame.latest(start_ms, end_ms, columns)
            if found is not None:
                times[start:end], values[start:end] = found
        return times, values

    def windows(self, start_ms: int, end_ms: int) -> Iterator[tuple[tuple[Labels, ...], Times, Floats]]:
        for frame, columns, labels in self._parts:
            times, values = frame.window(start_ms, end_ms, columns)
            yield labels, times, values


class _Index:
    """Some series by label set, and what was selected of them since the last one came or went."""

    __slots__ = ("selections", "series")

    def __init__(self) -> None:
        self.series: dict[Labels, Series] = {}
        self.selections: dict[tuple[Matcher, ...], Selection] = {}


class Store:
    """Series by label set and by metric name.

    ``window_seconds``: how long samples are kept. ``max_series``: more raise StoreFullError.
    """

    def __init__(self, window_seconds: float, max_series: int = 100_000) -> None:
        self.window_seconds = window_seconds
        self.max_series = max_series
        self._all = _Index()
        self._by_name: dict[str, _Index] = {}
        self._frames: dict[Frame, dict[int, Series]] = {}
        self._rows: dict[Frame, tuple[list[Series], Choice]] = {}

    def __len__(self) -> int:
        """Number of series."""
        return len(self._all.series)

    @property
    def nbytes(self) -> int:
        """Memory of all samples, room for more included."""
        return sum(frame.nbytes for frame in self._frames)

    def series(self, labels: Labels, frame: Frame | None = None) -> Series:
        """The series of a label set, created (in ``frame``, or one of its own) if it is new; raises StoreFullError."""
        found = self._all.series.get(labels)
        if found is not None:
            return found
        if len(self) >= self.max_series:
            raise StoreFullError(
                f"no room for {text(labels)[:200]}: the store holds its limit of {self.max_series} series; "
                "look for a label with ever new values, or raise the limit"
            )
        created = Series(labels, Frame() if frame is None else frame)
        self._remember(created)
        return created

    def append(self, labels: Labels, time: float, value: float) -> None:
        """Add a sample to one series at ``time`` (unix seconds); raises StoreFullError."""
        series = self.series(labels)
        if series.frame.width > 1:
            self._place(series, Frame())
        series.append(milliseconds(time), value)

    def append_row(self, frame: Frame, values: Mapping[Series, float], time: float) -> None:
        """Add a sample to each of these series at ``time`` (unix seconds); all others of the frame end.

        A series of another frame is taken over, without what it had there.
        """
        if not values and frame not in self._frames:  # nothing to end, and no series to expire its rows with
            return
        row = list(values)
        known = self._rows.get(frame)
        if known is None or known[0] != row:
            for series in row:
                self._place(series, frame)
            known = self._rows[frame] = row, _choice([_column(series) for series in row])
        frame.append(milliseconds(time), known[1], np.fromiter(values.values(), np.float64, len(row)))

    def expire(self, now: float) -> None:
        """Forget samples older than the window, and series without any other."""
        before_ms = milliseconds(now - self.window_seconds)
        for frame, series in list(self._frames.items()):
            frame.expire(before_ms)
            for column in frame.columns_older_than(before_ms):
                self._forget(series[column])

    def select(self, matchers: tuple[Matcher, ...]) -> Selection:
        """Series whose labels fulfil all matchers, in no particular order."""
        exact = next((matcher for matcher in matchers if matcher.name == NAME and matcher.op == "="), None)
        index = self._all if exact is None else self._by_name.get(exact.value)
        if index is None:
            return _NOTHING
        found = index.selections.get(matchers)
        if found is None:
            others = [matcher for matcher in matchers if matcher is not exact]
            if len(index.selections) == _MAX_SELECTIONS:
                index.selections.clear()
            series = list(index.series.values())
            for matcher in others:
                series = _fulfilling(series, matcher)
            found = index.selections[matchers] = Selection(series)
        return found

    def _place(self, series: Series, frame: Frame) -> None:
        """Have the series in this frame, also if it was in another one or was forgotten."""
        if series.column is not None and series.frame is frame:
            return
        present = self._all.series.get(series.labels)
        if present is not None:
            self._forget(present)
        series.frame, series.column = frame, frame.add()
        self._remember(series)

    def _remember(self, series: Series) -> None:
        self._all.series[series.labels] = series
        self._by_name.setdefault(get(series.labels, NAME), _Index()).series[series.labels] = series
        self._frames.setdefault(series.frame, {})[_column(series)] = series
        self._reselect(series)

    def _forget(self, series: Series) -> None:
        self._reselect(series)
        del self._all.series[series.labels]
        name = get(series.labels, NAME)
        del self._by_name[name].series[series.labels]
        if not self._by_name[name].series:
            del self._by_name[name]
        self._rows.pop(series.frame, None)
        column = _column(series)
        del self._frames[series.frame][column]
        if not self._frames[series.frame]:
            del self._frames[series.frame]
        series.frame.remove(column)
        series.column = None

    def _reselect(self, series: Series) -> None:
        self._all.selections.clear()
        self._by_name[get(series.labels, NAME)].selections.clear()


_NOTHING = Selection(())


def milliseconds(time: float) -> int:
    """Unix seconds as whole milliseconds."""
    return round(time * 1000)


def _fulfilling(series: Sequence[Series], matcher: Matcher) -> list[Series]:
    if matcher.op == "=" and matcher.value:  # looking for the pair is eight times as fast as asking the matcher
        pair = (matcher.name, matcher.value)
        return [one for one in series if pair in one.labels]
    return [one for one in series if matcher.matches(get(one.labels, matcher.name))]


def _column(series: Series) -> int:
    assert series.column is not None
    return series.column


def _choice(columns: Sequence[int]) -> Choice:
    start, end = (columns[0], columns[-1] + 1) if columns else (0, 0)
    if columns == list(range(start, end)):
        return slice(start, end)
    return np.array(columns, np.intp)
