"""Samples in memory: a bounded window per series, indexed by metric name.

Pure: time is a parameter, in unix seconds; inside it is whole milliseconds, as in Prometheus.
Not thread-safe: one thread scrapes, records and queries.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from actuator.promql.labels import NAME, Labels, get, text
from actuator.promql.nodes import Matcher
from actuator.promql.types import STALE_MARKER, is_stale

_SLACK = 16
"""Expired samples are removed when they are this many and a 16th of the series: seldom, so at little cost."""


class StoreFullError(Exception):
    """A new series would exceed the limit of the store; nothing was stored for it."""


class Series:
    """The samples of one label set, oldest first: 16 bytes each, and at most an eighth more while it grows."""

    __slots__ = ("labels", "times_ms", "values")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.times_ms = array("q")
        self.values = array("d")

    def append(self, time_ms: int, value: float) -> None:
        """Add a sample. Those at or after its time are dropped: the clock was set back, or this corrects it."""
        times = self.times_ms
        if times and times[-1] >= time_ms:
            earlier = bisect_left(times, time_ms)
            del times[earlier:]
            del self.values[earlier:]
        times.append(time_ms)
        self.values.append(value)

    def mark_stale(self, time_ms: int) -> None:
        """End the series at this time, unless it has ended already."""
        if self.values and not is_stale(self.values[-1]):
            self.append(time_ms, STALE_MARKER)

    def expire(self, before_ms: int) -> None:
        """Remove samples that are older than ``before_ms``, when there are enough to be worth it."""
        times = self.times_ms
        if not times or times[0] >= before_ms:
            return
        expired = bisect_left(times, before_ms)
        if expired == len(times) or expired >= max(_SLACK, len(times) // 16):
            del times[:expired]
            del self.values[:expired]

    def latest(self, start_ms: int, end_ms: int) -> tuple[int, float] | None:
        """Newest sample in (start_ms, end_ms], staleness markers included."""
        times = self.times_ms
        index = len(times) - 1
        if times and times[-1] > end_ms:
            index = bisect_right(times, end_ms) - 1
        if index < 0 or times[index] <= start_ms:
            return None
        return times[index], self.values[index]

    def window(self, start_ms: int, end_ms: int) -> tuple["array[int]", "array[float]"]:
        """Times and values in (start_ms, end_ms], oldest first, staleness markers included."""
        times = self.times_ms
        first, last = bisect_right(times, start_ms), bisect_right(times, end_ms)
        return times[first:last], self.values[first:last]


class Store:
    """Series by label set and by metric name.

    ``window_seconds``: how long samples are kept. ``max_series``: more raise StoreFullError.
    """

    def __init__(self, window_seconds: float, max_series: int = 100_000) -> None:
        self.window_seconds = window_seconds
        self.max_series = max_series
        self._series: dict[Labels, Series] = {}
        self._by_name: dict[str, dict[Labels, Series]] = {}

    def __len__(self) -> int:
        """Number of series."""
        return len(self._series)

    def series(self, labels: Labels) -> Series:
        """The series of a label set, created if it is new; raises StoreFullError."""
        found = self._series.get(labels)
        if found is not None:
            return found
        if len(self._series) >= self.max_series:
            raise StoreFullError(
                f"no room for {text(labels)}: the store holds its limit of {self.max_series} series; "
                "look for a label with ever new values, or raise the limit"
            )
        created = Series(labels)
        self._remember(created)
        return created

    def append(self, labels: Labels, time: float, value: float) -> None:
        """Add a sample at ``time`` (unix seconds); raises StoreFullError."""
        self.series(labels).append(milliseconds(time), value)

    def append_all(self, values: Mapping[Series, float], time: float) -> None:
        """Add a sample to each of these series, which ``series`` has given, at ``time`` (unix seconds)."""
        time_ms = milliseconds(time)
        for series, value in values.items():
            series.append(time_ms, value)
            if len(series.times_ms) == 1:  # it may have been forgotten meanwhile
                self._remember(series)

    def mark_stale(self, labels: Labels, time: float) -> None:
        """End a series at ``time`` (unix seconds): it is absent from then on, until it gets a sample."""
        found = self._series.get(labels)
        if found is not None:
            found.mark_stale(milliseconds(time))

    def expire(self, now: float) -> None:
        """Forget samples older than the window, and series without any other."""
        before_ms = milliseconds(now - self.window_seconds)
        for series in list(self._series.values()):
            series.expire(before_ms)
            if not series.times_ms:
                self._forget(series.labels)

    def select(self, matchers: Sequence[Matcher]) -> list[Series]:
        """Series whose labels fulfil all matchers, in no particular order."""
        exact = next((matcher for matcher in matchers if matcher.name == NAME and matcher.op == "="), None)
        candidates = self._series if exact is None else self._by_name.get(exact.value, {})
        others = [matcher for matcher in matchers if matcher is not exact]
        if not others:
            return list(candidates.values())
        return [series for series in candidates.values() if _fulfils(series.labels, others)]

    def _remember(self, series: Series) -> None:
        self._series[series.labels] = series
        self._by_name.setdefault(get(series.labels, NAME), {})[series.labels] = series

    def _forget(self, labels: Labels) -> None:
        del self._series[labels]
        name = get(labels, NAME)
        del self._by_name[name][labels]
        if not self._by_name[name]:
            del self._by_name[name]


def milliseconds(time: float) -> int:
    """Unix seconds as whole milliseconds."""
    return round(time * 1000)


def _fulfils(labels: Labels, matchers: Sequence[Matcher]) -> bool:
    return all(matcher.matches(get(labels, matcher.name)) for matcher in matchers)
