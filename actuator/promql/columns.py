"""Instant vectors as arrays: the values of many series in one array, their label sets beside it.

What is found out about label sets (how they group, which belong together, what is left without the name) does not
depend on values. So it is kept with the label sets, which live as long as a selection of the store, and is found
out anew only when series come or go.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import compress
from typing import Protocol, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from actuator.promql.labels import Labels, drop_name
from actuator.promql.nodes import Matcher
from actuator.promql.types import STALE_BITS, Element, Window

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
T = TypeVar("T")


class LabelSets:
    """The label sets of a vector, in order, and what was derived from them."""

    __slots__ = ("__weakref__", "_derived", "_joined", "labels")

    def __init__(self, labels: Iterable[Labels]) -> None:
        self.labels = tuple(labels)
        self._derived: dict[Hashable, object] = {}
        self._joined: WeakKeyDictionary[LabelSets, dict[Hashable, object]] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self.labels)

    def derived(self, key: Hashable, derive: Callable[[], T]) -> T:
        """What ``derive`` gives, kept under ``key``."""
        return _kept(self._derived, key, derive)

    def joined(self, other: "LabelSets", key: Hashable, derive: Callable[[], T]) -> T:
        """What ``derive`` gives of these and others, kept until either goes: often one side changes all the time."""
        return _kept(self._joined.setdefault(other, {}), key, derive)

    def unnamed(self) -> "LabelSets | None":
        """Without metric names; None if they are not distinct then."""
        return self.derived("unnamed", lambda: distinct(map(drop_name, self.labels)))


def _kept(known: dict[Hashable, object], key: Hashable, derive: Callable[[], T]) -> T:
    if key not in known:
        known[key] = derive()
    return cast(T, known[key])


def distinct(labels: Iterable[Labels]) -> LabelSets | None:
    """These label sets; None if one occurs twice."""
    sets = LabelSets(labels)
    return sets if len(set(sets.labels)) == len(sets) else None


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """An instant vector: a value for each label set that is ``present``. ``drop_name`` is as in an element."""

    sets: LabelSets
    values: Floats
    present: Mask
    drop_name: bool = False

    def __bool__(self) -> bool:
        return bool(self.present.any())

    @property
    def has_number(self) -> bool:
        """Whether any value is not NaN."""
        return bool((self.present & ~np.isnan(self.values)).any())

    def pairs(self) -> Iterable[tuple[Labels, float]]:
        """Labels and value of each element."""
        if self.present.all():
            return zip(self.sets.labels, self.values.tolist(), strict=True)
        return zip(compress(self.sets.labels, self.present.tolist()), self.values[self.present].tolist(), strict=True)

    def elements(self) -> list[Element]:
        """The same vector for who works on one element after the other."""
        return [Element(labels, value, self.drop_name) for labels, value in self.pairs()]


class Selection(Protocol):
    """Stored series that a selector has found."""

    def __len__(self) -> int: ...

    @property
    def sets(self) -> LabelSets:
        """Their label sets: the same object as long as the same series are found."""

    def latest(self, start_ms: int, end_ms: int) -> tuple[Times, Floats]:
        """Time and value of each series' newest sample in (start_ms, end_ms]; stale where there is none."""

    def windows(self, start_ms: int, end_ms: int) -> Iterator[tuple[tuple[Labels, ...], Times, Floats]]:
        """The samples in (start_ms, end_ms], as in `Rows`; series that share their times together."""


class Source(Protocol):
    """Where the evaluator finds series. Times are unix milliseconds, as in Prometheus."""

    def select(self, matchers: tuple[Matcher, ...]) -> Selection:
        """Series whose labels fulfil all matchers."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Series of a range vector that share their times: a row of ``values`` for each time, a column for each series.

    Staleness markers stand where a series has no sample.
    """

    labels: tuple[Labels, ...]
    times_ms: Times
    values: Floats
    start_ms: int
    end_ms: int

    def window(self, column: int) -> Window:
        """One of the series, without the staleness markers."""
        return self._window(column, self.times_ms.tolist(), self.values[:, column])

    def windows(self) -> list[Window]:
        """Those of the series that have samples."""
        times = self.times_ms.tolist()
        windows = [self._window(column, times, values) for column, values in enumerate(self.values.T)]
        return [window for window in windows if window.values]

    def _window(self, column: int, times: list[int], values: Floats) -> Window:
        stale = is_stale(values)
        if stale.any():
            times, values = list(compress(times, (~stale).tolist())), values[~stale]
        return Window(self.labels[column], times, values.tolist(), self.start_ms, self.end_ms)


def stale(shape: tuple[int, ...]) -> Floats:
    """An array of staleness markers."""
    return np.full(shape, STALE_BITS, np.int64).view(np.float64)


def is_stale(values: Floats) -> Mask:
    """Which values are the staleness marker and not an ordinary NaN."""
    return cast(Mask, values.view(np.int64) == STALE_BITS)
