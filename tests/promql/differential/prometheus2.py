"""What Prometheus 2.42 calculates in another way than Prometheus 3, after promql/functions.go and engine.go."""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

from actuator.promql import aggregate, binary, floats, histogram, ranges
from actuator.promql.labels import Labels, drop, get
from actuator.promql.nodes import Binary, Call
from actuator.promql.types import Element, Value, Vector, Window
from tests.promql.differential.variants import Reduction


def increase(window: Window) -> float | None:
    return _extrapolated(window, 1.0) or ranges.increase(window)


def rate(window: Window) -> float | None:
    return _extrapolated(window, (window.end_ms - window.start_ms) / 1000) or ranges.rate(window)


def _extrapolated(window: Window, seconds: float) -> float | None:
    """The increase in units of ``seconds`` if the counter was zero more than half an interval before its first sample.

    It must be within the window and not so near to its begin that the counter is taken to cover it.
    """
    times, values = window.times_ms, window.values
    growth = values[-1] - values[0]
    for before, after in pairwise(values):
        growth += before if after < before else 0
    if len(values) < 2 or not growth > 0 or values[0] < 0:
        return None
    sampled = (times[-1] - times[0]) / 1000
    average = sampled / (len(times) - 1)
    zero, end = sampled * (values[0] / growth), (window.end_ms - times[-1]) / 1000
    if not average / 2 < zero < average * 1.1 <= (times[0] - window.start_ms) / 1000:
        return None
    factor = (sampled + zero + (end if end < average * 1.1 else average / 2)) / sampled
    return growth * (factor / seconds)


def rounded(before: Reduction, now: Reduction) -> Reduction:
    """What was ``before``, as far as it differs from ``now`` by rounding or by an overflow only."""

    def reduction(values: Sequence[float]) -> float:
        old, new = before(values), now(values)
        return new if abs(old - new) > 1e-9 * sum(map(abs, values)) + sys.float_info.min else old

    return reduction


