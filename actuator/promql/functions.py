"""The function table of PromQL: every function that the evaluator knows, by name."""

import math
from collections.abc import Callable
from typing import TypeAlias, cast

from actuator.promql import dates, floats, histogram, ranges, relabel, sorting
from actuator.promql.labels import EMPTY, NAME, Labels, drop, make
from actuator.promql.nodes import Call, Range, Selector
from actuator.promql.types import Element, Matrix, Value, Vector, Window

Function: TypeAlias = Callable[[Call, list[Value], int], Value]
"""Called with the node, its evaluated arguments and the time of the evaluation in unix milliseconds."""


def _elementwise(function: Callable[[float], float]) -> Function:
    def apply(call: Call, arguments: list[Value], now_ms: int) -> Vector:
        vector = cast(Vector, arguments[0])
        return [Element(labels, function(value), True) for labels, value, _ in vector]

    return apply


def _with_scalars(function: Callable[..., float]) -> Function:
    """Like ``_elementwise``, with the scalar arguments passed on."""

    def apply(call: Call, arguments: list[Value], now_ms: int) -> Vector:
        vector, *scalars = cast(tuple[Vector, float], arguments)
        return [Element(labels, function(value, *scalars), True) for labels, value, _ in vector]

    return apply


def _per_window(name: str, function: ranges.RangeFunction) -> Function:
    loses_name = name not in ranges.KEEP_NAME

    def apply(call: Call, arguments: list[Value], now_ms: int) -> Vector:
        scalars = [argument for argument in arguments if not isinstance(argument, list)]
        (matrix,) = (argument for argument in arguments if isinstance(argument, list))
        result = []
        for window in cast(Matrix, matrix):
            value = function(window, *scalars)
            if value is not None:
                result.append(Element(window.labels, value, loses_name or window.drop_name))
        return result

    return apply


def _predict_linear(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    def predict(window: Window, seconds: float) -> float | None:
        return ranges.predict_linear(window, seconds, now_ms)

    return cast(Vector, _per_window("predict_linear", predict)(call, arguments, now_ms))


def _date(function: Callable[[float], float]) -> Function:
    """A date function; without an argument it is about the time of the evaluation."""

    def apply(call: Call, arguments: list[Value], now_ms: int) -> Vector:
        if not arguments:
            return [Element(EMPTY, function(now_ms // 1000))]
        return cast(Vector, _elementwise(function)(call, arguments, now_ms))

    return apply


def _clamp(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    vector, low, high = cast(tuple[Vector, float, float], arguments)
    if high < low:
        return []
    limited = _with_scalars(lambda value, low, high: floats.maximum(low, floats.minimum(high, value)))
    return cast(Vector, limited(call, [vector, low, high], now_ms))


def _absent(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    return [] if arguments[0] else [Element(_labels_of_absent(call), 1.0)]


def _labels_of_absent(call: Call) -> Labels:
    """Labels that the missing series would have had: those that an ``=`` matcher fixes and no later one questions."""
    (argument,) = call.arguments
    selector = argument.selector if isinstance(argument, Range) else argument
    if not isinstance(selector, Selector):
        return EMPTY
    fixed: dict[str, str] = {}
    seen = set()
    for matcher in selector.matchers:
        if matcher.op == "=" and matcher.name not in seen:
            seen.add(matcher.name)
            fixed[matcher.name] = matcher.value
        else:
            fixed.pop(matcher.name, None)
    return drop(make(fixed), (NAME,))


def _scalar(call: Call, arguments: list[Value], now_ms: int) -> float:
    vector = cast(Vector, arguments[0])
    return vector[0].value if len(vector) == 1 else math.nan


def _vector(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    return [Element(EMPTY, cast(float, arguments[0]))]


def _round(value: float, nearest: float = 1.0) -> float:
    return floats.round_to(value, nearest)


_MATHEMATICS: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "acos": floats.total(math.acos),
    "acosh": floats.total(math.acosh),
    "asin": floats.total(math.asin),
    "asinh": floats.total(math.asinh),
    "atan": math.atan,
    "atanh": floats.atanh,
    "ceil": floats.ceil,
    "cos": floats.total(math.cos),
    "cosh": floats.cosh,
    "deg": lambda value: value * 180 / math.pi,
    "exp": floats.exp,
    "floor": floats.floor,
    "ln": floats.logarithm(math.log),
    "log2": floats.logarithm(floats.log2),
    "log10": floats.logarithm(math.log10),
    "rad": lambda value: value * math.pi / 180,
    "sgn": floats.sign,
    "sin": floats.total(math.sin),
    "sinh": floats.sinh,
    "sqrt": floats.sqrt,
    "tan": floats.total(math.tan),
    "tanh": math.tanh,
}

TABLE: dict[str, Function] = {
    **{name: _elementwise(function) for name, function in _MATHEMATICS.items()},
    **{name: _per_window(name, function) for name, function in ranges.TABLE.items()},
    **{name: _date(function) for name, function in dates.TABLE.items()},
    "absent": _absent,
    "absent_over_time": _absent,
    "clamp": _clamp,
    "clamp_max": _with_scalars(floats.minimum),
    "clamp_min": _with_scalars(floats.maximum),
    "histogram_fraction": histogram.fraction,
    "histogram_quantile": histogram.quantile,
    "label_join": relabel.label_join,
    "label_replace": relabel.label_replace,
    "pi": lambda call, arguments, now_ms: math.pi,
    "predict_linear": _predict_linear,
    "round": _with_scalars(_round),
    "scalar": _scalar,
    "sort": sorting.sort,
    "sort_by_label": sorting.sort_by_label,
    "sort_by_label_desc": sorting.sort_by_label_desc,
    "sort_desc": sorting.sort_desc,
    "time": lambda call, arguments, now_ms: now_ms / 1000,
    # The timestamp of a plain selector is that of its sample; the evaluator sees to it.
    "timestamp": lambda call, arguments, now_ms: [
        Element(element.labels, now_ms / 1000, True) for element in cast(Vector, arguments[0])
    ],
    "vector": _vector,
}
