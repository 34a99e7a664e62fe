"""From a rule's `place` to setpoints of vCPUs: what the planner is told, and what its answer means (pure)."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from functools import cache

from actuator import placement
from actuator.knobs import Live, Target, label
from actuator.placement import HostCpus, Pin, State, Vcpu
from actuator.plans import plan
from actuator.plans.plan import Wanted
from actuator.promql.labels import Labels
from actuator.promql.types import Sample
from actuator.rules.rule import Instance
from actuator.rules.ruleset import Place
from kvmhost import cpulist

_KEYS = ("domain", "vcpu")
BY_LOAD = ("spread", "pack", "numa")
"""The strategies that move nobody whose load is not known."""
# One that is too new to be measured may want a whole CPU; it is not moved, but leaves room for it.
_UNKNOWN_LOAD = 1.0

Answers = list[tuple[Instance, Wanted]]


def wanted(
    action: Place,
    instances: Sequence[Instance],
    vcpus: Mapping[Target, tuple[Live, Pin]],
    host: HostCpus,
    load: Sequence[Sample],
    memory: Sequence[Sample],
    *,
    names_guests: bool = True,
) -> Answers:
    """A setpoint for each move, in order, with the instance that it is for; then what was not placed, and why.

    `vcpus`: all that there are, each with the pin class of its guest. `names_guests`: the rule says which guests it is
    about; else the policy says which of them are for `exclusive`, and which for the other strategies.
    """
    if not names_guests:
        own = {dict(target)["domain"] for target, (_, pin) in vcpus.items() if pin != "shared"}
        is_own = action.strategy == "exclusive"
        instances = [one for one in instances if (dict(one.labels).get("domain") in own) == is_own]
    of_domain: dict[str, dict[Target, Live]] = {}
    for target, (state, _) in vcpus.items():
        of_domain.setdefault(dict(target)["domain"], {})[target] = state
    loads = {
        target: max(sample.value, 0.0)
        for sample in load
        if math.isfinite(sample.value)
        for target in _targets(sample.labels, of_domain)
    }
    movable, unplaced = _selected(instances, of_domain, loads if action.strategy in BY_LOAD else vcpus)
    show = cache(cpulist.format)
    made = placement.plan(
        action.strategy,
        host,
        _states(vcpus, loads),
        movable.keys(),
        memory=_memory(memory),
        budget=action.budget,
    )
    of_guest = {vcpu.guest: instance for vcpu, instance in movable.items()}
    target_of = {_vcpu(target): target for target in vcpus}
    return [
        *(
            (movable.get(move.vcpu, of_guest[move.sake]), Wanted({target_of[move.vcpu]: show(move.cpus)}))
            for move in made.moves
        ),
        *((of_guest[guest], Wanted({}, (f"{guest}: {why}",))) for guest, why in made.refusals.items()),
        *unplaced,
    ]


def trespass(target: Target, cpus: str, vcpus: Mapping[Target, tuple[Live, Pin]], host: HostCpus) -> str | None:
    """Why a thread of the target's guest must not be given these CPUs, as other guests have them to themselves."""
    return placement.trespass(host, _states(vcpus, {}), dict(target)["domain"], cpulist.parse(cpus))


def _states(vcpus: Mapping[Target, tuple[Live, Pin]], loads: Mapping[Target, float]) -> Mapping[Vcpu, State]:
    parse = cache(cpulist.parse)
    return {
        _vcpu(target): State(
            load=loads.get(target, _UNKNOWN_LOAD), cpus=parse(str(state.value)), pin=pin, refusal=state.refusal
        )
        for target, (state, pin) in vcpus.items()
    }


def _selected(
    instances: Sequence[Instance], of_domain: Mapping[str, Mapping[Target, Live]], known: Container[Target]
) -> tuple[Mapping[Vcpu, Instance], Answers]:
    """The vCPUs that instances select, each with the first that does; and whom they select in vain."""
    movable: dict[Vcpu, Instance] = {}
    unplaced: Answers = []
    for instance in instances:
        targets = _targets(instance.labels, of_domain)
        faults = [f"the load of {label(target)} is not known" for target in targets if target not in known]
        if not targets:
            faults.append(plan.nothing_selected(instance.labels, _KEYS))
        if faults:
            unplaced.append((instance, Wanted({}, tuple(faults))))
        for target in targets:
            if target in known:
                movable.setdefault(_vcpu(target), instance)
    return movable, unplaced


def _targets(labels: Labels, of_domain: Mapping[str, Mapping[Target, Live]]) -> tuple[Target, ...]:
    return plan.select(labels, _KEYS, of_domain.get(dict(labels).get("domain", ""), {}))


def _memory(samples: Sequence[Sample]) -> placement.Memory:
    memory: dict[str, dict[int, float]] = {}
    for sample in samples:
        labels = dict(sample.labels)
        domain, node = labels.get("domain"), labels.get("node", "")
        if domain is not None and node.isdecimal() and math.isfinite(sample.value):
            memory.setdefault(domain, {})[int(node)] = sample.value
    return memory


def _vcpu(target: Target) -> Vcpu:
    labels = dict(target)
    return Vcpu(labels["domain"], int(labels["vcpu"]))
