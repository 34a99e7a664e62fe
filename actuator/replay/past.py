"""What a Prometheus server, or one with its HTTP API, has scraped of a host: asked in chunks, as single samples.

The series of one scrape share their timestamps, which are those of its target's `up`. So a series that lacks one of
them has ended there, which the API does not tell. What has other timestamps (rules of the server, other exporters)
counts for five minutes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator

import re2

from actuator.data.httpclient import UnreachableError
from actuator.data.promapi import BadExpressionError
from actuator.data.query import QueryError
from actuator.data.result import Series
from actuator.data.server import ServerQuery
from actuator.data.store import milliseconds
from actuator.promql.labels import NAME, Labels, get
from actuator.promql.nodes import Matcher, Range, Selector, walk
from actuator.promql.text import render
from actuator.replay.recording import UP, RecordingError, Scrape
from actuator.rules.ruleset import RuleSet

CHUNK_MS = 600_000
_SMALLEST_CHUNK_MS = 30_000
_COUNTS_MS = 300_000
"""How long a sample counts that is not of a scrape; as in PromQL."""

_NOTHING = Series((), ())

Matchers = tuple[Matcher, ...]
Point = tuple[int, float]
"""Unix milliseconds and a value."""
Target = tuple[str, str]
"""The labels job and instance."""


def selectors_of(rules: RuleSet, names: Iterable[str]) -> tuple[Matchers, ...]:
    """What rules read that they do not record themselves, and these metrics."""
    recorded = {record.name for group in rules.groups for record in group.records}
    exprs = [expr for group in rules.groups for rule in group.rules for expr in rule.exprs]
    asked = dict.fromkeys(node.matchers for expr in exprs for node in walk(expr.root) if isinstance(node, Selector))
    asked |= dict.fromkeys((Matcher(NAME, "=", name),) for name in names)
    return tuple(matchers for matchers in asked if not recorded & {one.value for one in matchers if one.name == NAME})


class Past:
    """The scrapes of one host in (start, end], unix seconds. `instance`: the label of that host; empty if there is
    one only."""

    def __init__(
        self, server: ServerQuery, selectors: Iterable[Matchers], start: float, end: float, instance: str = ""
    ) -> None:
        only = (_of_instance(instance),) if instance else ()
        self._server = server
        self._selectors = [(*matchers, *only) for matchers in selectors]
        self._up = (Matcher(NAME, "=", UP), *only)
        self._start_ms = milliseconds(start)
        self._end_ms = milliseconds(end)
        self._target: Target | None = None
        self._others: dict[Labels, tuple[int, float]] = {}
        self.read_ratio = 0.0
        """How much of the time has been asked for, from 0 to 1."""

    def scrapes(self) -> Iterator[Scrape]:
        """The scrapes in the order of time; raises QueryError and RecordingError."""
        found = False
        for first_ms in range(self._start_ms, self._end_ms, CHUNK_MS):
            last_ms = min(first_ms + CHUNK_MS, self._end_ms)
            for scrape in self._of_chunk(first_ms, last_ms):
                found = True
                yield scrape
            self.read_ratio = (last_ms - self._start_ms) / (self._end_ms - self._start_ms)
        if not found:
            raise RecordingError("the server has nothing of these rules' metrics in that time: is it long enough ago?")

    def _of_chunk(self, first_ms: int, last_ms: int) -> Iterator[Scrape]:
        series = {one.labels: one for asked in self._selectors for one in self._ask(asked, first_ms, last_ms)}
        ups = {_target(one.labels): one for one in self._ask(self._up, first_ms, last_ms)}
        self._target = self._target or _target_of(series, ups)
        up = ups.get(self._target) if self._target else None
        rows: dict[int, dict[Labels, float]] = {time_ms: {} for time_ms in _times_ms(series.values(), up)}
        rest: dict[Labels, deque[Point]] = {labels: deque([point]) for labels, point in self._others.items()}
        for one in series.values():
            if all(time_ms in rows for time_ms, _ in one.points):
                for time_ms, value in one.points:
                    rows[time_ms][one.labels] = value
            else:
                rest.setdefault(one.labels, deque()).extend(one.points)
        states = dict(up.points) if up else {}
        for time_ms, row in sorted(rows.items()):
            row |= _newest(rest, time_ms)
            if up:
                row[up.labels] = states[time_ms]
            yield Scrape(time_ms / 1000, row, None if states.get(time_ms, 1) else "this scrape failed (up is 0)")
        self._others = {labels: points[-1] for labels, points in rest.items()}

    def _ask(self, matchers: Matchers, first_ms: int, last_ms: int) -> list[Series]:
        """The samples of a selector in (first, last]; what is too much for one answer is asked for in halves."""
        text = render(Range(Selector(matchers), last_ms - first_ms), last_ms)
        try:
            found = self._server.result(text, last_ms / 1000).series
        except QueryError as error:
            is_hopeless = isinstance(error.__cause__, UnreachableError | BadExpressionError)
            if is_hopeless or last_ms - first_ms < 2 * _SMALLEST_CHUNK_MS:
                raise
            middle_ms = (first_ms + last_ms) // 2
            return _joined(self._ask(matchers, first_ms, middle_ms), self._ask(matchers, middle_ms, last_ms))
        # Before version 3 a range has both of its ends.
        inside = [Series(one.labels, tuple(p for p in one.points if first_ms < p[0] <= last_ms)) for one in found]
        return [one for one in inside if one.points]


def _joined(first: list[Series], second: list[Series]) -> list[Series]:
    later = {one.labels: one for one in second}
    both = [Series(one.labels, one.points + later.pop(one.labels, _NOTHING).points) for one in first]
    return [*both, *later.values()]


def _target(labels: Labels) -> Target:
    return get(labels, "job"), get(labels, "instance")


def _target_of(series: Iterable[Labels], ups: Iterable[Target]) -> Target | None:
    """The target with most of these series, of those that have an `up`; RecordingError if they are of several hosts."""
    targets = Counter(map(_target, series))
    instances = sorted({instance for _, instance in targets} - {""})
    if len(instances) > 1:
        several = ", ".join(instances[:5]) + (", ..." if len(instances) > 5 else "")
        raise RecordingError(f"the server has data of {len(instances)} hosts: choose one by --instance: {several}")
    known = set(ups)
    return next((target for target, _ in targets.most_common() if target in known), None)


def _times_ms(series: Iterable[Series], up: Series | None) -> set[int]:
    """When it was scraped: as `up` tells, or else whatever is no record (their names have colons)."""
    scraped = [up] if up else [one for one in series if ":" not in get(one.labels, NAME)]
    return {time_ms for one in scraped for time_ms, _ in one.points}


def _newest(series: dict[Labels, deque[Point]], time_ms: int) -> Iterator[tuple[Labels, float]]:
    """The newest sample of each that counts at a time; older ones are dropped."""
    for labels, points in series.items():
        while len(points) > 1 and points[1][0] <= time_ms:
            points.popleft()
        if points and time_ms - _COUNTS_MS < points[0][0] <= time_ms:
            yield labels, points[0][1]


def _of_instance(instance: str) -> Matcher:
    """Of this host, or of none: rules of the server may have aggregated the label away."""
    return Matcher("instance", "=~", f"{re2.escape(instance)}|")
