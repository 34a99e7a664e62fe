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
        self._evaluated: dict[int, float] = {}
        self._recorded: dict[str, set[Labels]] = {}
        # A dry run counts the writes that it would have made, so that it keeps the same budgets.
        self._writes: dict[tuple[str, Target], tuple[float, ...]] = {}

    def reload(self, rules: RuleSet, policy: Policy) -> None:
        """Put other rules in force. A rule of the same name keeps its state."""
        self._store.window_seconds = max(self._store.window_seconds, rules.window_seconds)
        names = {tune.name for tune in rules.tunes}
        self._states = {name: state for name, state in self._states.items() if name in names}
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
        for rule in due:
            if isinstance(rule, Record):
                self._record(rule, view, now)
        setpoints = [setpoint for rule in due if isinstance(rule, Tune) for setpoint in self._tune(rule, view, now)]
        kept, overruled = settle_conflicts(setpoints)
        for setpoint in overruled:
            self._decide(setpoint, "overruled", now, detail="a rule of higher priority sets it")
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
        faults: list[str] = []
        state = self._states.get(rule.name, {})
        try:
            when = view.evidence(rule.when)
            until = view.evidence(rule.until) if rule.until else None
            state, due = step(rule, state, when, until, now)
            if due:
                setpoints, faults = view.setpoints(rule, due)
                state = acted(state, due, now)
        except Fault as fault:
            faults = [str(fault)]
            state, _ = step(rule, state, UNKNOWN, None, now)
        self._states[rule.name] = state
        self._observer.evaluated(rule.name, state, tuple(faults))
        return setpoints

    def _record(self, rule: Record, view: View, now: float) -> None:
        faults: tuple[str, ...] = ()
        series: dict[Labels, float] = {}
        try:
            for sample in view.samples(rule.expr):
                pairs = {**dict(sample.labels), labels.NAME: rule.name, **dict(rule.labels)}
                series[labels.make(pairs)] = sample.value
            for recorded, value in series.items():
                self._store.append(recorded, now, value)
        except (Fault, StoreFullError) as fault:
            faults = (str(fault),)
        for gone in self._recorded.get(rule.name, set()) - set(series):
            self._store.mark_stale(gone, now)
        self._recorded[rule.name] = set(series)
        self._observer.evaluated(rule.name, None, faults)

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
            data_time=now,
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
