"""What was measured: a round of one program, the medians of its rounds, and the goals they meet or miss (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from benchmarks.meter import Cpu, Cycle, Footprint, median_cpu

SUBJECT = "kvmtune-exporter"
FLOOR = "floor"

P95_SECONDS = {150: 0.020, 300: 0.040}
QEMU_SECONDS = 0.0001
SLOW_RATIO = 1.3
RSS_BYTES = 80 * 2**20
LINEAR_RATIO = 1.1
"""How much more than in proportion to guests a cost may grow and still count as linear: for noise."""


@dataclass(frozen=True, kw_only=True)
class Scrapes:
    """Scrapes of one kind in one round: what each took, and the CPU time that one causes."""

    seconds: tuple[float, ...]
    cpu: Cpu
    qemu_ran_ratio: float
    """In how many of them any QEMU process ran at all."""
    page_bytes: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one program did in one round. None: it does not have that."""

    program: str
    guests: int
    plain: Scrapes
    gzip: Scrapes | None = None
    samples: int | None = None
    qemu_ran_idle_ratio: float
    """As `qemu_ran_ratio`, in stretches of the same length without a scrape."""
    slow: Cycle | None = None
    """A round of the slow tier; for the floor, the bulk call, with the seconds to the next one."""
    background: Cycle | None = None
    """All that is done from one round of the slow tier to the next."""
    footprint: Footprint
    others_cores: float
    """CPUs that were in use meanwhile by none of ours."""
    others_guests: int
    """QEMU processes that are none of ours: exporters that look into /proc see them, too."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds. The percentiles are of all rounds; `low` and `high` are the smallest and largest p50 of a round."""

    p50: float
    p95: float
    p99: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One program at one number of guests: medians of the rounds, but for latencies."""

    program: str
    guests: int
    plain: Latency
    gzip: Latency | None
    cpu: Cpu
    gzip_cpu: Cpu | None
    qemu_ran_ratio: float
    qemu_ran_idle_ratio: float
    samples: int | None
    page_bytes: int
    gzip_bytes: int | None
    slow: Cycle | None
    background: Cycle | None
    footprint: Footprint
    others_cores: float
    others_guests: int

    @property
    def slowest_p95(self) -> float:
        return max(self.plain.p95, self.gzip.p95 if self.gzip else 0.0)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """`met` is None if it was not measured."""

    text: str
    measured: str
    met: bool | None


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(percent / 100 * len(ordered)), 1) - 1]


def summary(rounds: Sequence[Round]) -> Summary:
    """All rounds of one program at one number of guests."""
    first = rounds[0]
    gzips = [one.gzip for one in rounds if one.gzip]
    return Summary(
        program=first.program,
        guests=first.guests,
        plain=_latency([one.plain for one in rounds]),
        gzip=_latency(gzips) if gzips else None,
        cpu=median_cpu(one.plain.cpu for one in rounds),
        gzip_cpu=median_cpu(one.cpu for one in gzips) if gzips else None,
        qemu_ran_ratio=median(one.plain.qemu_ran_ratio for one in rounds),
        qemu_ran_idle_ratio=median(one.qemu_ran_idle_ratio for one in rounds),
        samples=first.samples,
        page_bytes=first.plain.page_bytes,
        gzip_bytes=gzips[0].page_bytes if gzips else None,
        slow=_cycle(one.slow for one in rounds),
        background=_cycle(one.background for one in rounds),
        footprint=max((one.footprint for one in rounds), key=lambda footprint: footprint.rss_bytes),
        others_cores=median(one.others_cores for one in rounds),
        others_guests=max(one.others_guests for one in rounds),
    )


def goals(summaries: Sequence[Summary]) -> tuple[Goal, ...]:
    """The goals of kvmtune's own exporter, each at every number of guests that it is about."""
    own = sorted((one for one in summaries if one.program == SUBJECT), key=lambda one: one.guests)
    floors = {one.guests: one for one in summaries if one.program == FLOOR}
    return (
        *(_p95(own, guests, limit) for guests, limit in P95_SECONDS.items()),
        *(_qemu(one) for one in own),
        *(_slow(one, floors.get(one.guests)) for one in own),
        *(_rss(one) for one in own),
        *_linear(own),
    )


