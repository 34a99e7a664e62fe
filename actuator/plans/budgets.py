"""From the samples of an `allocate:` to what each guest is to have: which guests share which budget (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from actuator.knobs import Live, Target, label
from actuator.plans.allocation import Guest, allocate
from actuator.plans.plan import Wanted, select
from actuator.promql.labels import drop_name
from actuator.promql.types import Sample
from actuator.rules.limits import Limits
from actuator.rules.rule import Agreeing, Instance, agree

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the expressions of an `allocate:` gave. `given`: of `shares`, `min` and `max`, those that it has.

    `weights`: the shares that the policy gives to guests; without, a guest has one for each MiB of its maximum.
    """

    budgets: Sequence[Sample]
    needs: Sequence[Sample]
    given: Mapping[str, Agreeing]
    by: str
    weights: Mapping[Target, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Claim:
    owner: Instance
    budget: Sample
    need: float


def share_out(
    asked: Asked,
    instances: Sequence[Instance],
    keys: tuple[str, ...],
    live: Mapping[Target, Live],
    limits: Sequence[Limits],
    unresponsive: Mapping[Target, str],
) -> list[tuple[Instance, Wanted]]:
    """What the guests of the due `instances` are to have, each sample of `budgets` being divided on its own.

    A guest takes part if it has a need that agrees with an instance and a budget on the labels that they share.
    `limits`: those of the policy and of the rule. `unresponsive`: guests that do not follow what they are told, and
    what happened. Who is left out keeps what it has; a fault says why.
    """
    claims, faults = _claims(asked, instances, keys, live)
    members: dict[Sample, dict[Target, Guest]] = {}
    for target, claim in claims.items():
        if target in unresponsive:
            faults.append(f"{label(target)} is left out: {unresponsive[target]}")
            continue
        try:
            guest = _guest(target, claim, asked, live[target], limits)
        except ValueError as error:
            faults.append(f"{label(target)} is left out: {error}")
        else:
            members.setdefault(claim.budget, {})[target] = guest
    wanted: list[tuple[Instance, Wanted]] = []
    for budget, guests in members.items():
        if not math.isfinite(budget.value):
            faults.append(f"'free' is {budget.value}")
            continue
        # Those that must not be touched are told to stay, so that the reason is reported.
        sizes = {target: guest.size for target, guest in guests.items()}
        sizes |= allocate(guests, math.ceil(budget.value), asked.by)
        together = frozenset(guests)
        wanted += [(claims[target].owner, Wanted({target: size}, (), together)) for target, size in sizes.items()]
    return [*wanted, (instances[0], Wanted({}, tuple(faults)))]


def _claims(
    asked: Asked, instances: Sequence[Instance], keys: tuple[str, ...], live: Mapping[Target, Live]
) -> tuple[dict[Target, _Claim], list[str]]:
    """Whose need is to be met from which budget, and the faults."""
    found: dict[Target, list[_Claim]] = {}
    for need in asked.needs:
        labels = drop_name(need.labels)
        owner = next((instance for instance in instances if agree(instance.labels, labels)), None)
        if owner is None:
            continue
        for budget in asked.budgets:
            if all(agree(drop_name(budget.labels), other) for other in (labels, owner.labels)):
                for target in select((*owner.labels, *labels), keys, live):
                    found.setdefault(target, []).append(_Claim(owner, budget, need.value))
    faults = [f"{label(target)} has more than one need or budget" for target, many in found.items() if len(many) > 1]
    if not asked.budgets:
        faults.append("'free' has no value")
    elif not found:
        faults.append("no guest here has a 'need' that agrees with 'free' and with the rule's labels")
    return {target: only[0] for target, only in found.items() if len(only) == 1}, faults


def _guest(target: Target, claim: _Claim, asked: Asked, live: Live, limits: Sequence[Limits]) -> Guest:
    """One guest for the planner; ValueError says what is wrong with it."""
    values = {name: _value(name, target, samples) for name, samples in asked.given.items()}
    size = int(live.value)
    high = size if live.high is None else live.high
    # A guest that uses nearly all of its memory cannot have a margin beyond its maximum.
    low = live.low if live.low_soon is None else live.low_soon
    floors = [min(low or 0, high), *(limit.min or 0 for limit in limits), math.ceil(values.get("min", 0))]
    ceilings = [high, *(limit.max for limit in limits if limit.max is not None), math.floor(values.get("max", high))]
    if max(floors) > min(ceilings):
        raise ValueError(
            "it must not go below what it uses, its guarantee or 'min', and not above its maximum or 'max'"
        )
    return Guest(
        size=size,
        floor=max(floors),
        ceiling=min(ceilings),
        need=math.ceil(_finite("need", claim.need)),
        shares=values.get("shares", asked.weights.get(target, high / _MIB)),
        deadband=int(max((limit.deadband.of(size) for limit in limits if limit.deadband), default=0)),
        responds=live.refusal is None,
    )


def _value(name: str, target: Target, samples: Agreeing) -> float:
    """What an expression gives for a guest: its own sample, or one that names no guest."""
    mine = {sample.value for sample in samples.with_(target)}
    if len(mine) != 1:
        raise ValueError(f"it has {'more than one' if mine else 'no'} {name!r}")
    return _finite(name, mine.pop())


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"its {name!r} is {value}")
    return value
