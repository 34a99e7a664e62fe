"""What must be so for a condition to hold: bounds on the numbers that it compares (pure).

A condition is broken up into alternatives, of which one holds if it has a result. An alternative bounds the values of
some expressions. It says less than the condition where it cannot say all, and never more: where no alternative is left,
the condition certainly has no result.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from actuator.lint import shape
from actuator.lint.catalogue import OF_TARGET
from actuator.lint.shape import Series
from actuator.promql.binary import ARITHMETIC, COMPARISONS, SETS
from actuator.promql.nodes import Aggregate, Binary, Call, Matching, Negate, Node, Number, Selector, value_type, walk

_Key = TypeVar("_Key", bound=Hashable)

_MAX_ALTERNATIVES = 64
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Interval:
    """Numbers from `low` to `high`; an open end does not belong to them."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __and__(self, other: Interval) -> Interval:
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, high_closed = min((self.high, not self.high_open), (other.high, not other.high_open))
        return Interval(low, high, low_open, not high_closed)

    @property
    def is_empty(self) -> bool:
        """Whether no number is in it."""
        return not self.low <= self.high or (self.low == self.high and (self.low_open or self.high_open))

    @property
    def is_point(self) -> bool:
        """Whether it is one number."""
        return self.low == self.high and not self.is_empty

    def meets(self, other: Interval) -> bool:
        """Whether a number is in both."""
        if self.is_empty or other.is_empty:
            return False
        for one, two in ((self, other), (other, self)):
            if one.high < two.low or (one.high == two.low and (one.high_open or two.low_open)):
                return False
        return True

    def outside(self) -> Interval | None:
        """All other numbers, if they are one interval."""
        if self.low == -math.inf and self.high < math.inf:
            return Interval(low=self.high, low_open=not self.high_open)
        if self.high == math.inf and self.low > -math.inf:
            return Interval(high=self.low, high_open=not self.low_open)
        return None

    def __str__(self) -> str:
        ends = [
            f"{sign}{'' if is_open else '='} {end:g}"
            for sign, end, is_open in ((">", self.low, self.low_open), ("<", self.high, self.high_open))
            if math.isfinite(end)
        ]
        return " and ".join(ends)


Alternative = Mapping[Node, Interval]
"""Expressions and the bounds of their values, for one and the same element of the result."""
Alternatives = tuple[Alternative, ...]

_ANYTHING: Alternatives = ({},)


def alternatives(node: Node, series: Series) -> Alternatives:
    """What can be so where the condition has a result; none if it never has one."""
    return tuple(found for found in _alternatives(node, series) if not any(one.is_empty for one in found.values()))


def constant(node: Node) -> float | None:
    """The number that an expression always is, with or without labels; None if it is not known."""
    match node:
        case Number(value):
            return value
        case Negate(operand):
            inner = constant(operand)
            return None if inner is None else -inner
        case Call("vector", (argument,)):
            return constant(argument)
        case Binary(op, left, right) if op in ARITHMETIC:
            values = (constant(left), constant(right))
            return None if values[0] is None or values[1] is None else ARITHMETIC[op](values[0], values[1])
        case _:
            return None


def compared(node: Node) -> tuple[Node, Interval] | None:
    """The expression that a condition compares, and the bounds, if it does nothing else."""
    if not (isinstance(node, Binary) and node.op in COMPARISONS) or node.return_bool:
        return None
    value, bound = (node.left, constant(node.right)) if value_type(node.right) == "scalar" else (node.right, None)
    op = node.op
    if value_type(node.left) == "scalar":
        bound, op = constant(node.left), _FLIPPED.get(node.op, node.op)
    interval = None if bound is None else _interval(op, bound)
    if interval is None:
        return None
    inner = compared(value)
    return (inner[0], inner[1] & interval) if inner else (value, interval)


def core(node: Node) -> Node:
    """The expression whose values a condition passes on."""
    match node:
        case Binary() if compared(node):
            return core(node.right if value_type(node.left) == "scalar" else node.left)
        case Binary("and" | "unless", left):
            return core(left)
        case Aggregate(op, operand) if op in shape.SELECTIONS:
            return core(operand)
        case _:
            return node


