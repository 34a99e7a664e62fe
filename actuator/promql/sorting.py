"""The sort functions. They matter only as the last step of an instant query."""

import re
from typing import cast

from actuator.promql.labels import Labels, get
from actuator.promql.nodes import Call
from actuator.promql.types import Element, Value, Vector


def sort(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    """By value, NaN last."""
    return sorted(cast(Vector, arguments[0]), key=lambda element: _value_key(element, 1.0))


def sort_desc(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    """By value from the largest down, NaN last."""
    return sorted(cast(Vector, arguments[0]), key=lambda element: _value_key(element, -1.0))


def sort_by_label(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    """By the values of the given labels in natural order (a2 before a10), then by all labels."""
    vector, *names = cast(tuple[Vector, str], arguments)
    return sorted(vector, key=lambda element: _label_key(element.labels, names))


def sort_by_label_desc(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    return sort_by_label(call, arguments, now_ms)[::-1]


def _value_key(element: Element, direction: float) -> tuple[bool, float]:
    return element.value != element.value, direction * element.value


def _label_key(labels: Labels, names: list[str]) -> tuple[list[list[tuple[bool, int, str]]], Labels]:
    return [_natural(get(labels, name)) for name in names], labels


def _natural(value: str) -> list[tuple[bool, int, str]]:
    """Runs of ASCII digits compare as numbers and come before other text."""
    runs = re.findall(r"[0-9]+|[^0-9]+", value)
    return [_number_key(run.lstrip("0")) if run[0].isdecimal() else (True, 0, run) for run in runs]


def _number_key(digits: str) -> tuple[bool, int, str]:
    """Digits in the order of their numbers, which may be too long for Python's integers."""
    return False, len(digits), digits
