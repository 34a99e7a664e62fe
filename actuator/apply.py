"""Writes to knobs: intent to disk, write, read back, outcome to disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from actuator.decision import Decision
from actuator.knobs import Knob, KnobError, Live, Target, Value
from actuator.ledger import detour, release
from actuator.ledger.ledger import Ledger, LedgerError
from actuator.ledger.records import Cleared, Held, Intent, Key, Outcome, Owned, Released, is_of_guest
from actuator.plans.plan import Setpoint

_LOOK_FOR_GONE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a target must be left alone now, or was not written."""

    outcome: Literal["waiting", "drifted", "quarantined", "failed"]
    detail: str


class Writer:
    """The one that writes. It knows what it wrote, what is still on its way, and what others took over.

    Writes of an earlier process that have no outcome yet are taken on.
    """

    def __init__(self, knobs: Mapping[str, Knob], ledger: Ledger, drift_backoff_seconds: float) -> None:
        self._knobs = knobs
        self._ledger = ledger
        self._drift_backoff_seconds = drift_backoff_seconds
        self._settling: dict[Key, Intent] = {
            key: owned.last
            for key, owned in ledger.owned.items()
            if not (owned.is_settled or owned.is_on_detour) and key[0] in knobs
        }
        self._taken_on = frozenset(intent.id for intent in self._settling.values())
        self._taken_back: set[Key] = set()
        self._unresponsive: dict[Key, tuple[float, str]] = {}
        self._runs: dict[Key, str] = {}  # of the guests that were written to
        self._strays: dict[Key, tuple[Value, float]] = {}  # what slow knobs read that is not ours, and since when
        self._gone: set[Key] = set()  # at the last look
        self._looked_for_gone = -math.inf

    @property
    def settling(self) -> frozenset[Key]:
        """The targets whose last write is still on its way."""
        return frozenset(self._settling)

    def unresponsive(self, now: float) -> Mapping[Key, str]:
        """The targets whose last write failed or moved nothing, or that someone else has set, and what happened.

        Each until the drift back-off has passed.
        """
        known = {key: what for key, (until, what) in self._unresponsive.items() if now < until}
        return known | {key: released.reason for key, released in self._hands_off(now).items()}

    def drifted_targets(self, now: float) -> int:
        """How many targets we keep our hands off, since someone else has set them."""
        return len(self._hands_off(now))

    def _hands_off(self, now: float) -> dict[Key, Released]:
        return {key: released for key, released in self._ledger.hands_off.items() if now < released.until}

    def obstacle(self, key: Key, live: Live, now: float) -> Obstacle | None:
        """Whether the target must be left alone now.

        A value that is not what we wrote belongs to someone else: we release it and keep our hands off for
        the drift back-off.
        """
        if key in self._settling:
            return Obstacle("waiting", "the last write is still settling")
        owned = self._ledger.owned.get(key)
        if owned is not None and owned.is_on_detour and self._knobs[key[0]].is_busy:
            return Obstacle("waiting", owned.last.because)
        if owned is not None and owned.identity == live.identity:
            if self._is_ours(owned, live):
                self._strays.pop(key, None)
            elif self._runs.get(key, live.run) != live.run:
                self._ledger.append(Released(time=now, knob=key[0], target=key[1], reason="the guest was started anew"))
            elif self._knobs[key[0]].takes_back and live.refusal is not None:
                return None  # a guest that boots: what it will have shows when its driver answers
            elif self._is_on_its_way(key, live, now):
                return Obstacle("waiting", "it moves, and not by our doing: perhaps its guest has booted")
            else:
                self._drift(owned, live.value, now)
        released = self._hands_off(now).get(key)
        return Obstacle("drifted", released.reason) if released else None

    def _is_on_its_way(self, key: Key, live: Live, now: float) -> bool:
        """Whether a slow value that we did not write may be on the way to one: not yet the same for long enough."""
        knob = self._knobs[key[0]]
        value, since = self._strays.get(key, (live.value, now))
        self._strays[key] = (live.value, since if value == live.value else now)
        return knob.takes_back and now - self._strays[key][1] < knob.settle_seconds

    def changed_by(self, rule: str) -> dict[Key, Owned]:
        """The targets of which this rule was the last to change the value."""
        owned = self._ledger.owned.items()
        return {key: mine for key, mine in owned if mine.changes and mine.changes[-1].rule == rule}

    def is_doing_of(self, rule: str, key: Key, live: Live) -> bool:
        """Whether the value of a target is what this rule has made of it."""
        owned = self.changed_by(rule).get(key)
        return owned is not None and owned.identity == live.identity and self._is_ours(owned, live)

    def held(self, rule: str) -> dict[Key, Held]:
        """What is held against this rule, by target."""
        return {key: held for (name, key), held in self._ledger.held.items() if name == rule}

    @property
    def quarantined_targets(self) -> int:
        """How many targets are in quarantine, for one rule or another."""
        return sum(bool(held.verdict) for held in self._ledger.held.values())

    def clear(self, held: Held, reason: str, now: float) -> None:
        """Nothing is held against the rule for this target any more."""
        self._ledger.append(Cleared(time=now, rule=held.rule, knob=held.knob, target=held.target, reason=reason))

    def condemn(self, held: Held, verdict: str, now: float, *, is_reverted: bool = False) -> None:
        """From here on the rule is in quarantine for the target."""
        self._ledger.append(replace(held, time=now, verdict=verdict, is_reverted=is_reverted))

    def write(self, setpoint: Setpoint, live: Live, value: Value, now: float) -> Obstacle | None:
        """Write `value` to a target that this tick has read as `live`; returns what went wrong, or nothing.

        The read-back follows in `settle`, at once for knobs that have no settling time.
        """
        try:
            setting = self._knobs[setpoint.knob].setting(setpoint.target) if setpoint.persist else ""
        except KnobError as error:
            return Obstacle("failed", str(error))
        intent = Intent(
            id=self._ledger.next_id,
            time=now,
            knob=setpoint.knob,
            target=setpoint.target,
            identity=live.identity,
            before=live.value,
            after=value,
            rule=setpoint.rule,
            because=setpoint.because,
            trial=setpoint.trial,
            setting=setting,
        )
        self._ledger.append(intent)
        self._runs[intent.knob, intent.target] = live.run
        if (obstacle := self._last_look(intent, now)) is not None:
            return obstacle
        self._taken_back.discard((intent.knob, intent.target))
        return self._carry_out(intent)

    def _carry_out(self, intent: Intent) -> Obstacle | None:
        key, now = (intent.knob, intent.target), intent.time
        detour.begin(self._knobs, self._ledger, self._ledger.append, intent)
        try:
            self._knobs[intent.knob].write(intent.target, intent.after)
        except KnobError as error:
            self._ledger.append(Outcome(id=intent.id, time=now, result="failed", value=None, detail=str(error)))
            self._unresponsive[key] = (now + self._drift_backoff_seconds, str(error))
            detour.end(self._knobs, self._ledger, self._ledger.append, now)
            return Obstacle("failed", str(error))
        self._settling[key] = intent
        if self._knobs[intent.knob].settle_seconds:
            return None
        ends = self._settle(intent.knob, [key], now)
        return next((Obstacle("failed", end.detail) for end in ends if end.outcome != "settled"), None)

    def _last_look(self, intent: Intent, now: float) -> Obstacle | None:
        """Whether someone has changed the target since this tick has read it: then it is theirs."""
        knob = self._knobs[intent.knob]
        try:
            found = knob.glance(intent.target)
        except KnobError:
            return None  # the write will tell
        if found is None or knob.is_ours(found, (intent.before,)):
            return None
        detail = f"someone else has set it to {knob.unit.format(found)} since this tick has read it"
        self._let_go((intent.knob, intent.target), detail, now)
        if (held := self.held(intent.rule).get((intent.knob, intent.target))) is not None:
            self.clear(held, detail, now)
        return Obstacle("drifted", detail)

    def keep_as_asked(self, setpoint: Setpoint, live: Live, now: float) -> None:
        """The target has the value already; whether the next boot sets it may have changed with the rule."""
        mine = self.changed_by(setpoint.rule).get((setpoint.knob, setpoint.target))
        if mine is not None and (mine.changes[-1].kept is not None) != setpoint.persist:
            self.write(replace(setpoint, trial=""), live, live.value, now)

    def settle(self, now: float) -> tuple[Decision, ...]:
        """Read back what is on its way; returns the ends of the writes that ended."""
        release.take(self._ledger, now)
        latest = now + self._drift_backoff_seconds
        for released in self._ledger.hands_off.values():
            if released.until > latest:  # the clock was set back since
                self._ledger.append(replace(released, time=now, until=latest))
        detour.end(self._knobs, self._ledger, self._ledger.append, now)
        if now - self._looked_for_gone >= _LOOK_FOR_GONE_SECONDS:
            self._looked_for_gone = now
            self._forget_the_gone(now)
        names = dict.fromkeys(name for name, _ in self._settling)
        return tuple(
            end for name in names for end in self._settle(name, [key for key in self._settling if key[0] == name], now)
        )

    def _settle(self, name: str, keys: list[Key], now: float) -> list[Decision]:
        knob = self._knobs[name]
        try:
            live = self._read_back(knob, keys)
        except KnobError:
            return []  # what became of it shows when it can be read again
        ends = []
        for key in keys:
            intent, found = self._settling[key], live.get(key[1])
            if found is None and knob.doubt(key[1]) is not None:
                continue
            if found is not None and found.identity != intent.identity:
                found = None  # another guest of the name
            intent = replace(intent, time=min(intent.time, now))  # the clock may have been set back since
            if found is not None and not knob.is_ours(found.value, (intent.before, intent.after)):
                detail = self._drift(self._ledger.owned[key], found.value, now)
                del self._settling[key]
                ends.append(_end(intent, "drifted", found.value, detail, now))
            elif outcome := _compare(intent, found, knob, now):
                self._ledger.append(outcome)  # what cannot be recorded is still on its way at the next tick
                del self._settling[key]
                held = self._ledger.held.get((intent.rule, key))
                if held and intent.id in self._taken_on and outcome.value == intent.before:
                    self.clear(held, "kvmtune ended before the write was made", now)
                if not self._ledger.owned[key].changes:
                    self._ledger.append(Released(time=now, knob=key[0], target=key[1], reason="restored"))
                if key not in self._taken_back:  # who stays has not followed us anywhere
                    self._unresponsive.pop(key, None)
                if outcome.result != "ok" and outcome.value in (None, intent.before):
                    self._unresponsive[key] = (now + self._drift_backoff_seconds, outcome.detail)
                end: End = "settled" if outcome.result == "ok" else "fell short"
                detail = outcome.detail
                if outcome.result == "partial" and knob.takes_back and found and _is_decrease(intent):
                    detail += f"; {self._take_back(intent, found, now)}"
                ends.append(_end(intent, end, outcome.value, detail, now))
        return ends

    def _read_back(self, knob: Knob, keys: Sequence[Key]) -> Mapping[Target, Live]:
        """One target that is there at once is looked at by itself: the others may be thousands."""
        if len(keys) == 1 and not knob.settle_seconds:
            ((_, target),) = keys
            if (value := knob.glance(target)) is not None:
                return {target: Live(value=value, identity=self._settling[keys[0]].identity)}
        return knob.live()

    def _forget_the_gone(self, now: float) -> None:
        """Guests that were not there at two looks have nothing left to put back, and nothing to hold against a rule."""
        known = {*self._ledger.owned, *(key for _, key in self._ledger.held)} - self._settling.keys()
        of_guests = {key for key in known if is_of_guest(key[1]) and key[0] in self._knobs}
        gone = set()
        for name in {name for name, _ in of_guests}:
            try:
                live = self._knobs[name].live()
            except KnobError:
                continue
            gone |= {
                (name, target)
                for knob, target in of_guests
                if knob == name and target not in live and self._knobs[name].doubt(target) is None
            }
        for key in gone & self._gone:
            for held in [held for (_, held_key), held in self._ledger.held.items() if held_key == key]:
                self.clear(held, "its guest is gone", now)
            if key in self._ledger.owned:
                self._ledger.append(Released(time=now, knob=key[0], target=key[1], reason="gone"))
            for noted in (self._unresponsive, self._runs, self._strays):
                noted.pop(key, None)
        self._gone = gone - self._gone

    def _take_back(self, intent: Intent, found: Live, now: float) -> str:
        """End a decrease where it is or, for a target in trouble, undo it; returns what was done, or what went wrong.

        Until that is written, the target may still go on toward the old goal: so that is what is there before.
        """
        self._taken_back.add((intent.knob, intent.target))
        value, done = (intent.before, "it is undone") if found.trouble else (found.value, "it stays there")
        end = replace(intent, id=self._ledger.next_id, time=now, before=intent.after, after=value, trial="")
        try:
            self._ledger.append(end)
        except LedgerError:
            self._settling[intent.knob, intent.target] = intent
            raise
        problem = self._carry_out(end)
        return problem.detail if problem else done

    def _is_ours(self, owned: Owned, live: Live) -> bool:
        return self._knobs[owned.knob].is_ours(live.value, owned.ours)

    def _drift(self, owned: Owned, found: Value, now: float) -> str:
        """Release a value that someone else has set, and keep our hands off it; returns what happened."""
        detail = taken_over(self._knobs[owned.knob], owned, found)
        self._let_go((owned.knob, owned.target), detail, now)
        return detail

    def _let_go(self, key: Key, reason: str, now: float) -> None:
        until = now + self._drift_backoff_seconds
        self._ledger.append(Released(time=now, knob=key[0], target=key[1], reason=reason, until=until))


