"""Which vCPU may run on which host CPUs: from the host, its guests and a strategy to a few moves (pure).

The same input gives the same plan. A plan has at most `budget` moves. Guests with a pin class of their own have cores
of their own, which no strategy gives to anybody else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import get_args

from actuator.placement import exclusive, shared
from actuator.placement.cost import Memory
from actuator.placement.exclusive import trespass
from actuator.placement.model import HostCpus, Move, Pin, Plan, State, Strategy, Vcpu

__all__ = [
    "PINS",
    "STRATEGIES",
    "HostCpus",
    "Memory",
    "Move",
    "Pin",
    "Plan",
    "State",
    "Strategy",
    "Vcpu",
    "plan",
    "trespass",
]

PINS: tuple[Pin, ...] = get_args(Pin)
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def plan(
    strategy: Strategy,
    host: HostCpus,
    vcpus: Mapping[Vcpu, State],
    selected: Collection[Vcpu],
    *,
    memory: Memory,
    budget: int,
) -> Plan:
    """What to do for the `selected` ones of all `vcpus`, in at most `budget` moves.

    Others are moved only to make room for a guest that is to have cores of its own.
    """
    refusals = _refusals(strategy, vcpus, selected, memory)
    chosen = [vcpu for vcpu in selected if vcpu.guest not in refusals]
    if strategy == "exclusive":
        arranged = exclusive.arrange(host, vcpus, {vcpu.guest for vcpu in chosen}, memory, budget)
        return Plan(arranged.moves, {**refusals, **arranged.refusals})
    pool = host.pool("shared").difference(*exclusive.held(host, vcpus))
    if not pool:
        return Plan(refusals=refusals | {vcpu.guest: "there is no CPU that guests may share" for vcpu in chosen})
    if strategy == "release":
        return Plan(shared.release(vcpus, chosen, pool, budget), refusals)
    return Plan(shared.improve(strategy, host, vcpus, chosen, memory, pool, budget), refusals)


def _refusals(
    strategy: Strategy, vcpus: Mapping[Vcpu, State], selected: Collection[Vcpu], memory: Memory
) -> dict[str, str]:
    refusals: dict[str, str] = {}
    for vcpu in sorted(selected):
        state = vcpus[vcpu]
        if strategy == "exclusive" and state.pin == "shared":
            refusals[vcpu.guest] = "its pin class is shared: the policy must say pin: exclusive or isolated"
        elif strategy != "exclusive" and state.pin != "shared":
            refusals[vcpu.guest] = f"its pin class is {state.pin}: only the strategy exclusive places it"
        elif strategy != "exclusive" and state.refusal:
            refusals[vcpu.guest] = state.refusal
        elif strategy == "numa" and not any(memory.get(vcpu.guest, {}).values()):
            refusals[vcpu.guest] = "on which nodes its memory lies is not known"
    return refusals