def exclude(one: Alternatives, other: Alternatives, keys: frozenset[str], series: Series) -> bool:
    """Whether both conditions never have results about the same target at once, whose labels are `keys`."""
    return are_apart(telling(one, keys, series), telling(other, keys, series))


def telling(found: Alternatives, keys: frozenset[str], series: Series) -> Alternatives:
    """Without expressions that can have many values for a target (labels: `keys`): two of them can be of two values."""
    own = keys | OF_TARGET | {"uuid"}

    def tells(node: Node) -> bool:
        labels = shape.labels(node, series)
        return labels is None or labels <= own

    return tuple({node: interval for node, interval in one.items() if tells(node)} for one in found)


def are_apart(one: Iterable[Mapping[_Key, Interval]], other: Iterable[Mapping[_Key, Interval]]) -> bool:
    """Whether of any two alternatives there is an expression for which they have no value in common."""
    return all(
        any(key in right and not interval.meets(right[key]) for key, interval in left.items())
        for left, right in product(one, other)
    )


def _alternatives(node: Node, series: Series) -> Alternatives:
    match node:
        case Aggregate(op, operand) if op in shape.SELECTIONS:
            return alternatives(operand, series)
        case Binary():
            return _binary(node, series)
        case _:
            return _ANYTHING


def _binary(node: Binary, series: Series) -> Alternatives:
    if node.op == "or":
        return _few((*alternatives(node.left, series), *alternatives(node.right, series)))
    if node.op == "unless":
        return alternatives(node.left, series)
    values = (constant(node.left), constant(node.right))
    if values[0] is not None and values[1] is not None and node.op in COMPARISONS and not node.return_bool:
        return _ANYTHING if COMPARISONS[node.op](values[0], values[1]) else ()
    scalars = [value_type(side) == "scalar" for side in (node.left, node.right)]
    if all(scalars):
        return _ANYTHING
    if not any(scalars):
        return _joined(node, series)
    vector = node.right if scalars[0] else node.left
    found = alternatives(vector, series)
    bounds = compared(node)
    if bounds is None:
        return found
    expression = core(vector)
    return tuple(_merged(one, {expression: bounds[1]}) for one in found)


def _joined(node: Binary, series: Series) -> Alternatives:
    """Both sides have a result: what is so of one is kept if its expression has one value for what matches."""
    matching = node.matching
    sides = [alternatives(node.left, series), alternatives(node.right, series)]
    if matching.many == "right":
        sides.reverse()

    def kept(one: Alternative) -> Alternative:
        return {expr: interval for expr, interval in one.items() if _is_matched(expr, matching, series)}

    others = [kept(other) for other in sides[1]]
    # The result has the labels of its first side, or else only those that match.
    as_first = node.op in SETS or (matching.many is not None and not matching.include)
    firsts = [one if as_first else kept(one) for one in sides[0]]
    return _few(tuple(_merged(one, other) for one, other in product(firsts, others)))


def _is_matched(expr: Node, matching: Matching, series: Series) -> bool:
    if not all(shape.metric(node) for node in walk(expr) if isinstance(node, Selector)):
        return False  # series of several names can match each other
    if not matching.on and not matching.labels:
        return True
    labels = shape.labels(expr, series)
    if labels is None:
        return False
    beyond = labels - OF_TARGET
    return beyond.issubset(matching.labels) if matching.on else beyond.isdisjoint(matching.labels)


def _merged(one: Alternative, other: Alternative) -> Alternative:
    return {**one, **{expr: one.get(expr, Interval()) & interval for expr, interval in other.items()}}


def _few(found: Alternatives) -> Alternatives:
    """Without those that cannot be; one that says nothing if there are too many to look at."""
    possible = tuple(one for one in found if not any(interval.is_empty for interval in one.values()))
    return possible if len(possible) <= _MAX_ALTERNATIVES else _ANYTHING


def _interval(op: str, bound: float) -> Interval | None:
    if bound != bound and op != "!=":
        return Interval(math.inf, -math.inf)
    match op:
        case "<":
            return Interval(high=bound, high_open=True)
        case "<=":
            return Interval(high=bound)
        case ">":
            return Interval(low=bound, low_open=True)
        case ">=":
            return Interval(low=bound)
        case "==":
            return Interval(bound, bound)
        case _:
            return None
