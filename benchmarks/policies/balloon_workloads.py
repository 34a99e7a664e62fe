"""What hosts go through in the model: kinds of load, made from a seed (pure). Sizes are MiB, times seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.policies.balloon_model import KERNEL_MIB, KERNEL_RATIO, QEMU_MIB, Column, Guests, Workload

_SIZES_MIB = (1024, 2048, 4096, 8192, 16384)
_LEAST_RATIO, _LEAST_MIB = 0.25, 256
_QUIET_SECONDS = 120
"""How long after a change demand counts as constant again: what the change is answered with takes its time."""


@dataclass
class _Draft:
    """A workload in the making. `steps` and `changes` are seconds.

    `peak`: of the host's memory, what it and its guests need at the most; `own`: what it needs itself. Of a guest's
    maximum, `cache` is what it reads from disks in the mean, and of its demand, `hot` what of that it reads all the
    time.
    """

    random: Generator
    count: int
    seconds: int
    peak: float = 0.85
    cache: float = 0.3
    hot: float = 0.1
    own: float = 0.06
    steps: list[tuple[int, int]] = field(default_factory=list)
    changes: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        random, count = self.random, self.count
        self.maximum = random.choice(_SIZES_MIB, count, p=(0.2, 0.25, 0.3, 0.2, 0.05)).astype(float)
        self.base = self.maximum * random.uniform(0.15, 0.65, count)
        self.factor = np.ones((self.seconds, count))
        self.driver = np.full(count, 600.0)
        self.period = np.full(count, 5.0)
        self.lag = random.uniform(0.0, 2.0, count)
        self.mute = np.zeros((self.seconds, count), bool)
        self.host_extra = np.zeros(self.seconds)
        self.files_grow = 300

    def done(self, name: str) -> Workload:
        """The host is as large as `peak` makes it."""
        ceiling = 0.97 * self.maximum - 64
        demand = np.minimum(self.base * self.factor, 0.92 * ceiling)
        hot = np.minimum(self.hot * self.base * self.random.uniform(0, 2, self.count), 0.07 * ceiling)
        fixed = float((hot + KERNEL_RATIO * self.maximum + KERNEL_MIB + QEMU_MIB).sum())
        total = float((demand.sum(1) + fixed).max()) / (self.peak - self.own - float(self.host_extra.max()))
        noise = 1 + np.repeat(self.random.normal(0, 0.01, (self.seconds // 20 + 1, self.count)), 20, 0)
        demand = np.minimum(demand * noise[: self.seconds], 0.93 * ceiling)
        wanted = hot + self.cache * self.maximum * self.random.uniform(0, 2, self.count)
        # At the start all fit, and what is read from disks later fills the caches.
        room = (0.85 - self.own) * total - fixed - float(demand[0].sum())
        fits = float(np.clip(room / max(float((wanted - hot).sum()), 1.0), 0.0, 1.0))
        grown = np.clip(np.arange(self.seconds) / self.files_grow, 0, 1)[:, None]
        files = hot + (fits + (1 - fits) * grown) * (wanted - hot)
        own = self.own * total + self.host_extra * total
        return Workload(
            name=name,
            total=total,
            swap=0.1 * total,
            guests=Guests(
                maximum=self.maximum,
                least=np.maximum(_LEAST_RATIO * self.maximum, _LEAST_MIB),
                start=self.maximum.copy(),
                driver=self.driver,
                period=self.period,
                lag=self.lag,
                swap=np.maximum(0.25 * self.maximum, 512),
                hot=hot,
            ),
            own=own,
            demand=demand,
            files=files,
            mute=self.mute,
            steps=tuple(self.steps),
            is_constant=_quiet(self.changes | {0, self.files_grow}, self.seconds),
        )

    def change(self, guest: int, start: int, end: int, to: float, over: int = 0) -> None:
        """From `start` to `end` the guest's demand is multiplied by `to`; it takes so long to get there."""
        start, end = min(start, self.seconds - 1), min(end, self.seconds)
        before = self.factor[start, guest]
        path: Column = np.full(end - start, to)
        if over:
            path = before + (to - before) * np.clip(np.arange(end - start) / over, 0, 1)
        self.factor[start:end, guest] = path
        self.changes |= {start, min(start + over, self.seconds - 1)} | ({end} if end < self.seconds else set())
        self.changes |= set(range(start, start + over, 30))
        if to > before and not over:
            self.steps.append((start, guest))


def _quiet(changes: set[int], seconds: int) -> NDArray[np.bool_]:
    quiet = np.ones(seconds, bool)
    for change in changes:
        quiet[change : change + _QUIET_SECONDS] = False
    return quiet


def _constant(draft: _Draft) -> None:
    draft.peak = float(draft.random.uniform(0.55, 0.7))


def _tight(draft: _Draft) -> None:
    draft.peak = float(draft.random.uniform(0.8, 0.88))


def _steps(draft: _Draft) -> None:
    for guest in range(draft.count):
        if draft.random.random() < 0.5:
            start = int(draft.random.integers(400, draft.seconds - 300))
            draft.change(
                guest, start, start + int(draft.random.integers(120, 600)), float(draft.random.uniform(1.5, 3))
            )


