"""Random series with what a real server sees: gaps, jitter, resets, NaN, infinities, stale markers, broken histograms."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from actuator.data.store import Store
from actuator.promql import labels
from actuator.promql.labels import Labels
from actuator.promql.types import STALE_MARKER

START_MS = 1_700_000_040_000
"""When the first samples are, at a full minute. Any time will do for a server that has no other data."""
DURATION_MS = 75 * 60_000
END_MS = START_MS + DURATION_MS
INTERVAL_MS = 15_000

JOBS = ("api", "db", "web")
BOUNDS = ("0.1", "0.5", "1", "2.5", "1e1", "+Inf")
EXTREMES = (0.0, -0.0, 5e-324, -2.5e-310, 1e-300, 1e308, -1.7e308, 1e16, 1.0, 710.0, -745.0, math.inf, -math.inf)
SWINGS = (1e16, -1e16, 1e16, -1e16, 1.0, 3.0, 0.1)
DATES = (0.0, -1.0, 1.7e9, 951_782_400.0, -62_135_596_801.0, 253_402_300_800.0, -1e12, 1e15, 1e300, math.nan)
FEW = (0.0, 0.0, 1.0, 1.0, 2.0, -3.0, 0.5, math.nan)

Values: TypeAlias = Callable[[random.Random], Iterator[float]]


@dataclass(frozen=True)
class Samples:
    """One series: its labels, and its values by unix milliseconds in order of time."""

    labels: Labels
    points: dict[int, float]


def generate(seed: str) -> list[Samples]:
    """All series of a run."""
    rng = random.Random(f"{seed}/data")
    return [
        *_family(rng, "gauge", _walk),
        *_family(rng, "requests_total", _counter),
        *_family(rng, "errors_total", _counter),
        *_family(rng, "level", _any_of(FEW)),
        *(_series(rng, {labels.NAME: "extreme", "n": str(n)}, _any_of(EXTREMES)) for n in range(3)),
        *(_series(rng, {labels.NAME: "swing", "n": str(n)}, _any_of(SWINGS)) for n in range(3)),
        *(_series(rng, {labels.NAME: "epoch", "n": str(n)}, _any_of(DATES)) for n in range(3)),
        *(_series(rng, {labels.NAME: "info", "job": job, "version": f"1.{n}"}, _one) for n, job in enumerate(JOBS)),
        *(bucket for job in JOBS for bucket in _histogram(rng, job)),
    ]


def store(series: Sequence[Samples]) -> Store:
    """The samples as the evaluator reads them."""
    result = Store(math.inf)
    for samples in series:
        stored = result.series(samples.labels)
        for time_ms, value in samples.points.items():
            stored.append(time_ms, value)
    return result


def _family(rng: random.Random, name: str, values: Values) -> Iterator[Samples]:
    """Series of one name, some of which lack a label that others have."""
    for job in JOBS:
        for instance in ("a1", "a10", "a2"):
            pairs = {labels.NAME: name, "job": job, "instance": instance}
            if rng.random() < 0.3:
                pairs["mode"] = rng.choice(["idle", "user", "1"])
            if rng.random() < 0.15:
                del pairs["instance"]
                pairs["mode"] = f"no {instance}"
            if rng.random() < 0.7:
                yield _series(rng, pairs, values)


def _histogram(rng: random.Random, job: str) -> Iterator[Samples]:
    """A classic histogram; some lack a bucket or are not monotonic, and all are scraped a little apart."""
    pairs = {labels.NAME: "latency_bucket", "job": job}
    growth = 0.0
    for bound in BOUNDS:
        growth += rng.choice([0.0, 0.3, 1.0, 3.0]) * (1 if rng.random() < 0.8 else -1)
        if rng.random() < 0.85:
            yield _series(rng, {**pairs, "le": bound}, _growing(growth))
    if rng.random() < 0.5:
        yield _series(rng, {**pairs, "le": "many"}, _counter)


def _series(rng: random.Random, pairs: dict[str, str], values: Values) -> Samples:
    points = dict(zip(_times(rng), values(rng), strict=False))
    for time_ms in _interrupted(rng, points):
        points[time_ms] = STALE_MARKER
    return Samples(labels.make(pairs), points)


def _times(rng: random.Random) -> Iterator[int]:
    """Times of scrapes: most series live from start to end, half are exactly on time, some scrapes fail."""
    begin = START_MS + (rng.randrange(DURATION_MS) if rng.random() < 0.2 else 0)
    end = END_MS - (rng.randrange(DURATION_MS) if rng.random() < 0.2 else 0)
    jitter = rng.choice([0, 0, 20, 4000])
    lost = rng.choice([0.0, 0.02, 0.2])
    gap_from = rng.randrange(START_MS, END_MS)
    gap = range(gap_from, gap_from + rng.choice([0, 0, 5 * INTERVAL_MS, 6 * 60_000, 20 * 60_000]))
    for time_ms in range(begin - begin % INTERVAL_MS, end, INTERVAL_MS):
        if time_ms not in gap and rng.random() >= lost:
            yield time_ms + rng.randint(0, jitter)


def _interrupted(rng: random.Random, points: dict[int, float]) -> list[int]:
    """Times of stale markers: now and then, and at the end of the series."""
    times = list(points)
    chance = rng.choice([0.0, 0.0, 0.01, 0.1])
    return [time_ms for time_ms in times if rng.random() < chance] + times[-1:]


def _walk(rng: random.Random) -> Iterator[float]:
    value = rng.uniform(-50, 50)
    special = rng.choice([0.0, 0.0, 0.03])
    while True:
        value += rng.gauss(0, 5)
        yield rng.choice([math.nan, math.inf, -math.inf, 0.0]) if rng.random() < special else value


def _counter(rng: random.Random) -> Iterator[float]:
    """A counter that is idle at times, and begins anew at times."""
    value = rng.choice([0.0, 0.0, 5.0, 1e9])
    resets = rng.choice([0.0, 0.01, 0.05])
    size = rng.choice([1.0, 0.1, 1e6])
    while True:
        yield value
        if rng.random() < resets:
            value = rng.choice([0.0, size])
        elif rng.random() < 0.7:
            value += size * rng.randrange(20)


def _growing(growth: float) -> Values:
    def values(rng: random.Random) -> Iterator[float]:
        for scrape in count():
            yield max(0.0, growth * scrape)

    return values


def _any_of(choices: Sequence[float]) -> Values:
    def values(rng: random.Random) -> Iterator[float]:
        while True:
            value = rng.choice(choices)
            for _ in range(rng.randint(1, 12)):
                yield value

    return values


def _one(rng: random.Random) -> Iterator[float]:
    while True:
        yield 1.0
