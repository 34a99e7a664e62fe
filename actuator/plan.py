"""From due rules to setpoints: which target gets which value, and which rule wins where two disagree (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from actuator.knobs import Live, Target, Value, label
from actuator.limits import Limits
from actuator.promql.labels import Labels
from actuator.promql.types import Sample
from actuator.rule import Instance, agree


@dataclass(frozen=True, slots=True)
class Setpoint:
    """What one rule wants of one target, before limits.

    `value`: a number in the knob's unit or a CPU list. `evidence`: what the rule's `when` gave.
    """

    rule: str
    knob: str
    target: Target
    value: float | str
    because: str
    evidence: float
    limits: Limits = field(default_factory=Limits)
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values that one action of a rule gives; `faults` says for whom it gives none, and why."""

    values: Mapping[Target, Value | float]
    faults: tuple[str, ...] = ()


def numbers(
    instance: Instance, samples: Sequence[Sample], keys: tuple[str, ...], live: Mapping[Target, Live]
) -> Wanted:
    """Match the samples of a setpoint expression to the targets of one instance.

    A sample belongs to the instance when they agree on the labels that both have. Together their labels
    select the targets: `keys` are the label names that a target of the knob has. A fault costs its own target.
    """
    values: dict[Target, Value | float] = {}
    faults: dict[Target, str] = {}
    unselected: list[str] = []
    mine = [sample for sample in samples if agree(instance.labels, sample.labels)]
    for sample in mine:
        targets = select((*instance.labels, *sample.labels), keys, live)
        if not targets:
            unselected.append(_nothing_selected((*instance.labels, *sample.labels), keys))
        for target in targets:
            if not math.isfinite(sample.value):
                faults[target] = f"the setpoint for {label(target)} is {sample.value}"
            elif values.setdefault(target, sample.value) != sample.value:
                faults[target] = f"two setpoints for {label(target)}: {values[target]} and {sample.value}"
    if not mine:
        unselected.append("the setpoint has no value")
    good = {target: value for target, value in values.items() if target not in faults}
    return Wanted(good, tuple(dict.fromkeys([*faults.values(), *unselected])))


def literal(instance: Instance, value: Value, keys: tuple[str, ...], live: Mapping[Target, Live]) -> Wanted:
    """The same literal for every target that the instance's labels select."""
    targets = select(instance.labels, keys, live)
    faults = () if targets else (_nothing_selected(instance.labels, keys),)
    return Wanted(dict.fromkeys(targets, value), faults)


def select(labels: Labels, keys: tuple[str, ...], live: Mapping[Target, Live]) -> tuple[Target, ...]:
    """The live targets that `labels` name. A guest's knob needs at least its `domain` label.

    When the labels hold a uuid, it must be the guest's own.
    """
    wanted = dict(labels)
    if keys and keys[0] not in wanted:
        return ()
    return tuple(
        target
        for target, state in live.items()
        if all(wanted.get(key, value) == value for key, value in target)
        and wanted.get("uuid", state.identity) == state.identity
    )


def settle_conflicts(setpoints: Iterable[Setpoint]) -> tuple[tuple[Setpoint, ...], tuple[Setpoint, ...]]:
    """One setpoint for each target of each knob: the highest priority, then the first. And those overruled."""
    winners: dict[tuple[str, Target], Setpoint] = {}
    ordered = sorted(setpoints, key=lambda setpoint: -setpoint.priority)
    for setpoint in ordered:
        winners.setdefault((setpoint.knob, setpoint.target), setpoint)
    kept = tuple(winners.values())
    return kept, tuple(setpoint for setpoint in ordered if setpoint not in kept)


def _nothing_selected(labels: Labels, keys: tuple[str, ...]) -> str:
    have = dict(labels)
    if keys and keys[0] not in have:
        return f"the result has no label {keys[0]!r}, so it selects no target"
    what = ", ".join(f"{key}={have[key]}" for key in keys if key in have) or "the host"
    return f"no such target here: {what}"