def _ramps(draft: _Draft) -> None:
    for guest in range(draft.count):
        if draft.random.random() < 0.5:
            start, over = int(draft.random.integers(300, draft.seconds // 2)), int(draft.random.integers(60, 300))
            draft.change(guest, start, draft.seconds, float(draft.random.uniform(1.3, 2.5)), over)


def _bursts(draft: _Draft) -> None:
    for guest in range(draft.count):
        start = 300 + int(draft.random.exponential(300))
        while start < draft.seconds - 60:
            end = start + int(draft.random.integers(20, 120))
            draft.change(guest, start, end, float(draft.random.uniform(1.5, 4)))
            start = end + 60 + int(draft.random.exponential(500))


def _together(draft: _Draft) -> None:
    """A third of the guests step at the same time, as when they all start their nightly job."""
    for start in (500, 1000):
        for guest in np.flatnonzero(draft.random.random(draft.count) < 0.33):
            draft.change(int(guest), start, start + 240, float(draft.random.uniform(1.4, 2)))


def _slow(draft: _Draft) -> None:
    slow = draft.random.random(draft.count) < 0.4
    draft.driver = np.where(slow, draft.random.uniform(4, 25, draft.count), draft.driver)
    _steps(draft)


def _silent(draft: _Draft) -> None:
    draft.driver = np.where(draft.random.random(draft.count) < 0.2, 0.0, draft.driver)
    for guest in np.flatnonzero(draft.random.random(draft.count) < 0.2):
        start = int(draft.random.integers(200, draft.seconds - 200))
        draft.mute[start : start + int(draft.random.integers(30, 240)), guest] = True
    _steps(draft)


def _lag(draft: _Draft) -> None:
    draft.period = draft.random.choice((5.0, 10.0, 15.0), draft.count)
    draft.lag = draft.random.uniform(0.5, 0.9, draft.count) * draft.period
    _steps(draft)


def _cache(draft: _Draft) -> None:
    draft.cache, draft.hot = 0.8, 0.25
    draft.peak = 0.75
    _steps(draft)


def _pressure(draft: _Draft) -> None:
    """Something else on the host takes memory, and gives it back."""
    for start in range(452, draft.seconds - 200, 500):  # between two ticks
        end = start + int(draft.random.integers(150, 350))
        draft.host_extra[start:end] = draft.random.uniform(0.06, 0.15)
        draft.changes |= {start, end}


def _shortage(draft: _Draft) -> None:
    """For a while the guests want more than there is."""
    draft.peak = 1.1
    for guest in range(draft.count):
        if draft.random.random() < 0.7:
            draft.change(guest, 500, 900, float(draft.random.uniform(1.5, 2.2)), over=60)


def _trade(draft: _Draft) -> None:
    """One half of the guests works, then the other: what these give back is what those want."""
    draft.peak = float(draft.random.uniform(0.75, 0.9))
    working, resting = np.array_split(draft.random.permutation(draft.count), 2)
    start = 420
    while start < draft.seconds - 60:
        end = start + int(draft.random.integers(90, 240))
        for guest in working:
            draft.change(int(guest), start, end, float(draft.random.uniform(1.4, 2.5)))
        start, working, resting = end, resting, working


_MORE = (_steps, _ramps, _bursts, _together, _pressure)


def _mix(draft: _Draft) -> None:
    """Some of everything."""
    draft.peak = float(draft.random.uniform(0.65, 0.9))
    draft.cache, draft.hot = float(draft.random.uniform(0.1, 0.8)), float(draft.random.uniform(0.0, 0.25))
    for kind in draft.random.choice(3, 2, replace=False):
        (_slow, _silent, _lag)[int(kind)](draft)
    _MORE[int(draft.random.integers(len(_MORE)))](draft)


KINDS: Mapping[str, Callable[[_Draft], None]] = {
    "constant": _constant,
    "tight": _tight,
    "steps": _steps,
    "ramps": _ramps,
    "bursts": _bursts,
    "together": _together,
    "slow": _slow,
    "silent": _silent,
    "lag": _lag,
    "cache": _cache,
    "pressure": _pressure,
    "shortage": _shortage,
    "mix": _mix,
    "trade": _trade,
}


def make(kind: str, guests: int, seed: int, seconds: int = 1500) -> Workload:
    """The workload of a kind of `KINDS`: the same seed gives the same."""
    draft = _Draft(np.random.default_rng((seed, guests, list(KINDS).index(kind))), guests, seconds)
    KINDS[kind](draft)
    return draft.done(f"{kind}, {guests} guests")


def drawn(kind: str) -> Workload:
    """What the pictures show: of eight guests the first takes a step, or a burst, and nothing else changes."""
    draft = _Draft(np.random.default_rng(5), 8, 900, peak=0.82, cache=0.6)
    draft.maximum[0], draft.base[0] = 8192, 2400
    end = {"step": 900, "burst": 460}[kind]
    draft.change(0, 400, end, 2.4)
    return draft.done(f"a {kind}")
