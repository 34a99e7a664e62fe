"""The result of a query, whoever evaluated it, as Prometheus' HTTP API has it (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from actuator.promql import Sample
from actuator.promql.labels import EMPTY, Labels
from actuator.promql.nodes import ValueType
from actuator.promql.types import Element, Value, Window


@dataclass(frozen=True, slots=True)
class Series:
    """Values and their times in unix milliseconds: one of a vector, many of a matrix."""

    labels: Labels
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Result:
    """``series`` of a vector or matrix, one without labels of a scalar, none of a string, which is ``text``."""

    value_type: ValueType
    series: tuple[Series, ...]
    text: str = ""

    def samples(self) -> tuple[Sample, ...]:
        """Of a vector or a scalar; ValueError for the others."""
        if self.value_type in ("matrix", "string"):
            raise ValueError(f"the result is a {self.value_type}, not a vector or a scalar")
        return tuple(Sample(series.labels, series.points[-1][1]) for series in self.series)


def of_value(value: Value, value_type: ValueType, time_ms: int) -> Result:
    """The result that is a value of the embedded evaluator at a time."""
    if isinstance(value, float):
        return Result(value_type, (Series(EMPTY, ((time_ms, value),)),))
    if isinstance(value, str):
        return Result(value_type, (), value)
    return Result(value_type, tuple(_series(element, time_ms) for element in value))


def _series(element: Element | Window, time_ms: int) -> Series:
    if isinstance(element, Element):
        return Series(element.labels, ((time_ms, element.value),))
    return Series(element.labels, tuple(zip(element.times_ms, element.values, strict=True)))
