"""Samples of series that are written together: a row for each time, a column for each series.

So the time is stored once for all of them, and one query reads many series as one array. A scrape writes a row. That
a series has no sample in a row is the same as a staleness marker, and so it is stored: to PromQL both mean that
the series is not there. Times are unix milliseconds.
"""

import heapq
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from actuator.promql.columns import Floats, Mask, Times, is_stale, stale
from actuator.promql.types import STALE_BITS

Choice: TypeAlias = slice | NDArray[np.intp]
"""Columns: a slice of neighbours, which needs no copy, or any."""

_MIN_ROWS = 16
_NEVER, _UNUSED = np.iinfo(np.int64).min, np.iinfo(np.int64).max
"""Times of the newest sample of a column that has none, and of one that is free."""


class _Block:
    """Some rows of a frame, and the columns that it had then: the first ones, or once it is closed maybe a few."""

    __slots__ = ("_columns", "length", "times_ms", "values")

    def __init__(self, rows: int, width: int) -> None:
        self.times_ms: Times = np.empty(rows, np.int64)
        self.values: Floats = np.empty((rows, width))
        self.length = 0
        self._columns: NDArray[np.intp] | None = None

    @property
    def first_ms(self) -> int:
        return int(self.times_ms[0])

    @property
    def last_ms(self) -> int:
        return int(self.times_ms[self.length - 1])

    @property
    def nbytes(self) -> int:
        return self.times_ms.nbytes + self.values.nbytes + (0 if self._columns is None else self._columns.nbytes)

    def takes(self, width: int) -> bool:
        """Whether there is room for another row of so many columns, and not by far too much."""
        is_open = self._columns is None and self.length < len(self.times_ms)
        return is_open and width <= self.values.shape[1] <= 2 * _grown(width)

    def close(self) -> None:
        """Give back the room for further rows, and that of columns without a sample if they are the most."""
        if self.length < len(self.times_ms):
            self.times_ms, self.values = self.times_ms[: self.length].copy(), self.values[: self.length].copy()
        filled = np.flatnonzero(~is_stale(self.values).all(axis=0))
        if self._columns is None and 2 * len(filled) <= self.values.shape[1]:
            self._columns, self.values = filled, self.values[:, filled]

    def clear(self, column: int) -> None:
        """Make a column stale."""
        places, known = self._places(np.array([column]))
        self.values.view(np.int64)[: self.length, places[known]] = STALE_BITS

    def rows_until(self, time_ms: int) -> int:
        """Number of rows at or before ``time_ms``."""
        return int(np.searchsorted(self.times_ms[: self.length], time_ms, side="right"))

    def read(self, first: int, end: int, columns: Choice) -> Floats:
        """Rows ``first`` to ``end``. Columns that this block does not have are stale in it."""
        last = columns.stop if isinstance(columns, slice) else columns.max(initial=-1) + 1
        if self._columns is None and last <= self.values.shape[1]:
            return self.values[first:end, columns]
        wanted = np.arange(columns.start, columns.stop) if isinstance(columns, slice) else columns
        result = stale((end - first, len(wanted)))
        places, known = self._places(wanted)
        result[:, known] = self.values[first:end, places[known]]
        return result

    def _places(self, columns: NDArray[np.intp]) -> tuple[NDArray[np.intp], Mask]:
        """Where the columns of the frame are in this block, and which of them are."""
        if self._columns is None:
            return columns, columns < self.values.shape[1]
        places = np.searchsorted(self._columns, columns)
        known = places < len(self._columns)
        known[known] = self._columns[places[known]] == columns[known]
        return places, known


