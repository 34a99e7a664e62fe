"""What one frame shows, as data (pure). Absent is None: the exporter does not have it, or not yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from actuator.console.status import Changed, Status
from actuator.decision import Decision, Outcome
from actuator.knobs import Value
from actuator.ledger.records import Key

MOVES: frozenset[Outcome] = frozenset({"written", "settled", "fell short", "restored"})
"""Outcomes after which the knob has the value `after`; with the others it has what it had `before`."""


@dataclass(frozen=True, slots=True)
class Host:
    """Sizes in bytes. `pressure`: by resource, the share of the time since the last scrape in which some task waited.

    `available_before`: the available share of memory of the last minutes, newest last; `memory_before` likewise the
    memory's pressure.
    """

    available: float | None = None
    total: float | None = None
    swapped: float | None = None
    saved: float | None = None
    pressure: Mapping[str, float] = field(default_factory=dict)
    available_before: Sequence[float] = ()
    memory_before: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class KnobRow:
    """A knob's target that was decided on lately or is changed. `original` None: it is as it was.

    `course`: its value over the last minutes at even distances, newest last; empty if it is no number.
    """

    key: Key
    original: Value | None
    now: Value | None
    rule: str
    course: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Guest:
    """Sizes in bytes. `cpu` and `delay`: seconds a second that its vCPUs ran, and that they waited for a CPU.

    `target`: what its balloon was last set to, if it still is ours. `ksm`: whether it shares pages, or why not.
    """

    name: str
    actual: float | None = None
    used: float | None = None
    maximum: float | None = None
    target: float | None = None
    shared: float | None = None
    ksm: str = ""
    cpu: float | None = None
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One frame at `time` (unix seconds). `why_idle`, `no_data`: what is wrong with actuator and exporter, or empty."""

    time: float
    source: str
    status: Status | None = None
    tick_age_seconds: float = 0.0
    why_idle: str = ""
    no_data: str = ""
    host: Host = field(default_factory=Host)
    knobs: Sequence[KnobRow] = ()
    guests: Sequence[Guest] = ()
    decisions: Sequence[Decision] = ()


def knob_rows(
    decisions: Iterable[Decision], changed: Iterable[Changed], start: float, now: float, points: int
) -> list[KnobRow]:
    """The host's own knobs first, then guests'; of each those that were decided on last."""
    by_key: dict[Key, list[Decision]] = {}
    for decision in decisions:
        by_key.setdefault((decision.knob, decision.target), []).append(decision)
    owned = {(one.knob, one.target): one for one in changed}
    rows = [
        _row(
            key, by_key.get(key, ()), owned.get(key), [start + (now - start) * (n + 1) / points for n in range(points)]
        )
        for key in {**by_key, **owned}
        if key in owned or any(decision.time >= start for decision in by_key[key])
    ]
    last = {key: of_key[-1].time for key, of_key in by_key.items()}
    return sorted(rows, key=lambda row: ("domain" in dict(row.key[1]), -last.get(row.key, 0.0), row.key))


def _row(key: Key, decisions: Sequence[Decision], owned: Changed | None, times: Sequence[float]) -> KnobRow:
    values: list[tuple[float, Value]] = []
    for decision in decisions:
        if decision.before is not None:
            values.append((decision.time, decision.before))
        if decision.after is not None and decision.outcome in MOVES:
            values.append((decision.time, decision.after))
    now = values[-1][1] if values else owned.now if owned else None
    rule = owned.rule if owned else decisions[-1].rule
    return KnobRow(key, owned.original if owned else None, now, rule, course(values, now, times))


def course(values: Sequence[tuple[float, Value]], now: Value | None, times: Sequence[float]) -> list[float]:
    """The value at each of `times`, of a knob that kept each of `values` from its time on; before them, the first."""
    if not isinstance(now, int):
        return []
    found = []
    value = values[0][1] if values else now
    rest = list(values)
    for time in times:
        while rest and rest[0][0] <= time:
            value = rest.pop(0)[1]
        found.append(float(value))
    return found
