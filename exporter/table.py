"""Metrics as tables (pure): a row has a name, a type, what its number means, and how to get it.

Numbers are about a subject: the host, a pool of hugepages, a domain. `families` applies a table to all
subjects of one kind, each with the values of the labels that tell them apart. Nothing is published for None:
absent is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

S = TypeVar("S")

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Row(Generic[S]):
    """One metric; `labels` are those beyond the subject's own, `samples` gives their values and numbers."""

    name: str
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily]
    meaning: str
    labels: Labels
    samples: Callable[[S], Iterable[tuple[Labels, float]]]


def gauge(name: str, meaning: str, get: Callable[[S], float | None]) -> Row[S]:
    """A number that goes up and down."""
    return Row(name, GaugeMetricFamily, meaning, (), lambda subject: _unlabelled(get(subject)))


def counter(name: str, meaning: str, get: Callable[[S], float | None]) -> Row[S]:
    """A number that only grows, until a restart of what it counts; `name` ends in `_total`."""
    return Row(name, CounterMetricFamily, meaning, (), lambda subject: _unlabelled(get(subject)))


def state_set(name: str, meaning: str, label: str, get: Callable[[S], Mapping[str, bool]]) -> Row[S]:
    """A sample for every state there is, 1 for those that hold and 0 for the others."""
    return Row(
        name,
        GaugeMetricFamily,
        meaning,
        (label,),
        lambda subject: [((state,), float(holds)) for state, holds in get(subject).items()],
    )


def info(name: str, meaning: str, labels: Labels, get: Callable[[S], Labels | None]) -> Row[S]:
    """Words about a subject as label values, on a constant 1; `name` ends in `_info`."""

    def samples(subject: S) -> Iterable[tuple[Labels, float]]:
        values = get(subject)
        return () if values is None else ((values, 1.0),)

    return Row(name, GaugeMetricFamily, meaning, labels, samples)


def families(table: Iterable[Row[S]], subjects: Iterable[tuple[Labels, S]], labels: Labels = ()) -> Iterator[Metric]:
    """The metrics of a table over `(label values, subject)` pairs; `labels` names those values.

    A metric without any sample is left out. `ValueError` if the values do not match the names.
    """
    subjects = tuple(subjects)
    for row in table:
        names = labels + row.labels
        family = row.kind(row.name, row.meaning, labels=names)
        for own, subject in subjects:
            for more, value in row.samples(subject):
                # add_metric would pair as many as there are, and drop the rest without a word.
                if len(own + more) != len(names):
                    raise ValueError(f"{row.name} has labels {names}, not values {own + more}")
                family.add_metric(own + more, value)
        if family.samples:
            yield family


def _unlabelled(value: float | None) -> Iterable[tuple[Labels, float]]:
    return () if value is None else (((), value),)