class Frame:
    """Rows of samples, oldest first, in blocks: 8 bytes a sample, and an eighth or 16 rows for growth."""

    __slots__ = ("_blocks", "_free", "_newest_ms", "_width")

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._width = 0
        self._free: list[int] = []
        self._newest_ms: Times = np.empty(0, np.int64)

    @property
    def width(self) -> int:
        """Number of columns in use."""
        return self._width - len(self._free)

    @property
    def nbytes(self) -> int:
        """Memory of the samples, room for more included."""
        return sum(block.nbytes for block in self._blocks)

    def add(self) -> int:
        """A column without samples."""
        if self._free:
            column = heapq.heappop(self._free)
        else:
            column = self._width
            self._width += 1
            if column == len(self._newest_ms):
                self._newest_ms = np.append(self._newest_ms, np.full(_grown(column + 1) - column, _NEVER))
        self._newest_ms[column] = _NEVER
        return column

    def remove(self, column: int) -> None:
        """Give a column back; ``add`` may use it again. Free ones at the end go, so that rows get shorter again."""
        for block in self._blocks:
            if block.first_ms > self._newest_ms[column]:
                break
            block.clear(column)
        self._newest_ms[column] = _UNUSED
        heapq.heappush(self._free, column)
        if column == self._width - 1:
            used = np.flatnonzero(self._newest_ms[: self._width] != _UNUSED)
            self._width = int(used.max(initial=-1)) + 1
            self._free = sorted(free for free in self._free if free < self._width)

    def append(self, time_ms: int, columns: Choice, values: Floats) -> None:
        """Add a row with a value in these columns. Rows at or after its time are dropped: the clock was set back."""
        self._drop_from(time_ms)
        if not self._blocks or not self._blocks[-1].takes(self._width):
            if self._blocks:
                self._blocks[-1].close()
            rows = sum(block.length for block in self._blocks)
            self._blocks.append(_Block(max(_MIN_ROWS, rows // 8), _grown(self._width)))
        block = self._blocks[-1]
        row = block.values[block.length]
        row.view(np.int64).fill(STALE_BITS)
        row[columns] = values
        block.times_ms[block.length] = time_ms
        block.length += 1
        self._newest_ms[columns] = np.where(is_stale(values), self._newest_ms[columns], time_ms)

    def expire(self, before_ms: int) -> None:
        """Drop blocks whose rows are all older."""
        while self._blocks and self._blocks[0].last_ms < before_ms:
            del self._blocks[0]

    def columns_older_than(self, time_ms: int) -> list[int]:
        """Columns in use whose newest sample is older, or that have none."""
        return np.flatnonzero(self._newest_ms[: self._width] < time_ms).tolist()

    def latest(self, start_ms: int, end_ms: int, columns: Choice) -> tuple[int, Floats] | None:
        """Time and values of the newest row in (start_ms, end_ms]."""
        for block in reversed(self._blocks):
            if block.first_ms <= end_ms:
                row = block.rows_until(end_ms) - 1
                time_ms = int(block.times_ms[row])
                return (time_ms, block.read(row, row + 1, columns)[0]) if time_ms > start_ms else None
        return None

    def window(self, start_ms: int, end_ms: int, columns: Choice) -> tuple[Times, Floats]:
        """Times and values of the rows in (start_ms, end_ms], oldest first."""
        times, values = [], []
        for block in self._blocks:
            if block.last_ms > start_ms and block.first_ms <= end_ms:
                first, end = block.rows_until(start_ms), block.rows_until(end_ms)
                times.append(block.times_ms[first:end])
                values.append(block.read(first, end, columns))
        if len(times) == 1:
            return times[0], values[0]
        if not times:
            return np.empty(0, np.int64), stale((0, _count(columns)))
        return np.concatenate(times), np.concatenate(values)

    def _drop_from(self, time_ms: int) -> None:
        while self._blocks and self._blocks[-1].last_ms >= time_ms:
            block = self._blocks[-1]
            block.length = block.rows_until(time_ms - 1)
            later = (self._newest_ms > time_ms) & (self._newest_ms != _UNUSED)
            self._newest_ms[later] = time_ms
            if not block.length:
                del self._blocks[-1]


def _count(columns: Choice) -> int:
    return columns.stop - columns.start if isinstance(columns, slice) else len(columns)


def _grown(width: int) -> int:
    return width if width == 1 else width + max(1, width // 16)
