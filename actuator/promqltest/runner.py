"""Runs scripts in the test language of Prometheus (promql/promqltest).

The evaluator is asked as Prometheus' own runner asks its engine: data begin at time 0, metric names are
removed late, values count as equal at a relative error of 1e-6, and an instant query is also asked in its
``variants``. A case that involves native histograms or start timestamps, expects an annotation (there are none
here, so only its values are compared), or has a construct that is refused at load, is out of scope and says so.
"""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, cast

from actuator import promql
from actuator.data.store import Store
from actuator.promql import evaluate
from actuator.promql.evaluate import Semantics
from actuator.promql.labels import EMPTY, Labels, text
from actuator.promql.nodes import Node, Selector, walk
from actuator.promql.relabel import compile_pattern
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
from actuator.promqltest import variants
from actuator.promqltest.script import NATIVE_HISTOGRAMS, Case, Clear, Load, Points, parse

SEMANTICS = Semantics(delayed_name_removal=True)
RELATIVE_ERROR = 1e-6
MINUTE_MS = 60_000

Outcome = Literal["passed", "failed", "out of scope"]
Series = dict[Labels, dict[int, float]]
"""Values by unix milliseconds, by label set."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of a case; ``reason`` says what differs, or names what is out of scope."""

    line: int
    text: str
    outcome: Outcome
    reason: str = ""


def run(script: str) -> list[Verdict]:
    """Verdicts on all cases of a script; raises ScriptError."""
    data = _Data()
    verdicts = []
    for command in parse(script):
        match command:
            case Clear():
                data = _Data()
            case Load():
                data.load(command)
            case Case():
                verdicts.append(_judge(command, data))
    return verdicts


class _Data:
    """What a script has loaded; of series out of scope, the label sets by the reason."""

    def __init__(self) -> None:
        self.store = Store(math.inf)
        self._samples: Series = {}
        self._beyond: dict[str, Store] = {}

    def load(self, command: Load) -> None:
        for series, points in command.series:
            known = self._samples.setdefault(series, {})
            known.update({i * command.step_ms: value for i, value in enumerate(points) if value is not None})
        self.store = Store(math.inf)
        for series, values in self._samples.items():
            for time_ms, value in sorted(values.items()):
                self.store.append(series, time_ms / 1000, value)
        for reason, series in command.beyond:
            self._beyond.setdefault(reason, Store(math.inf)).append(series, 0, 0.0)

    def beyond(self, root: Node) -> str:
        """Why an expression selects something out of scope, or an empty string."""
        selectors = [node for node in walk(root) if isinstance(node, Selector)]
        for reason, store in self._beyond.items():
            if any(store.select(selector.matchers) for selector in selectors):
                return reason
        return ""


def _judge(case: Case, data: _Data) -> Verdict:
    try:
        root = promql.compile(case.text, SEMANTICS).root
        reason = NATIVE_HISTOGRAMS if case.native_histograms else data.beyond(root)
        if reason:
            return Verdict(case.line, case.text, "out of scope", reason)
        difference = next(filter(None, _differences(case, root, data.store)), "")
        if case.fails:
            difference = "expected a failure, got a result"
    except UnsupportedError as error:
        return Verdict(case.line, case.text, "out of scope", error.name)
    except PromqlError as error:
        difference = "" if case.fails and _is_expected(error, case) else f"got the error: {error}"
    if case.annotations and not difference:
        return Verdict(case.line, case.text, "out of scope", "annotations (the values are right)")
    return Verdict(case.line, case.text, "failed" if difference else "passed", difference)


def _is_expected(error: PromqlError, case: Case) -> bool:
    if not isinstance(error, EvaluationError):  # the parser has words of its own
        return True
    if case.pattern is not None:
        return compile_pattern(case.pattern).search(str(error)) is not None
    return case.message in (None, str(error))