def _compare(intent: Intent, live: Live | None, knob: Knob, now: float) -> Outcome | None:
    if live is not None and knob.is_ours(live.value, (intent.after,)):
        return Outcome(id=intent.id, time=now, result="ok", value=live.value, detail=knob.remark(intent.target))
    trouble = live.trouble if live is not None and _is_decrease(intent) else ""
    if now - intent.time < knob.settle_seconds and not trouble:
        return None
    if live is None:
        return Outcome(id=intent.id, time=now, result="failed", value=None, detail="the target is gone")
    detail = f"asked for {knob.unit.format(intent.after)}, it reads {knob.unit.format(live.value)}"
    detail += f": {trouble}" * bool(trouble)
    return Outcome(id=intent.id, time=now, result="partial", value=live.value, detail=detail)


def _is_decrease(intent: Intent) -> bool:
    before, after = intent.before, intent.after
    return isinstance(before, int) and isinstance(after, int) and after < before


End = Literal["settled", "fell short", "drifted"]


def _end(intent: Intent, outcome: End, found: Value | None, detail: str, now: float) -> Decision:
    return Decision(
        time=now,
        rule=intent.rule,
        knob=intent.knob,
        target=intent.target,
        outcome=outcome,
        before=intent.before,
        after=intent.after if found is None else found,
        because=intent.because,
        detail=detail,
    )


def taken_over(knob: Knob, owned: Owned, found: Value) -> str:
    """What happened to a value that is neither what we wrote nor what was there before."""
    ours = " or ".join(dict.fromkeys(knob.unit.format(value) for value in owned.written))
    return f"someone else set it to {knob.unit.format(found)} after we wrote {ours}"
