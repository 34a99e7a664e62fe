"""What the mergeable memory of a host does over a run: seeded schedules (pure)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.policies.ksm_load import Part


@dataclass(frozen=True)
class Arrive:
    """A process comes, with this memory."""

    at: float
    """When, as a part of the run: 0 to 1."""
    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Leave:
    """A process ends."""

    at: float
    name: str


@dataclass(frozen=True)
class Rewrite:
    """The equal pages of a process get other contents."""

    at: float
    name: str
    seed: int


Event = Arrive | Leave | Rewrite


def _process(mib: int, *, equal: float, zero: float, volatile: float, seed: int = 1) -> tuple[Part, ...]:
    sizes = {"equal": round(mib * equal), "zero": round(mib * zero), "volatile": round(mib * volatile)}
    own = mib - sum(sizes.values())
    parts = (
        Part("equal", sizes["equal"], seed),
        Part("zero", sizes["zero"]),
        Part("own", own),
        Part("volatile", sizes["volatile"]),
    )
    return tuple(part for part in parts if part.mib)


def _clones(chance: random.Random) -> list[Event]:
    return [
        Arrive(0.0, f"p{number}", _process(64, equal=chance.uniform(0.4, 0.6), zero=0.1, volatile=0.05))
        for number in range(6)
    ]


def _arrivals(chance: random.Random) -> list[Event]:
    events: list[Event] = []
    for number in range(8):
        at = 0.0 if number < 2 else (number - 1 + chance.uniform(-0.3, 0.3)) / 9
        parts = _process(48, equal=chance.uniform(0.3, 0.7), zero=0.1, volatile=0.05, seed=number % 2)
        events.append(Arrive(at, f"p{number}", parts))
    return [*events, Leave(chance.uniform(0.4, 0.5), "p0"), Leave(chance.uniform(0.6, 0.7), "p2")]


def _churn(chance: random.Random) -> list[Event]:
    events: list[Event] = [
        Arrive(0.0, f"p{number}", _process(80, equal=0.5, zero=0.1, volatile=0.1)) for number in range(4)
    ]
    for turn in (1, 2, 3):
        at = turn / 4 + chance.uniform(-0.05, 0.05)
        events += [Rewrite(at, f"p{number}", 10 + turn) for number in chance.sample(range(4), 2)]
    return events


def _barren(chance: random.Random) -> list[Event]:
    return [
        Arrive(chance.uniform(0, 0.3), f"p{number}", _process(64, equal=0.06, zero=0.02, volatile=0.2))
        for number in range(5)
    ]


def _mixed(chance: random.Random) -> list[Event]:
    events: list[Event] = []
    for number in range(chance.randint(5, 9)):
        at = chance.choice((0.0, chance.uniform(0, 0.8)))
        shares = {
            "equal": chance.uniform(0.05, 0.6),
            "zero": chance.uniform(0, 0.3),
            "volatile": chance.uniform(0, 0.1),
        }
        parts = _process(chance.randint(24, 72), **shares, seed=chance.randint(1, 3))
        events.append(Arrive(at, f"p{number}", parts))
        if chance.random() < 0.3:
            events.append(Leave(chance.uniform(at + 0.1, 1), f"p{number}"))
        elif chance.random() < 0.3:
            events.append(Rewrite(chance.uniform(at + 0.1, 1), f"p{number}", chance.randint(1, 3)))
    return events


def _step(chance: random.Random) -> list[Event]:
    at = chance.uniform(0.2, 0.4)
    return [
        Arrive(0.0 if number < 2 else at, f"p{number}", _process(64, equal=0.5, zero=0.1, volatile=0.02))
        for number in range(6)
    ]


MIXES: dict[str, tuple[str, Callable[[random.Random], list[Event]]]] = {
    "clones": ("six processes from the start, half of their memory equal", _clones),
    "arrivals": ("eight processes that come one after the other, of two kinds; two leave", _arrivals),
    "churn": ("four processes, two of which get other contents three times", _churn),
    "barren": ("five processes that come early; 8 % of their memory can be merged, a fifth never rests", _barren),
    "step": ("two processes; then four more at once, which leave the host short", _step),
    "mixed": ("five to nine processes of random kinds that come, change and leave at random", _mixed),
}
"""By name: what it is, and its events made by chance."""

DIFFERENT = ("step", "mixed")
"""Those that are others in each round."""


def schedule(mix: str, seed: int) -> Sequence[Event]:
    """The events of a mix, in order; the same seed gives the same."""
    return sorted(MIXES[mix][1](random.Random(f"{mix} {seed}")), key=lambda event: event.at)
