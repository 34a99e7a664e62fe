"""Evaluation of an expression tree at one instant, or at each step of a range.

Pure: series come from a ``Source``, time is a parameter. Times are unix milliseconds, as in Prometheus.
"""

from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass, replace
from typing import cast

from actuator.promql import aggregate, binary, functions
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
)
from actuator.promql.types import Element, EvaluationError, Matrix, Source, Value, Vector, Window, is_stale


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
        value = self.evaluate(root)
        if isinstance(value, list) and value and isinstance(value[0], Element):
            return _unnamed(value)
        return value

    def evaluate(self, node: Node) -> Value:
        """Value of a part of the expression."""
        value: Value
        match node:
            case Number(number):
                return number
            case String(string):
                return string
            case Selector():
                return [Element(labels, value) for labels, _, value in self._samples(node)]
            case Range():
                return self._range(node)
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
        if isinstance(value, list) and not self.semantics.delayed_name_removal:
            return _unnamed(cast(Vector, value))
        return value

    def vector(self, node: Node) -> Vector:
        return cast(Vector, self.evaluate(node))

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

    def _samples(self, node: Selector) -> Iterator[tuple[Labels, int, float]]:
        """The newest sample of each series that is neither too old nor marked stale."""
        end_ms = self._anchor(node.at, node.offset_ms)
        start_ms = self._window_start(end_ms, self.semantics.lookback_ms)
        for series in self.source.select(node.matchers):
            sample = series.latest(start_ms, end_ms)
            if sample is not None and not is_stale(sample[1]):
                yield series.labels, *sample

    def _range(self, node: Range) -> Matrix:
        end_ms = self._anchor(node.selector.at, node.selector.offset_ms)
        after_ms = self._window_start(end_ms, node.range_ms)
        windows = []
        for series in self.source.select(node.selector.matchers):
            times, values = _without_stale(*series.window(after_ms, end_ms))
            if times:
                windows.append(Window(series.labels, times, values, end_ms - node.range_ms, end_ms))
        return windows

    def _subquery(self, node: Subquery) -> Matrix:
        """The operand at every multiple of the step within the window."""
        end_ms = self._anchor(node.at, node.offset_ms)
        step_ms = node.step_ms or self.semantics.subquery_step_ms
        after_ms = self._window_start(end_ms, node.range_ms)
        windows: dict[Labels, Window] = {}
        for time_ms in range((after_ms // step_ms + 1) * step_ms, end_ms + 1, step_ms):
            for labels, value, drop in replace(self, time_ms=time_ms).vector(node.operand):
                if labels not in windows:
                    windows[labels] = Window(labels, [], [], end_ms - node.range_ms, end_ms, drop)
                windows[labels].times_ms.append(time_ms)
                windows[labels].values.append(value)
        return list(windows.values())

    def _negate(self, node: Negate) -> float | Vector:
        value = self.evaluate(node.operand)
        if isinstance(value, float):
            return -value
        return [Element(element.labels, -element.value, True) for element in cast(Vector, value)]

    def _call(self, node: Call) -> Value:
        match node:
            case Call("timestamp", (Selector() as selector,)):
                samples = self._samples(selector)
                return [Element(labels, time_ms / 1000, True) for labels, time_ms, _ in samples]
            case _:
                arguments = [self.evaluate(argument) for argument in node.arguments]
                return functions.TABLE[node.function](node, arguments, self.time_ms)

    def _aggregate(self, node: Aggregate) -> Vector:
        parameter = None if node.parameter is None else self.evaluate(node.parameter)
        return aggregate.apply(node, self.vector(node.operand), parameter)

    def _binary(self, node: Binary) -> float | Vector:
        left = cast("float | Vector", self.evaluate(node.left))
        right = cast("float | Vector", self.evaluate(node.right))
        return binary.apply(node, left, right)


def _without_stale(
    times: MutableSequence[int], values: MutableSequence[float]
) -> tuple[MutableSequence[int], MutableSequence[float]]:
    total = sum(values)  # the cheapest search for a NaN
    if total == total or not any(map(is_stale, values)):
        return times, values
    fresh = [index for index, value in enumerate(values) if not is_stale(value)]
    return [times[index] for index in fresh], [values[index] for index in fresh]


def _unnamed(vector: Vector) -> Vector:
    """The vector without the metric names that are to go; its label sets must then be distinct."""
    result = [Element(drop_name(element.labels), element.value) if element.drop_name else element for element in vector]
    if len({labels for labels, _, _ in result}) < len(result):
        raise EvaluationError("vector cannot contain metrics with the same labelset")
    return result
