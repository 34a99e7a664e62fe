"""Runs the cases of a test file: what was expected, what was, and the decisions that led there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from actuator.decision import QUIET, Decision
from actuator.knobs import KNOBS, Value, label
from actuator.promql.types import is_stale
from actuator.rules.rule import State
from actuator.rules.ruleset import Tune
from actuator.ruletest.testfile import Case, Expectation, Pattern, Reading, TestFile
from actuator.simulated.simulation import Simulation
from kvmhost.units import format_seconds

_MOST_TOLD = 12
_ACTS = ("written", "would write")


@dataclass(frozen=True, slots=True)
class Failure:
    """What is not as expected, at a line of the test file; `context`: what led to it."""

    line: int
    at: float
    expected: str
    got: str
    context: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one case. `decisions`: all that were made. `acted`: the rules that wrote something, or would have."""

    case: Case
    failures: tuple[Failure, ...]
    decisions: tuple[Decision, ...]
    acted: frozenset[str]


def run(file: TestFile, case: Case) -> Verdict:
    """One case, to the time of its last expectation."""
    failures: list[Failure] = []
    decisions: list[Decision] = []
    with Simulation(file.rules, file.policy, case.fixture) as simulation:
        steps, scrapes = _Steps(file.interval), _Steps(case.interval)
        for expectation in case.expectations:
            since = len(decisions)
            for now in steps.until(expectation.at):
                for index in scrapes.indices_until(now):
                    simulation.feed(index * case.interval, _samples(case, index))
                decisions += simulation.tick(now)
            judge = _Judge(file, simulation, expectation.at, decisions, since)
            failures += judge.failures(expectation)
    acted = frozenset(decision.rule for decision in decisions if decision.outcome in _ACTS)
    return Verdict(case, tuple(failures), tuple(decisions), acted)


def told(decision: Decision) -> str:
    """A decision with the time since the start, and without the `because` of its rule."""
    return f"{format_seconds(decision.time):>6} {replace(decision, because='').text}"


def _once(decisions: Sequence[Decision]) -> Iterator[str]:
    """Each decision, and how often it was made again right after."""
    for _, same in groupby(decisions, lambda decision: replace(decision, time=0.0)):
        first, *again = same
        yield told(first) + (f" (again {len(again)} times until {format_seconds(again[-1].time)})" if again else "")


