"""Knobs' values as the exporter's series show them, there and back (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actuator.knobs import Knob, Metric, Target, Unit, Value
from actuator.promql import labels
from actuator.promql.labels import Labels
from kvmhost import cpulist

Row = dict[Labels, float]
"""The samples of one scrape."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A target's value, and its `identity` beyond its name: a guest's uuid."""

    value: Value
    identity: str = ""


def values(knob: type[Knob], samples: Iterable[tuple[Labels, float]]) -> dict[Target, Shown]:
    """What samples say of the targets of a knob. Those of other metrics, or that are not a number, say nothing."""
    metric = knob.metric
    if metric is None:
        return {}
    found = {}
    for series, number in samples:
        target = _target(metric.name, knob, series)
        value = (
            _value(metric, knob.unit, series, number) if target is not None and _has(metric.labels, series) else None
        )
        if target is not None and value is not None:
            found[target] = Shown(value, labels.get(series, "uuid"))
    return found


def numbers(metric: str, knob: type[Knob], samples: Iterable[tuple[Labels, float]]) -> dict[Target, float]:
    """The values that another metric has of the targets of a knob."""
    found = ((_target(metric, knob, series), value) for series, value in samples)
    return {target: value for target, value in found if target is not None}


def show(knob: type[Knob], wanted: Mapping[Target, Value], row: Row) -> None:
    """Have the samples of a scrape say that targets have these values, where they say anything of them."""
    metric = knob.metric
    if metric is None:
        return
    series = _by_target(metric.name, knob, row)
    along = [_by_target(name, knob, row) for name in metric.along]
    for target, value in wanted.items():
        mine = [one for one in series.get(target, ()) if _has(metric.labels, one)]
        if metric.word:
            _choose(metric, _label(metric, str(value)), mine, row)
            continue
        for one in mine:
            moved = int(value) * metric.scale - row[one]
            row[one] += moved
            for other in (other for others in along for other in others.get(target, ())):
                row[other] = max(row[other] + moved, 0.0)


def made(knob: type[Knob], target: Target, shown: Shown) -> Row:
    """The samples by which the exporter would show this; none if it does not show the knob."""
    metric = knob.metric
    if metric is None:
        return {}
    pairs = {labels.NAME: metric.name, **dict(metric.labels), **dict(target), "uuid": shown.identity}
    if not metric.word:
        return {labels.make(pairs): int(shown.value) * metric.scale}
    words = knob.words or (str(shown.value),)
    return {labels.make({**pairs, metric.word: _label(metric, word)}): float(word == shown.value) for word in words}


def _choose(metric: Metric, word: str, mine: list[Labels], row: Row) -> None:
    """Of a set of states the one that is in force, or the word that is a label of a series that is always 1."""
    chosen = [series for series in mine if row[series] == 1]
    states = [series for series in mine if labels.get(series, metric.word) == word]
    for series in chosen:
        row[series] = 0.0
        if not states:
            del row[series]
            row[labels.replace(series, metric.word, word)] = 1.0
    row.update(dict.fromkeys(states, 1.0))


def _label(metric: Metric, word: str) -> str:
    return "" if word == metric.empty else word


def _by_target(metric: str, knob: type[Knob], row: Row) -> dict[Target, list[Labels]]:
    found: dict[Target, list[Labels]] = {}
    for series in row:
        target = _target(metric, knob, series)
        if target is not None:
            found.setdefault(target, []).append(series)
    return found


def _target(metric: str, knob: type[Knob], series: Labels) -> Target | None:
    """Which target of the knob a series of the metric is about."""
    pairs = dict(series)
    if pairs.get(labels.NAME) != metric or not all(key in pairs for key in knob.keys):
        return None
    return tuple((key, pairs[key]) for key in knob.keys)


def _has(wanted: tuple[tuple[str, str], ...], series: Labels) -> bool:
    return all(labels.get(series, name) == value for name, value in wanted)


def _value(metric: Metric, unit: Unit, series: Labels, number: float) -> Value | None:
    if not math.isfinite(number):
        return None
    if not metric.word:
        return round(number / metric.scale)
    word = labels.get(series, metric.word) or metric.empty
    if number != 1 or not word:
        return None
    return cpulist.format(cpulist.parse(word)) if unit is Unit.CPUS else word
