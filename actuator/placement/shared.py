"""Guests that share CPUs: move those that gain, the most wanting first (pure).

`spread` moves a vCPU to the CPU where all together lose the least, of those that it may not use yet: what it may
use is the scheduler's business. `pack` does so with weights that fill one core after the other. `numa` lets it use
all CPUs of the node that is best. `release` lets it use all that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np

from actuator.placement.cost import BALANCED, PACKED, Board, Loads, Memory, Others, Weights
from actuator.placement.model import HostCpus, Move, State, Vcpu

MIN_GAIN_CPUS = 0.1
"""Each move must save at least so much: it costs caches, and what is measured is never quite the same twice."""

Best = Callable[[Vcpu, State, Others], tuple[frozenset[int], float]]
"""The best CPUs for a vCPU and what it costs there, given all others. No CPUs if there are none for it."""

WEIGHTS: Mapping[str, Weights] = {"spread": BALANCED, "pack": PACKED, "numa": BALANCED}


def improve(
    strategy: str,
    host: HostCpus,
    vcpus: Mapping[Vcpu, State],
    movable: Collection[Vcpu],
    memory: Memory,
    pool: frozenset[int],
    budget: int,
) -> tuple[Move, ...]:
    """At most `budget` moves of `movable` vCPUs to CPUs of `pool`, each a gain."""
    board = Board(host, vcpus, memory, WEIGHTS[strategy])
    best = _best_node(board, pool) if strategy == "numa" else _best_cpu(board, pool, is_new=strategy == "spread")
    moves: list[Move] = []
    for vcpu in sorted(movable, key=lambda vcpu: (-vcpus[vcpu].load, vcpu)):
        state = vcpus[vcpu]
        if len(moves) == budget or state.load < MIN_GAIN_CPUS:
            break
        others = board.without(state.cpus, state.load)
        now = board.of_vcpu(vcpu.guest, state.cpus, state.load) + float((board.costs - others.costs).sum())
        if now < MIN_GAIN_CPUS and not board.weights.waste:
            continue  # where more load never costs less, no place is that good
        cpus, then = best(vcpu, state, others)
        if cpus and now - then >= MIN_GAIN_CPUS:
            board.move(state.cpus, cpus, state.load)
            moves.append(Move(vcpu, cpus, vcpu.guest))
    return tuple(moves)


def release(
    vcpus: Mapping[Vcpu, State], movable: Iterable[Vcpu], pool: frozenset[int], budget: int
) -> tuple[Move, ...]:
    """At most `budget` vCPUs that may use less than all of `pool`, in order of their names."""
    kept = [vcpu for vcpu in sorted(movable) if not pool <= vcpus[vcpu].cpus]
    return tuple(Move(vcpu, pool, vcpu.guest) for vcpu in kept[:budget] if pool)


def _best_cpu(board: Board, pool: frozenset[int], *, is_new: bool) -> Best:
    closed = ~board.mask_of(pool)
    in_order = np.argsort(board.cpus, axis=None)

    def best(vcpu: Vcpu, state: State, others: Others) -> tuple[frozenset[int], float]:
        costs = board.on_each_cpu(vcpu.guest, state.load, others)
        costs[closed] = np.inf
        if is_new:
            costs[board.mask_of(state.cpus)] = np.inf
        place = in_order[_first_least(costs.ravel()[in_order])]
        cost = float(costs.ravel()[place])
        return frozenset({int(board.cpus.ravel()[place])} if cost < np.inf else ()), cost

    return best


def _best_node(board: Board, pool: frozenset[int]) -> Best:
    cpus_of = [board.host.nodes[node] & pool for node in board.nodes]
    share = np.zeros(board.load.shape)
    for cpus in cpus_of:
        share[board.mask_of(cpus)] = 1 / max(len(cpus), 1)
    closed = np.array([not cpus for cpus in cpus_of])

    def best(vcpu: Vcpu, state: State, others: Others) -> tuple[frozenset[int], float]:
        costs = board.on_each_node(vcpu.guest, state.load * share, others)
        costs[closed] = np.inf
        place = _first_least(costs)
        return cpus_of[place], float(costs[place])

    return best


def _first_least(costs: Loads) -> int:
    """The first of those that cost the least; what differs by less than floats can tell is the same."""
    return int(np.argmin(np.round(costs, 9)))
