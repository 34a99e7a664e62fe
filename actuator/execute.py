"""From the setpoints of a tick to writes: obstacles, freshness, limits, the blast radius, and what becomes of each."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from actuator.aftermath import Aftermath
from actuator.apply import Writer
from actuator.decision import Decision, Outcome
from actuator.knobs import KNOBS, Live, Target, Value, label
from actuator.ledger.ledger import LedgerError
from actuator.ledger.records import Key
from actuator.plans.guard import BUDGET_SECONDS, Reason, Verdict, judge
from actuator.plans.plan import Setpoint
from actuator.plans.radius import Move, held_back
from actuator.plans.view import Fault, View
from actuator.rules.limits import Limits
from actuator.rules.policy import Policy

log = logging.getLogger("kvmtune-actuator")


class Executor:
    """Writes what may be written. `writer` None is a dry run; `decided` hears what became of each setpoint."""

    def __init__(self, writer: Writer | None, aftermath: Aftermath, decided: Callable[[Decision], None]) -> None:
        self._writer = writer
        self._aftermath = aftermath
        self._decided = decided
        self.paused: str | None = None
        """Why nothing may be written for now, not even to put something back; None while all may."""
        # A dry run counts the writes that it would have made, so that it keeps the same budgets; a rule that runs dry
        # among others uses up none of theirs.
        self._writes: dict[tuple[str, Target, bool], tuple[float, ...]] = {}

    def carry_out(self, setpoints: Sequence[Setpoint], view: View, policy: Policy, now: float) -> None:
        """Each in order, at `now` (unix seconds); no two for one target."""
        held = held_back(list(self._moves(setpoints, view, policy, now)), policy.radius)
        settling = self._writer.settling if self._writer else frozenset()
        groups: dict[tuple[str, str, frozenset[Target]], _Group] = {}
        wrote: set[str] = set()
        seen: set[tuple[str, str]] = set()
        for setpoint in setpoints:
            # What a rule has just written may decide what its next knob can become.
            if setpoint.rule in wrote and (setpoint.rule, setpoint.knob) not in seen:
                view.look_again(setpoint.knob)
            seen.add((setpoint.rule, setpoint.knob))
            try:
                live = view.live(setpoint.knob).get(setpoint.target)
            except Fault as fault:
                self._refuse(setpoint, "unreadable", now, str(fault))
                continue
            planned = (setpoint.rule, setpoint.knob, setpoint.together)
            if planned not in groups:
                groups[planned] = self._group(setpoint, view, settling, now)
            group = groups[planned]
            if live is None:
                self._refuse(setpoint, "gone", now, "it is gone")
            elif group.waits_for:
                self.decide(setpoint, "waiting", now, detail=group.waits_for)
            elif (held_by := held.get((setpoint.rule, setpoint.knob, setpoint.target))) is not None:
                self.decide(setpoint, held_by.outcome, now, live.value, detail=held_by.detail, reason=held_by.reason)
            elif self._contained(setpoint, live, group, policy, now):
                wrote.add(setpoint.rule)

    def decide(
        self,
        setpoint: Setpoint,
        outcome: Outcome,
        now: float,
        before: Value | None = None,
        after: Value | None = None,
        detail: str = "",
        reason: Reason | None = None,
    ) -> None:
        """Tell what becomes of a setpoint."""
        self._decided(
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
                reason=reason,
            )
        )

    def _refuse(self, setpoint: Setpoint, reason: Reason, now: float, detail: str) -> None:
        self.decide(setpoint, "refused", now, detail=detail, reason=reason)

    def _moves(self, setpoints: Sequence[Setpoint], view: View, policy: Policy, now: float) -> Iterator[Move]:
        """What would be written to guests, if nothing but limits spoke against it."""
        guests: dict[str, int] = {}  # by knob
        for setpoint in setpoints:
            if setpoint.undoes or "domain" not in dict(setpoint.target):
                continue
            try:
                live = view.live(setpoint.knob)
            except Fault:
                continue
            if (state := live.get(setpoint.target)) is not None:
                verdict = self._judge(setpoint, state, policy, now)
                if verdict.value is not None:
                    if setpoint.knob not in guests:
                        guests[setpoint.knob] = len({dict(target)["domain"] for target in live})
                    yield Move(setpoint, state.value, verdict.value, guests[setpoint.knob])

    def _judge(self, setpoint: Setpoint, live: Live, policy: Policy, now: float) -> Verdict:
        return judge(
            setpoint.value,
            replace(live, refusal=live.refusal or setpoint.refusal),
            KNOBS[setpoint.knob],
            () if setpoint.undoes else (policy.limits.get(setpoint.knob, Limits()), setpoint.limits),
            writes=self._writes.get((setpoint.knob, setpoint.target, self._acts(setpoint)), ()),
            now=now,
        )

    def _contained(self, setpoint: Setpoint, live: Live, group: _Group, policy: Policy, now: float) -> bool:
        """What goes wrong with one setpoint in a way that nobody foresaw costs that setpoint only."""
        try:
            return self._act(setpoint, live, group, policy, now)
        except LedgerError:
            raise
        except Exception as error:  # the intent is in the ledger if anything can have been written
            log.exception("%s of %s failed", setpoint.knob, label(setpoint.target))
            trouble = f"{type(error).__name__}: {error} (a defect of kvmtune: please report it)"
            self.decide(setpoint, "failed", now, live.value, detail=trouble)
            return False

    def _act(self, setpoint: Setpoint, live: Live, group: _Group, policy: Policy, now: float) -> bool:
        """Write it if nothing speaks against that; True if it was written."""
        key: Key = (setpoint.knob, setpoint.target)
        acts = self._acts(setpoint)
        obstacle = self._writer.obstacle(key, live, now) if self._writer else None
        if obstacle is None and not setpoint.undoes:
            obstacle = self._aftermath.obstacle(setpoint.rule, key)
        if obstacle is not None:
            self.decide(setpoint, obstacle.outcome, now, live.value, detail=obstacle.detail)
            return False
        writes = self._writes.get((*key, acts), ())
        if setpoint.as_of <= max((group.last_write, *writes)):
            self.decide(setpoint, "waiting", now, live.value, detail="the data are older than the last write")
            return False
        verdict = self._judge(setpoint, live, policy, now)
        if verdict.value is None:
            if verdict.ruling == "unchanged" and setpoint.undoes:
                self._aftermath.is_back(setpoint.rule, key, now)
            if verdict.ruling == "unchanged" and self._writer is not None and acts and self.paused is None:
                self._writer.keep_as_asked(setpoint, live, now)
            self.decide(setpoint, verdict.ruling, now, live.value, detail=verdict.detail, reason=verdict.reason)
            return False
        if self.paused is not None:
            detail = "; ".join(note for note in (verdict.detail, self.paused) if note)
            self.decide(setpoint, "paused", now, live.value, verdict.value, detail)
            return False
        self._writes[*key, acts] = (*(time for time in writes if now - time < BUDGET_SECONDS), now)
        outcome: Outcome = "would write"
        detail = verdict.detail
        if self._writer is not None and acts:
            problem = self._writer.write(setpoint, live, verdict.value, now)
            outcome, detail = (problem.outcome, problem.detail) if problem else ("written", detail)
        self.decide(setpoint, outcome, now, live.value, verdict.value, detail)
        return outcome == "written"

    def _acts(self, setpoint: Setpoint) -> bool:
        return self._writer is not None and setpoint.acts

    def _group(self, setpoint: Setpoint, view: View, settling: frozenset[Key], now: float) -> _Group:
        """What holds for all that were planned with a setpoint. `settling`: at the begin of this tick."""
        if not setpoint.together:
            return _Group()
        acts = self._acts(setpoint)
        writes = (self._writes.get((setpoint.knob, target, acts), ()) for target in setpoint.together)
        last_write = max((time for times in writes for time in times if time < now), default=-math.inf)
        if any((setpoint.knob, target) in settling for target in setpoint.together):
            return _Group(last_write, "a write to its group is still settling")
        if (silent := _first_silent(setpoint, view)) is not None:
            waits_for = f"{label(silent)} has not told its memory yet as it is now, and the plan goes by that"
            return _Group(last_write, waits_for)
        return _Group(last_write)


@dataclass(frozen=True, slots=True)
class _Group:
    """The targets of a plan: when one was written last before this tick (unix seconds), and what all wait for."""

    last_write: float = -math.inf
    waits_for: str = ""


def _first_silent(setpoint: Setpoint, view: View) -> Target | None:
    """A target that was planned with it and follows, but of which the data are still those from before it moved."""
    live = view.live(setpoint.knob)
    states = ((target, live[target]) for target in sorted(setpoint.together) if target in live)
    return next((target for target, one in states if one.low_soon is not None and one.refusal is None), None)
