"""What a setpoint may become: limits, step, deadband, budget, freshness (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from actuator.knobs import Knob, Live, Unit, Value
from actuator.rules.limits import Amount, Limits
from kvmhost import cpulist

BUDGET_SECONDS = 60.0
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

Ruling = Literal["write", "unchanged", "limit", "deadband", "budget", "refused"]
Reason = Literal["unreadable", "gone", "untouchable", "unavailable", "contradiction", "blast radius"]
"""Why a setpoint is refused: the knob cannot be read; its target is gone; the target must not be touched now (by its
own state, the policy or stale data); the value is not one of its values here; limits contradict each other; the rule
wants too many guests at once."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ruling` is `write` with the `value` to write, or why nothing is written; `detail` is for the operator."""

    ruling: Ruling
    value: Value | None = None
    detail: str = ""
    reason: Reason | None = None


def judge(
    wanted: float | str,
    live: Live,
    knob: type[Knob],
    limits: Sequence[Limits],
    *,
    writes: Sequence[float],
    now: float,
) -> Verdict:
    """Decide on one setpoint. All times are unix seconds.

    `limits`: the policy's and the rule's; the tightest of each counts. `writes`: the times of our writes to
    this target, newest last.
    """
    if live.refusal:
        return _refused("untouchable", live.refusal)
    if wanted == live.value:
        return Verdict("unchanged")
    budget = min(_given(limit.writes_per_minute for limit in limits), default=None)
    if budget is not None and sum(now - time < BUDGET_SECONDS for time in writes) >= budget:
        return Verdict("budget", detail=f"the budget of {budget} writes a minute is used up")
    if knob.unit is Unit.WORD:
        return _judge_word(str(wanted), live)
    if isinstance(wanted, str) or isinstance(live.value, str):
        return _judge_cpus(str(wanted), live)
    return _judge_number(wanted, live.value, live, knob, limits)


def _refused(reason: Reason, detail: str) -> Verdict:
    return Verdict("refused", detail=detail, reason=reason)


def _judge_word(wanted: str, live: Live) -> Verdict:
    if wanted not in live.words:
        return _refused("unavailable", f"this host does not have {wanted}, only {', '.join(live.words)}")
    return Verdict("write", wanted)


def _judge_cpus(wanted: str, live: Live) -> Verdict:
    missing = cpulist.parse(wanted) - (live.cpus or frozenset())
    if missing:
        return _refused("unavailable", f"this host has no online CPU {cpulist.format(missing)}")
    return Verdict("write", wanted)


def _judge_number(wanted: float, value: int, live: Live, knob: type[Knob], limits: Sequence[Limits]) -> Verdict:
    show = knob.unit.format
    lows = [(low, "the lower limit") for low in _given(limit.min for limit in limits)]
    highs = [(high, "the upper limit") for high in _given(limit.max for limit in limits)]
    lows += [(live.low, live.low_because or "the knob's lowest")] if live.low is not None else []
    highs += [(live.high, live.high_because or "the knob's highest")] if live.high is not None else []
    if knob.unit is Unit.SWITCH and wanted not in range(live.low or 0, (live.high or 0) + 1):
        because = f": {live.high_because}" if live.high_because else ""
        return _refused("unavailable", f"{wanted:g} is not one of its values, {live.low} to {live.high}{because}")
    low, low_because = max(lows, default=(_LOWEST, ""))
    high, high_because = min(highs, default=(_HIGHEST, ""))
    if low > high:
        detail = f"it must not go below {show(low)}, {low_because}, nor above {show(high)}, {high_because}"
        return _refused("contradiction", detail)
    goal = min(max(wanted, low), high)
    notes = []
    if goal != wanted:
        notes.append(
            f"not {'below' if goal > wanted else 'above'} {show(int(goal))}, "
            f"{low_because if goal > wanted else high_because}"
        )
    # A limit that turns a decrease into an increase, or the reverse, means: this is as far as it goes.
    if (wanted - value) * (goal - value) <= 0:
        return Verdict("limit" if notes else "unchanged", detail="; ".join(notes))
    step = _step(value, knob, limits)
    if abs(goal - value) > step:
        notes = [f"on the way to {show(round(goal))}, one step at a time"]
        goal = value + step if goal > value else value - step
    final = int(goal) if goal in (low, high) else _toward(value, goal, knob.quantum)
    deadband = max(_at(value, (limit.deadband for limit in limits)), default=0.0)
    if final == value:
        return Verdict("unchanged")
    if knob.unit is not Unit.SWITCH and abs(final - value) < deadband:
        return Verdict("deadband", detail=f"{show(final)} is close enough")
    return Verdict("write", final, "; ".join(notes))


def _step(value: int, knob: type[Knob], limits: Sequence[Limits]) -> float:
    """The farthest that one write may move; at least a quantum, since less would never get anywhere."""
    steps = _at(value, (limit.step for limit in limits))
    return max(min(steps), knob.quantum) if steps and knob.unit is not Unit.SWITCH else float("inf")


def _toward(value: int, goal: float, quantum: int) -> int:
    """As near to `goal` as whole quanta from the present value lead: never farther than was decided."""
    moved = math.floor(abs(goal - value) / quantum) * quantum
    return value + moved if goal > value else value - moved


def _given(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _at(value: int, amounts: Iterable[Amount | None]) -> list[float]:
    return [amount.of(value) for amount in amounts if amount is not None]
