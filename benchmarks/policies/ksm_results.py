"""What runs of KSM policies come to, and the page about it (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from benchmarks.policies.ksm_load import MIB
from benchmarks.policies.ksm_mixes import MIXES
from benchmarks.policies.ksm_policies import AUTOPILOT, FULL, SCALE
from benchmarks.policies.ksm_run import HOST_MIB, Trace
from benchmarks.report import ratio, table, verdict
from benchmarks.results import Goal

AREA_OF_FULL = 0.95
CPU_OF_FULL = 0.25
TAIL_OF_CHEAPEST = 2.0
_REACHED = 0.90
_TAIL = 0.25
"""The last part of a run, over which CPU counts as that after convergence."""

Runs = Mapping[tuple[str, str], Sequence[Trace]]
"""By mix and policy, a trace for each round."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A policy on a mix: medians of the rounds."""

    mix: str
    policy: str
    area_mib_seconds: float
    area_of_full: float
    """Of what full speed saved in the same round, as are the next two."""
    cpu_of_full: float
    reached_seconds: float | None
    """When it saved 90 % of the most that full speed saved; None where it did not in half of the rounds."""
    cpu_seconds: float
    write_seconds: float | None
    """In `step`, the time from the step to the first write; None where there was none in half of the rounds."""
    recovery_seconds: float | None
    """Likewise, the time from the step until 90 % are merged."""
    tail_ratio: float
    """CPUs that ksmd used at the end of the run."""

    @property
    def area_per_cpu(self) -> float:
        """MiB-seconds for each second of CPU; none for nothing."""
        return self.area_mib_seconds / self.cpu_seconds if self.cpu_seconds else 0.0


def scores(runs: Runs) -> list[Score]:
    """One for each mix and policy, in the order of `runs`."""
    return [_score(mix, policy, traces, runs[mix, FULL]) for (mix, policy), traces in runs.items()]


def area(trace: Trace) -> float:
    """MiB-seconds saved over a run."""
    pairs = pairwise(trace)
    return sum((b.seconds - a.seconds) * (a.saved_bytes + b.saved_bytes) / 2 for a, b in pairs) / MIB


def _score(mix: str, policy: str, traces: Sequence[Trace], full: Sequence[Trace]) -> Score:
    both = list(zip(traces, full, strict=True))
    stepped = [(trace, best, _step(trace)) for trace, best in both] if mix == "step" else []
    return Score(
        mix=mix,
        policy=policy,
        area_mib_seconds=median(map(area, traces)),
        area_of_full=median(area(trace) / area(best) for trace, best in both),
        cpu_of_full=median(_cpu(trace) / _cpu(best) for trace, best in both),
        reached_seconds=_middle([_reached(trace, best) for trace, best in both]),
        cpu_seconds=median(map(_cpu, traces)),
        write_seconds=_middle([_first_write(trace, at) for trace, _, at in stepped]),
        recovery_seconds=_middle([_reached(trace, best, at) for trace, best, at in stepped]),
        tail_ratio=median(map(_tail, traces)),
    )


