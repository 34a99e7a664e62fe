"""Binary operators between scalars and vectors, with vector matching."""

import operator
from collections.abc import Callable
from typing import TypeAlias

from actuator.promql import floats
from actuator.promql.labels import NAME, Labels, drop, drop_name, get, keep, replace, text
from actuator.promql.nodes import Binary, Matching
from actuator.promql.types import Element, EvaluationError, Vector

Arithmetic: TypeAlias = Callable[[float, float], float]
Comparison: TypeAlias = Callable[[float, float], bool]

ARITHMETIC: dict[str, Arithmetic] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": floats.divide,
    "%": floats.modulo,
    "^": floats.power,
    "atan2": floats.atan2,
}
COMPARISONS: dict[str, Comparison] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
SETS = frozenset({"and", "or", "unless"})
OPERATORS = frozenset({*ARITHMETIC, *COMPARISONS, *SETS})


def apply(node: Binary, left: float | Vector, right: float | Vector) -> float | Vector:
    """Value of ``left op right``; raises EvaluationError for elements that match more than one partner."""
    if isinstance(left, float):
        if isinstance(right, float):
            return _scalars(node, left, right)
        return _vector_scalar(node, right, left, swapped=True)
    if isinstance(right, float):
        return _vector_scalar(node, left, right, swapped=False)
    if node.op in SETS:
        return _sets(node, left, right)
    return _vectors(node, left, right)


def _scalars(node: Binary, left: float, right: float) -> float:
    if node.op in COMPARISONS:
        return float(COMPARISONS[node.op](left, right))
    return ARITHMETIC[node.op](left, right)


def _vector_scalar(node: Binary, vector: Vector, scalar: float, *, swapped: bool) -> Vector:
    if node.op in ARITHMETIC:
        calculate = ARITHMETIC[node.op]
        if swapped:
            return [Element(labels, calculate(scalar, value), True) for labels, value, _ in vector]
        return [Element(labels, calculate(value, scalar), True) for labels, value, _ in vector]
    holds = COMPARISONS[node.op]
    if node.return_bool:
        return [
            Element(labels, float(holds(scalar, value) if swapped else holds(value, scalar)), True)
            for labels, value, _ in vector
        ]
    if swapped:
        return [element for element in vector if holds(scalar, element.value)]
    return [element for element in vector if holds(element.value, scalar)]


def signature(matching: Matching) -> Callable[[Labels], Labels]:
    """The part of a label set that decides which elements belong together."""
    names = frozenset(matching.labels)
    if matching.on:
        return lambda labels: keep(labels, names)
    names |= {NAME}
    return lambda labels: drop(labels, names)


def _sets(node: Binary, left: Vector, right: Vector) -> Vector:
    key = signature(node.matching)
    if node.op == "or":
        taken = {key(element.labels) for element in left}
        return left + [element for element in right if key(element.labels) not in taken]
    present = {key(element.labels) for element in right}
    wanted = node.op == "and"
    return [element for element in left if (key(element.labels) in present) == wanted]


def _vectors(node: Binary, left: Vector, right: Vector) -> Vector:
    """Arithmetic or comparison; the side that may have several elements per match is called the many side."""
    if not left or not right:
        return []
    matching = node.matching
    swapped = matching.many == "right"
    many, one = (right, left) if swapped else (left, right)
    match_key = signature(matching)
    partners = _partners(one, match_key, "left" if swapped else "right")
    combine = result_labels(node)
    seen: set[tuple[Labels, Labels] | Labels] = set()
    result = []
    for element in many:
        key = match_key(element.labels)
        partner = partners.get(key)
        if partner is None:
            continue
        pair = (partner.value, element.value) if swapped else (element.value, partner.value)
        value, keeps = _calculate(node, *pair)
        labels = combine(element.labels, partner.labels)
        identity = key if matching.many is None else (key, labels)
        if identity in seen:
            raise EvaluationError(_multiple(matching, labels))
        seen.add(identity)
        if keeps:
            result.append(Element(labels, value, node.return_bool))
    return result


def _partners(one: Vector, match_key: Callable[[Labels], Labels], side: str) -> dict[Labels, Element]:
    """Elements of the "one" side by signature, each of which may occur once."""
    partners: dict[Labels, Element] = {}
    for element in one:
        key = match_key(element.labels)
        if key in partners:
            first, second = sorted([text(element.labels), text(partners[key].labels)])
            raise EvaluationError(
                f"found duplicate series for the match group {text(key)} on the {side} hand-side of the operation: "
                f"[{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
            )
        partners[key] = element
    return partners


def _multiple(matching: Matching, labels: Labels) -> str:
    if matching.many is None:
        return "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    return f"multiple matches for labels: grouping labels must ensure unique matches (see {text(labels)})"


def _calculate(node: Binary, left: float, right: float) -> tuple[float, bool]:
    """The result and whether it is kept: comparisons without ``bool`` filter the left side."""
    if node.op in ARITHMETIC:
        return ARITHMETIC[node.op](left, right), True
    holds = COMPARISONS[node.op](left, right)
    return (float(holds), True) if node.return_bool else (left, holds)


def result_labels(node: Binary) -> Callable[[Labels, Labels], Labels]:
    """Labels of a result, from those of the many and of the one side."""
    matching = node.matching
    names = frozenset(matching.labels)
    loses_name = node.op in ARITHMETIC

    def combine(many: Labels, one: Labels) -> Labels:
        result = drop_name(many) if loses_name else many
        if matching.many is None:
            result = keep(result, names) if matching.on else drop(result, names)
        for name in matching.include:
            result = replace(result, name, get(one, name))
        return result

    return combine