def _differences(case: Case, root: Node, store: Store) -> Iterator[str]:
    """What differs from the expectation, however it is asked."""
    if case.step_ms is not None:
        times_ms = range(case.start_ms, case.end_ms + 1, case.step_ms)
        steps = evaluate.steps(root, store, case.start_ms, case.end_ms, case.step_ms, SEMANTICS)
        yield _compare(_merged(steps), _expected(case, times_ms))
        return
    for variant, time_ms in [(root, case.start_ms), *variants.pinned(root, case.start_ms)]:
        asked = "" if variant is root else f"with @ {case.start_ms / 1000:g} at {time_ms / 1000:g} s: "
        yield _prefixed(asked, _instant_difference(case, variant, store, time_ms))
        if not (case.ordered or case.window_ms or case.string is not None) and variants.same_in_a_range(case.text):
            yield _prefixed(f"{asked}in a range query: ", _range_difference(case, variant, store, time_ms))


def _prefixed(prefix: str, difference: str) -> str:
    return difference and prefix + difference


def _instant_difference(case: Case, root: Node, store: Store, time_ms: int) -> str:
    value = evaluate.instant(root, store, time_ms, SEMANTICS)
    if case.string is not None or isinstance(value, str):
        return "" if value == case.string else f"expected the string {case.string!r}, got {value!r}"
    if isinstance(value, float) != (case.scalar is not None):
        return "expected a vector, got a scalar" if isinstance(value, float) else "expected a scalar, got a vector"
    if case.ordered and (order := [item.labels for item in cast(Vector, value)]) != list(case.series):
        return f"expected the order {_listed(case.series)}, got {_listed(order)}"
    times_ms = case.window_ms or range(case.start_ms, case.start_ms + 1)
    return _compare(_merged([(case.start_ms, value)]), _expected(case, times_ms))


def _range_difference(case: Case, root: Node, store: Store, time_ms: int) -> str:
    """Differences in the middle step of a range query around the time."""
    steps = evaluate.steps(root, store, time_ms - MINUTE_MS, time_ms + MINUTE_MS, MINUTE_MS, SEMANTICS)
    _, (_, value), _ = steps
    return _compare(_merged([(case.start_ms, value)]), _expected(case, range(case.start_ms, case.start_ms + 1)))


def _expected(case: Case, times_ms: range) -> dict[Labels, tuple[range, Points]]:
    series = {EMPTY: case.scalar} if case.scalar else case.series
    return {labels: (times_ms, points) for labels, points in series.items()}


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


def _compare(got: Series, expected: dict[Labels, tuple[range, Points]]) -> str:
    if got.keys() != expected.keys():
        wrong = (("missing", expected.keys() - got.keys()), ("unexpected", got.keys() - expected.keys()))
        return "; ".join(f"{what} {_listed(sorted(series))}" for what, series in wrong if series)
    for labels, (times_ms, points) in expected.items():
        if len(points) > len(times_ms):
            return f"{text(labels)}: expected {len(points)} points, but the query can have {len(times_ms)}"
        wanted = {time_ms: value for time_ms, value in zip(times_ms, points, strict=False) if value is not None}
        if got[labels].keys() != wanted.keys():
            return f"{text(labels)}: expected points {_points(wanted)}, got {_points(got[labels])}"
        for time_ms, value in wanted.items():
            if not _equal(got[labels][time_ms], value):
                return f"{text(labels)} at {time_ms / 1000:g} s: expected {value!r}, got {got[labels][time_ms]!r}"
    return ""


def _listed(series: Iterable[Labels]) -> str:
    return ", ".join(map(text, series))


def _points(points: dict[int, float]) -> str:
    return ", ".join(f"{value!r} at {time_ms / 1000:g} s" for time_ms, value in points.items()) or "none"


def _equal(got: float, expected: float) -> bool:
    """Almost equal as in util/almost of Prometheus: staleness markers, NaN and infinities equal themselves."""
    if got != got or expected != expected:
        return got != got and expected != expected and is_stale(got) == is_stale(expected)
    return math.isclose(got, expected, rel_tol=RELATIVE_ERROR, abs_tol=sys.float_info.min * RELATIVE_ERROR)
