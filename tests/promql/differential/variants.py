"""The evaluator with parts of it exchanged by name."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, cast

from actuator.promql import binary
from actuator.promql.columns import Columns
from actuator.promql.evaluate import Evaluator
from actuator.promql.functions import TABLE, Function
from actuator.promql.labels import NAME, Labels, drop, keep
from actuator.promql.nodes import Aggregate, Binary, Call, Node
from actuator.promql.types import Element, Matrix, Value, Vector, Window

Reduction: TypeAlias = Callable[[Sequence[float]], float]
Operator: TypeAlias = Callable[[Binary, float | Vector, float | Vector], float | Vector]


@dataclass(frozen=True)
class Variant:
    """Replacements of functions, of aggregations of a group to one value, and of binary operators.

    ``order``: aggregations get their elements in this order.
    """

    functions: Mapping[str, Function] = field(default_factory=dict)
    reductions: Mapping[str, Reduction] = field(default_factory=dict)
    operators: Mapping[str, Operator] = field(default_factory=dict)
    order: Callable[[Vector], Vector] | None = None


def together(variants: Iterable[Variant]) -> Variant:
    """All replacements of these; of two for the same name, the later one."""
    result = Variant()
    for variant in variants:
        result = Variant(
            {**result.functions, **variant.functions},
            {**result.reductions, **variant.reductions},
            {**result.operators, **variant.operators},
            variant.order or result.order,
        )
    return result


@dataclass(frozen=True)
class VariantEvaluator(Evaluator):
    variant: Variant

    def _compute(self, node: Node) -> Value | Columns:
        value = super()._compute(node)
        if self.variant.order is None:
            return value
        value = value.elements() if isinstance(value, Columns) else value
        is_vector = isinstance(value, list) and value and isinstance(value[0], Element)
        return self.variant.order(cast(Vector, value)) if is_vector else value

    def _call(self, node: Call) -> Value:
        function = self.variant.functions.get(node.function)
        if function is None:
            return super()._call(node)
        return function(node, [self.evaluate(argument) for argument in node.arguments], self.time_ms)

    def _aggregate(self, node: Aggregate) -> Vector:
        reduction = self.variant.reductions.get(node.op)
        if reduction is None:
            return super()._aggregate(node)
        groups: dict[Labels, list[float]] = {}
        for element in self.vector(node.operand):
            labels = element.labels
            key = drop(labels, {*node.grouping, NAME}) if node.without else keep(labels, node.grouping)
            groups.setdefault(key, []).append(element.value)
        return [Element(labels, reduction(values)) for labels, values in groups.items()]

    def _binary(self, node: Binary) -> float | Vector:
        operator = self.variant.operators.get(node.op)
        if operator is None:
            return super()._binary(node)
        left = cast("float | Vector", self.evaluate(node.left))
        right = cast("float | Vector", self.evaluate(node.right))
        return operator(node, left, right)


def elementwise(function: Callable[[float], float]) -> Function:
    def apply(call: Call, arguments: list[Value], now_ms: int) -> Vector:
        return [Element(labels, function(value), True) for labels, value, _ in cast(Vector, arguments[0])]

    return apply


def of_window(function: Callable[..., float | None]) -> Function:
    """A function of a range vector that is calculated series by series, the scalar arguments passed on."""

    def apply(call: Call, arguments: list[Value], now_ms: int) -> Vector:
        (windows,) = (cast(Matrix, argument) for argument in arguments if isinstance(argument, list))
        scalars = [argument for argument in arguments if isinstance(argument, float)]
        values = ((window, function(window, *scalars)) for window in windows)
        return [Element(window.labels, value, True) for window, value in values if value is not None]

    return apply


def of_values(function: Reduction) -> Function:
    """A function of the values of a window."""

    def apply(window: Window) -> float:
        return function(window.values)

    return of_window(apply)


def other_orders() -> Iterator[Variant]:
    """Orders that are new at each step, and orders that stay, since Prometheus has some of both."""
    for seed in range(32):
        yield Variant(order=partial(_shuffled, random.Random(seed)))
        yield Variant(order=partial(_ranked, seed))


def _shuffled(rng: random.Random, vector: Vector) -> Vector:
    return rng.sample(vector, len(vector))


def _ranked(seed: int, vector: Vector) -> Vector:
    return sorted(vector, key=lambda element: random.Random(f"{seed}{element.labels}").random())


_LAST_DIGITS = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "ln", "log10", "log2"),
    *("sin", "sinh", "tan", "tanh"),
)


def other_digits() -> Iterator[Variant]:
    """Other results of the mathematical functions: Go's and C's are right to about one unit in the last place."""
    return map(_other_digits, range(8))


def _other_digits(seed: int) -> Variant:
    rng = random.Random(seed)

    def disturbed(value: float) -> float:
        return value * (1 + rng.choice([-1, 0, 1]) * 2**-52)

    def function(name: str) -> Function:
        def apply(call: Call, arguments: list[Value], now_ms: int) -> Vector:
            vector = cast(Vector, TABLE[name](call, arguments, now_ms))
            return [element._replace(value=disturbed(element.value)) for element in vector]

        return apply

    def operator(node: Binary, left: float | Vector, right: float | Vector) -> float | Vector:
        value = binary.apply(node, left, right)
        if isinstance(value, float):
            return disturbed(value)
        return [element._replace(value=disturbed(element.value)) for element in value]

    return Variant({name: function(name) for name in _LAST_DIGITS}, operators={"^": operator, "atan2": operator})
