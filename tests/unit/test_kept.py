"""Metrics that are written once for each subject, as long as it is the same or an equal one."""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.kept import Kept
from exporter.table import Labels, Row, families, gauge


@dataclass(frozen=True)
class Subject:
    value: float | None
    asked: list[str] = field(default_factory=list, compare=False)

    def get(self) -> float | None:
        self.asked.append("value")
        return self.value


TABLE: tuple[Row[Subject], ...] = (
    gauge("kvm_x", "X.", Subject.get),
    gauge("kvm_y", "Y.", lambda subject: subject.value and -subject.value),
)


def subjects(**values: float | None) -> list[tuple[Labels, Subject]]:
    return [((name,), Subject(value)) for name, value in values.items()]


def test_it_shows_what_a_table_shows() -> None:
    given = subjects(a=1, b=None, c=3)
    assert list(Kept(TABLE, ("name",)).families(given)) == list(families(TABLE, given, ("name",)))


def test_the_same_subject_is_not_asked_again() -> None:
    kept, given = Kept(TABLE, ("name",)), subjects(a=1, b=2)
    first = list(kept.families(given))
    assert list(kept.families(given)) == first
    assert [subject.asked for _, subject in given] == [["value"], ["value"]]


def test_an_equal_subject_is_not_asked() -> None:
    kept, before, after = Kept(TABLE, ("name",)), subjects(a=1), subjects(a=1)
    first = list(kept.families(before))
    assert list(kept.families(after)) == first
    assert not after[0][1].asked


def test_another_subject_takes_the_place_of_the_one_before() -> None:
    kept, before, after = Kept(TABLE, ("name",)), subjects(a=1, b=2), subjects(a=3, b=None)
    list(kept.families(before))
    assert list(kept.families(after)) == list(families(TABLE, after, ("name",)))


def test_what_is_gone_vanishes_and_its_place_in_the_page_is_that_of_now() -> None:
    kept, (a, b, c) = Kept(TABLE, ("name",)), subjects(a=1, b=2, c=3)
    list(kept.families([a, b]))
    assert [family.text.split("\n") for family in kept.families([c, b])] == [
        ['kvm_x{name="c"} 3', 'kvm_x{name="b"} 2'],
        ['kvm_y{name="c"} -3', 'kvm_y{name="b"} -2'],
    ]
    assert list(kept.families([])) == []
