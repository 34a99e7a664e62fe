"""`make bench-actuator`: what the actuator costs, how soon it reacts, and which goals it meets."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from statistics import median

from benchmarks import actuator_programs, actuator_tick, circumstances
from benchmarks.actuator_programs import Use
from benchmarks.actuator_tick import Ticks
from benchmarks.arguments import count
from benchmarks.circumstances import say
from benchmarks.report import ms, table, verdict
from benchmarks.results import Goal, percentile
from tests.lab.errors import LabError
from tests.lab.lab import REPOSITORY

PAGE = REPOSITORY / "docs/benchmarks/actuator.md"
TICK_SECONDS = 0.100
REACTION_TICKS = 2.0
CPU_RATIO = 0.01
RSS_MIB = 100

_SERIES = 10_000
_DESCRIPTION = """\
Measures the actuator: CPU of a tick with a hundred rules on ten thousand series,
the time from a step in memory to the first write, and what it uses beside fifty
guests. Changes nothing on this host. As root the guests are real, in a libvirtd
of their own; else they are on a page only.
"""
_EPILOG = """\
Results go to standard output, progress to standard error.

Examples:
  make bench-actuator BENCH="--ticks 10 --steps 5 --seconds 20"
  make bench-actuator BENCH=--write

Exit status: 0 measured, whatever became of the goals; 1 a program failed; 2 bad
input.
"""


def main() -> int:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))  # so that what was started ends, too
    started, load = time.time(), circumstances.load()
    try:
        say(f"{options.ticks} ticks over {_SERIES} series")
        ticks = actuator_tick.ticks(_SERIES, options.ticks)
        say(f"{options.steps} steps of memory")
        reactions = actuator_programs.reactions(options.steps)
        say(f"{options.seconds} s beside {options.guests} guests")
        uses = actuator_programs.use(options.guests, options.seconds)
    except LabError as error:
        print(f"bench-actuator: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    facts = circumstances.machine() | {
        "run": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, "
        f"{(time.time() - started) / 60:.0f} minutes",
        "load average": f"{load} before, {circumstances.load()} after",
    }
    page = markdown(facts, ticks, reactions, uses)
    print(page)
    if options.write:
        PAGE.write_text(page)
        say(f"written to {PAGE.relative_to(REPOSITORY)}")
    return 0


def goals(ticks: Ticks, reactions: Sequence[float], uses: Sequence[Use]) -> tuple[Goal, ...]:
    """Of a tick the 95th percentile counts, of reactions the slowest, of uses each."""
    slow = percentile(ticks.cpu, 95)
    return (
        Goal(
            text=f"a tick with {ticks.rules} rules on {ticks.series} series takes at most {ms(TICK_SECONDS)} ms of CPU",
            measured=f"{ms(median(ticks.cpu))} ms, p95 {ms(slow)} ms",
            met=slow <= TICK_SECONDS,
        ),
        Goal(
            text=f"from a step in memory to the first write at most {REACTION_TICKS:g} ticks of 1 s",
            measured=f"{median(reactions):.2f} ticks, at most {max(reactions):.2f}",
            met=max(reactions) <= REACTION_TICKS,
        ),
        *(goal for use in uses for goal in _use(use)),
    )


def _use(use: Use) -> tuple[Goal, Goal]:
    cpu, rss = use.cpu / use.seconds, use.footprint.rss_bytes / 2**20
    return (
        Goal(
            text=f"at most {CPU_RATIO:.0%} of a core with {use.guests} guests at ticks of 5 s: {use.rules}",
            measured=f"{cpu:.2%}",
            met=cpu <= CPU_RATIO,
        ),
        Goal(
            text=f"at most {RSS_MIB} MiB with {use.guests} guests: {use.rules}",
            measured=f"{rss:.1f} MiB in {use.footprint.processes} "
            f"process{'es' if use.footprint.processes > 1 else ''}, PSS {use.footprint.pss_bytes / 2**20:.1f} MiB",
            met=rss <= RSS_MIB,
        ),
    )


def markdown(facts: dict[str, str], ticks: Ticks, reactions: Sequence[float], uses: Sequence[Use]) -> str:
    """The whole document."""
    found = goals(ticks, reactions, uses)
    rest = [whole - scrape for whole, scrape in zip(ticks.cpu, ticks.scrape_cpu, strict=True)]
    parts = {"the whole tick": ticks.cpu, "its scrape: HTTP, parsing, storing": ticks.scrape_cpu, "its rules": rest}
    return "\n".join(
        (
            _INTRODUCTION.format(command=circumstances.command("bench-actuator")),
            table(("", ""), facts.items()),
            "## Goals\n",
            table(("goal", "measured", ""), ((goal.text, goal.measured, verdict(goal)) for goal in found)),
            "## A tick\n\nMilliseconds of CPU.\n",
            table(
                ("", "median:", "p95:", "most:"),
                ((what, ms(median(cpu)), ms(percentile(cpu, 95)), ms(max(cpu))) for what, cpu in parts.items()),
            ),
            _METHOD.format(ticks=ticks, count=len(ticks.cpu), steps=len(reactions), use=uses[0]),
        )
    )


_INTRODUCTION = """\
# What the actuator costs

This page is written by

```sh
{command}
```
"""
_METHOD = """\
## How it is measured

- **A tick** is one of the real engine, in a dry run, over {count} ticks: a scrape by HTTP of a page with {ticks.series}
  series ({ticks.guests} guests, made of a fixture host's page; counters grow, gauges sway), then {ticks.rules} rules
  (`benchmarks/actuator_rules.py`: records, ratios of guests, rates of vCPUs, aggregations, joins, placements,
  allocations), of which some act: {ticks.decisions} decisions in the last tick. Samples of more than five minutes are
  in memory. CPU time is that of all threads.
- **A reaction** is from the moment when MemAvailable changes to the write of `ksm.run`, with exporter and actuator as
  processes on a host of files, at {steps} random moments. The rule has no `for`.
- **CPU and memory** are those of all processes of the actuators, side by side, in a dry run at ticks of 5 s, over
  {use.seconds:.0f} s, with {use.series} series of {use.guests} guests ({use.of}). The simple rules have nothing to do
  there, so that no knob is read; the others read the balloon and the vCPUs of each guest at each tick. A page that
  processes share counts for each, and for PSS by parts.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-actuator",
        usage='make bench-actuator [BENCH="OPTIONS"]',
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--ticks", type=count, default=60, metavar="N", help="ticks that count (default: 60)")
    parser.add_argument("--steps", type=count, default=20, metavar="N", help="steps of memory (default: 20)")
    parser.add_argument(
        "--guests", type=count, default=50, metavar="N", help="guests beside which it runs (default: 50)"
    )
    parser.add_argument(
        "--seconds", type=count, default=60, metavar="N", help="for how long it is watched then (default: 60)"
    )
    parser.add_argument(
        "--write", action="store_true", help=f"write the results to {PAGE.relative_to(REPOSITORY)}, too"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
