"""What the scripts cannot say: the switches between servers, and Go's arithmetic."""

import math
import struct

import pytest

from actuator import promql
from actuator.data.store import Store
from actuator.promql import Semantics, floats
from actuator.promql.types import STALE_MARKER, Element, Value, is_stale


def store(**series: list[float]) -> Store:
    """Series by metric name, a sample a minute from 0 on."""
    result = Store(window_seconds=math.inf)
    for name, values in series.items():
        for minute, value in enumerate(values):
            result.append((("__name__", name),), minute * 60.0, value)
    return result


def evaluate(text: str, data: Store, time_ms: int, semantics: Semantics) -> Value:
    return promql.instant(promql.compile(text, semantics).root, data, time_ms, semantics)


def test_closed_windows_include_their_left_end() -> None:
    data = store(x=[1, 2, 3])
    open_window = evaluate("count_over_time(x[2m])", data, 120_000, Semantics())
    closed_window = evaluate("count_over_time(x[2m])", data, 120_000, Semantics(closed_windows=True))
    assert (open_window, closed_window) == ([Element((), 2.0)], [Element((), 3.0)])


@pytest.mark.parametrize(("closed", "found"), [(False, 0), (True, 1)])
def test_closed_windows_are_also_those_of_the_lookback(closed: bool, found: int) -> None:
    assert len(evaluate("x", store(x=[1]), 300_000, Semantics(closed_windows=closed))) == found  # type: ignore[arg-type]


def test_lookback() -> None:
    assert evaluate("x", store(x=[1]), 30_000, Semantics(lookback_ms=30_000)) == []
    assert evaluate("x", store(x=[1]), 29_999, Semantics(lookback_ms=30_000)) != []


def test_names_are_removed_at_once_or_at_the_end() -> None:
    text = 'label_replace(-x, "was", "$1", "__name__", "(.+)")'
    at_once = evaluate(text, store(x=[1]), 0, Semantics())
    at_the_end = evaluate(text, store(x=[1]), 0, Semantics(delayed_name_removal=True))
    assert (at_once, at_the_end) == ([Element((), -1.0)], [Element((("was", "x"),), -1.0)])


def test_step_of_a_subquery_without_one() -> None:
    data = store(x=[1, 2, 3, 4])
    assert evaluate("count_over_time(x[3m:])", data, 180_000, Semantics()) == [Element((), 3.0)]
    fine = Semantics(subquery_step_ms=15_000)
    assert evaluate("count_over_time(x[3m:])", data, 180_000, fine) == [Element((), 12.0)]


@pytest.mark.parametrize(
    ("subquery", "answered"),
    [
        ("rate(x[1h])[1h:5s]", True),
        ("avg_over_time(x[5m])[1h:1m]", True),
        ("avg_over_time(x[1h])[1h:5s]", False),
        ("stddev_over_time(x[1h])[1h:5s]", True),
        ("stddev_over_time({__name__=~'.+'}[1h])[1h:5s]", False),
    ],
)
def test_a_subquery_that_would_take_seconds_is_refused(subquery: str, answered: bool) -> None:
    data = Store(window_seconds=math.inf)
    for second in range(0, 3600, 15):
        for name in ("x", *(f"x{number}" for number in range(9))):
            data.append((("__name__", name),), float(second), float(second))
    text = f"max_over_time({subquery})"
    if answered:
        assert evaluate(text, data, 3_600_000, Semantics()) != []
    else:
        with pytest.raises(promql.EvaluationError, match="shorten its range, widen its step"):
            evaluate(text, data, 3_600_000, Semantics())


