"""One tick: scrape, evaluate, plan, guard, write. Each step is a module of its own; this one joins them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from actuator.apply import Writer
from actuator.decision import Decision, Outcome
from actuator.guard import BUDGET_SECONDS, judge
from actuator.knobs import KNOBS, Knob, Live, Target, Value
from actuator.limits import Limits
from actuator.plan import Setpoint, settle_conflicts
from actuator.policy import Policy
from actuator.promql import labels
from actuator.promql.labels import Labels
from actuator.query import Query
from actuator.rule import UNKNOWN, State, acted, step
from actuator.ruleset import Group, Record, RuleSet, Tune
from actuator.scrape import Scraper, ScrapeResult
from actuator.store import Store, StoreFullError
from actuator.view import Fault, View


class Observer(Protocol):
    """Who hears of what happens in a tick: the log and the metrics. Times are unix seconds."""

    def scraped(self, result: ScrapeResult, now: float) -> None:
        """A scrape ended, well or not."""

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        """A rule was evaluated (`state` None: a recording rule); `faults` say for whom it could not decide, and why."""

    def decided(self, decision: Decision) -> None:
        """A setpoint became a write, or did not, for a reason."""


class Engine:
    """The rules in force, their state, and what they read and write. `writer` None is a dry run."""

    def __init__(
        self,
        rules: RuleSet,
        policy: Policy,
        *,
        scraper: Scraper,
        store: Store,
        query: Query,
        knobs: Mapping[str, Knob],
        writer: Writer | None,
        observer: Observer,
    ) -> None:
        self.rules = rules
        self.policy = policy
        self._scraper = scraper
        self._store = store
        self._query = query
        self._knobs = knobs
        self._writer = writer
        self._observer = observer
        self._states: dict[str, State] = {}
        self._faults: dict[str, tuple[str, ...]] = {}
        self._evaluated: dict[int, float] = {}
        self._recorded: set[Labels] = set()
        # A dry run counts the writes that it would have made, so that it keeps the same budgets.
        self._writes: dict[tuple[str, Target], tuple[float, ...]] = {}

    def reload(self, rules: RuleSet, policy: Policy) -> None:
        """Put other rules in force. A rule with the same name, `when` and `until` keeps its state.

        What a rule that is gone has set stays set, until someone changes it or we put it back at the end.
        """
        self._store.window_seconds = max(self._store.window_seconds, rules.window_seconds)
        old = {tune.name: tune for tune in self.rules.tunes}
        same = {tune.name for tune in rules.tunes if tune.name in old and tune.is_about_the_same_as(old[tune.name])}
        for name in old.keys() - same:
            self._observer.evaluated(name, {}, ())
        self._states = {name: state for name, state in self._states.items() if name in same}
        self.rules = rules
        self.policy = policy

    def tick(self, now: float) -> None:
        """Do all that is due at `now` (unix seconds)."""
        scrape = self._scraper.scrape(now)
        self._observer.scraped(scrape, now)
        if self._writer is not None:
            for decision in self._writer.settle(now):
                self._observer.decided(decision)
        view = View(self._query if scrape.ok else None, self._knobs, self.policy, now)
        due = [
            rule for key, group in enumerate(self.rules.groups) if self._is_due(key, group, now) for rule in group.rules
        ]
        # First all records: a rule in an earlier file may use the record of a later one.
        self._record([rule for rule in due if isinstance(rule, Record)], view, now)
        setpoints = [setpoint for rule in due if isinstance(rule, Tune) for setpoint in self._tune(rule, view, now)]
        kept, overruled = settle_conflicts(setpoints)
        for setpoint in overruled:
            self._decide(setpoint, "overruled", now, detail="another setpoint goes before it")
        for setpoint in kept:
            self._carry_out(setpoint, view.live(setpoint.knob)[setpoint.target], now)

    def _is_due(self, key: int, group: Group, now: float) -> bool:
        last = self._evaluated.get(key)
        # A tick comes a little early or late; that must not cost a whole interval.
        if last is not None and now - last < 0.9 * (group.interval_seconds or 0.0):
            return False
        self._evaluated[key] = now
        return True

    def _tune(self, rule: Tune, view: View, now: float) -> list[Setpoint]:
        setpoints: list[Setpoint] = []
        state = self._states.get(rule.name, {})
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
                setpoints, faults = view.setpoints(rule, due)
                state = acted(state, due, now)
            self._faults[rule.name] = faults
        self._states[rule.name] = state
        self._observer.evaluated(rule.name, state, faults)
        return setpoints

    def _record(self, rules: list[Record], view: View, now: float) -> None:
        before = self._recorded
        made: set[Labels] = set()
        for rule in rules:
            faults: tuple[str, ...] = ()
            try:
                for sample in view.samples(rule.expr):
                    pairs = {**dict(sample.labels), labels.NAME: rule.name, **dict(rule.labels)}
                    series = labels.make(pairs)
                    self._store.append(series, now, sample.value)
                    made.add(series)
            except (Fault, StoreFullError) as fault:
                faults = (str(fault),)
            self._observer.evaluated(rule.name, None, faults)
        waiting = self._names_in_force - {rule.name for rule in rules}
        self._recorded = made | {series for series in before if labels.get(series, labels.NAME) in waiting}
        for gone in before - self._recorded:
            self._store.mark_stale(gone, now)

    @property
    def _names_in_force(self) -> set[str]:
        return {rule.name for group in self.rules.groups for rule in group.rules if isinstance(rule, Record)}

    def _carry_out(self, setpoint: Setpoint, live: Live, now: float) -> None:
        key = (setpoint.knob, setpoint.target)
        obstacle = self._writer.obstacle(key, live, now) if self._writer else None
        if obstacle is not None:
            self._decide(setpoint, obstacle.outcome, now, live.value, detail=obstacle.detail)
            return
        verdict = judge(
            setpoint.value,
            live,
            KNOBS[setpoint.knob],
            (self.policy.limits.get(setpoint.knob, Limits()), setpoint.limits),
            writes=self._writes.get(key, ()),
            now=now,
        )
        if verdict.value is None:
            self._decide(setpoint, verdict.ruling, now, live.value, detail=verdict.detail)
            return
        recent = (time for time in self._writes.get(key, ()) if now - time < BUDGET_SECONDS)
        self._writes[key] = (*recent, now)
        outcome: Outcome = "would write"
        detail = verdict.detail
        if self._writer is not None:
            problem = self._writer.write(setpoint, live, verdict.value, now)
            outcome, detail = ("failed", problem) if problem else ("written", detail)
        self._decide(setpoint, outcome, now, live.value, verdict.value, detail)

    def _decide(
        self,
        setpoint: Setpoint,
        outcome: Outcome,
        now: float,
        before: Value | None = None,
        after: Value | None = None,
        detail: str = "",
    ) -> None:
        self._observer.decided(
            Decision(
                time=now,
                rule=setpoint.rule,
                knob=setpoint.knob,
                target=setpoint.target,
                outcome=outcome,
                before=before,
                after=after,
                because=setpoint.because,
                value=setpoint.evidence,
                detail=detail,
            )
        )
