"""Rules that can never do anything, and conditions that cannot be as they are meant (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from actuator.knobs import KNOBS
from actuator.lint import shape
from actuator.lint.conditions import Alternative, Interval, alternatives, compared, core
from actuator.lint.finding import Finding, Subject, at, expressions
from actuator.promql.nodes import Binary, Node, Selector
from actuator.rules.ruleset import Allocate, Place, Set, Tune

_SHARE = Interval(0.0, 1.0)


def check(subject: Subject) -> Iterator[Finding]:
    """Every tuning rule."""
    for rule in subject.rules.tunes:
        if rule.mode == "off":
            yield at(rule, "mode", "it is switched off ('mode'), and does nothing")
        else:
            yield from _conditions(subject, rule)
            yield from _targets(subject, rule)


def _conditions(subject: Subject, rule: Tune) -> Iterator[Finding]:
    series = subject.catalogue.labels
    when = alternatives(rule.when.root, series)
    if not when:
        yield at(rule, "when", "'when' never holds: no number is within its bounds", is_error=True)
    if rule.verify and not alternatives(rule.verify.expr.root, series):
        yield at(rule, "verify.expr", "'verify' never holds, so that each write is taken back", is_error=True)
    if rule.until and not alternatives(rule.until.root, series):
        yield at(rule, "until", "'until' never holds, so that what has begun does not end while there are data")
    elif rule.until and when:
        yield from _until(rule, rule.until.root, when)
    for key, expr in expressions(rule):
        if key in ("when", "until", "verify.expr"):
            for message in dict.fromkeys(_shares(alternatives(expr.root, series))):
                yield at(rule, key, message)


def _until(rule: Tune, until: Node, when: tuple[Alternative, ...]) -> Iterator[Finding]:
    """`until` goes first: where both hold, nothing begins."""
    ends = compared(until)
    if until == rule.when.root or (ends and all(_is_within(one.get(ends[0]), ends[1]) for one in when)):
        yield at(
            rule, "until", "'until' holds whenever 'when' does, and goes first: the rule never acts", is_error=True
        )
    elif ends:
        both = [one[ends[0]] & ends[1] for one in when if ends[0] in one]
        overlap = next((one for one in both if not one.is_empty and not one.is_point), None)
        if overlap:
            yield at(
                rule, "until",
                f"'when' and 'until' both hold at values {overlap}, where nothing begins: for hysteresis, 'until' must "
                "begin beyond where 'when' ends",
            )  # fmt: skip


def _is_within(inner: Interval | None, outer: Interval) -> bool:
    return inner is not None and inner & outer == inner


def _shares(found: tuple[Alternative, ...]) -> Iterator[str]:
    """A share of 20 % is 0.20, not 20."""
    for one in found:
        for expr, interval in one.items():
            what = _share(expr)
            if what is None:
                continue
            for end, bound in (
                (interval.low, Interval(low=interval.low, low_open=interval.low_open)),
                (interval.high, Interval(high=interval.high, high_open=interval.high_open)),
            ):
                if math.isfinite(end) and not 0 <= end <= 1:
                    holds = "never" if (bound & _SHARE).is_empty else "always"
                    meant = f": write {end / 100:g} for {end:g} %" if 1 < end <= 100 else ""
                    yield f"{what}, so that '{bound}' {holds} holds{meant}"


def _share(expr: Node) -> str | None:
    """That it is a share, if it is: by its name, or as a part of all bytes that there are."""
    if name := _metric(expr):
        is_share = name.endswith(("_ratio", ":ratio")) and "overcommit" not in name
        return f"{name} is a share from 0 to 1 by its name" if is_share else None
    if isinstance(expr, Binary) and expr.op == "/":
        part, whole = _metric(core(expr.left)) or "", _metric(core(expr.right)) or ""
        # More can be promised than there is.
        if part.endswith("_bytes") and whole.endswith(("_total_bytes", "_maximum_bytes")) and "commit" not in part:
            return f"{part} / {whole} is a share from 0 to 1"
    return None


def _metric(expr: Node) -> str | None:
    return shape.metric(expr) if isinstance(expr, Selector) else None


def _targets(subject: Subject, rule: Tune) -> Iterator[Finding]:
    """A target is named by the labels of the condition and of the setpoint together."""
    for action in rule.actions:
        keys = KNOBS[action.knob].keys
        match action:
            case Set(knob, value):
                key, named_by = f"set.{knob}", () if isinstance(value, str) else (value,)
            case Place():
                key, named_by = "place", ()
            case Allocate(need=need):
                key, named_by = "allocate.need", (need,)
        found = [shape.labels(expr.root, subject.catalogue.labels) for expr in (rule.when, *named_by)]
        if keys and not any(labels is None or keys[0] in labels for labels in found):
            who = "neither 'when' nor this has" if named_by else "'when' does not have"
            yield at(
                rule, key,
                f"{action.knob} is set for each {keys[0]}, and {who} the label {keys[0]!r}, so that it selects "
                f"nothing: keep it, as an aggregation does by ({', '.join(keys)})",
                is_error=True,
            )  # fmt: skip