def test_only_the_marker_is_stale() -> None:
    assert struct.pack(">d", STALE_MARKER).hex() == "7ff0000000000002"
    assert is_stale(STALE_MARKER)
    assert not is_stale(math.nan)
    assert not is_stale(0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 / 0", math.inf),
        ("-1 / 0", -math.inf),
        ("0 / 0", math.nan),
        ("1e308 * 10", math.inf),
        ("Inf - Inf", math.nan),
        ("5 % 0", math.nan),
        ("Inf % 2", math.nan),
        ("-5 % 3", -2),
        ("10 ^ 400", math.inf),
        ("(-10) ^ 401", -math.inf),
        ("0 ^ -1", math.inf),
        ("(-8) ^ (1 / 3)", math.nan),
        ("-2 ^ 2", -4),
        ("2 ^ 3 ^ 2", 512),
        ("Inf atan2 -Inf", 3 * math.pi / 4),
        ("sqrt(vector(-1))", math.nan),
        ("ln(vector(-1))", math.nan),
        ("ln(vector(0))", -math.inf),
        ("log2(vector(Inf))", math.inf),
        ("exp(vector(710))", math.inf),
        ("cosh(vector(-1000))", math.inf),
        ("sinh(vector(-1000))", -math.inf),
        ("sin(vector(Inf))", math.nan),
        ("tan(vector(-Inf))", math.nan),
        ("acos(vector(2))", math.nan),
        ("asin(vector(-2))", math.nan),
        ("acosh(vector(0.5))", math.nan),
        ("atanh(vector(-1))", -math.inf),
        ("atanh(vector(2))", math.nan),
        ("floor(vector(Inf))", math.inf),
        ("ceil(vector(NaN))", math.nan),
        ("round(vector(-Inf))", -math.inf),
        ("round(vector(1), 0)", math.nan),
        ("deg(vector(1e308))", math.inf),
        ("hour(vector(Inf))", 15.0),
        ("quantile(NaN, vector(1))", math.nan),
        ("quantile(2, vector(1))", math.inf),
        ("topk(9e18, vector(1))", 1),
        ("stddev(vector(Inf))", math.nan),
        ("rate((vector(Inf) or vector(1))[3m:1m])", math.nan),
        ("idelta(vector(Inf)[3m:1m])", math.nan),
    ],
)
def test_no_value_of_go_is_an_exception_of_python(text: str, expected: float) -> None:
    value = evaluate(text, store(), 300_000, Semantics())
    if isinstance(value, list):
        ((_, value, _),) = value
    assert value == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("calculated", "expected"),
    [
        (floats.divide(1, -0.0), -math.inf),
        (floats.divide(math.inf, 0), math.inf),
        (floats.divide(math.nan, 0), math.nan),
        (floats.divide(math.inf, math.inf), math.nan),
        (floats.modulo(math.inf, 2), math.nan),
        (floats.modulo(5, math.inf), 5),
        (floats.power(-0.0, -3), -math.inf),
        (floats.power(-0.0, -2), math.inf),
        (floats.power(-10, 400), math.inf),
        (floats.power(-10, 401), -math.inf),
        (floats.power(1, math.nan), 1),
        (floats.power(-8, 1 / 3), math.nan),
        (floats.power(0, -math.inf), math.inf),
        (floats.atan2(-1, 0), -math.pi / 2),
        (floats.atan2(-1e-300, -1e300), math.pi),
        (floats.atan2(-1, -math.inf), -math.pi),
        (floats.log2(8), 3),
        (floats.log2(1 + 1e-10), 1.442695962694529e-10),
        (floats.log2(math.inf), math.inf),
        (floats.sinh(-710), -math.inf),
        (floats.cosh(-710), math.inf),
        (floats.cosh(1), 1.5430806348152437),
        (floats.floor(-0.5), -1),
        (floats.floor(-0.0), -0.0),
        (floats.ceil(-0.5), -0.0),
        (floats.ceil(math.nan), math.nan),
        (floats.round_to(-2.5, 1), -2),
        (floats.round_to(7, 0), math.nan),
        (floats.sign(math.nan), math.nan),
        (floats.sign(-math.inf), -1),
        (floats.minimum(math.nan, 1), math.nan),
        (floats.minimum(math.nan, -math.inf), -math.inf),
        (floats.maximum(math.nan, math.inf), math.inf),
        (floats.maximum(1, 2), 2),
        (floats.kahan_sum([1e16, 1, 1, -1e16]), 2),
        (floats.kahan_sum([math.inf, -math.inf]), math.nan),
        (floats.kahan_sum([math.inf, 1]), math.inf),
        (floats.mean([1e308] * 3), 1e308),
        (floats.mean([math.inf, 1]), math.inf),
        (floats.mean([math.inf, -math.inf]), math.nan),
        (floats.mean([1e308, 1e308, -math.inf]), -math.inf),
        (floats.quantile(0.5, [math.nan, 1, 2]), 1),
        (floats.quantile(0.5, []), math.nan),
    ],
)
def test_arithmetic_of_go(calculated: float, expected: float) -> None:
    assert calculated == pytest.approx(expected, nan_ok=True)
    if expected == expected and not math.isinf(expected):
        assert math.copysign(1, calculated) == math.copysign(1, expected)
