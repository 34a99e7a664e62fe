"""What was measured, as Markdown (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.meter import Cpu, Cycle
from benchmarks.results import FLOOR, SUBJECT, Goal, Latency, Summary

_ABSENT = "–"
_INTRODUCTION = """\
# What a scrape costs

Each program ran alone, in turns, against the same paused guests (16 MiB, emulated, with a virtio balloon)
under one libvirtd. The floor does the reads of a scrape, or the bulk balloon call, and nothing else: it parses
nothing and serves no HTTP. [How it is measured](#how-it-is-measured). This page is written by

```sh
{command}
```
"""
_METHOD = """\
## How it is measured

- **Latency** is from the request to the last byte, for a client that asks as Prometheus does. p50, p95 and p99 are of
  the scrapes of all rounds together; in brackets the smallest and largest p50 of a round.
- **CPU per scrape** comes from time slots of equal length, with and without a scrape, in random order: the median of
  those with, less the median of those without. So what a program does in the background is not in it.
- **A slow-tier round** is found by its effect: a paused guest's QEMU sleeps until it is asked for its balloon. From
  one waking to the next lies one whole cycle of the background. What the exporter uses without its slow tier is taken
  off, if it can be run so. The floor makes its call as often.
- **CPU time** is the kernel's clock of each process, exact to the nanosecond. All numbers but latencies are medians of
  the rounds; memory is that of the round with the most.
"""


def markdown(facts: Mapping[str, str], summaries: Sequence[Summary], goals: Sequence[Goal], *, command: str) -> str:
    """The whole document; `facts` is what to know of the machine and the run."""
    sections = (
        _INTRODUCTION.format(command=command),
        table(("", ""), facts.items()),
        "## Goals\n",
        table(("goal", "measured", ""), ((goal.text, goal.measured, verdict(goal)) for goal in goals)),
        "## A scrape: how long it takes\n\nMilliseconds.\n",
        table(_LATENCY_HEAD, map(_latencies, summaries)),
        "## A scrape: what it costs\n\nMilliseconds of CPU, and what is got for them.\n",
        table(_CPU_HEAD, map(_cpus, summaries)),
        "## A slow-tier round\n\nMilliseconds of CPU, and the seconds from one round to the next.\n",
        table(_SLOW_HEAD, _slow_rows(summaries)),
        "## Processes\n",
        table(_FOOTPRINT_HEAD, map(_footprint, summaries)),
        f"## Ratios\n\n{SUBJECT} divided by the others: less than 1 is better, but for samples.\n",
        table(_RATIO_HEAD, _ratio_rows(summaries)),
        _METHOD,
    )
    return "\n".join(sections)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns after the first two are numbers, set to the right, if the head says so by `:`."""
    names = [name.removesuffix(":") for name in head]
    rules = ["---:" if name.endswith(":") else "---" for name in head]
    lines = (names, rules, *rows)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


_LATENCY_HEAD = ("guests:", "program", "p50:", "p95:", "p99:", "gzip p50:", "gzip p95:", "gzip p99:")


def _latencies(one: Summary) -> tuple[str, ...]:
    return (str(one.guests), one.program, *_latency(one.plain), *_latency(one.gzip))


_CPU_HEAD = (
    "guests:", "program", "program's CPU:", "with gzip:", "libvirtd's:", "QEMU's:", "samples:", "KiB:", "KiB, gzip:",
)  # fmt: skip


def _cpus(one: Summary) -> tuple[str, ...]:
    gzip_cpu = _ABSENT if one.gzip_cpu is None else ms(one.gzip_cpu.program)
    return (
        str(one.guests), one.program, ms(one.cpu.program), gzip_cpu, ms(one.cpu.libvirtd), ms(one.cpu.qemu),
        _count(one.samples), _kib(one.page_bytes), _kib(one.gzip_bytes),
    )  # fmt: skip


def _latency(latency: Latency | None) -> tuple[str, str, str]:
    if latency is None:
        return (_ABSENT, _ABSENT, _ABSENT)
    return (f"{ms(latency.p50)} ({ms(latency.low)}–{ms(latency.high)})", ms(latency.p95), ms(latency.p99))


_SLOW_HEAD = ("guests:", "what", "every:", "program:", "libvirtd:", "QEMU:", "total:", "x floor:")


def _slow_rows(summaries: Sequence[Summary]) -> Iterator[tuple[str, ...]]:
    floors = {one.guests: one.slow for one in summaries if one.program == FLOOR}
    for one in summaries:
        floor = floors.get(one.guests)
        if one.slow:
            yield _slow(one.guests, "bare bulk call" if one.program == FLOOR else one.program, one.slow, floor)
        if one.background and one.background != one.slow:
            yield _slow(one.guests, f"{one.program}, all of its background", one.background, floor)


def _slow(guests: int, what: str, cycle: Cycle, floor: Cycle | None) -> tuple[str, ...]:
    ratio = _ABSENT if floor is None else f"{cycle.cpu.total / floor.cpu.total:.2f}"
    return (str(guests), what, f"{cycle.seconds:.2f} s", *_cpu(cycle.cpu), ratio)


def _cpu(cpu: Cpu) -> tuple[str, ...]:
    return (ms(cpu.program), ms(cpu.libvirtd), ms(cpu.qemu), ms(cpu.total))


_FOOTPRINT_HEAD = ("guests:", "program", "processes:", "RSS MiB:", "PSS MiB:", "descriptors:", "threads:")


def _footprint(one: Summary) -> tuple[str, ...]:
    held = one.footprint
    return (
        str(one.guests), one.program, str(held.processes), f"{held.rss_bytes / 2**20:.1f}",
        f"{held.pss_bytes / 2**20:.1f}", str(held.descriptors), str(held.threads),
    )  # fmt: skip


_RATIO_HEAD = ("guests:", "to", "p50:", "p95:", "CPU per scrape, all processes:", "samples:", "RSS:")


def _ratio_rows(summaries: Sequence[Summary]) -> Iterator[tuple[str, ...]]:
    own = {one.guests: one for one in summaries if one.program == SUBJECT}
    for other in summaries:
        subject = own.get(other.guests)
        if subject and other.program != SUBJECT:
            yield (
                str(other.guests),
                other.program,
                ratio(subject.plain.p50, other.plain.p50),
                ratio(subject.plain.p95, other.plain.p95),
                ratio(subject.cpu.total, other.cpu.total),
                ratio(subject.samples, other.samples),
                ratio(subject.footprint.rss_bytes, other.footprint.rss_bytes),
            )


def ratio(one: float | None, other: float | None) -> str:
    return f"{one / other:.2f}" if one is not None and other else _ABSENT


def ms(seconds: float) -> str:
    """Milliseconds, with as many digits as are worth reading."""
    value = seconds * 1000
    if abs(value) >= 100:
        return f"{value:.0f}"
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.removeprefix("-") if float(text) == 0 else text


def verdict(goal: Goal) -> str:
    """Whether a goal is met, for a table."""
    return {True: "met", False: "**missed**", None: _ABSENT}[goal.met]


def _count(number: int | None) -> str:
    return _ABSENT if number is None else str(number)


def _kib(size_bytes: int | None) -> str:
    return f"{size_bytes / 1024:.1f}" if size_bytes else _ABSENT
