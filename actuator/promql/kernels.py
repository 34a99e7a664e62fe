"""Functions of a range vector for many series at once that share their times.

Each does what its namesake in `actuator/promql/ranges.py` does, in the same order, so that both give the same bits.
Series with gaps go to that one.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from actuator.promql import floats, ranges
from actuator.promql.columns import Columns, Floats, LabelSets, Mask, Rows, is_stale

Kernel: TypeAlias = Callable[[Rows], Floats | None]
"""None if the windows have too few samples for a result."""


def apply(function: str, sets: LabelSets, windows: Iterable[Rows]) -> Columns:
    """Values of ``function`` for windows that belong, in their order, to these label sets."""
    parts = [_part(function, rows) for rows in windows]
    if len(parts) == 1:
        values, present = parts[0]
    else:
        values = np.concatenate([values for values, _ in parts]) if parts else np.empty(0)
        present = np.concatenate([present for _, present in parts]) if parts else np.empty(0, np.bool_)
    return Columns(sets, values, present, function not in ranges.KEEP_NAME)


def looks(function: str, rows: Rows) -> int:
    """What ``function`` costs for these rows beyond selecting their series, in such selections (some 3 us each)."""
    samples = len(rows.times_ms) * len(rows.labels)
    if function not in TABLE:
        return samples // 4
    return samples // 32 + (4 * len(rows.times_ms) if function in _ROW_BY_ROW else 0)


def has_result(function: str, rows: Rows) -> bool:
    """Whether any of these series has samples enough for ``function``; what is not a number does not count."""
    least = 2 if function in _AT_LEAST_TWO else 1
    if len(rows.times_ms) < least or not rows.labels:
        return False
    return bool(((~np.isnan(rows.values)).sum(axis=0) >= least).any())


@np.errstate(all="ignore")
def _part(function: str, rows: Rows) -> tuple[Floats, Mask]:
    count = len(rows.labels)
    values, present = np.empty(count), np.zeros(count, np.bool_)
    if not len(rows.times_ms):
        return values, present
    has_gap = is_stale(rows.values).any(axis=0)
    whole = slice(None) if not has_gap.any() else np.flatnonzero(~has_gap)
    results = TABLE[function](replace(rows, values=rows.values[:, whole]))
    if results is not None:
        values[whole], present[whole] = results, True
    for column in np.flatnonzero(has_gap).tolist():
        window = rows.window(column)
        value = ranges.TABLE[function](window) if window.values else None
        if value is not None:
            values[column], present[column] = value, True
    return values, present


def _increase(rows: Rows) -> Floats:
    values = rows.values
    growth: Floats = values[-1] - values[0]
    drops = values[1:] < values[:-1]
    resets = np.flatnonzero(drops.any(axis=1))
    if not len(resets):
        return growth
    lost = np.where(drops[resets], values[resets], 0.0)
    # Unlike sum(), this adds one after another, as the loop over one series does.
    total: Floats = np.add.accumulate(np.vstack([growth, lost]))[-1]
    return total


def _extrapolation(rows: Rows, growth: Floats, *, counter: bool) -> float | Floats:
    times = rows.times_ms
    sampled = float(times[-1] - times[0]) / 1000
    average = sampled / (len(times) - 1)
    before: float | Floats = float(times[0] - rows.start_ms) / 1000
    after = float(rows.end_ms - times[-1]) / 1000
    threshold = average * ranges.EXTRAPOLATION_THRESHOLD
    if before >= threshold:
        before = average / 2
    if counter:
        first = rows.values[0]
        to_zero = np.where((growth > 0) & (first >= 0), sampled * (first / growth), np.inf)
        before = np.where(to_zero < before, to_zero, before)
    if after >= threshold:
        after = average / 2
    return (sampled + before + after) / sampled


def _of_two(kernel: Callable[[Rows], Floats]) -> Kernel:
    return lambda rows: kernel(rows) if len(rows.times_ms) > 1 else None


def _rate(rows: Rows) -> Floats:
    growth = _increase(rows)
    seconds = (rows.end_ms - rows.start_ms) / 1000
    return growth * (_extrapolation(rows, growth, counter=True) / seconds)


def _whole_increase(rows: Rows) -> Floats:
    growth = _increase(rows)
    return growth * _extrapolation(rows, growth, counter=True)


def _delta(rows: Rows) -> Floats:
    growth: Floats = rows.values[-1] - rows.values[0]
    return growth * _extrapolation(rows, growth, counter=False)


def _kahan(table: Floats) -> tuple[Floats, Floats]:
    """Sums of the columns and their compensations (floats.KahanSum)."""
    running = np.zeros(table.shape[1])
    compensation = np.zeros_like(running)
    for values in table:
        result = running + values
        larger = np.abs(running) >= np.abs(values)
        compensation += np.where(larger, (running - result) + values, (values - result) + running)
        compensation[np.isinf(result)] = 0.0
        running = result
    return running, compensation


def _sum(rows: Rows) -> Floats:
    running, compensation = _kahan(rows.values)
    return running + compensation


def _deriv(rows: Rows) -> Floats:
    """The slope of the regression line (ranges.deriv); what only the times decide is the same for all series."""
    values, count = rows.values, len(rows.times_ms)
    seconds = (rows.times_ms - rows.times_ms[0]) / 1000
    sum_x = floats.kahan_sum(seconds.tolist())
    spread = floats.kahan_sum((seconds * seconds).tolist()) - sum_x * sum_x / count
    sum_y = np.add(*_kahan(values))
    sum_xy = np.add(*_kahan(seconds[:, np.newaxis] * values))
    slopes: Floats = (sum_xy - sum_x * sum_y / count) / spread
    level = (values == values[0]).all(axis=0)
    slopes[level] = np.where(np.isinf(values[0, level]), np.nan, 0.0)
    return slopes


def _mean(rows: Rows) -> Floats:
    running, compensation = _kahan(rows.values)
    count = len(rows.times_ms)
    means: Floats = running / count + compensation / count
    for column in np.flatnonzero(~np.isfinite(running)).tolist():
        means[column] = floats.mean(rows.values[:, column].tolist())
    return means


def _extremes(extreme: np.ufunc) -> Callable[[Rows], Floats]:
    def kernel(rows: Rows) -> Floats:
        found: Floats = extreme.reduce(rows.values, axis=0)
        zeros = np.flatnonzero(found == 0)
        # Of 0 and -0 the first counts.
        found[zeros] = rows.values[(rows.values[:, zeros] == 0).argmax(axis=0), zeros]
        return found

    return kernel


_ROW_BY_ROW = ("avg_over_time", "deriv", "sum_over_time")
"""Compensated sums are, for all series at once; the others are one call for all rows."""

_AT_LEAST_TWO: dict[str, Callable[[Rows], Floats]] = {
    "delta": _delta,
    "deriv": _deriv,
    "increase": _whole_increase,
    "rate": _rate,
}
"""Functions that need a second sample."""

TABLE: dict[str, Kernel] = {
    "avg_over_time": _mean,
    "count_over_time": lambda rows: np.full(rows.values.shape[1], float(len(rows.times_ms))),
    "last_over_time": lambda rows: rows.values[-1].copy(),
    "max_over_time": _extremes(np.fmax),
    "min_over_time": _extremes(np.fmin),
    "sum_over_time": _sum,
    **{name: _of_two(kernel) for name, kernel in _AT_LEAST_TWO.items()},
}
