"""Counters taken for values, and values taken for counters (pure). A counter's name ends in `_total`."""

from __future__ import annotations

import math
from collections.abc import Iterator

from actuator.lint import shape
from actuator.lint.catalogue import exported
from actuator.lint.conditions import compared
from actuator.lint.finding import Finding, Subject, at, expressions
from actuator.promql.nodes import Aggregate, Call, Node, Range, Selector, walk
from kvmhost.units import format_seconds

_OF_COUNTERS = frozenset(("rate", "irate", "increase"))
_OF_VALUES = {"delta": "increase", "idelta": "irate"}
"""And what is the same of a counter."""
_ENOUGH = 4
"""Samples in a window."""


def check(subject: Subject) -> Iterator[Finding]:
    """Every expression of every rule."""
    window = format_seconds(_ENOUGH * subject.interval_seconds)
    for rule in (rule for group in subject.rules.groups for rule in group.rules):
        for key, expr in expressions(rule):
            for node in walk(expr.root):
                message = _call(node) if isinstance(node, Call) else _compared(node, window)
                if message:
                    yield at(rule, key, message)


def _call(call: Call) -> str | None:
    name = next((shape.metric(one.selector) for one in call.arguments if isinstance(one, Range)), None)
    if name is None:
        return None
    if call.function in _OF_COUNTERS and name in exported() and not _is_counter(name):
        return (
            f"{call.function}() takes each fall of {name} for a counter that began anew, and it is none: write deriv() "
            "or delta()"
        )
    if call.function in _OF_VALUES and _is_counter(name):
        return f"{call.function}() is wrong when the counter {name} begins anew: write {_OF_VALUES[call.function]}()"
    return None


def _compared(node: Node, window: str) -> str | None:
    found = compared(node)
    if found is None or not any(math.isfinite(end) and end != 0 for end in (found[1].low, found[1].high)):
        return None
    inner = found[0]
    while isinstance(inner, Aggregate):
        inner = inner.operand
    name = shape.metric(inner) if isinstance(inner, Selector) else None
    if name is None or not _is_counter(name):
        return None
    return (
        f"{name} has been counted since its start, and never falls: compare what comes to it, as rate({name}[{window}])"
    )


def _is_counter(name: str) -> bool:
    return name.endswith("_total")
