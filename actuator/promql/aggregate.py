"""Aggregation operators: one result per group, or (topk, bottomk) a selection from each group."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial

from actuator.promql import floats
from actuator.promql.labels import NAME, Labels, drop, keep, replace
from actuator.promql.nodes import Aggregate
from actuator.promql.types import Element, EvaluationError, Value, Vector

_INT64_LIMIT = 2.0**63


def _variance(values: Sequence[float]) -> float:
    """Population variance by Welford's method, uncompensated as in Prometheus' aggregation."""
    average = squares = 0.0
    for count, value in enumerate(values, start=1):
        delta = value - average
        average += delta / count
        squares += delta * (value - average)
    return squares / len(values)


REDUCTIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": floats.kahan_sum,
    "avg": floats.mean,
    "min": floats.smallest,
    "max": floats.largest,
    "count": lambda values: float(len(values)),
    "group": lambda values: 1.0,
    "stddev": lambda values: floats.sqrt(_variance(values)),
    "stdvar": _variance,
}
OPERATORS = frozenset({*REDUCTIONS, "quantile", "count_values", "topk", "bottomk"})


def apply(node: Aggregate, vector: Vector, parameter: Value | None) -> Vector:
    """Value of an aggregation; ``parameter`` is the k of topk, the quantile or the label of count_values."""
    if node.op == "count_values":
        assert isinstance(parameter, str)
        return _count_values(node, vector, parameter)
    groups = _groups(node, vector)
    if node.op in ("topk", "bottomk"):
        assert isinstance(parameter, float)
        limit = _limit(parameter)
        return [element for group in groups.values() for element in _extremes(node.op, group, limit)]
    result = []
    for labels, group in groups.items():
        values = [element.value for element in group]
        if node.op == "quantile":
            assert isinstance(parameter, float)
            value = floats.quantile(parameter, values)
        else:
            value = REDUCTIONS[node.op](values)
        result.append(Element(labels, value, any(element.drop_name for element in group)))
    return result


def group_key(node: Aggregate) -> Callable[[Labels], Labels]:
    """The part of a label set that names its group."""
    if node.without:
        return partial(drop, names=frozenset({*node.grouping, NAME}))
    return partial(keep, names=frozenset(node.grouping))


def _groups(node: Aggregate, vector: Vector) -> dict[Labels, Vector]:
    key = group_key(node)
    groups: dict[Labels, Vector] = {}
    for element in vector:
        groups.setdefault(key(element.labels), []).append(element)
    return groups


def _limit(parameter: float) -> int:
    if parameter != parameter:
        raise EvaluationError("Parameter value is NaN")
    if parameter >= _INT64_LIMIT:
        raise EvaluationError(f"Scalar value {parameter:g} overflows int64")
    return max(0, int(max(parameter, -1.0)))


def _extremes(op: str, group: Vector, limit: int) -> Vector:
    """The ``limit`` largest or smallest elements in order; NaN comes last in both."""
    direction = -1.0 if op == "topk" else 1.0

    def rank(element: Element) -> tuple[bool, float]:
        return element.value != element.value, direction * element.value

    return sorted(group, key=rank)[:limit]


def _count_values(node: Aggregate, vector: Vector, label: str) -> Vector:
    relabelled = [Element(replace(element.labels, label, _format(element.value)), element.value) for element in vector]
    grouping = node.grouping if node.without else (*node.grouping, label)
    by_value = Aggregate("count", node.operand, None, grouping, node.without)
    return [Element(labels, float(len(group))) for labels, group in _groups(by_value, relabelled).items()]


def _format(value: float) -> str:
    """Shortest decimal notation without an exponent, like strconv.FormatFloat(value, 'f', -1, 64) of Go."""
    if value != value:
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return format(Decimal(repr(value)), "f").removesuffix(".0")