def _middle(found: Sequence[float | None]) -> float | None:
    """The median, where None is later than any."""
    return sorted(found, key=lambda one: math.inf if one is None else one)[len(found) // 2] if found else None


def _cpu(trace: Trace) -> float:
    return trace[-1].cpu_seconds


def _reached(trace: Trace, best: Trace, at: float = 0.0) -> float | None:
    """Seconds from `at` until as much is saved as 90 % of the most that `best` saved."""
    wanted_bytes = _REACHED * max(look.saved_bytes for look in best)
    return next((look.seconds - at for look in trace if look.seconds > at and look.saved_bytes >= wanted_bytes), None)


def _step(trace: Trace) -> float:
    """When the last processes came."""
    return max(after.seconds for before, after in pairwise(trace) if after.size_bytes > before.size_bytes)


def _first_write(trace: Trace, at: float) -> float | None:
    """Seconds from `at` until a file of KSM's changes."""
    changes = ((one.seconds - at, one.files != other.files) for other, one in pairwise(trace) if one.seconds > at)
    return next((seconds for seconds, changed in changes if changed), None)


def _tail(trace: Trace) -> float:
    last = [look for look in trace if look.seconds >= trace[-1].seconds * (1 - _TAIL)]
    return (last[-1].cpu_seconds - last[0].cpu_seconds) / (last[-1].seconds - last[0].seconds)


def goals(scored: Sequence[Score]) -> Iterator[Goal]:
    """Those of each mix."""
    for mix in dict.fromkeys(score.mix for score in scored):
        own, *others = sorted(
            (score for score in scored if score.mix == mix), key=lambda score: score.policy != AUTOPILOT
        )
        best = max(others, key=lambda score: score.area_per_cpu)
        yield Goal(
            text=f"{mix}: at least {AREA_OF_FULL:.0%} of full speed's saved area",
            measured=f"{own.area_of_full:.1%}",
            met=own.area_of_full >= AREA_OF_FULL,
        )
        yield Goal(
            text=f"{mix}: at most {CPU_OF_FULL:.0%} of its CPU",
            measured=f"{own.cpu_of_full:.1%}",
            met=own.cpu_of_full <= CPU_OF_FULL,
        )
        yield Goal(
            text=f"{mix}: more area for a CPU second than any other",
            measured=f"{own.area_per_cpu:.0f} MiB, the next best ({best.policy}) {best.area_per_cpu:.0f}",
            met=own.area_per_cpu > best.area_per_cpu,
        )
        there = [score for score in others if score.reached_seconds is not None]
        cheapest = min(there, key=lambda score: score.tail_ratio)
        yield Goal(
            text=f"{mix}: CPU at the end at most {TAIL_OF_CHEAPEST:g} times that of the cheapest that has merged 90 %",
            measured=f"{own.tail_ratio:.2%} of a CPU, {cheapest.policy} {cheapest.tail_ratio:.2%}",
            met=own.tail_ratio <= TAIL_OF_CHEAPEST * cheapest.tail_ratio,
        )


def markdown(facts: Mapping[str, str], scored: Sequence[Score], *, command: str, seconds: float, rounds: int) -> str:
    """The whole page."""
    found = [(goal.text, goal.measured, verdict(goal)) for goal in goals(scored)]
    sections = [
        _INTRODUCTION.format(command=command),
        table(("", ""), facts.items()),
        "## Goals\n",
        table(("goal", "measured", ""), found),
        _MISSED,
    ]
    for mix in dict.fromkeys(score.mix for score in scored):
        rows = [_row(score) for score in scored if score.mix == mix]
        sections += [f"## {mix}: {MIXES[mix][0]}\n\n![](ksm-{mix}.svg)\n", table(_HEAD, rows)]
    if stepped := [score for score in scored if score.mix == "step"]:
        rows = [(score.policy, _real(score.write_seconds), _real(score.recovery_seconds)) for score in stepped]
        sections += [_REACTION, table(("policy", "first write:", "90 % merged:"), rows)]
    method = _METHOD.format(seconds=seconds, rounds=rounds, scale=SCALE, minutes=seconds * SCALE / 60, host=HOST_MIB)
    return "\n".join([*sections, method])


_HEAD = (
    "policy", "saved, of full speed's:", "CPU, of full speed's:", "saved MiB·s:", "ksmd's CPU seconds:",
    "MiB·s for a CPU second:", "90 % merged after:", "CPU at the end:",
)  # fmt: skip


def _row(score: Score) -> tuple[str, ...]:
    reached = f"{score.reached_seconds:.1f} s" if score.reached_seconds is not None else "–"
    return (
        score.policy, ratio(score.area_of_full, 1.0), ratio(score.cpu_of_full, 1.0), f"{score.area_mib_seconds:.0f}",
        f"{score.cpu_seconds:.2f}", f"{score.area_per_cpu:.0f}", reached, f"{score.tail_ratio:.2%}",
    )  # fmt: skip


def _real(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * SCALE:.0f} s"


_MISSED = """\
Where one is missed, it is by the same two things. In *barren* little can be merged at all, some 20 MiB, and it is found
in parts, as processes come: all of it is merged in the end, but the area of so little is small, and a second of delay
is much of it. And where all is merged at once, as in *clones*, Harvester's rules stop ksmd; the patrol goes on, at a
thousandth of a CPU and less, since nothing else tells what guests write to merged pages.
"""
_REACTION = """\
## Reaction

From the moment when the four processes of `step` come, which leaves the host short of memory, to the first write to a
file of KSM's, and until 90 % of what full speed merges is merged. In seconds of real life.
"""
_INTRODUCTION = """\
# KSM: what is saved, and for how much CPU

Who steers ksmd best? Each policy ran alone, in turns, on the same mixes of mergeable memory, on the real kernel.
[How it is measured](#how-it-is-measured). [The autopilot's control law](../autopilot-ksm.md). This page is written by

```sh
{command}
```
"""
_METHOD = """\
## How it is measured

- **Mixes** are made of plain processes with `MADV_MERGEABLE` memory: equal pages, empty ones, pages of their own, and
  pages that change ten times a second. The kernel has `use_zero_pages` 0, so that empty pages are merged like others.
- **A run** takes {seconds:g} seconds, and stands for {minutes:g} minutes of a host with {scale} times the memory: all
  times of all policies are divided by {scale}, and ksmd is as fast as ever. Each round has its own `step` and `mixed`.
  Numbers are medians of {rounds} rounds, in each of which all policies take their turn; parts of full speed's are of
  one round.
- **The autopilot** is the exporter and the actuator as processes, with rules/autopilot.yml and the default policy on
  this host, which has plenty of memory: it is told of no shortage. **The peers** are told of a host of {host} MiB
  (times {scale}) that has nothing but these processes, so that most mixes leave it short until memory is merged; else
  most of them would never start. Their decisions are those of `tests/peers/ksmpeers.py`, to which tests hold
  rules/peers/*.yml and Debian's own script. The kernel's advisor is the real one, its 200 s divided by {scale}.
- **Saved** is (pages_sharing + ksm_zero_pages) * 4 KiB, looked at twenty times a second. **CPU** is ksmd's, by
  /proc/PID/schedstat. What the exporter and the actuator use is on another page: [actuator.md](actuator.md).
- **CPU at the end** is of the last quarter of a run. Who never merged, or gave up, uses none there and is not compared.
"""
