"""From due rules to setpoints: which target gets which value, and which rule wins where two disagree (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from actuator.knobs import Live, Target, Value, label
from actuator.promql.labels import Labels
from actuator.rules.limits import Limits
from actuator.rules.rule import Agreeing, Instance


@dataclass(frozen=True, slots=True)
class Setpoint:
    """What one rule wants of one target, before limits.

    `value`: a number in the knob's unit or a CPU list. `evidence`: what the rule's `when` gave, if it asks for this.
    `as_of`: until when the data behind it reach, in unix seconds. `refusal`: why the rule itself must not have it now.
    `acts`: it may be written, and not only told. `undoes`: it puts back what the rule found, so that the limits of
    policy and rule do not hold. `trial`: the rule's digest, if the write must prove itself (`verify`). `persist`: it is
    to be set at the next boot, too. `together`: the targets that were planned with it. `is_planned`: it is part of a
    plan, which is safe in parts.
    """

    rule: str
    knob: str
    target: Target
    value: float | str
    because: str
    evidence: float | None
    limits: Limits = field(default_factory=Limits)
    priority: int = 0
    as_of: float = math.inf
    refusal: str | None = None
    acts: bool = True
    undoes: bool = False
    trial: str = ""
    persist: bool = False
    together: frozenset[Target] = frozenset()
    is_planned: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values that one action of a rule gives; `faults` says for whom it gives none, and why.

    `together`: the targets whose values depend on each other.
    """

    values: Mapping[Target, Value | float]
    faults: tuple[str, ...] = ()
    together: frozenset[Target] = frozenset()


def numbers(instance: Instance, samples: Agreeing, keys: tuple[str, ...], live: Mapping[Target, Live]) -> Wanted:
    """Match the samples of a setpoint expression to the targets of one instance.

    A sample belongs to the instance when they agree on the labels that both have. Together their labels
    select the targets: `keys` are the label names that a target of the knob has. A fault costs its own target.
    """
    values: dict[Target, Value | float] = {}
    faults: dict[Target, str] = {}
    unselected: list[str] = []
    mine = samples.with_(instance.labels)
    for sample in mine:
        targets = select((*instance.labels, *sample.labels), keys, live)
        if not targets:
            unselected.append(nothing_selected((*instance.labels, *sample.labels), keys))
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
    faults = () if targets else (nothing_selected(instance.labels, keys),)
    return Wanted(dict.fromkeys(targets, value), faults)


def select(labels: Labels, keys: tuple[str, ...], live: Mapping[Target, Live]) -> tuple[Target, ...]:
    """The live targets that `labels` name. A guest's knob needs at least its `domain` label.

    When the labels hold a uuid, it must be the guest's own.
    """
    wanted = dict(labels)
    if keys and keys[0] not in wanted:
        return ()
    one = tuple((key, wanted[key]) for key in keys if key in wanted)
    if len(one) == len(keys):  # it names one target, which need not be looked for
        live = {one: live[one]} if one in live else {}
    return tuple(
        target
        for target, state in live.items()
        if all(wanted.get(key, value) == value for key, value in target)
        and wanted.get("uuid", state.identity) == state.identity
    )


def settle_conflicts(setpoints: Iterable[Setpoint]) -> tuple[tuple[Setpoint, ...], tuple[Setpoint, ...]]:
    """One setpoint for each target of each knob: the highest priority, then the first. And those overruled.

    A setpoint that is only told neither overrules one that acts nor is overruled by it; one that its rule must not have
    now overrules none that may be.
    """
    winners: dict[tuple[str, Target, bool], Setpoint] = {}
    ordered = sorted(setpoints, key=lambda setpoint: (setpoint.refusal is not None, -setpoint.priority))
    for setpoint in ordered:
        winners.setdefault((setpoint.knob, setpoint.target, setpoint.acts), setpoint)
    return tuple(winners.values()), tuple(
        setpoint for setpoint in ordered if winners[setpoint.knob, setpoint.target, setpoint.acts] != setpoint
    )


def nothing_selected(labels: Labels, keys: tuple[str, ...]) -> str:
    """Why labels select no target."""
    have = dict(labels)
    if keys and keys[0] not in have:
        return f"the result has no label {keys[0]!r}, so it selects no target"
    what = ", ".join(f"{key}={have[key]}" for key in keys if key in have) or "the host"
    return f"no such target here: {what}"
