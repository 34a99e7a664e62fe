"""A query of the API, and what it may be answered with."""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from actuator.promql.labels import EMPTY, Labels
from actuator.promql.types import Element, Value, Window

RELATIVE_ERROR = 1e-9
_ABSOLUTE_ERROR = sys.float_info.min * RELATIVE_ERROR
"""As in util/almost of Prometheus: below it there are only denormal numbers, which have few digits."""


@dataclass(frozen=True)
class Query:
    """An instant query, or with ``step_ms`` a range query. Times are unix milliseconds."""

    text: str
    start_ms: int
    end_ms: int
    step_ms: int | None = None

    @property
    def times_ms(self) -> range:
        return range(self.start_ms, self.end_ms + 1, self.step_ms or 1)

    def __str__(self) -> str:
        if self.step_ms is None:
            return f"{self.text}  # at {self.start_ms / 1000}"
        return f"{self.text}  # from {self.start_ms / 1000} to {self.end_ms / 1000} step {self.step_ms / 1000}"


@dataclass(frozen=True)
class Refused:
    """The query is wrong in itself, or for these data."""

    reason: str


Points: TypeAlias = dict[int, float]
"""Values by unix milliseconds."""

Answer: TypeAlias = "Refused | str | dict[Labels, Points]"
"""A scalar is a series without labels, since a range query makes it one."""


def merged(values: Iterable[tuple[int, Value]]) -> "str | dict[Labels, Points]":
    """The answer that consists of the values at these times."""
    series: dict[Labels, Points] = {}
    for time_ms, value in values:
        if isinstance(value, str):
            return value
        for item in [Element(EMPTY, value)] if isinstance(value, float) else value:
            points = series.setdefault(item.labels, {})
            if isinstance(item, Window):
                points.update(zip(item.times_ms, item.values, strict=True))
            else:
                points[time_ms] = item.value
    return series


def difference(ours: Answer, theirs: Answer) -> str:
    """What differs, or an empty string."""
    if isinstance(ours, Refused) or isinstance(theirs, Refused):
        if isinstance(ours, Refused) and isinstance(theirs, Refused):
            return ""
        return f"ours {_brief(ours)}, theirs {_brief(theirs)}"
    if isinstance(ours, str) or isinstance(theirs, str):
        return "" if ours == theirs else f"ours {ours!r}, theirs {theirs!r}"
    if ours.keys() != theirs.keys():
        return f"only ours {sorted(ours.keys() - theirs.keys())}, only theirs {sorted(theirs.keys() - ours.keys())}"
    for labels, points in theirs.items():
        if ours[labels].keys() != points.keys():
            return f"{labels}: ours at {list(ours[labels])}, theirs at {list(points)}"
        for time_ms, value in points.items():
            if not equal(ours[labels][time_ms], value):
                return f"{labels} at {time_ms / 1000}: ours {ours[labels][time_ms]!r}, theirs {value!r}"
    return ""


def equal(left: float, right: float) -> bool:
    if left != left or right != right:
        return left != left and right != right
    return math.isclose(left, right, rel_tol=RELATIVE_ERROR, abs_tol=_ABSOLUTE_ERROR)


def _brief(answer: Answer) -> str:
    return f"refused: {answer.reason}" if isinstance(answer, Refused) else "answered"