def _latency(rounds: Sequence[Scrapes]) -> Latency:
    everything = [seconds for one in rounds for seconds in one.seconds]
    medians = [percentile(one.seconds, 50) for one in rounds]
    return Latency(
        p50=percentile(everything, 50),
        p95=percentile(everything, 95),
        p99=percentile(everything, 99),
        low=min(medians),
        high=max(medians),
    )


def _cycle(cycles: Iterable[Cycle | None]) -> Cycle | None:
    found = [one for one in cycles if one]
    if not found:
        return None
    return Cycle(seconds=median(one.seconds for one in found), cpu=median_cpu(one.cpu for one in found))


def _p95(own: Sequence[Summary], guests: int, limit: float) -> Goal:
    text = f"scrape p95 at most {limit * 1000:.0f} ms at {guests} guests"
    for one in own:
        if one.guests == guests:
            gzip = f", {one.gzip.p95 * 1000:.1f} ms with gzip" if one.gzip else ""
            return Goal(text=text, measured=f"{one.plain.p95 * 1000:.1f} ms{gzip}", met=one.slowest_p95 <= limit)
    return Goal(text=text, measured="not measured", met=None)


def _qemu(one: Summary) -> Goal:
    ran = f"QEMU ran in {one.qemu_ran_ratio:.0%} of scrapes, {one.qemu_ran_idle_ratio:.0%} of equal times without"
    return Goal(
        text=f"no QEMU CPU caused by a scrape at {one.guests} guests",
        measured=f"{one.cpu.qemu * 1000:.2f} ms; {ran}",
        # One that asks guests would wake them each time.
        met=one.cpu.qemu < QEMU_SECONDS or one.qemu_ran_ratio <= one.qemu_ran_idle_ratio,
    )


def _slow(one: Summary, floor: Summary | None) -> Goal:
    text = f"slow-tier round at most {SLOW_RATIO} x the CPU of the bare balloon call at {one.guests} guests"
    if not (one.slow and floor and floor.slow):
        return Goal(text=text, measured="not measured", met=None)
    ratio = one.slow.cpu.total / floor.slow.cpu.total
    measured = f"{ratio:.2f} x ({one.slow.cpu.total * 1000:.0f} ms to {floor.slow.cpu.total * 1000:.0f} ms)"
    return Goal(text=text, measured=measured, met=ratio <= SLOW_RATIO)


def _rss(one: Summary) -> Goal:
    return Goal(
        text=f"RSS of all processes at most {RSS_BYTES / 2**20:.0f} MiB at {one.guests} guests",
        measured=f"{one.footprint.rss_bytes / 2**20:.1f} MiB in {one.footprint.processes} processes",
        met=one.footprint.rss_bytes <= RSS_BYTES,
    )


def _linear(own: Sequence[Summary]) -> Iterator[Goal]:
    costs: tuple[tuple[str, Callable[[Summary], float | None]], ...] = (
        ("scrape p50", lambda one: one.plain.p50),
        ("CPU per scrape", lambda one: one.cpu.program),
        ("CPU per slow-tier round", lambda one: one.slow.cpu.total if one.slow else None),
        ("RSS", lambda one: one.footprint.rss_bytes),
    )
    for name, cost in costs:
        points = [(one.guests, value) for one in own if (value := cost(one)) is not None]
        steps = [
            (f"{fewer} to {more} guests: x {above / below:.2f}", above / below <= LINEAR_RATIO * more / fewer)
            for (fewer, below), (more, above) in pairwise(points)
            if below > 0
        ]
        yield Goal(
            text=f"{name} grows no faster than the number of guests",
            measured="; ".join(step for step, _ in steps) or "not measured",
            met=all(linear for _, linear in steps) if steps else None,
        )
