"""Writes to knobs: intent to disk, write, read back, outcome to disk; and putting back what we changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from actuator.decision import Decision
from actuator.knobs import Knob, KnobError, Live, Target, Value, label
from actuator.ledger import Intent, Ledger, Outcome, Owned, Released
from actuator.plan import Setpoint

_POLL_SECONDS = 0.25

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
        if owned is not None and owned.identity == live.identity:
            knob = self._knobs[owned.knob]
            if not knob.is_ours(live.value, owned.written):
                detail = _taken_over(knob, owned, live.value)
                self._release(owned, f"drifted: {detail}", now)
                self._hands_off[key] = (now + self._drift_backoff_seconds, detail)
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
        self._settling[intent.knob, intent.target] = intent
        if self._knobs[intent.knob].settle_seconds:
            return ""
        return next((end.detail for end in self.settle(now) if end.outcome == "fell short"), "")

    def settle(self, now: float) -> tuple[Decision, ...]:
        """Read back what is on its way; returns the ends of the writes that ended."""
        ends: list[Decision] = []
        for name in {name for name, _ in self._settling}:
            try:
                live = self._knobs[name].live()
                problem = "the target is gone"
            except KnobError as error:
                live, problem = {}, str(error)
            for key, intent in [item for item in self._settling.items() if item[0][0] == name]:
                outcome = _compare(intent, live.get(key[1]), problem, self._knobs[name], now)
                if outcome is not None:
                    del self._settling[key]
                    self._ledger.append(outcome)
                    ends.append(_end(intent, outcome))
        return tuple(ends)

    def _release(self, owned: Owned, reason: str, now: float) -> None:
        self._ledger.append(Released(time=now, knob=owned.knob, target=owned.target, reason=reason))


def _compare(intent: Intent, live: Live | None, problem: str, knob: Knob, now: float) -> Outcome | None:
    if live is not None and knob.is_ours(live.value, (intent.after,)):
        return Outcome(id=intent.id, time=now, result="ok", value=live.value)
    if now - intent.time < knob.settle_seconds:
        return None
    if live is None:
        return Outcome(id=intent.id, time=now, result="failed", value=None, detail=problem)
    detail = f"asked for {knob.unit.format(intent.after)}, it reads {knob.unit.format(live.value)}"
    return Outcome(id=intent.id, time=now, result="partial", value=live.value, detail=detail)


def _end(intent: Intent, outcome: Outcome) -> Decision:
    return Decision(
        time=outcome.time,
        rule=intent.rule,
        knob=intent.knob,
        target=intent.target,
        outcome="settled" if outcome.result == "ok" else "fell short",
        before=intent.before,
        after=intent.after if outcome.value is None else outcome.value,
        because=intent.because,
        detail=outcome.detail,
    )


def _taken_over(knob: Knob, owned: Owned, found: Value) -> str:
    ours = " or ".join(dict.fromkeys(knob.unit.format(value) for value in owned.written))
    return f"someone else set it to {knob.unit.format(found)} after we wrote {ours}"


Restored = Literal["restored", "already there", "left alone", "gone", "failed"]


@dataclass(frozen=True, slots=True)
class Restoration:
    """What became of one changed target."""

    owned: Owned
    result: Restored
    detail: str = ""


def restore(
    knobs: Mapping[str, Knob],
    ledger: Ledger,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    report: Callable[[Restoration], None],
) -> bool:
    """Put back every value that we changed and that is still ours, the last change first.

    What someone else has changed since is left alone and named. Each result goes to `report`; True when
    none failed. Those that failed stay in the ledger, so that `restore` can be asked again.
    """
    results = []
    for owned in reversed(tuple(ledger.owned.values())):
        try:
            restoration = _restore(knobs[owned.knob], owned, ledger, clock, sleep)
        except (KnobError, KeyError) as error:
            restoration = Restoration(owned, "failed", str(error))
        if restoration.result != "failed":
            reason = f"{restoration.result}: {restoration.detail}" if restoration.detail else restoration.result
            ledger.append(Released(time=clock(), knob=owned.knob, target=owned.target, reason=reason))
        results.append(restoration.result)
        report(restoration)
    return "failed" not in results


def _restore(
    knob: Knob, owned: Owned, ledger: Ledger, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Restoration:
    live = knob.live().get(owned.target)
    if live is None or live.identity != owned.identity:
        return Restoration(owned, "gone", f"{label(owned.target)} is not here any more")
    # A slow knob may show its original value and still be on the way to what we wrote: write it then, too.
    if live.value == owned.original and not knob.settle_seconds:
        return Restoration(owned, "already there")
    if not knob.is_ours(live.value, owned.written):
        return Restoration(owned, "left alone", _taken_over(knob, owned, live.value))
    intent = Intent(
        id=ledger.next_id,
        time=clock(),
        knob=owned.knob,
        target=owned.target,
        identity=owned.identity,
        before=live.value,
        after=owned.original,
        rule="restore",
        because="what we changed is put back",
    )
    ledger.append(intent)
    knob.write(owned.target, owned.original)
    while (now := knob.live().get(owned.target)) is not None and not knob.is_ours(now.value, (owned.original,)):
        if clock() - intent.time >= knob.settle_seconds:
            detail = f"asked for {knob.unit.format(owned.original)}, reads {knob.unit.format(now.value)}"
            return Restoration(owned, "failed", detail)
        sleep(_POLL_SECONDS)
    return Restoration(owned, "restored")
