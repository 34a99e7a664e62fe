"""What the tour has shown: chapters, their steps, and numbers before and after each (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Unit(Enum):
    """What a number counts; its value is what is printed behind it."""

    BYTES = "MiB"
    RATIO = "%"
    RATE = "a second"
    COUNT = ""
    WORD = "a word, no number"


Value = float | str | None
"""Bytes, a ratio or a count; a word; None where there is nothing."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What to look at: a PromQL expression over the metrics of both programs, that gives at most one number."""

    what: str
    expr: str
    unit: Unit
    label: str = ""
    """Of a word: the label that has it. Several series give several words."""
    drawn: bool = True
    """Whether the picture has it, too, if it is a number."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was watched, before and after a step."""

    watch: Watch
    before: Value
    after: Value

    @property
    def texts(self) -> tuple[str, str]:
        return text(self.before, self.watch.unit), text(self.after, self.watch.unit)

    @property
    def numbers(self) -> tuple[float, float]:
        """Both values; ValueError if they are not numbers."""
        if isinstance(self.before, float) and isinstance(self.after, float):
            return self.before, self.after
        raise ValueError(f"{self.watch.what}: {self.before} and {self.after} are not two numbers")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What was done and why, and what came of it."""

    name: str
    why: str
    by_hand: tuple[str, ...]
    """Commands by which an operator does the same, or sees it."""
    rule: str
    """Name of the rule's file; empty if no rule was at work."""
    rows: tuple[Row, ...]
    shown: str
    """What programs have printed."""
    remarks: tuple[str, ...]

    def row(self, what: str) -> Row:
        """What was watched under that name."""
        return next(row for row in self.rows if row.watch.what == what)


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """`number`: of the chapter in the guide that the tour follows. `read_on`: a Markdown link."""

    number: str
    title: str
    steps: tuple[Step, ...]
    read_on: str

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


@dataclass(frozen=True, kw_only=True)
class Story:
    """The whole tour."""

    chapters: tuple[Chapter, ...]
    left: tuple[str, ...]
    """Knobs of the host, as paths, that were not as before when the last chapter had ended."""

    def chapter(self, number: str) -> Chapter:
        """The chapter of that number."""
        return next(chapter for chapter in self.chapters if chapter.number == number)

    def rows(self) -> Iterator[tuple[Chapter, Step, Row]]:
        """All that was watched, in order."""
        return ((chapter, step, row) for chapter in self.chapters for step in chapter.steps for row in step.rows)


def text(value: Value, unit: Unit) -> str:
    """A value for people."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    match unit:
        case Unit.BYTES:
            return f"{value / 2**20:.0f} MiB"
        case Unit.RATIO:
            return f"{value * 100:.1f} %"
        case Unit.RATE:
            return f"{value:.0f} a second"
        case _:
            return f"{value:.0f}"
