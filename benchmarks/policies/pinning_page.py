"""What the placement rules made of guests' work: runs, their ratios, and the page (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmarks.report import table, verdict
from benchmarks.results import Goal

Arm = Literal["the rules", "pins as they are", "the kernel alone"]
RULES: Arm = "the rules"
WRONG: Arm = "pins as they are"
KERNEL: Arm = "the kernel alone"
LEAST_RATIO = 0.98

State = tuple[float, Sequence[int], float, float]
"""Seconds since the begin, what each guest has counted, seconds that vCPUs waited, CPU seconds of the programs."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One arm of one round. A rate is work a second, of all guests; `settled` is the second half."""

    scenario: str
    arm: Arm
    rate: float
    settled_rate: float
    delay_ratio: float
    """Seconds a second that all vCPUs together waited for a CPU, in the settled part."""
    least_share: float
    """The work of the guest that got least, as a part of an equal share, in the settled part."""
    programs_ratio: float
    """CPUs that exporter and actuator used."""
    moves: int

    @property
    def line(self) -> str:
        """For the log."""
        return (
            f"{self.scenario}, {self.arm}: {self.settled_rate:.0f} loops a second, "
            f"{self.delay_ratio:.2f} CPUs waited for, {self.moves} moves"
        )


def run(scenario: str, arm: Arm, states: Sequence[State], *, moves: int) -> Run:
    """From the states at the begin, after half of the time, and at the end."""
    begin, half, end = states
    settled_seconds = end[0] - half[0]
    settled = [after - before for before, after in zip(half[1], end[1], strict=True)]
    return Run(
        scenario=scenario,
        arm=arm,
        rate=(sum(end[1]) - sum(begin[1])) / end[0],
        settled_rate=sum(settled) / settled_seconds,
        delay_ratio=(end[2] - half[2]) / settled_seconds,
        least_share=min(settled) * len(settled) / max(sum(settled), 1),
        programs_ratio=(end[3] - begin[3]) / end[0],
        moves=moves,
    )


def goals(runs: Sequence[Run]) -> tuple[Goal, ...]:
    """Never less work than the kernel alone has done, and more where pins were wrong: medians of the rounds' ratios."""
    found = []
    for scenario in dict.fromkeys(one.scenario for one in runs):
        of = [one for one in runs if one.scenario == scenario]
        against_kernel = _ratio(of, KERNEL)
        found.append(
            Goal(
                text=f"{scenario}: at least {LEAST_RATIO} of the work that the kernel alone gets done",
                measured=_spread(against_kernel),
                met=median(against_kernel) >= LEAST_RATIO,
            )
        )
        if against_wrong := _ratio(of, WRONG):
            found.append(
                Goal(
                    text=f"{scenario}: more work than with the pins as they are",
                    measured=_spread(against_wrong),
                    met=median(against_wrong) > 1.0,
                )
            )
    return tuple(found)


def _ratio(runs: Iterable[Run], other: Arm) -> list[float]:
    """Of each round, the work with the rules by that of the other arm."""
    runs = list(runs)
    ours = [one.settled_rate for one in runs if one.arm == RULES]
    theirs = [one.settled_rate for one in runs if one.arm == other]
    return [mine / its for mine, its in zip(ours, theirs, strict=False)]


def _spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def markdown(
    facts: Mapping[str, str],
    about: Mapping[str, str],
    runs: Sequence[Run],
    *,
    command: str,
    seconds: float,
    faster: int,
) -> str:
    """The whole page; `about` says what each scenario is."""
    rounds = len([one for one in runs if (one.scenario, one.arm) == (runs[0].scenario, RULES)])
    return "\n".join(
        (
            _INTRODUCTION.format(command=command),
            table(("", ""), facts.items()),
            "## Goals\n",
            table(("goal", "measured", ""), ((goal.text, goal.measured, verdict(goal)) for goal in goals(runs))),
            f"## What the guests got done\n\nMedians of {rounds} rounds.\n",
            "".join(f"- **{name}**: {what}.\n" for name, what in about.items()),
            table(_HEAD, _rows(runs)),
            _METHOD.format(seconds=seconds, faster=faster),
        )
    )


_HEAD = (
    "scenario", "", "thousand loops a second:", "from the start:", "CPUs waited for:", "least guest's share:",
    "moves:", "CPUs of the programs:",
)  # fmt: skip


def _rows(runs: Sequence[Run]) -> Iterable[Sequence[str]]:
    for scenario, arm in dict.fromkeys((one.scenario, one.arm) for one in sorted(runs, key=_order(runs))):
        of = [one for one in runs if (one.scenario, one.arm) == (scenario, arm)]
        yield (
            scenario,
            arm,
            f"{median(one.settled_rate for one in of) / 1000:.1f}",
            f"{median(one.rate for one in of) / 1000:.1f}",
            f"{median(one.delay_ratio for one in of):.2f}",
            f"{median(one.least_share for one in of):.2f}",
            f"{median(one.moves for one in of):.0f}",
            f"{median(one.programs_ratio for one in of):.3f}",
        )


def _order(runs: Sequence[Run]) -> Callable[[Run], tuple[int, int]]:
    scenarios = list(dict.fromkeys(one.scenario for one in runs))
    return lambda one: (scenarios.index(one.scenario), (RULES, KERNEL, WRONG).index(one.arm))


_INTRODUCTION = """\
# What the placement rules make of guests' work

This page is written by

```sh
{command}
```
"""
_METHOD = """\
## How it is measured

- **Guests** of the lab (one vCPU each, emulated, no KVM) count the turns of a loop. In each round each arm runs for
  {seconds:.0f} s, in an order that differs from round to round; work, waiting and shares are those of the second
  half, when the rules have had time to see what is wrong. *From the start* is all of it.
- **The rules** are the group `cpu` of the autopilot with the shipped policy, with all their times divided by {faster},
  at ticks of 500 ms. **Pins as they are** starts on the same wrong CPUs, **the kernel alone** with no pins.
  There the same programs run, in a dry run: so all arms pay for them. At ticks of 5 s they cost a tenth.
- **CPUs waited for** is by the kernel: how long the vCPUs' threads could have run and did not
  (`/proc/PID/task/TID/schedstat`), in seconds a second, all guests together.
- **Least guest's share**: 1.00 is as much as the others have. Guests that work in bursts want less.
- Ratios are made round by round; the goals show their median, the least and the most.
"""
