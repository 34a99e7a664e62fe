"""What balloon policies did to real guests: what is seen each second, the goals, and the page (pure). Sizes are MiB."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.policies.balloon_policies import AUTOPILOT
from benchmarks.report import table, verdict
from benchmarks.results import Goal

MOVE_MIB = 8
"""What is less is no move of a balloon."""


@dataclass
class Seen:
    """What was seen of one policy in one round, each second; `waits` are seconds from a step until it was met."""

    seconds: int = 0
    below: int = 0
    short: float = 0.0
    short_free: float = 0.0
    constant_short_free: float = 0.0
    turns: int = 0
    reversals: int = 0
    waits: list[float] = field(default_factory=list)
    failed: int = 0
    kills: int = 0
    _moves: dict[str, tuple[float, int, bool]] = field(default_factory=dict, repr=False)

    def look(self, lacks: Mapping[str, tuple[float, float | None]], spare: float, *, is_constant: bool) -> None:
        """One second: of each guest what it lacks, and its balloon's size; what the host has beyond its reserve."""
        self.seconds += 1
        self.below += spare < 0
        short = sum(lack for lack, _ in lacks.values())
        free = min(short, max(spare, 0.0))
        self.short += short
        self.short_free += free
        self.constant_short_free += free if is_constant else 0.0
        for guest, (_, size) in lacks.items():
            if size is not None:
                self._turn(guest, size, is_constant=is_constant)

    def _turn(self, guest: str, size: float, *, is_constant: bool) -> None:
        """A move against the guest's last one is a turn, and if demand was the same at both, a reversal."""
        before, direction, was_constant = self._moves.setdefault(guest, (size, 0, False))
        if abs(size - before) < MOVE_MIB:
            return
        moved = 1 if size > before else -1
        if direction and moved != direction:
            self.turns += 1
            self.reversals += is_constant and was_constant
        self._moves[guest] = (size, moved, is_constant)


@dataclass(frozen=True, slots=True)
class _Metric:
    title: str
    of: Callable[[Sequence[Seen]], float]
    text: str
    slack: float = 0.0
    """What is no difference."""


def _each(value: Callable[[Seen], float]) -> Callable[[Sequence[Seen]], float]:
    return lambda rounds: median(value(one) for one in rounds)


def _waits(rounds: Sequence[Seen]) -> list[float]:
    return [wait for one in rounds for wait in one.waits] or [math.inf]


_METRICS = (
    _Metric("reversals", lambda rounds: sum(one.reversals for one in rounds), "{:.0f}"),
    _Metric("short while free, GiB s", _each(lambda one: one.short_free / 1024), "{:.2f}", 0.05),
    _Metric("short, GiB s", _each(lambda one: one.short / 1024), "{:.2f}", 0.05),
    _Metric("below reserve", _each(lambda one: one.below / one.seconds), "{:.1%}", 0.005),
    _Metric("step met, median s", lambda rounds: median(_waits(rounds)), "{:.1f}", 0.5),
    _Metric("worst s", lambda rounds: max(_waits(rounds)), "{:.1f}", 1.0),
    _Metric("not met", lambda rounds: sum(one.failed for one in rounds), "{:.0f}"),
    _Metric("guests killed", lambda rounds: sum(one.kills for one in rounds), "{:.0f}"),
)

_INTRODUCTION = """\
# Balloon policies on real guests

The policies of [balloon.md](balloon.md), each alone, in turns, on four real guests of a host that is too small for all
of them at once. This page is written by

```sh
{command}
```
"""
_RESULTS = """\
## What was seen

Medians of the rounds; reversals, turns, kills and what was not met are sums. **Short** is what guests lacked of what
their programs want; **while free** counts as far as the host had it beyond its reserve of {reserve:.0%}. **Reversals**
are turns of a balloon while the demand was the same at this move and the one before it, **turns** all of them. **Step
met** is from a step of demand until the guest's programs hold it: the copying itself is most of that. **Killed** are
guests that died for lack of memory, of the host's or their own; from then on they lack all that they want. Waits are
those of steps that were met, so a policy under which some never are looks faster than it is.
"""
_METHOD = """\
## How it is measured

- **A run** takes {seconds:g} seconds in phases of {phase:g}, or longer while a guest waits for its memory; in every
  other one the demand stays as it was. What a guest's programs hold is a file in its memory, which grows by commands of
  the host, and waits for memory when there is none. The demand is made from a seed, another one in each round, and the
  same for all policies of a round, which come in an order of its own.
- **Before each run** every guest gives what it has touched, gets all its memory back, and uses {warm} MiB of it for a
  moment, as guests have that run for a while.
- **All times of the rules are divided by {faster}**, of all policies, but not what they wait for a driver, and the
  demand changes as much more often. **All sizes in the peers' rules are divided by {smaller}**: they are made for hosts
  with gigabytes, and this one stands for one of {stands:.1f} GiB.
- The exporter and the actuator are the real ones, on a real libvirtd, at ticks of 1 s; drivers report each second. The
  host is made small by hugepages, and what is in these does not count as its memory. KSM is off, and there is no swap:
  a guest that lacks memory waits, and where the host has less than {left} MiB, its largest guest is killed, as
  systemd-oomd would do.
"""


def markdown(
    facts: Mapping[str, str],
    found: Mapping[str, Sequence[Seen]],
    *,
    command: str,
    reserve: float,
    method: Mapping[str, float],
) -> str:
    """The whole document; `method` are the numbers of `_METHOD`."""
    head = ("policy", "rounds:", *(f"{metric.title}:" for metric in _METRICS), "turns:")
    sections = (
        _INTRODUCTION.format(command=command),
        table(("", ""), facts.items()),
        "## Goals\n",
        table(("goal", "measured", ""), ((goal.text, goal.measured, verdict(goal)) for goal in goals(found))),
        _RESULTS.format(reserve=reserve),
        table(head, (_row(name, rounds) for name, rounds in found.items())),
        _METHOD.format_map(method),
    )
    return "\n".join(sections)


def goals(found: Mapping[str, Sequence[Seen]]) -> tuple[Goal, ...]:
    """What the autopilot should reach."""
    own = found.get(AUTOPILOT, ())
    reversals, short = sum(one.reversals for one in own), sum(one.constant_short_free for one in own) / 1024
    worse = list(_worse(found))
    return (
        Goal(
            text="no reversal at constant demand",
            measured=str(reversals),
            met=reversals == 0 if own else None,
        ),
        Goal(
            text="nothing short at constant demand while the host has memory",
            measured=f"{short:.2f} GiB s in all rounds",
            met=short < 0.05 if own else None,
        ),
        Goal(
            text="no number worse than the best peer's",
            measured="; ".join(worse) or "none is",
            met=not worse if own and len(found) > 1 else None,
        ),
    )


def _worse(found: Mapping[str, Sequence[Seen]]) -> Iterator[str]:
    peers = {name: rounds for name, rounds in found.items() if name != AUTOPILOT}
    if AUTOPILOT in found and peers:
        for metric in _METRICS:
            own = metric.of(found[AUTOPILOT])
            least, name = min((metric.of(rounds), name) for name, rounds in peers.items())
            if own > least + metric.slack:
                yield f"{metric.title}: {metric.text.format(own)} for {name}'s {metric.text.format(least)}"


def _row(name: str, rounds: Sequence[Seen]) -> tuple[str, ...]:
    cells = [metric.text.format(metric.of(rounds)) for metric in _METRICS]
    return (name, str(len(rounds)), *cells, str(sum(one.turns for one in rounds)))
