"""Functions of a range vector: a window of samples and scalars to one value, or to None for no result."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

from actuator.promql import floats
from actuator.promql.types import EvaluationError, Window

RangeFunction: TypeAlias = Callable[..., float | None]

EXTRAPOLATION_THRESHOLD = 1.1
"""A sample is missing at an end of the window if the gap is longer than this many average intervals."""


def _increase(window: Window) -> float:
    """Growth of a counter between the first and the last sample, resets added back."""
    growth = window.values[-1] - window.values[0]
    for before, after in pairwise(window.values):
        if after < before:
            growth += before
    return growth


def _extrapolation(window: Window, growth: float, *, counter: bool) -> float:
    """Factor from the sampled interval to the whole window (promql/functions.go, extrapolatedRate).

    A series that reaches (almost) to an end of the window is taken to cover it; otherwise it is taken to
    begin or end half an average interval beyond its outermost sample. A counter is never extrapolated
    back beyond the time when it was zero.
    """
    times = window.times_ms
    sampled = (times[-1] - times[0]) / 1000
    average = sampled / (len(times) - 1)
    before = (times[0] - window.start_ms) / 1000
    after = (window.end_ms - times[-1]) / 1000
    threshold = average * EXTRAPOLATION_THRESHOLD
    if before >= threshold:
        before = average / 2
    if counter and growth > 0 and window.values[0] >= 0:
        before = min(before, sampled * (window.values[0] / growth))
    if after >= threshold:
        after = average / 2
    return (sampled + before + after) / sampled


def increase(window: Window) -> float | None:
    if len(window.values) < 2:
        return None
    growth = _increase(window)
    return growth * _extrapolation(window, growth, counter=True)


def rate(window: Window) -> float | None:
    if len(window.values) < 2:
        return None
    growth = _increase(window)
    seconds = (window.end_ms - window.start_ms) / 1000
    return growth * (_extrapolation(window, growth, counter=True) / seconds)


def delta(window: Window) -> float | None:
    if len(window.values) < 2:
        return None
    growth = window.values[-1] - window.values[0]
    return growth * _extrapolation(window, growth, counter=False)


def irate(window: Window) -> float | None:
    if len(window.values) < 2:
        return None
    before, after = window.values[-2:]
    growth = after if after < before else after - before
    return growth / ((window.times_ms[-1] - window.times_ms[-2]) / 1000)


def idelta(window: Window) -> float | None:
    if len(window.values) < 2:
        return None
    return window.values[-1] - window.values[-2]


def changes(window: Window) -> float:
    return float(sum(a != b and not (a != a and b != b) for a, b in pairwise(window.values)))


def resets(window: Window) -> float:
    return float(sum(after < before for before, after in pairwise(window.values)))


def _regression(window: Window, origin_ms: int) -> tuple[float, float]:
    """Least-squares slope per second and the value at ``origin_ms``."""
    values = window.values
    if all(value == values[0] for value in values):
        return (math.nan, math.nan) if math.isinf(values[0]) else (0.0, values[0])
    count = len(values)
    seconds = [(time - origin_ms) / 1000 for time in window.times_ms]
    sum_x = floats.kahan_sum(seconds)
    sum_y = floats.kahan_sum(values)
    sum_xy = floats.kahan_sum(x * y for x, y in zip(seconds, values, strict=True))
    sum_xx = floats.kahan_sum(x * x for x in seconds)
    slope = floats.divide(sum_xy - sum_x * sum_y / count, sum_xx - sum_x * sum_x / count)
    return slope, sum_y / count - slope * sum_x / count


def deriv(window: Window) -> float | None:
    if len(window.values) < 2:
        return None
    return _regression(window, window.times_ms[0])[0]


def predict_linear(window: Window, seconds: float, now_ms: int) -> float | None:
    """Value of the regression line ``seconds`` after the evaluation, whose time an offset does not shift."""
    if len(window.values) < 2:
        return None
    slope, intercept = _regression(window, now_ms)
    return slope * seconds + intercept


def smooth(window: Window, smoothing: float, trend: float) -> float | None:
    """Double exponential smoothing (Holt's linear trend)."""
    for name, factor in (("smoothing", smoothing), ("trend", trend)):
        if factor <= 0 or factor >= 1:  # NaN passes
            raise EvaluationError(f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {factor:f}")
    values = window.values
    if len(values) < 2:
        return None
    level, slope = values[0], values[1] - values[0]
    previous = 0.0
    for index, value in enumerate(values[1:]):
        if index:
            slope = trend * (level - previous) + (1 - trend) * slope
        previous, level = level, smoothing * value + (1 - smoothing) * (level + slope)
    return level


def _median_absolute_deviation(window: Window) -> float:
    values = window.values
    if any(value != value for value in values):
        return math.nan
    median = floats.quantile(0.5, values)
    return floats.quantile(0.5, [abs(value - median) for value in values])


def _time_of(choose: Callable[[Sequence[float]], float]) -> RangeFunction:
    """Unix seconds of the last sample that has the chosen value."""

    def function(window: Window) -> float:
        chosen = choose(window.values)
        samples = zip(window.values, window.times_ms, strict=True)
        return max(time for value, time in samples if value == chosen or chosen != chosen) / 1000

    return function


TABLE: dict[str, RangeFunction] = {
    "avg_over_time": lambda window: floats.mean(window.values),
    "changes": changes,
    "count_over_time": lambda window: float(len(window.values)),
    "delta": delta,
    "deriv": deriv,
    "double_exponential_smoothing": smooth,
    "first_over_time": lambda window: window.values[0],
    "idelta": idelta,
    "increase": increase,
    "irate": irate,
    "last_over_time": lambda window: window.values[-1],
    "mad_over_time": _median_absolute_deviation,
    "max_over_time": lambda window: floats.largest(window.values),
    "min_over_time": lambda window: floats.smallest(window.values),
    "present_over_time": lambda window: 1.0,
    "quantile_over_time": lambda window, ratio: floats.quantile(ratio, window.values),
    "rate": rate,
    "resets": resets,
    "stddev_over_time": lambda window: floats.sqrt(floats.variance(window.values)),
    "stdvar_over_time": lambda window: floats.variance(window.values),
    "sum_over_time": lambda window: floats.kahan_sum(window.values),
    "ts_of_first_over_time": lambda window: window.times_ms[0] / 1000,
    "ts_of_last_over_time": lambda window: window.times_ms[-1] / 1000,
    "ts_of_max_over_time": _time_of(floats.largest),
    "ts_of_min_over_time": _time_of(floats.smallest),
}
KEEP_NAME = frozenset({"first_over_time", "last_over_time"})
"""They choose a sample of the series and so, unlike the others, keep the metric's name."""
