"""One tick: scrape, evaluate, plan, write. Each step is a module of its own; this one joins them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Protocol, TypeVar

from actuator import rivals
from actuator.aftermath import Aftermath
from actuator.apply import Writer
from actuator.data.frame import Frame
from actuator.data.query import Query
from actuator.data.scrape import ScrapeResult
from actuator.data.store import Series, Store, StoreFullError
from actuator.decision import Decision
from actuator.execute import Executor
from actuator.knobs import Knob, label
from actuator.ledger.ledger import LedgerError
from actuator.plans.plan import Setpoint, settle_conflicts
from actuator.plans.view import Fault, View
from actuator.promql import labels
from actuator.promql.labels import Labels
from actuator.rules.policy import Policy
from actuator.rules.rule import UNKNOWN, State, acted, has_passed, step
from actuator.rules.ruleset import Group, Record, RuleSet, Tune

log = logging.getLogger("kvmtune-actuator")

T = TypeVar("T")

GroupKey = tuple[str, int]
"""The name of a group, and its number among those of this name, of which each file may have one."""


class Observer(Protocol):
    """Who hears of what happens in a tick: the log and the metrics. Times are unix seconds."""

    def scraped(self, result: ScrapeResult, now: float) -> None:
        """A scrape ended, well or not."""

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        """A rule was evaluated (`state` None: a recording rule); `faults` say for whom it could not decide, and why."""

    def rivals(self, tuners: frozenset[str]) -> None:
        """These other programs that turn knobs run on this host now."""

    def decided(self, decision: Decision) -> None:
        """A setpoint became a write, or did not, for a reason."""


class Source(Protocol):
    """Where the data of a tick come from: an exporter that is scraped, or a server."""

    def scrape(self, now: float) -> ScrapeResult:
        """Get what there is at ``now`` (unix seconds), or find out that there is nothing."""


class Engine:
    """The rules in force, their state, and what they read and write. `writer` None is a dry run."""

    def __init__(
        self,
        rules: RuleSet,
        policy: Policy,
        *,
        source: Source,
        store: Store,
        query: Query,
        knobs: Mapping[str, Knob],
        writer: Writer | None,
        observer: Observer,
    ) -> None:
        self.rules = rules
        self.policy = policy
        self._source = source
        self._store = store
        self._query = query
        self._knobs = knobs
        self._writer = writer
        self._observer = observer
        self.aftermath = Aftermath(writer)
        self.executor = Executor(writer, self.aftermath, observer.decided)
        self.decided_as_of: float | None = None
        """As of its last view that gave an answer to a rule."""
        self._states: dict[str, State] = {}
        self._faults: dict[str, tuple[str, ...]] = {}
        self._trouble: dict[tuple[str, str], str] = {}  # by rule and part of the tick, what was logged of it
        self._evaluated: dict[GroupKey, float] = {}
        self._frames: dict[tuple[GroupKey, str], Frame] = {}  # of the recording rules, by group and name

    def reload(self, rules: RuleSet, policy: Policy) -> None:
        """Put other rules in force. A rule with the same name, `when` and `until` keeps its state.

        What a rule that is gone has set stays set, until someone changes it or we put it back at the end.
        """
        self._store.window_seconds = max(self._store.window_seconds, rules.window_seconds)
        old = {tune.name: tune for tune in self.rules.tunes}
        same = {tune.name for tune in rules.tunes if tune.name in old and tune.is_about_the_same_as(old[tune.name])}
        for name in old.keys() - same:
            self._observer.evaluated(name, {}, ())
        for gone in _records(self.rules) - _records(rules):
            self._observer.evaluated(gone, None, ())
        self._states = {name: state for name, state in self._states.items() if name in same}
        self.rules = rules
        self.policy = policy

    def settle(self, now: float) -> None:
        """Read back what was written and was still on its way (unix seconds), as each tick does first."""
        if self._writer is not None:
            for decision in self._writer.settle(now):
                self._observer.decided(decision)

    def tick(self, now: float) -> None:
        """Do all that is due at `now` (unix seconds)."""
        scrape = self._source.scrape(now)
        self._observer.scraped(scrape, now)
        self.settle(now)
        unresponsive = self._writer.unresponsive(now) if self._writer else {}
        view = View(self._query if scrape.ok else None, self._knobs, self.policy, now, unresponsive)
        groups = {key: group for key, group in _known_by(self.rules).items() if self._is_due(key, group, now)}
        due = [rule for group in groups.values() for rule in group.rules]
        if scrape.ok:
            # What a rule asks when it acts is asked ahead, too, once it holds for something.
            asked = (rule.exprs if self._states.get(rule.name) else rule.conditions for rule in due)
            self._query.prepare([rivals.ACTIVE, *(expr for exprs in asked for expr in exprs)], now)
            if (tuners := rivals.active(view)) is not None:
                self._observer.rivals(tuners)
        # First all records: a rule in an earlier file may use the record of a later one.
        for key, group in groups.items():
            self._record(key, group, view, now)
        self._end_records_that_are_gone(now)
        setpoints: list[Setpoint] = []
        for tune in self.rules.tunes:
            setpoints += self._contained(tune.name, "trials", partial(self._follow, tune, view, now), [])
        for rule in due:
            if isinstance(rule, Tune):
                setpoints += self._contained(rule.name, "rule", partial(self._tune, rule, view, now), [])
        self.decided_as_of = self.decided_as_of if view.decided_as_of is None else view.decided_as_of
        kept, overruled = settle_conflicts(setpoints)
        for setpoint in overruled:
            self.executor.decide(setpoint, "overruled", now, detail="another setpoint goes before it")
        self.executor.carry_out(kept, view, self.policy, now)

    def _follow(self, tune: Tune, view: View, now: float) -> list[Setpoint]:
        """Take its trials on; what failed one is put back."""
        self.aftermath.follow(tune, view, now)
        return list(self.aftermath.reverts(tune, view))

    def _is_due(self, key: GroupKey, group: Group, now: float) -> bool:
        last = self._evaluated.get(key)
        if last is not None and not has_passed(group.interval_seconds or 0.0, last, now):
            return False
        self._evaluated[key] = now
        return True

    def _contained(self, rule: str, part: str, what: Callable[[], T], otherwise: T) -> T:
        """What goes wrong with one rule in a way that nobody foresaw costs that rule only."""
        try:
            done = what()
        except LedgerError:
            raise
        except Exception as error:
            trouble = f"{type(error).__name__}: {error} (a defect of kvmtune: please report it)"
            if self._trouble.get((rule, part)) != trouble:
                log.exception("rule %s failed", rule)
            self._trouble[rule, part] = trouble
            self._observer.evaluated(rule, self._states.get(rule), (trouble,))
            return otherwise
        self._trouble.pop((rule, part), None)
        return done

    def _tune(self, rule: Tune, view: View, now: float) -> list[Setpoint]:
        setpoints: list[Setpoint] = []
        if rule.mode == "off":
            self._states.pop(rule.name, None)
            self._observer.evaluated(rule.name, {}, ())
            return list(self.aftermath.restorations(rule, {}, view))
        state = self._states.get(rule.name, {})
        held = self.aftermath.quarantined(rule.name)
        try:
            when = view.evidence(rule.when)
            until = view.evidence(rule.until) if rule.until else None
        except Fault as fault:
            faults: tuple[str, ...] = (str(fault),)
            state, _ = step(rule, state, UNKNOWN, None, now)
        else:
            state, due = step(rule, state, when, until, now)
            # Between two acts, what kept the last one from some of its targets still stands.
            faults = self._faults.get(rule.name, ()) if state else ()
            if due:
                setpoints, faults = view.setpoints(rule, due, held)
                state = acted(state, due, now)
            self._faults[rule.name] = faults
            setpoints += self.aftermath.restorations(rule, state, view)
        self._states[rule.name] = state
        quarantined = (f"{knob} of {label(target)} is in quarantine: {why}" for (knob, target), why in held.items())
        self._observer.evaluated(rule.name, state, (*faults, *quarantined))
        return setpoints

    def _record(self, key: GroupKey, group: Group, view: View, now: float) -> None:
        rows: dict[str, dict[Series, float]] = {}
        for rule in group.records:
            frame = self._frames.setdefault((key, rule.name), Frame())
            row = rows.setdefault(rule.name, {})
            faults: tuple[str, ...] | None = self._contained(
                rule.name, "record", partial(self._add, rule, frame, row, view), None
            )
            self._store.append_row(frame, row, now)
            if faults is not None:
                self._observer.evaluated(rule.name, None, faults)

    def _add(self, rule: Record, frame: Frame, row: dict[Series, float], view: View) -> tuple[str, ...] | None:
        """Put the samples of a recording rule into `row`; returns what is wrong."""
        try:
            for sample in view.samples(rule.expr):
                row[self._store.series(_recorded(sample.labels, rule.name, rule.labels), frame)] = sample.value
        except (Fault, StoreFullError) as fault:
            return (str(fault),)
        return ()

    def _end_records_that_are_gone(self, now: float) -> None:
        in_force = {(key, rule.name) for key, group in _known_by(self.rules).items() for rule in group.records}
        for gone in self._frames.keys() - in_force:
            self._store.append_row(self._frames.pop(gone), {}, now)


@lru_cache(1 << 14)
def _recorded(of: Labels, name: str, more: Labels) -> Labels:
    """The labels of what a recording rule makes of a sample: the same each time."""
    return labels.make({**dict(of), labels.NAME: name, **dict(more)})


def _records(rules: RuleSet) -> set[str]:
    return {rule.name for group in rules.groups for rule in group.records}


def _known_by(rules: RuleSet) -> dict[GroupKey, Group]:
    """The groups, in order, by what they are known by also after a reload."""
    found: dict[GroupKey, Group] = {}
    numbers: Counter[str] = Counter()
    for group in rules.groups:
        found[group.name, numbers[group.name]] = group
        numbers[group.name] += 1
    return found
