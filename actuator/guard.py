"""What a setpoint may become: limits, step, deadband, budget, freshness (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from actuator.knobs import Knob, Live, Unit, Value
from actuator.limits import Amount, Limits
from kvmhost import cpulist

BUDGET_SECONDS = 60.0
_HIGHEST = 2**63 - 1

Ruling = Literal["write", "unchanged", "limit", "deadband", "budget", "waiting", "refused"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ruling` is `write` with the `value` to write, or why nothing is written; `detail` is for the operator."""

    ruling: Ruling
    value: Value | None = None
    detail: str = ""


def judge(
    wanted: float | str,
    live: Live,
    knob: type[Knob],
    limits: Sequence[Limits],
    *,
    writes: Sequence[float],
    data_time: float,
    now: float,
) -> Verdict:
    """Decide on one setpoint. All times are unix seconds.

    `limits`: the policy's and the rule's; the tightest of each counts. `writes`: the times of our writes to
    this target, newest last. `data_time`: the newest scrape; not after our last write, it cannot show its effect.
    """
    if live.refusal:
        return Verdict("refused", detail=live.refusal)
    if writes and writes[-1] >= data_time:
        return Verdict("waiting", detail="no scrape since the last write shows its effect yet")
    if wanted == live.value:
        return Verdict("unchanged")
    budget = min(_given(limit.writes_per_minute for limit in limits), default=None)
    if budget is not None and sum(now - time < BUDGET_SECONDS for time in writes) >= budget:
        return Verdict("budget", detail=f"the budget of {budget} writes a minute is used up")
    if isinstance(wanted, str) or isinstance(live.value, str):
        return _judge_cpus(str(wanted), live)
    return _judge_number(wanted, live.value, live, knob, limits)


def _judge_cpus(wanted: str, live: Live) -> Verdict:
    missing = cpulist.parse(wanted) - (live.cpus or frozenset())
    if missing:
        return Verdict("refused", detail=f"this host has no online CPU {cpulist.format(missing)}")
    return Verdict("write", wanted)


def _judge_number(wanted: float, value: int, live: Live, knob: type[Knob], limits: Sequence[Limits]) -> Verdict:
    stepped, step_note = _within_step(wanted, value, knob, limits)
    bounded, bound_note = _within_bounds(stepped, live, knob, limits)
    detail = "; ".join(note for note in (step_note, bound_note) if note)
    # A limit that turns a decrease into an increase, or the reverse, means: this is as far as it goes.
    if (wanted - value) * (bounded - value) <= 0:
        return Verdict("limit" if detail else "unchanged", detail=detail)
    deadband = max(_at(value, (limit.deadband for limit in limits)), default=0.0)
    if knob.unit is not Unit.SWITCH and abs(bounded - value) < deadband:
        return Verdict("deadband", detail=f"{knob.unit.format(bounded)} is close enough")
    return Verdict("write", bounded, detail)


def _within_step(wanted: float, value: int, knob: type[Knob], limits: Sequence[Limits]) -> tuple[float, str]:
    step = min(_at(value, (limit.step for limit in limits)), default=None)
    if knob.unit is Unit.SWITCH or step is None or abs(wanted - value) <= step:
        return wanted, ""
    step = max(step, knob.quantum)
    note = f"on the way to {knob.unit.format(round(wanted))}, one step at a time"
    return value + step if wanted > value else value - step, note


def _within_bounds(goal: float, live: Live, knob: type[Knob], limits: Sequence[Limits]) -> tuple[int, str]:
    lows = [(low, "the lower limit") for low in _given(limit.min for limit in limits)]
    highs = [(high, "the upper limit") for high in _given(limit.max for limit in limits)]
    lows += [(live.low, live.low_because or "the knob's lowest")] if live.low is not None else []
    highs += [(live.high, "the knob's highest")] if live.high is not None else []
    low, low_because = max(lows, default=(0, ""))
    high, high_because = min(highs, default=(_HIGHEST, ""))
    bounded = min(_whole_quanta(max(goal, low), knob.quantum), high)
    if goal < low:
        return bounded, f"not below {knob.unit.format(low)}, {low_because}"
    if goal > high:
        return bounded, f"not above {knob.unit.format(high)}, {high_because}"
    return bounded, ""


def _whole_quanta(value: float, quantum: int) -> int:
    """Rounded up for knobs of coarse steps: a guest never gets less than was decided."""
    return round(value) if quantum == 1 else -int(-value // quantum) * quantum


def _given(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _at(value: int, amounts: Iterable[Amount | None]) -> list[float]:
    return [amount.of(value) for amount in amounts if amount is not None]
