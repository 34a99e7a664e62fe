"""Evaluation of an expression tree at one instant, or at each step of a range.

Pure: series come from a ``Source``, time is a parameter. Times are unix milliseconds, as in Prometheus.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from actuator.promql import aggregate, binary, functions, kernels, vectorized
from actuator.promql.columns import Columns, Rows, Source, Times, is_stale
from actuator.promql.labels import Labels, drop_name
from actuator.promql.nodes import (
    Aggregate,
    At,
    Binary,
    Call,
    Negate,
    Node,
    Number,
    Range,
    Selector,
    String,
    Subquery,
    children,
)
from actuator.promql.types import Element, EvaluationError, Matrix, Value, Vector, Window


@dataclass(frozen=True, kw_only=True)
class Semantics:
    """What differs between Prometheus servers. The defaults are those of an unconfigured Prometheus 3.

    ``lookback_ms``: age at which a sample is too old for an instant vector (--query.lookback-delta).
    ``subquery_step_ms``: step of a subquery that names none (the global evaluation interval).
    ``closed_windows``: a window includes its left end, as in Prometheus 2.
    ``delayed_name_removal``: the feature flag promql-delayed-name-removal.
    """

    lookback_ms: int = 300_000
    subquery_step_ms: int = 60_000
    closed_windows: bool = False
    delayed_name_removal: bool = False


PROMETHEUS_3 = Semantics()

MAX_SUBQUERY_READS = 250_000
"""Series times steps that a subquery may read: about a second."""


def instant(root: Node, source: Source, time_ms: int, semantics: Semantics = PROMETHEUS_3) -> Value:
    """Value of the expression at ``time_ms``; raises EvaluationError."""
    return Evaluator(source, time_ms, time_ms, time_ms, semantics).result(root)


def steps(
    root: Node, source: Source, start_ms: int, end_ms: int, step_ms: int, semantics: Semantics = PROMETHEUS_3
) -> Iterator[tuple[int, Value]]:
    """Times and values of the expression from ``start_ms`` to ``end_ms``; raises EvaluationError."""
    for time_ms in range(start_ms, end_ms + 1, step_ms):
        yield time_ms, Evaluator(source, time_ms, start_ms, end_ms, semantics).result(root)


@dataclass(frozen=True)
class Evaluator:
    """One instant of a query; ``start_ms`` and ``end_ms`` are what ``@ start()`` and ``@ end()`` mean."""

    source: Source
    time_ms: int
    start_ms: int
    end_ms: int
    semantics: Semantics

    def result(self, root: Node) -> Value:
        """Value of the whole expression, metric names removed where the language says so."""
        return _elements(self.columns(root))

    def columns(self, root: Node) -> Value | Columns:
        """Like ``result``; a vector may come as columns."""
        return _unnamed(self._compute(root))

    def evaluate(self, node: Node) -> Value:
        """Value of a part of the expression."""
        return _elements(self._compute(node))

    def vector(self, node: Node) -> Vector:
        return cast(Vector, self.evaluate(node))

    def _compute(self, node: Node) -> Value | Columns:
        value: Value | Columns
        match node:
            case Number(number):
                return number
            case String(string):
                return string
            case Selector():
                return self._latest(node)[1]
            case Range():
                return [window for rows in self._rows(node) for window in rows.windows()]
            case Subquery():
                return self._subquery(node)
            case Negate():
                value = self._negate(node)
            case Call():
                value = self._call(node)
            case Aggregate():
                value = self._aggregate(node)
            case Binary():
                value = self._binary(node)
        return value if self.semantics.delayed_name_removal else _unnamed(value)

    def any(self, node: Node) -> bool:
        """Whether the value of a part of the expression has any element that is a number."""
        match node:
            case Call(function, (Range() as operand,)) if function in kernels.TABLE:
                return any(kernels.has_result(function, rows) for rows in self._rows(operand))
            case _:
                return _has_number(self._compute(node))

    def at_end_of(self, node: Subquery) -> "Evaluator":
        """The evaluator for the last instant of a subquery's window."""
        return replace(self, time_ms=self._anchor(node.at, node.offset_ms))

    def _anchor(self, at: At, offset_ms: int) -> int:
        """The time that a selector or a subquery looks at."""
        match at:
            case None:
                return self.time_ms - offset_ms
            case "start":
                return self.start_ms - offset_ms
            case "end":
                return self.end_ms - offset_ms
            case _:
                return at - offset_ms

    def _window_start(self, end_ms: int, length_ms: int) -> int:
        """The time after which samples belong to a window; times are whole, so closing it takes one less."""
        return end_ms - length_ms - self.semantics.closed_windows

    def _latest(self, node: Selector) -> tuple[Times, Columns]:
        """The newest sample of each series that is neither too old nor marked stale."""
        end_ms = self._anchor(node.at, node.offset_ms)
        selection = self.source.select(node.matchers)
        times, values = selection.latest(self._window_start(end_ms, self.semantics.lookback_ms), end_ms)
        return times, Columns(selection.sets, values, ~is_stale(values))

    def _rows(self, node: Range) -> Iterator[Rows]:
        end_ms = self._anchor(node.selector.at, node.selector.offset_ms)
        after_ms = self._window_start(end_ms, node.range_ms)
        for labels, times, values in self.source.select(node.selector.matchers).windows(after_ms, end_ms):
            yield Rows(labels, times, values, end_ms - node.range_ms, end_ms)

    def _subquery(self, node: Subquery) -> Matrix:
        """The operand at every multiple of the step within the window."""
        end_ms = self._anchor(node.at, node.offset_ms)
        step_ms = node.step_ms or self.semantics.subquery_step_ms
        after_ms = self._window_start(end_ms, node.range_ms)
        reads = self._reads(node)
        if reads > MAX_SUBQUERY_READS:
            raise EvaluationError(
                f"a subquery costs as much as to read {reads} series, more than {MAX_SUBQUERY_READS}: "
                "shorten its range, widen its step, or record its operand"
            )
        windows: dict[Labels, Window] = {}
        for time_ms in range((after_ms // step_ms + 1) * step_ms, end_ms + 1, step_ms):
            for labels, value, drop in replace(self, time_ms=time_ms).vector(node.operand):
                if labels not in windows:
                    windows[labels] = Window(labels, [], [], end_ms - node.range_ms, end_ms, drop)
                windows[labels].times_ms.append(time_ms)
                windows[labels].values.append(value)
        return list(windows.values())

    def _reads(self, node: Node) -> int:
        """How much an evaluation of the node costs, a subquery at each of its steps. A series that is selected is 1."""
        match node:
            case Selector():
                return len(self.source.select(node.matchers))
            case Subquery():
                steps = -(-node.range_ms // (node.step_ms or self.semantics.subquery_step_ms))
                return sum(map(self._reads, children(node))) * steps
            case Call(function, arguments):
                ranges = [argument for argument in arguments if isinstance(argument, Range)]
                looks = sum(kernels.looks(function, rows) for operand in ranges for rows in self._rows(operand))
                return sum(map(self._reads, arguments)) + looks
        return sum(map(self._reads, children(node)))

    def _negate(self, node: Negate) -> float | Vector:
        value = self.evaluate(node.operand)
        if isinstance(value, float):
            return -value
        return [Element(element.labels, -element.value, True) for element in cast(Vector, value)]

    def _call(self, node: Call) -> Value | Columns:
        match node:
            case Call("timestamp", (Selector() as selector,)):
                times, columns = self._latest(selector)
                return Columns(columns.sets, times / 1000, columns.present, True)
            case Call(function, (Range() as operand,)) if function in kernels.TABLE:
                return kernels.apply(function, self.source.select(operand.selector.matchers).sets, self._rows(operand))
            case _:
                arguments = [self.evaluate(argument) for argument in node.arguments]
                return functions.TABLE[node.function](node, arguments, self.time_ms)

    def _aggregate(self, node: Aggregate) -> Vector | Columns:
        parameter = None if node.parameter is None else self.evaluate(node.parameter)
        operand = self._compute(node.operand)
        result = vectorized.reduce(node, operand, parameter) if isinstance(operand, Columns) else None
        return aggregate.apply(node, cast(Vector, _elements(operand)), parameter) if result is None else result

    def _binary(self, node: Binary) -> float | Vector | Columns:
        left, right = self._compute(node.left), self._compute(node.right)
        result = vectorized.operate(node, left, right)
        if result is not None:
            return result
        return binary.apply(node, cast("float | Vector", _elements(left)), cast("float | Vector", _elements(right)))


def _elements(value: Value | Columns) -> Value:
    return value.elements() if isinstance(value, Columns) else value


def _has_number(value: Value | Columns) -> bool:
    if isinstance(value, Columns):
        return value.has_number
    if isinstance(value, list):
        return any(isinstance(element, Window) or not math.isnan(element.value) for element in value)
    return isinstance(value, str) or not math.isnan(value)


def _unnamed(value: Value | Columns) -> Value | Columns:
    """The value without the metric names that are to go; the label sets of a vector must then be distinct."""
    if isinstance(value, Columns):
        sets = value.sets.unnamed() if value.drop_name else value.sets
        if sets is not None:
            return Columns(sets, value.values, value.present)
        value = cast(Value, value.elements())
    if not (isinstance(value, list) and value and isinstance(value[0], Element)):
        return value
    result = [Element(drop_name(element.labels), element.value) if element.drop_name else element for element in value]
    if len({labels for labels, _, _ in result}) < len(result):
        raise EvaluationError("vector cannot contain metrics with the same labelset")
    return result
