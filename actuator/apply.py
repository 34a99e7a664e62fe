"""Writes to knobs: intent to disk, write, read back, outcome to disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from actuator.decision import Decision
from actuator.knobs import Knob, KnobError, Live, Target, Value
from actuator.ledger import Intent, Ledger, Outcome, Owned, Released
from actuator.plan import Setpoint

Key = tuple[str, Target]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a target must be left alone now."""

    outcome: Literal["waiting", "drifted"]
    detail: str


class Writer:
    """The one that writes. It knows what it wrote, what is still on its way, and what others took over."""

    def __init__(self, knobs: Mapping[str, Knob], ledger: Ledger, drift_backoff_seconds: float) -> None:
        self._knobs = knobs
        self._ledger = ledger
        self._drift_backoff_seconds = drift_backoff_seconds
        self._settling: dict[Key, Intent] = {}
        self._hands_off: dict[Key, tuple[float, str]] = {}

    def obstacle(self, key: Key, live: Live, now: float) -> Obstacle | None:
        """Whether the target must be left alone now.

        A value that is not what we wrote belongs to someone else: we release it and keep our hands off for
        the drift back-off.
        """
        if key in self._settling:
            return Obstacle("waiting", "the last write is still settling")
        owned = self._ledger.owned.get(key)
        if owned is not None and owned.identity == live.identity and not self._is_ours(owned, live):
            self._drift(owned, live.value, now)
        until, detail = self._hands_off.get(key, (0.0, ""))
        return Obstacle("drifted", detail) if now < until else None

    def write(self, setpoint: Setpoint, live: Live, value: Value, now: float) -> str:
        """Write `value` to a target that now reads `live`; returns what went wrong, or nothing.

        The read-back follows in `settle`, at once for knobs that have no settling time.
        """
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
        )
        self._ledger.append(intent)
        try:
            self._knobs[intent.knob].write(intent.target, value)
        except KnobError as error:
            self._ledger.append(Outcome(id=intent.id, time=now, result="failed", value=None, detail=str(error)))
            return str(error)
        key = (intent.knob, intent.target)
        self._settling[key] = intent
        if self._knobs[intent.knob].settle_seconds:
            return ""
        ends = self._settle(intent.knob, [key], now)
        return "".join(end.detail for end in ends if end.outcome != "settled")

    def settle(self, now: float) -> tuple[Decision, ...]:
        """Read back what is on its way; returns the ends of the writes that ended."""
        names = dict.fromkeys(name for name, _ in self._settling)
        return tuple(
            end for name in names for end in self._settle(name, [key for key in self._settling if key[0] == name], now)
        )

    def _settle(self, name: str, keys: list[Key], now: float) -> list[Decision]:
        knob = self._knobs[name]
        try:
            live = knob.live()
            problem = "the target is gone"
        except KnobError as error:
            live, problem = {}, str(error)
        ends = []
        for key in keys:
            intent, found = self._settling[key], live.get(key[1])
            if found is not None and not knob.is_ours(found.value, (intent.before, intent.after)):
                del self._settling[key]
                detail = self._drift(self._ledger.owned[key], found.value, now)
                ends.append(_end(intent, "drifted", found.value, detail, now))
            elif outcome := _compare(intent, found, problem, knob, now):
                del self._settling[key]
                self._ledger.append(outcome)
                end: End = "settled" if outcome.result == "ok" else "fell short"
                ends.append(_end(intent, end, outcome.value, outcome.detail, now))
        return ends

    def _is_ours(self, owned: Owned, live: Live) -> bool:
        return self._knobs[owned.knob].is_ours(live.value, owned.written)

    def _drift(self, owned: Owned, found: Value, now: float) -> str:
        """Release a value that someone else has set, and keep our hands off it; returns what happened."""
        detail = taken_over(self._knobs[owned.knob], owned, found)
        self._ledger.append(Released(time=now, knob=owned.knob, target=owned.target, reason=f"drifted: {detail}"))
        self._hands_off[owned.knob, owned.target] = (now + self._drift_backoff_seconds, detail)
        return detail


def _compare(intent: Intent, live: Live | None, problem: str, knob: Knob, now: float) -> Outcome | None:
    if live is not None and knob.is_ours(live.value, (intent.after,)):
        return Outcome(id=intent.id, time=now, result="ok", value=live.value)
    if now - intent.time < knob.settle_seconds:
        return None
    if live is None:
        return Outcome(id=intent.id, time=now, result="failed", value=None, detail=problem)
    detail = f"asked for {knob.unit.format(intent.after)}, it reads {knob.unit.format(live.value)}"
    return Outcome(id=intent.id, time=now, result="partial", value=live.value, detail=detail)


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
