"""histogram_quantile and histogram_fraction over classic histograms (series with an ``le`` label)."""

import math
import re
from bisect import bisect_left
from itertools import pairwise
from typing import cast

from actuator.promql import floats
from actuator.promql.labels import Labels, drop, get
from actuator.promql.nodes import Call
from actuator.promql.types import Element, Value, Vector

_NUMBER = re.compile(r"[-+.0-9a-zA-Z]+")
_TOLERANCE = 1e-12
"""Differences of counts that are smaller in proportion to their sum are rounding errors (promql/quantile.go)."""


def quantile(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    ratio, vector = cast(tuple[float, Vector], arguments)
    return [Element(labels, _quantile(ratio, buckets), True) for labels, buckets in _histograms(vector)]


def fraction(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    lower, upper, vector = cast(tuple[float, float, Vector], arguments)
    histograms = _histograms(vector)
    return [Element(labels, _fraction(lower, upper, buckets), True) for labels, buckets in histograms]


def _histograms(vector: Vector) -> list[tuple[Labels, dict[float, float]]]:
    """Cumulative counts by upper bound, in order of the bound, for each label set without ``le``."""
    histograms: dict[Labels, dict[float, float]] = {}
    for element in vector:
        bound = _bound(get(element.labels, "le"))
        if bound is None:
            continue
        buckets = histograms.setdefault(drop(element.labels, ("le",)), {})
        buckets[bound] = buckets.get(bound, 0.0) + element.value
    return [(labels, dict(sorted(buckets.items()))) for labels, buckets in histograms.items()]


def _bound(text: str) -> float | None:
    """The upper bound of a bucket; Python would also take ``1_0`` and white space for a number."""
    try:
        return float(text) if _NUMBER.fullmatch(text) else None
    except ValueError:
        return None


def _quantile(ratio: float, buckets: dict[float, float]) -> float:
    if ratio != ratio:
        return math.nan
    if not 0 <= ratio <= 1:
        return math.copysign(math.inf, ratio)
    bounds, counts = list(buckets), _monotonic(list(buckets.values()))
    if len(bounds) < 2 or bounds[-1] != math.inf or counts[-1] == 0:
        return math.nan
    rank = ratio * counts[-1]
    index = bisect_left(counts, True, hi=len(counts) - 1, key=lambda count: count >= rank)  # counts may be NaN
    if index == len(counts) - 1:
        return bounds[-2]
    if index == 0:
        if bounds[0] <= 0:
            return bounds[0]
        return bounds[0] * floats.divide(rank, counts[0])
    share = floats.divide(rank - counts[index - 1], counts[index] - counts[index - 1])
    return bounds[index - 1] + (bounds[index] - bounds[index - 1]) * share


def _monotonic(counts: list[float]) -> list[float]:
    """Cumulative counts without decreases and without steps that only rounding has made."""
    result = counts[:1]
    for count in counts[1:]:
        previous = result[-1]
        insignificant = abs(previous - count) < _TOLERANCE * (abs(previous) + abs(count))
        result.append(previous if insignificant or count < previous else count)
    return result


def _fraction(lower: float, upper: float, buckets: dict[float, float]) -> float:
    """Share of observations between the bounds, linear within a bucket."""
    bounds, counts = list(buckets), list(buckets.values())
    if bounds[-1] != math.inf or counts[-1] == 0 or lower != lower or upper != upper:
        return math.nan
    if lower >= upper:
        return 0.0
    start = 0.0 if bounds[0] > 0 else -math.inf
    return (_rank(upper, start, buckets) - _rank(lower, start, buckets)) / counts[-1]


def _rank(value: float, start: float, buckets: dict[float, float]) -> float:
    """Number of observations up to ``value``."""
    if value <= start:
        return 0.0
    for (low, before), (high, count) in pairwise([(start, 0.0), *buckets.items()]):
        if value < high:
            if low == -math.inf:
                return count
            return before + (count - before) * (value - low) / (high - low)
    return list(buckets.values())[-1]
