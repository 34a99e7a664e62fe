"""Which labels the result of an expression can have, found without evaluating it (pure).

It may name labels that no element has, but leaves out none: what is not here is certainly not there.
"""

from __future__ import annotations

from collections.abc import Callable

from actuator.promql import functions
from actuator.promql.labels import NAME
from actuator.promql.nodes import (
    Aggregate,
    Binary,
    Call,
    Negate,
    Node,
    Number,
    Range,
    Selector,
    String,
    Subquery,
    value_type,
)

Labels = frozenset[str] | None
"""None: nobody knows."""
Series = Callable[[str], Labels]
"""The labels of a metric."""

_NONE: Labels = frozenset()
SELECTIONS = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
"""Aggregations whose result are elements of their operand as they are."""
_RELABELLING = frozenset({"label_replace", "label_join"})
_ABSENT = frozenset({"absent", "absent_over_time"})


def labels(node: Node, series: Series) -> Labels:
    """The labels, but the metric's name."""
    match node:
        case Number() | String():
            return _NONE
        case Selector():
            name = metric(node)
            return None if name is None else series(name)
        case Range(inner) | Negate(inner) | Subquery(operand=inner):
            return labels(inner, series)
        case Call():
            return _call(node, series)
        case Aggregate():
            return _aggregate(node, series)
        case Binary():
            return _binary(node, series)


def metric(selector: Selector) -> str | None:
    """The name that a selector asks for literally."""
    for matcher in selector.matchers:
        if matcher.name == NAME and matcher.op == "=" and matcher.value:
            return matcher.value
    return None


def operand(call: Call) -> Node | None:
    """The argument whose labels a function's result has; None for one that has no vector."""
    return next((one for one in call.arguments if value_type(one) in ("vector", "matrix")), None)


def _call(node: Call, series: Series) -> Labels:
    inner = operand(node)
    if inner is None or node.value_type == "scalar":
        return _NONE
    if node.function in _ABSENT:
        selector = inner.selector if isinstance(inner, Range) else inner
        return frozenset(one.name for one in selector.matchers) if isinstance(selector, Selector) else _NONE
    if node.function not in functions.TABLE:
        return None
    found = labels(inner, series)
    target = node.arguments[1] if node.function in _RELABELLING else None
    return found | {target.value} if found is not None and isinstance(target, String) else found


def _aggregate(node: Aggregate, series: Series) -> Labels:
    found = labels(node.operand, series)
    if node.op in SELECTIONS:
        return found
    made = {node.parameter.value} if isinstance(node.parameter, String) else set()  # of count_values
    if node.without:
        return None if found is None else found.difference(node.grouping) | made
    grouping = frozenset(node.grouping)
    return (grouping if found is None else grouping & found) | made


def _binary(node: Binary, series: Series) -> Labels:
    left, right = (labels(side, series) for side in (node.left, node.right))
    if value_type(node.left) == "scalar":
        return right
    if value_type(node.right) == "scalar" or node.op in ("and", "unless"):
        return left
    if node.op == "or":
        return None if left is None or right is None else left | right
    matching = node.matching
    names = frozenset(matching.labels)
    if matching.many is None and matching.on:
        return names if left is None else names & left
    many = right if matching.many == "right" else left
    if many is None:
        return None
    return many.union(matching.include) if matching.many else many - names
