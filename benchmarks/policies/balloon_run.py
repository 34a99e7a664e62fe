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
from benchmarks.policies.balloon_model import Host, Workload

TICK_SECONDS = 5
RESERVE_RATIO = 0.05
"""Of the host's memory, what should be available at any time: what the knobs themselves leave to a host."""
_MET_MIB = 1.0
_START = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class Score:
    """What a policy did on a workload; less is better, but for `writes` and what is there to explain the others.

    `reversals`: writes that turn a guest around while nothing changes. `shortfall_free`: GiB seconds that guests lacked
    while the host had them beyond its reserve, `shortfall` all of them. `below`: seconds in which the host had less than
    its reserve. `step_mean`, `step_worst`: seconds from a step of demand until the guest has what it wants.
    `swap`: GiB that guests wrote to swap. `kills`: programs in guests and whole guests, for lack of memory.
    `turns`: all writes that turn a guest around. `host_swap`: GiB that the host wrote to swap. `tick_ms`: of the engine.
    `react_first`, `react_done`: seconds from a loss of the host's own memory to the first write, and to the reserve.
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


@dataclass
class Trace:
    """Rows by second: sizes, shortfalls and demands of guests in MiB, and what the host had available."""

    actual: list[NDArray[np.float64]] = field(default_factory=list)
    shortfall: list[NDArray[np.float64]] = field(default_factory=list)
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
            trace.available.append(host.available)
    waits = [_wait(workload, trace, start, guest) for start, guest in workload.steps]
    reversals, turns = _reversals(trace.writes, workload)
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


def _reversals(writes: Sequence[tuple[int, str, int]], workload: Workload) -> tuple[int, int]:
    """Writes against the guest's last one: with nothing changing since before that, and all."""
    changing = np.cumsum(~workload.is_constant)
    last: dict[str, tuple[int, int]] = {}
    constant = turns = 0
    for second, guest, direction in writes:
        before, was = last.get(guest, (second, direction))
        if was != direction:
            turns += 1
            constant += bool(workload.is_constant[before] and changing[before] == changing[second])
        last[guest] = (second, direction)
    return constant, turns


def _wait(workload: Workload, trace: Trace, start: int, guest: int) -> float:
    """Seconds from a step until the guest lacks nothing; to the end if it does for ever."""
    short = np.array([row[guest] for row in trace.shortfall[start:]])
    met = np.flatnonzero(short <= _MET_MIB)
    return float(met[0]) if len(met) else float(len(short))
