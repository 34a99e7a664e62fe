"""Arithmetic as Go defines it: where Python raises, IEEE 754 gives an infinity or NaN."""

import math
from collections.abc import Callable, Iterable, Sequence

NAN = math.nan
INF = math.inf


def divide(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or left != left:
        return NAN
    return math.copysign(INF, left) * math.copysign(1.0, right)


def modulo(left: float, right: float) -> float:
    """Remainder with the sign of ``left``, like math.Mod of Go."""
    try:
        return math.fmod(left, right)
    except ValueError:
        return NAN


def power(base: float, exponent: float) -> float:
    odd = math.isfinite(exponent) and math.fmod(exponent, 2) in (1.0, -1.0)
    try:
        return math.pow(base, exponent)
    except ValueError:
        if base == 0:
            return math.copysign(INF, base) if odd else INF
        return NAN
    except OverflowError:
        return -INF if base < 0 and odd else INF


def total(function: Callable[[float], float]) -> Callable[[float], float]:
    """``function`` without exceptions: NaN outside its domain, infinite beyond the range of floats."""

    def wrapped(value: float) -> float:
        try:
            return function(value)
        except ValueError:
            return NAN
        except OverflowError:
            return math.copysign(INF, function(math.copysign(1.0, value)))

    return wrapped


exp = total(math.exp)
sqrt = total(math.sqrt)


def logarithm(function: Callable[[float], float]) -> Callable[[float], float]:
    """A logarithm that is -Inf at zero and NaN below."""

    def wrapped(value: float) -> float:
        if value <= 0:
            return NAN if value else -INF
        return function(value)

    return wrapped


def log2(value: float) -> float:
    """Calculated from fraction and exponent as in Go, which loses digits near 1."""
    fraction, exponent = math.frexp(value)
    if fraction == 0.5:
        return exponent - 1.0
    return math.log(fraction) * (1 / math.log(2)) + exponent if math.isfinite(value) else value


def atan2(y: float, x: float) -> float:
    """The angle as in Go, which forgets the sign of ``y`` if the quotient underflows."""
    if y < 0 and -INF < x < 0 and y / x == 0:
        return math.pi
    return math.atan2(y, x)


def sinh(value: float) -> float:
    """The hyperbolic sine; as in Go it is infinite where exp is."""
    return math.copysign(exp(abs(value)) / 2, value) if abs(value) > 21 else math.sinh(value)


def cosh(value: float) -> float:
    return abs(sinh(value)) if abs(value) > 21 else math.cosh(value)


def atanh(value: float) -> float:
    if abs(value) == 1:
        return math.copysign(INF, value)
    return NAN if not abs(value) < 1 else math.atanh(value)


def floor(value: float) -> float:
    return math.copysign(math.floor(value), value) if math.isfinite(value) else value


def ceil(value: float) -> float:
    return math.copysign(math.ceil(value), value) if math.isfinite(value) else value  # -0.5 gives -0


def round_to(value: float, nearest: float) -> float:
    """``value`` rounded to a multiple of ``nearest``, ties upwards."""
    inverse = divide(1.0, nearest)  # multiplying by the inverse is what Prometheus does, down to the last bit
    return divide(floor(value * inverse + 0.5), inverse)


def sign(value: float) -> float:
    """1 or -1; a zero and NaN stay what they are."""
    if value > 0:
        return 1.0
    return -1.0 if value < 0 else value


def minimum(left: float, right: float) -> float:
    """The smaller one; NaN if either is, unless the other is -Inf (math.Min of Go)."""
    if -INF in (left, right):
        return -INF
    return NAN if left != left or right != right else min(left, right)


def maximum(left: float, right: float) -> float:
    """The larger one; NaN if either is, unless the other is +Inf (math.Max of Go)."""
    return -minimum(-left, -right)


def smallest(values: Iterable[float]) -> float:
    """The minimum of what is not NaN; NaN if nothing is left."""
    return min((value for value in values if value == value), default=NAN)


def largest(values: Iterable[float]) -> float:
    """The maximum of what is not NaN; NaN if nothing is left."""
    return max((value for value in values if value == value), default=NAN)


class KahanSum:
    """A running sum with Neumaier's compensation; ``total`` adds the compensation."""

    __slots__ = ("compensation", "running")

    def __init__(self, running: float = 0.0, compensation: float = 0.0) -> None:
        self.running = running
        self.compensation = compensation

    def add(self, value: float) -> None:
        running = self.running
        result = running + value
        if math.isinf(result):
            self.compensation = 0.0
        elif abs(running) >= abs(value):
            self.compensation += (running - result) + value
        else:
            self.compensation += (value - result) + running
        self.running = result

    @property
    def total(self) -> float:
        return self.running + self.compensation


def kahan_sum(values: Iterable[float]) -> float:
    """What a ``KahanSum`` of the values gives, without its calls: sums are most of an aggregation's work."""
    running = compensation = 0.0
    for value in values:
        result = running + value
        if result in (INF, -INF):
            compensation = 0.0
        elif abs(running) >= abs(value):
            compensation += (running - result) + value
        else:
            compensation += (value - result) + running
        running = result
    return running + compensation


def mean(values: Sequence[float]) -> float:
    """Compensated mean; where the sum overflows, an incremental mean takes over. ``values`` must not be empty."""
    count = len(values)
    accumulator = KahanSum()
    for value in values:
        accumulator.add(value)
    if not math.isfinite(accumulator.running):
        return _mean_beyond_range(values)
    return accumulator.running / count + accumulator.compensation / count


def _mean_beyond_range(values: Sequence[float]) -> float:
    total = KahanSum(values[0])
    for count, value in enumerate(values[1:], start=2):
        if math.isinf(total.running + value):
            return _incremental_mean(total, count, values)
        total.add(value)
    return total.total / len(values)


def _incremental_mean(total: KahanSum, start: int, values: Sequence[float]) -> float:
    """The mean, with ``total`` the sum before the ``start``-th value."""
    mean = KahanSum(total.running / (start - 1), total.compensation / (start - 1))
    for count, value in enumerate(values[start - 1 :], start=start):
        weight = (count - 1) / count
        mean = KahanSum(weight * mean.running, weight * mean.compensation)
        mean.add(value / count)
    return mean.total


def variance(values: Iterable[float]) -> float:
    """Population variance by Welford's method, compensated. ``values`` must not be empty."""
    average, squares = KahanSum(), KahanSum()
    count = 0
    for value in values:
        count += 1
        delta = value - average.total
        average.add(delta / count)
        squares.add(delta * (value - average.total))
    return squares.total / count


def quantile(ratio: float, values: Iterable[float]) -> float:
    """The ``ratio``-quantile with linear interpolation; NaN sorts first; outside 0..1 it is infinite."""
    ordered = sorted(values, key=lambda value: (value == value, value))
    if not ordered or ratio != ratio:
        return NAN
    if not 0 <= ratio <= 1:
        return math.copysign(INF, ratio)
    rank = ratio * (len(ordered) - 1)
    lower = math.floor(rank)
    upper = min(len(ordered) - 1, lower + 1)
    weight = rank - lower
    return ordered[lower] * (1 - weight) + ordered[upper] * weight
