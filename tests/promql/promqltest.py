"""Runs scripts in the test language of Prometheus (promql/promqltest).

The evaluator is asked as Prometheus' own runner asks its engine: data begin at time 0, metric names are
removed late, values count as equal at a relative error of 1e-6. Annotations (``expect info`` and ``warn``)
do not exist here, so only the values of such cases are compared. A case that involves native histograms,
or a construct that is refused at load, is out of scope and says so.
"""

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from actuator import promql
from actuator.promql import evaluate
from actuator.promql.evaluate import Semantics
from actuator.promql.labels import EMPTY, Labels
from actuator.promql.nodes import Selector, walk
from actuator.promql.types import (
    Element,
    EvaluationError,
    Matrix,
    PromqlError,
    UnsupportedError,
    Value,
    Vector,
    is_stale,
)
from actuator.store import Store
from tests.promql.script import Case, Clear, Load, Points, parse

SEMANTICS = Semantics(delayed_name_removal=True)
RELATIVE_ERROR = 1e-6

Outcome = Literal["passed", "failed", "out of scope"]
Series = dict[Labels, dict[int, float]]
"""Values by unix milliseconds, by label set."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of a case; ``reason`` says what differs, or what is out of scope."""

    line: int
    text: str
    outcome: Outcome
    reason: str = ""


def run(script: str) -> list[Verdict]:
    """Verdicts on all cases of a script; raises ScriptError."""
    samples: dict[Labels, dict[int, float]] = {}
    histograms = Store(math.inf)
    store = Store(math.inf)
    verdicts = []
    for command in parse(script):
        match command:
            case Clear():
                samples, histograms, store = {}, Store(math.inf), Store(math.inf)
            case Load():
                for series, points in command.series:
                    known = samples.setdefault(series, {})
                    known.update({i * command.step_ms: v for i, v in enumerate(points) if v is not None})
                for series in command.histograms:
                    histograms.append(series, 0, 0.0)
                store = _store(samples)
            case Case():
                verdicts.append(_judge(command, store, histograms))
    return verdicts


def _store(samples: dict[Labels, dict[int, float]]) -> Store:
    store = Store(math.inf)
    for series, values in samples.items():
        for time_ms, value in sorted(values.items()):
            store.series(series).append(time_ms, value)
    return store


def _judge(case: Case, store: Store, histograms: Store) -> Verdict:
    try:
        expr = promql.compile(case.text, SEMANTICS)
        selectors = [node for node in walk(expr.root) if isinstance(node, Selector)]
        if case.native_histograms or any(histograms.select(selector.matchers) for selector in selectors):
            return Verdict(case.line, case.text, "out of scope", "native histograms")
        difference = _difference(case, expr, store)
        if case.fails:
            difference = "expected a failure"
    except UnsupportedError as error:
        return Verdict(case.line, case.text, "out of scope", str(error))
    except PromqlError as error:
        difference = "" if case.fails and _is_expected(error, case) else f"failed: {error}"
    return Verdict(case.line, case.text, "failed" if difference else "passed", difference)


def _is_expected(error: PromqlError, case: Case) -> bool:
    if not isinstance(error, EvaluationError):  # the parser has words of its own
        return True
    if case.pattern is not None:
        return re.search(case.pattern, str(error)) is not None
    return case.message in (None, str(error))


def _difference(case: Case, expr: promql.Expr, store: Store) -> str:
    """What differs from the expectation, or an empty string."""
    if case.step_ms is not None:
        steps = evaluate.steps(expr.root, store, case.start_ms, case.end_ms, case.step_ms, SEMANTICS)
        times_ms = range(case.start_ms, case.end_ms + 1, case.step_ms)
        return _compare(_merged(steps), _expected(case, times_ms))
    value = evaluate.instant(expr.root, store, case.start_ms, SEMANTICS)
    if case.string is not None or isinstance(value, str):
        return "" if value == case.string else f"got {value!r}"
    if isinstance(value, float) != (case.scalar is not None):
        return f"expected a {'vector' if case.scalar is None else 'scalar'}, got a {expr.value_type}"
    if case.ordered and [item.labels for item in cast(Vector, value)] != list(case.series):
        return f"the order is {value}"
    times_ms = case.window_ms or range(case.start_ms, case.start_ms + 1)
    return _compare(_merged([(case.start_ms, value)]), _expected(case, times_ms))


def _expected(case: Case, times_ms: range) -> Series:
    series = {EMPTY: case.scalar} if case.scalar else case.series
    return {labels: _at(times_ms, points) for labels, points in series.items()}


def _at(times_ms: range, points: Points) -> dict[int, float]:
    return {time_ms: value for time_ms, value in zip(times_ms, points, strict=False) if value is not None}


def _merged(values: Iterable[tuple[int, Value]]) -> Series:
    merged: Series = {}
    for time_ms, value in values:
        items = [Element(EMPTY, value)] if isinstance(value, float) else cast("Vector | Matrix", value)
        for item in items:
            points = merged.setdefault(item.labels, {})
            if isinstance(item, Element):
                points[time_ms] = item.value
            else:
                points.update(zip(item.times_ms, item.values, strict=True))
    return merged


def _compare(got: Series, expected: Series) -> str:
    if got.keys() != expected.keys():
        return f"unexpected {sorted(got.keys() - expected.keys())}, missing {sorted(expected.keys() - got.keys())}"
    for labels, points in expected.items():
        if got[labels].keys() != points.keys():
            return f"{labels}: expected points {points}, got {got[labels]}"
        for time_ms, value in points.items():
            if not _equal(got[labels][time_ms], value):
                return f"{labels} at {time_ms} ms: expected {value}, got {got[labels][time_ms]}"
    return ""


def _equal(got: float, expected: float) -> bool:
    """Almost equal as in util/almost of Prometheus: staleness markers, NaN and infinities equal themselves."""
    if got != got or expected != expected:
        return got != got and expected != expected and is_stale(got) == is_stale(expected)
    return math.isclose(got, expected, rel_tol=RELATIVE_ERROR, abs_tol=sys.float_info.min * RELATIVE_ERROR)
