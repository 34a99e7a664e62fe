"""Times that are too short for the interval at which there are samples (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from actuator.lint import shape
from actuator.lint.finding import Finding, Subject, at, expressions
from actuator.promql.evaluate import PROMETHEUS_3
from actuator.promql.nodes import Call, Range, Subquery, walk
from actuator.promql.requirements import metric_names
from actuator.rules.ruleset import Group, Tune
from kvmhost.units import format_seconds

_NEED_TWO = frozenset(
    ("rate", "increase", "delta", "deriv", "predict_linear", "irate", "idelta", "double_exponential_smoothing")
)
"""Functions that have no value without a second sample."""
_OF_CHANGE = _NEED_TWO | {"changes", "resets", "stddev_over_time", "stdvar_over_time", "mad_over_time"}
"""Functions that say nothing without one."""
_OF_ONE = frozenset(
    [
        *("last_over_time", "first_over_time", "present_over_time", "absent_over_time"),
        *("ts_of_last_over_time", "ts_of_first_over_time"),
    ]
)
"""Functions to which one sample is as good as many."""
_ENOUGH = 4
"""Samples, so that one that is late or lost does not matter."""


def check(subject: Subject) -> Iterator[Finding]:
    """Ranges and durations of all rules."""
    for group in subject.rules.groups:
        yield from _of_group(subject, group)
        for rule in group.rules:
            if isinstance(rule, Tune):
                yield from _durations(subject, subject.interval_of(group), rule)
            for key, expr in expressions(rule):
                for node in walk(expr.root):
                    if isinstance(node, Call):
                        for message, is_error in _call(subject, node):
                            yield at(rule, key, message, is_error=is_error)


def _of_group(subject: Subject, group: Group) -> Iterator[Finding]:
    interval = group.interval_seconds
    if interval is not None and interval < subject.interval_seconds:
        tick = format_seconds(subject.interval_seconds)
        yield at(
            group,
            "interval",
            f"'interval' ({format_seconds(interval)}) is shorter than that of the ticks: {tick} it is",
        )
    if interval is not None and group.records and interval * 1000 >= PROMETHEUS_3.lookback_ms:
        yield at(
            group, "interval",
            f"'interval' ({format_seconds(interval)}): a record counts as gone {_lookback()} after it was made, so "
            f"that those of this group are there at times only: make it shorter than {_lookback()}",
        )  # fmt: skip


def _lookback() -> str:
    return format_seconds(PROMETHEUS_3.lookback_ms / 1000)


def _durations(subject: Subject, interval: float, rule: Tune) -> Iterator[Finding]:
    durations = {"for": rule.for_seconds, "every": rule.every_seconds, "keep_firing_for": rule.keep_firing_for_seconds}
    for key, seconds in durations.items():
        if 0 < seconds < interval:
            effect = "it changes nothing" if key == "every" else f"it counts as {format_seconds(interval)}"
            yield at(
                rule, key,
                f"{key!r} ({format_seconds(seconds)}) is shorter than the {format_seconds(interval)} from one "
                f"evaluation of the rule to the next: {effect}",
            )  # fmt: skip
    tick = subject.interval_seconds
    if rule.verify and rule.verify.within_seconds < rule.verify.looks_back_seconds + 2 * tick:
        least = format_seconds(rule.verify.looks_back_seconds + 2 * tick)
        yield at(
            rule, "verify.within",
            f"'within' ({format_seconds(rule.verify.within_seconds)}) leaves room for one look at most at ticks of "
            f"{format_seconds(tick)}: write at least {least}",
        )  # fmt: skip


def _call(subject: Subject, call: Call) -> Iterator[tuple[str, bool]]:
    """What is wrong with the window of a function, and whether that is certain."""
    for window in call.arguments:
        if isinstance(window, Range):
            yield from _range(subject, call.function, window)
        elif isinstance(window, Subquery):
            yield from _subquery(subject, call.function, window)


def _range(subject: Subject, function: str, window: Range) -> Iterator[tuple[str, bool]]:
    name = shape.metric(window.selector)
    interval = max(subject.interval_seconds, subject.catalogue.interval_seconds(name) if name else 0.0)
    seconds = window.range_ms / 1000
    # A window is open at its start, and ends with the sample of its own tick.
    samples = math.ceil(seconds / interval)
    written = f"{function}({name or '...'}[{format_seconds(seconds)}])"
    least = f"samples are {format_seconds(interval)} apart, write at least [{format_seconds(_ENOUGH * interval)}]"
    if function in _NEED_TWO and samples < 2 and not subject.for_server:
        yield f"{written} sees one sample and takes two, so that it never has a value: {least}", True
    elif function in _OF_CHANGE and samples < _ENOUGH:
        count = "one sample" if samples < 2 else f"{samples} samples"
        yield f"{written} sees {count}, too few for one to be late or lost: {least}", False
    elif function not in _OF_ONE and samples < 2:
        yield f"{written} sees one sample, and is no more than that: {least}", False


def _subquery(subject: Subject, function: str, window: Subquery) -> Iterator[tuple[str, bool]]:
    seconds, step = window.range_ms / 1000, (window.step_ms or PROMETHEUS_3.subquery_step_ms) / 1000
    written = f"{function}(...[{format_seconds(seconds)}:{format_seconds(step)}])"
    fix = "make the range longer or the step shorter"
    if seconds <= step and function in _NEED_TWO:
        yield f"{written} sees one step and takes two, so that it never has a value: {fix}", True
    elif seconds < (step if function in _OF_ONE else 2 * step):
        yield f"{written} sees {'one step at most' if seconds <= step else 'one step or two'}: {fix}", False
    recorded = (subject.catalogue.interval_seconds(name) for name in metric_names(window))
    interval = max((subject.interval_seconds, *recorded))
    if step < interval and not subject.for_server:
        apart = format_seconds(interval)
        yield f"{written} sees samples more than once, since they are {apart} apart: make the step that long", False