def add(values: Iterable[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


def average(values: Sequence[float]) -> float:
    mean = values[0]
    for count, value in enumerate(values[1:], start=2):
        if not _keeps_infinity(mean, value):
            mean += value / count - mean / count
    return mean


def average_over_time(values: Sequence[float]) -> float:
    mean = compensation = 0.0
    for count, value in enumerate(values, start=1):
        if not _keeps_infinity(mean, value):
            mean, compensation = _kahan(value / count - mean / count, mean, compensation)
    return mean if math.isinf(mean) else mean + compensation


def variance(values: Sequence[float]) -> float:
    """The first value counts as zero squares, even if it is infinite or NaN."""
    if math.isfinite(values[0]):
        return aggregate.REDUCTIONS["stdvar"](values)
    mean, squares = values[0], 0.0
    for count, value in enumerate(values[1:], start=2):
        delta = value - mean
        mean += delta / count
        squares += delta * (value - mean)
    return squares / len(values)


def variance_over_time(values: Sequence[float]) -> float:
    if math.isfinite(floats.variance(values)):
        return floats.variance(values)
    mean = mean_compensation = squares = squares_compensation = 0.0
    for count, value in enumerate(values, start=1):
        delta = value - (mean + mean_compensation)
        mean, mean_compensation = _kahan(delta / count, mean, mean_compensation)
        increment = delta * (value - (mean + mean_compensation))
        squares, squares_compensation = _kahan(increment, squares, squares_compensation)
    return (squares + squares_compensation) / len(values)


def deriv(window: Window) -> float | None:
    slope = ranges.deriv(window)
    if slope is None or math.isfinite(slope):
        return slope
    return _regression(window, window.times_ms[0])[0]


def predict_linear(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    windows, seconds = cast(tuple[list[Window], float], arguments)
    result = []
    for window in windows:
        value = ranges.predict_linear(window, seconds, now_ms)
        if value is not None and not math.isfinite(value):
            slope, intercept = _regression(window, now_ms)
            value = slope * seconds + intercept
        if value is not None:
            result.append(Element(window.labels, value, True))
    return result


def _regression(window: Window, origin_ms: int) -> tuple[float, float]:
    y, count = list(window.values), len(window.values)
    x = [(time_ms - origin_ms) / 1000 for time_ms in window.times_ms]
    if all(value == y[0] for value in y[1:]):
        return (math.nan, math.nan) if math.isinf(y[0]) else (0.0, y[0])
    sum_x, sum_y = _kahan_sum(x), _kahan_sum(y)
    sum_xy, sum_xx = _kahan_sum(map(float.__mul__, x, y)), _kahan_sum(map(float.__mul__, x, x))
    slope = floats.divide(sum_xy - sum_x * sum_y / count, sum_xx - sum_x * sum_x / count)
    return slope, sum_y / count - slope * sum_x / count


def histogram_quantile(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    """Steps that only rounding has made count as steps."""
    ratio, vector = cast(tuple[float, Vector], arguments)
    histograms: dict[Labels, dict[float, float]] = {}
    for element in vector:
        try:
            bound = float(get(element.labels, "le"))
        except ValueError:
            continue
        buckets = histograms.setdefault(drop(element.labels, ("le",)), {})
        buckets[bound] = buckets.get(bound, 0.0) + element.value
    if not any(_almost_equal(buckets) for buckets in histograms.values()):
        return histogram.quantile(call, arguments, now_ms)
    return [Element(labels, _quantile(ratio, sorted(buckets.items())), True) for labels, buckets in histograms.items()]


def _almost_equal(buckets: dict[float, float]) -> bool:
    """Whether two counts differ by no more than rounding."""
    return any(a != b and math.isclose(a, b, rel_tol=1e-11) for a, b in pairwise(sorted(buckets.values())))


def _quantile(ratio: float, buckets: list[tuple[float, float]]) -> float:
    if ratio != ratio:
        return math.nan
    if not 0 <= ratio <= 1:
        return math.copysign(math.inf, ratio)
    envelope = [buckets[0][1]]
    for _, count in buckets[1:]:
        envelope.append(envelope[-1] if count <= envelope[-1] else count)
    if buckets[-1][0] != math.inf or len(buckets) < 2 or envelope[-1] == 0:
        return math.nan
    rank = ratio * envelope[-1]
    index = next((index for index, count in enumerate(envelope[:-1]) if count >= rank), len(envelope) - 1)
    if index == len(envelope) - 1:
        return buckets[-2][0]
    upper = buckets[index][0]
    if index == 0:
        return upper if upper <= 0 else upper * floats.divide(rank, envelope[0])
    lower, below = buckets[index - 1][0], envelope[index - 1]
    return lower + (upper - lower) * floats.divide(rank - below, envelope[index] - below)


def atan2(node: Binary, left: float | Vector, right: float | Vector) -> float | Vector:
    """The metric's name stays."""
    if isinstance(left, float) and isinstance(right, float):
        return binary.apply(node, left, right)
    named = cast(Vector, binary.apply(replace(node, op="=="), _ones(left), _ones(right)))
    return [Element(element.labels, value) for element, value in zip(named, _angles(node, left, right), strict=True)]


def _angles(node: Binary, left: float | Vector, right: float | Vector) -> list[float]:
    """Calculated one by one, since without their names some would be the same."""
    if isinstance(left, float) or node.matching.many == "right":
        pairs = [binary.apply(node, left, [element]) for element in cast(Vector, right)]
    else:
        pairs = [binary.apply(node, [element], right) for element in left]
    return [element.value for pair in pairs for element in cast(Vector, pair)]


def _ones(side: float | Vector) -> float | Vector:
    return 1.0 if isinstance(side, float) else [Element(element.labels, 1.0) for element in side]


def logarithm(value: float) -> float:
    """The natural logarithm of Go on x86-64, which takes denormal numbers for normal ones (log_amd64.s)."""
    if 0 < value < sys.float_info.min:
        return math.log1p(value / sys.float_info.min) - 1023 * math.log(2)
    return floats.logarithm(math.log)(value)


def exp(value: float) -> float:
    """The exponential function of Go on x86-64, which overflows too early (exp_amd64.s)."""
    return math.inf if value >= 1023.5 * math.log(2) else floats.exp(value)


def sinh(value: float) -> float:
    return math.copysign(cosh(value), value) if abs(value) > 21 else floats.sinh(value)


def cosh(value: float) -> float:
    return exp(abs(value)) / 2 if abs(value) > 21 else floats.cosh(value)


def comparison(node: Binary, left: float | Vector, right: float | Vector) -> float | Vector:
    """What a comparison filters out cannot be a second match."""
    if isinstance(left, float) or isinstance(right, float) or node.return_bool:
        return binary.apply(node, left, right)
    if node.matching.many == "right":
        right = [element for element in right if binary.apply(node, left, [element])]
    else:
        left = [element for element in left if binary.apply(node, [element], right)]
    return binary.apply(node, left, right)


def _keeps_infinity(mean: float, value: float) -> bool:
    """Whether a mean that is infinite stays as it is."""
    return math.isinf(mean) and value == value and (not math.isinf(value) or value == mean)


def _kahan_sum(values: Iterable[float]) -> float:
    total = compensation = 0.0
    for value in values:
        total, compensation = _kahan(value, total, compensation)
    return total + compensation


def _kahan(value: float, total: float, compensation: float) -> tuple[float, float]:
    """One step of a compensated sum, in which infinity makes the compensation NaN."""
    result = total + value
    if abs(total) >= abs(value):
        return result, compensation + ((total - result) + value)
    return result, compensation + ((value - result) + total)
