"""How guests divide a host's memory: who gives, who gets, and how much of it now (pure).

All sizes are bytes. Four marks divide the memory of each guest: its floor, its need, what it keeps (its present size,
or its need if that is more) and its ceiling. What there is for all of them together ends in one band between two marks:

- above what they keep, the rest is given out, and nobody shrinks;
- between need and kept, idle memory is taken, and nobody grows beyond its need;
- between floor and need, nobody keeps more than it needs.

Within the band a strategy decides: it gives each guest a line, `base + slope * level`, and the level is raised like
water until the memory is used up. Since no mark but the present size moves at constant demand, and that one only toward
the plan, a plan that is half carried out leads to itself: no guest ever turns around. Deadbands keep what is not quite
constant from moving anything.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")

IDLE_TAX = 0.75
"""How much of its idle memory a guest cannot keep by its shares: ESX Server's default (Waldspurger, OSDI 2002, 5.2)."""

# Beyond them the arithmetic of levels would lose bytes.
MIN_SHARES, MAX_SHARES = 1e-6, 1e15
# Who has no shares or no need gives first and gets last, but does count.
_MIN_SLOPE = 1e-9
# A level that is not quite the one of a bound must not cost a byte.
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One guest, sizes in bytes. `need` is what it should have and counts as within its floor and ceiling; `shares` its
    weight; moves smaller than `deadband` are not worth it. One that does not respond (its balloon does not follow, or
    must not be touched) keeps what it has.

    ValueError if the floor is above the ceiling, or a number makes no sense.
    """

    size: int
    floor: int
    ceiling: int
    need: int
    shares: float = 1.0
    deadband: int = 0
    responds: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= self.ceiling:
            raise ValueError(f"the floor {self.floor} is not between 0 and the ceiling {self.ceiling}")
        if self.shares and not MIN_SHARES <= self.shares <= MAX_SHARES:
            raise ValueError(f"{self.shares:g} shares: write 0, or from {MIN_SHARES:g} to {MAX_SHARES:g}")

    @property
    def needed(self) -> int:
        """The need within floor and ceiling."""
        return min(max(self.need, self.floor), self.ceiling)

    @property
    def kept(self) -> int:
        """What it has or needs, whatever is more, within its ceiling."""
        return min(max(self.size, self.needed), self.ceiling)


@dataclass(frozen=True, slots=True)
class Line:
    """`base + slope * level`, not below `low` nor above `high`; the slope is above 0."""

    low: int
    high: int
    base: float
    slope: float

    def at(self, level: float) -> float:
        return min(max(self.base + self.slope * level, self.low), self.high)

    @property
    def bends(self) -> tuple[float, float]:
        """The levels at which it meets its bounds."""
        return (self.low - self.base) / self.slope, (self.high - self.base) / self.slope


Curve = tuple[float, float]
Strategy = Callable[[Guest, bool], Curve]
"""A guest's base and slope; the flag says whether there is enough for the needs of all."""


def _idle(guest: Guest, is_enough: bool) -> Curve:
    # ESX takes from whom has the lowest shares / (active + idle / (1 - tax)); here the level is that ratio's inverse.
    if not is_enough:
        return 0.0, guest.shares
    return IDLE_TAX * guest.needed, (1 - IDLE_TAX) * guest.shares


def _shares(guest: Guest, _: bool) -> Curve:
    return guest.floor, guest.shares


def _range(guest: Guest, _: bool) -> Curve:
    return guest.floor, guest.ceiling - guest.floor


def _demand(guest: Guest, is_enough: bool) -> Curve:
    return 0.0, guest.needed if is_enough else guest.shares


STRATEGIES: Mapping[str, Strategy] = {"idle": _idle, "shares": _shares, "range": _range, "demand": _demand}


def allocate(guests: Mapping[K, Guest], free: int, by: str) -> dict[K, int]:
    """The sizes to ask for now of the guests that respond, by a strategy of `STRATEGIES`.

    `free`: bytes that the host should gain, or below 0 may give. What is granted now comes from what the host may give
    now: memory that this very plan frees is granted by a later one, when it has come back.
    """
    movable = {key: guest for key, guest in guests.items() if guest.responds}
    goals = divide(movable, sum(guest.size for guest in movable.values()) - free, by)
    if not _is_worth_it(movable, goals):
        return {key: guest.size for key, guest in movable.items()}
    wanted = {key: goals[key] - guest.size for key, guest in movable.items() if goals[key] > guest.size}
    total, available = sum(wanted.values()), max(-free, 0)
    granted = {key: want * min(available, total) // total for key, want in wanted.items()}
    return {key: guest.size + granted[key] if key in granted else goals[key] for key, guest in movable.items()}


def _is_worth_it(guests: Mapping[K, Guest], goals: Mapping[K, int]) -> bool:
    """Whether the moves together exceed the deadbands together, or a guest in need would gain more than its own."""
    moves = {key: goals[key] - guest.size for key, guest in guests.items()}
    return sum(map(abs, moves.values())) > sum(guest.deadband for guest in guests.values()) or any(
        guest.size < guest.needed and moves[key] > guest.deadband for key, guest in guests.items()
    )


def divide(guests: Mapping[K, Guest], total: int, by: str) -> dict[K, int]:
    """What each guest should have of `total` bytes in the end, floors and ceilings before everything else."""
    is_enough = total >= sum(guest.needed for guest in guests.values())
    all_keep = total > sum(guest.kept for guest in guests.values())
    lines = []
    for guest in guests.values():
        if all_keep:
            low, high = guest.kept, guest.ceiling
        elif is_enough:
            low, high = guest.needed, guest.kept
        else:
            low, high = guest.floor, guest.needed
        base, slope = STRATEGIES[by](guest, is_enough)
        lines.append(Line(low, high, base, max(slope, _MIN_SLOPE)))
    return dict(zip(guests, pour(total, lines), strict=True))


def pour(total: int, lines: Sequence[Line]) -> list[int]:
    """The lines at the one level at which they add up to `total`, or as near to it as their bounds allow.

    Whole bytes, rounded down.
    """

    def filled(level: float) -> float:
        return sum(line.at(level) for line in lines)

    # The sum is straight between the levels at which a line meets one of its bounds.
    bends = sorted({bend for line in lines for bend in line.bends})
    above = bisect_left(bends, float(total), key=filled)
    level = bends[min(above, len(bends) - 1)] if bends else 0.0
    if 0 < above < len(bends):
        below = bends[above - 1]
        level = below + (level - below) * (total - filled(below)) / (filled(level) - filled(below))
    return [int(line.at(level) + _ROUNDING) for line in lines]
