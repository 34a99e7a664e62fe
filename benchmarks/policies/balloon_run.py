"""One policy on one workload, and what it did to the guests and to their host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from actuator.decision import Decision
from actuator.rules.policy import Policy
from actuator.rules.ruleset import RuleSet
from benchmarks.policies.balloon_engine import Actuator
from benchmarks.policies.balloon_model import Flags, Host, Workload

TICK_SECONDS = 5
RESERVE_RATIO = 0.05
"""Of the host's memory, what should be available at any time: what the knobs themselves leave to a host."""
_MET_MIB = 1.0
_START = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class Score:
    """What a policy did on a workload; less is better, but for `writes` and what is there to explain the others.

    `reversals`: writes that turn a guest around while nothing changes. `shortfall_free`: GiB seconds that guests
    lacked while the host had them beyond its reserve, `shortfall` all of them. `below`: seconds in which the host had
    less than its reserve. `step_mean`, `step_worst`: seconds from a step of demand until the guest has what it wants.
    `swap`: GiB that guests wrote to swap. `kills`: programs in guests and whole guests, for lack of memory. `turns`:
    all writes that turn a guest around. `host_swap`: GiB that the host wrote to swap. `tick_ms`: of the engine.
    `first_write`: mean seconds from a step that a guest has no room for to the first write that gives it some, and
    `host_first_write` from a loss of memory of the host to the first that takes some; -1 if there is none of either.
    """

    reversals: int
    shortfall_free: float
    shortfall: float
    below: int
    step_mean: float
    step_worst: float
    swap: float
    kills: int
    turns: int
    writes: int
    host_swap: float
    tick_ms: float
    first_write: float = -1.0
    host_first_write: float = -1.0


@dataclass
class Trace:
    """Rows by second: sizes, shortfalls and demands of guests in MiB, and what the host had available."""

    actual: list[NDArray[np.float64]] = field(default_factory=list)
    shortfall: list[NDArray[np.float64]] = field(default_factory=list)
    down: list[Flags] = field(default_factory=list)
    available: list[float] = field(default_factory=list)
    writes: list[tuple[int, str, int]] = field(default_factory=list)
    """Second, guest, and 1 for more or -1 for less."""


@dataclass(frozen=True, slots=True)
class Run:
    """How it went."""

    score: Score
    trace: Trace


def run(workload: Workload, rules: RuleSet, policy: Policy, *, tick_seconds: int = TICK_SECONDS) -> Run:
    """Let the rules have the workload's host for its time."""
    host = Host(workload, _START)
    trace = Trace()
    free_short = 0.0
    with Actuator(host, rules, policy) as actuator:
        for second in range(workload.seconds - 1):
            if second % tick_seconds == 0:
                trace.writes += [write for decision in actuator.tick() if (write := _write(decision, second))]
            host.pass_second()
            free_short += _short_while_free(host)
            trace.actual.append(host.actual.copy())
            trace.shortfall.append(host.shortfall)
            trace.down.append(host.restarts_at > host.second)
            trace.available.append(host.available)
    waits = [_wait(workload, trace, start, guest) for start, guest in workload.steps]
    reversals, turns = _reversals(trace, workload)
    score = Score(
        reversals=reversals,
        shortfall_free=free_short / 1024,
        shortfall=float(np.sum(trace.shortfall)) / 1024,
        below=int(np.sum(np.array(trace.available) < RESERVE_RATIO * workload.total)),
        step_mean=fmean(waits) if waits else 0.0,
        step_worst=max(waits, default=0.0),
        swap=float(host.swap_out.sum()) / 1024,
        kills=host.guest_kills + host.host_kills,
        turns=turns,
        writes=len(trace.writes),
        host_swap=host.host_swap_out / 1024,
        tick_ms=1000 * fmean(actuator.tick_seconds),
        first_write=_mean_delay(_step_delays(workload, trace)),
        host_first_write=_mean_delay(_host_delays(workload, trace)),
    )
    return Run(score, trace)


def _write(decision: Decision, second: int) -> tuple[int, str, int] | None:
    if decision.outcome != "written" or not isinstance(decision.before, int) or not isinstance(decision.after, int):
        return None
    return second, dict(decision.target)["domain"], 1 if decision.after > decision.before else -1


def _short_while_free(host: Host) -> float:
    """What guests lack of memory that the host has beyond its reserve, in MiB."""
    guests = host.workload.guests
    follows = (guests.driver > 0) & ~host.workload.mute[host.second]
    spare = max(host.available - RESERVE_RATIO * host.workload.total, 0.0)
    return min(float(host.could_grow[follows].sum()), spare)


def _reversals(trace: Trace, workload: Workload) -> tuple[int, int]:
    """Writes against the guest's last one: with nothing changing since before that, and all.

    A program that is killed and starts again is a change, too.
    """
    is_constant = workload.is_constant[:-1] & ~np.array(trace.down).any(axis=1)
    changing = np.cumsum(~is_constant)
    last: dict[str, tuple[int, int]] = {}
    constant = turns = 0
    for second, guest, direction in trace.writes:
        before, was = last.get(guest, (second, direction))
        if was != direction:
            turns += 1
            constant += bool(is_constant[before] and changing[before] == changing[second])
        last[guest] = (second, direction)
    return constant, turns


def _wait(workload: Workload, trace: Trace, start: int, guest: int) -> float:
    """Seconds from a step until the guest lacks nothing; to the end if it does for ever."""
    short = np.array([row[guest] for row in trace.shortfall[start:]])
    is_down = np.array([row[guest] for row in trace.down[start:]])
    met = np.flatnonzero((short <= _MET_MIB) & ~is_down)
    return float(met[0]) if len(met) else float(len(short))


def _step_delays(workload: Workload, trace: Trace) -> list[float]:
    """Seconds from each step that left a guest short to the first write that made its memory more."""
    delays = []
    for start, guest in workload.steps:
        if trace.shortfall[start][guest] > _MET_MIB:
            name = f"guest-{guest}"
            later = [at for at, who, direction in trace.writes if at >= start and who == name and direction > 0]
            delays += [float(later[0] - start)] if later else []
    return delays


def _host_delays(workload: Workload, trace: Trace) -> list[float]:
    """Seconds from each loss of a twentieth of the host's memory in one second to the first write that takes some."""
    losses = np.flatnonzero(np.diff(workload.own) > RESERVE_RATIO * workload.total) + 1
    later = [[at for at, _, direction in trace.writes if at >= loss and direction < 0] for loss in losses.tolist()]
    return [float(found[0] - loss) for found, loss in zip(later, losses.tolist(), strict=True) if found]


def _mean_delay(delays: Sequence[float]) -> float:
    return fmean(delays) if delays else -1.0
