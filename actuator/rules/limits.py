"""Limits of a knob: how far and how often a rule may move it (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from actuator.knobs.knob import Unit

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")

CONTINUOUS = (Unit.COUNT, Unit.SECONDS, Unit.MILLISECONDS, Unit.BYTES)
"""Units of which a distance means something."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A distance: a share of the present value (`ratio`, 0.05 is 5 %) or a number in the knob's unit."""

    ratio: float | None = None
    absolute: int | None = None

    def of(self, value: int) -> float:
        """The distance at `value`; a share of nothing counts as a share of 1, so that 0 can be left."""
        if self.absolute is not None:
            return self.absolute
        return (self.ratio or 0.0) * max(abs(value), 1)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one knob, each None when not limited.

    `min`, `max`: the range of setpoints. `step`: the farthest one write may move. `deadband`: smaller moves
    are not worth a write. `writes_per_minute`: of each target.
    """

    min: int | None = None
    max: int | None = None
    step: Amount | None = None
    deadband: Amount | None = None
    writes_per_minute: int | None = None


def amount(unit: Unit) -> Callable[[str], Amount]:
    """A parser of `5%` or of a number in `unit`."""

    def parse(text: str) -> Amount:
        percent = _PERCENT.fullmatch(text)
        return Amount(ratio=float(percent[1]) / 100) if percent else Amount(absolute=number(unit)(text))

    return parse


def number(unit: Unit) -> Callable[[str], int]:
    """A parser of a number in `unit`."""

    def parse(text: str) -> int:
        value = unit.parse(text)
        if not isinstance(value, int):
            raise ValueError(f"a {unit.value} has no such limit")  # noqa: TRY004 (bad input, not a bad type)
        return value

    return parse