class _Steps:
    """The multiples of an interval from 0 on, each once."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0

    def indices_until(self, time: float) -> Iterator[int]:
        while self._next * self._interval <= time + 1e-6:
            yield self._next
            self._next += 1

    def until(self, time: float) -> Iterator[float]:
        return (index * self._interval for index in self.indices_until(time))


def _samples(case: Case, index: int) -> Iterator[tuple[tuple[tuple[str, str], ...], float]]:
    """Those of one scrape."""
    for series, points in case.series:
        value = points[index] if index < len(points) else None
        if value is not None and not is_stale(value):
            yield series, value


@dataclass(frozen=True, slots=True)
class _Judge:
    """What is wrong at a time: `decisions` are all until then, those from `since` on are new."""

    file: TestFile
    simulation: Simulation
    at: float
    decisions: Sequence[Decision]
    since: int

    def failures(self, expectation: Expectation) -> Iterator[Failure]:
        for reading in expectation.setpoints:
            got = self._reads(reading)
            if got != reading.value:
                yield self._setpoint(reading, got)
        if expectation.decisions is not None:
            yield from self._decided(expectation.line, expectation.decisions)

    def _reads(self, reading: Reading) -> Value | None:
        live = self.simulation.host.live(KNOBS[reading.knob]).get(reading.target)
        return None if live is None else live.value

    def _setpoint(self, reading: Reading, got: Value | None) -> Failure:
        knob = KNOBS[reading.knob]
        name = f"{reading.knob} of {label(reading.target)}"
        what = f"{name} is {knob.unit.format(got)}" if got is not None else _not_there(reading)
        mine = [one for one in self.decisions if (one.knob, one.target) == (reading.knob, reading.target)]
        rules = [tune for tune in self.file.rules.tunes if any(action.knob == knob.name for action in tune.actions)]
        expected = f"{name} is {knob.unit.format(reading.value)}"
        return Failure(reading.line, self.at, expected, what, self._context(mine, rules))

    def _decided(self, line: int, patterns: Sequence[Pattern]) -> Iterator[Failure]:
        """Each pattern has its decision, in order, and no other is left that the log would show."""
        new = self.decisions[self.since :]
        rest = iter(new)
        unexpected: list[Decision] = []
        for pattern in patterns:
            skipped: list[Decision] = []
            for decision in rest:
                if _fits(pattern, decision):
                    unexpected += skipped
                    break
                skipped.append(decision)
            else:
                got = "no such decision since the expectation before" + (", or in another order" if new else "")
                yield self._of_decisions(pattern.line, _text(pattern), got, pattern.rule)
                return
        unexpected += rest
        loud = [decision for decision in unexpected if decision.outcome not in QUIET]
        if loud:
            expected = "no other decision" if patterns else "no decision"
            yield self._of_decisions(line, expected, told(loud[0]).strip(), None)

    def _of_decisions(self, line: int, expected: str, got: str, rule: str | None) -> Failure:
        rules = [tune for tune in self.file.rules.tunes if tune.name == rule]
        return Failure(line, self.at, expected, got, self._context(self.decisions[self.since :], rules))

    def _context(self, decisions: Sequence[Decision], rules: Sequence[Tune]) -> tuple[str, ...]:
        lines = [f"decided: {line}" for line in _once(decisions)]
        earlier = [f"decided: {len(lines) - _MOST_TOLD} more before"] if len(lines) > _MOST_TOLD else []
        states = (f"rule {tune.name}: {self._state(tune)}" for tune in rules)
        return (*earlier, *lines[-_MOST_TOLD:], *states)

    def _state(self, tune: Tune) -> str:
        faults = self.simulation.faults.get(tune.name, ())
        if faults:
            return "; ".join(faults)
        state: State = self.simulation.states.get(tune.name, {})
        if tune.mode == "off":
            return "its mode is off"
        active = [instance for instance in state.values() if instance.active]
        if active:
            last = max(-math.inf if one.acted is None else one.acted for one in active)
            return f"holds for {len(active)}, acted last at {format_seconds(last)}"
        if state:
            since = min(instance.pending_since for instance in state.values())
            held = format_seconds(self.at - since)
            return f"its when holds for {held}, not yet for {format_seconds(tune.for_seconds)}"
        return "its when does not hold"


def _not_there(reading: Reading) -> str:
    knob = KNOBS[reading.knob]
    shown = f"{knob.metric.name} has no sample for it then, and " if knob.metric else ""
    return f"there is none: {shown}'host' gives it no start"


def _fits(pattern: Pattern, decision: Decision) -> bool:
    pairs = (
        (pattern.rule, decision.rule),
        (pattern.knob, decision.knob),
        (pattern.outcome, decision.outcome),
        (pattern.before, decision.before),
        (pattern.after, decision.after),
    )
    if not all(wanted in (None, got) for wanted, got in pairs):
        return False
    return set(pattern.target) <= set(decision.target) and (pattern.detail or "") in decision.detail


def _text(pattern: Pattern) -> str:
    knob = KNOBS[pattern.knob] if pattern.knob else None
    values = [
        knob.unit.format(value) if knob and value is not None else "" for value in (pattern.before, pattern.after)
    ]
    said = {
        "outcome": pattern.outcome,
        "rule": pattern.rule,
        "knob": pattern.knob,
        "target": label(pattern.target) if pattern.target else None,
        "before": values[0],
        "after": values[1],
        "detail": pattern.detail,
    }
    return "a decision with " + ", ".join(f"{name} {value}" for name, value in said.items() if value)
