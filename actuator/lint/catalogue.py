"""Which series there are to ask for, and what labels they can have: those of the exporter, and the rules' own (pure).

`exported.txt` has a line for each metric of the exporter, its name and its labels; `make golden` writes it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from actuator.lint import shape
from actuator.rules.ruleset import Record, RuleSet

EXPORTED = files("actuator.lint") / "exported.txt"

OF_TARGET = frozenset({"job", "instance"})
"""The labels that a scrape gives to all series of a target. There is one target, so they tell no two series apart."""
_ABOUT_TARGET = ("up", "scrape_duration_seconds")


@cache
def exported() -> Mapping[str, frozenset[str]]:
    """The labels of each metric that there is in a scrape of the exporter."""
    found = dict.fromkeys(_ABOUT_TARGET, OF_TARGET)
    for line in EXPORTED.read_text(encoding="utf-8").splitlines():
        name, *labels = line.split()
        found[name] = OF_TARGET.union(labels)
    return found


class Catalogue:
    """The series that rules can ask for: what is exported, and what they record themselves."""

    def __init__(self, rules: RuleSet) -> None:
        self._records: dict[str, list[Record]] = {}
        self._intervals: dict[str, float] = {}
        self._labels: dict[str, frozenset[str] | None] = {}
        for group in rules.groups:
            for record in group.records:
                self._records.setdefault(record.name, []).append(record)
                before = self._intervals.get(record.name, 0.0)
                self._intervals[record.name] = max(before, group.interval_seconds or 0.0)

    def __contains__(self, name: str) -> bool:
        return name in exported() or name in self._records

    def records(self, name: str) -> Sequence[Record]:
        """The rules that record it."""
        return self._records.get(name, ())

    def labels(self, name: str) -> frozenset[str] | None:
        """All labels that a series of this name can have, but the name; None if that is not known."""
        if name not in self._labels:
            self._labels[name] = None  # for a record that goes back to itself
            self._labels[name] = self._found(name)
        return self._labels[name]

    def interval_seconds(self, name: str) -> float:
        """How far apart the samples of a record are at least, by its group; 0 if it is not the group that says so."""
        return self._intervals.get(name, 0.0)

    def similar(self, name: str) -> list[str]:
        """Names that may have been meant, the closest first."""
        return difflib.get_close_matches(name, [*exported(), *self._records], n=2, cutoff=0.8)

    def _found(self, name: str) -> frozenset[str] | None:
        found = exported().get(name, frozenset()) if name in self else None
        for record in self._records.get(name, ()):
            labels = shape.labels(record.expr.root, self.labels)
            if found is None or labels is None:
                return None
            found |= labels | {label for label, _ in record.labels}
        return found
