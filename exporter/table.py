"""Metrics as tables (pure): a row has a name, a type, what its number means, and how to get it.

Numbers are about a subject: the host, a pool of hugepages, a domain. `families` applies a table to all
subjects of one kind, each with the values of the labels that tell them apart. Nothing is published for None:
absent is not zero.

A family holds its samples as lines of the exposition format. prometheus_client's own objects and exposition take about
ten times as long, which at 300 guests is the better part of a scrape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S")

Labels = tuple[str, ...]

GAUGE, COUNTER = "gauge", "counter"


@dataclass(frozen=True)
class Row(Generic[S]):
    """One metric: it has one `number` of each subject, or `labels` beyond the subject's own, whose values and numbers
    are its `samples`."""

    name: str
    kind: str
    meaning: str
    number: Callable[[S], float | None] | None = None
    labels: Labels = ()
    samples: Callable[[S], Iterable[tuple[Labels, float]]] = lambda _: ()

    def rendered(self, head: str, subject: S) -> str | None:
        """The lines of a subject, whose own labels are written in `head`; None if there are none."""
        if self.number:
            value = self.number(subject)
            if value is None:
                return None
            written = value if type(value) is int else _written(value)
            return f"{self.name}{{{head}}} {written}" if head else f"{self.name} {written}"
        start = f"{self.name}{{{head}," if head else f"{self.name}{{"
        lines = [
            f"{start}{label_pairs(self.labels, values)}}} {_written(value)}" for values, value in self.samples(subject)
        ]
        return "\n".join(lines) if lines else None


class Family(NamedTuple):
    """A metric and its samples: `text` has a line `name{labels} value` for each, without the end of the last."""

    name: str
    kind: str
    meaning: str
    text: str


def gauge(name: str, meaning: str, get: Callable[[S], float | None]) -> Row[S]:
    """A number that goes up and down."""
    return Row(name, GAUGE, meaning, get)


def counter(name: str, meaning: str, get: Callable[[S], float | None]) -> Row[S]:
    """A number that only grows, until a restart of what it counts; `name` ends in `_total`."""
    return Row(name, COUNTER, meaning, get)


def numbers(name: str, meaning: str, labels: Labels, get: Callable[[S], Iterable[tuple[Labels, float]]]) -> Row[S]:
    """A number that goes up and down for each part of the subject; `labels` tell the parts apart."""
    return Row(name, GAUGE, meaning, labels=labels, samples=get)


def state_set(name: str, meaning: str, label: str, get: Callable[[S], Mapping[str, bool]]) -> Row[S]:
    """A sample for every state there is, 1 for those that hold and 0 for the others."""

    def samples(subject: S) -> Iterable[tuple[Labels, float]]:
        return [((state,), on) for state, on in get(subject).items()]

    return Row(name, GAUGE, meaning, labels=(label,), samples=samples)


def info(name: str, meaning: str, labels: Labels, get: Callable[[S], Labels | None]) -> Row[S]:
    """Words about a subject as label values, on a constant 1; `name` ends in `_info`."""

    def samples(subject: S) -> Iterable[tuple[Labels, float]]:
        values = get(subject)
        return () if values is None else ((values, 1),)

    return Row(name, GAUGE, meaning, labels=labels, samples=samples)


def families(table: Iterable[Row[S]], subjects: Iterable[tuple[Labels, S]], labels: Labels = ()) -> Iterator[Family]:
    """The metrics of a table over `(label values, subject)` pairs; `labels` names those values.

    A metric without any sample is left out. `ValueError` if the values do not match the names.
    """
    heads = [(label_pairs(labels, values), subject) for values, subject in subjects]
    for row in table:
        blocks = [block for head, subject in heads if (block := row.rendered(head, subject)) is not None]
        if blocks:
            yield Family(row.name, row.kind, row.meaning, "\n".join(blocks))


def label_pairs(names: Labels, values: Labels) -> str:
    """`domain="web",uuid="..."`. `ValueError` if there are not as many values as names."""
    if len(names) != len(values):
        raise ValueError(f"labels {names} do not go with the values {values}")
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)])


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _written(value: float) -> str:
    """A number as Go's ParseFloat reads it."""
    if isinstance(value, int):
        return str(int(value))
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
