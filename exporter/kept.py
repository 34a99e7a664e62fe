"""Metrics of guests (pure): what is the same as in the last scrape is not written again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import is_
from typing import Generic, NamedTuple, TypeVar

from exporter.table import Family, Labels, Row, label_pairs

S = TypeVar("S")


class _Place(NamedTuple, Generic[S]):
    """What is written of one subject: of each row its lines, None where there are none."""

    head: str
    subject: S
    written: tuple[str | None, ...]


class Kept(Generic[S]):
    """A table of metrics that remembers what it wrote of each subject, for as long as it is the same or an equal one.

    So subjects must be immutable, and cheap to compare: of most guests, most is as it was.
    """

    def __init__(self, table: Sequence[Row[S]], labels: Labels) -> None:
        self._table = table
        self._labels = labels
        self._places: dict[Labels, _Place[S]] = {}
        self._families: tuple[Family, ...] = ()

    def families(self, subjects: Iterable[tuple[Labels, S]]) -> Iterator[Family]:
        """What `exporter.table.families` gives; subjects that are not among these are forgotten."""
        places = {}
        for values, subject in subjects:
            place = self._places.get(values)
            if place is None or not (place.subject is subject or place.subject == subject):
                head = place.head if place else label_pairs(self._labels, values)
                place = _Place(head, subject, tuple([row.rendered(head, subject) for row in self._table]))
            places[values] = place
        if not _are_the_same(self._places, places):
            self._places = places
            self._families = tuple(self._written())
        yield from self._families

    def _written(self) -> Iterator[Family]:
        columns = zip(*[place.written for place in self._places.values()], strict=True)
        for row, column in zip(self._table, columns, strict=False):  # no column at all without subjects
            text = "\n".join([written for written in column if written is not None])
            if text:
                yield Family(row.name, row.kind, row.meaning, text)


def _are_the_same(before: dict[Labels, _Place[S]], now: dict[Labels, _Place[S]]) -> bool:
    return len(before) == len(now) and all(map(is_, before.values(), now.values()))
