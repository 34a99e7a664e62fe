"""What a placement costs, in CPUs: how much of what vCPUs want is lost by where they are (pure).

A vCPU that may run on several CPUs loads each with an equal share of what it wants. The cost is then the sum of

- contention, of each CPU: the load above what is *full*. A vCPU that may run nowhere loses all that it wants.
- sharing, of each core: the load of all its CPUs but the busiest, since siblings slow each other down.
- waste, of each core: its load times its idle share. None where a core is idle or full, so it draws load together.
- remoteness, of each vCPU: what it wants, times the share of its guest's memory that is not on the node where it runs.

each times its weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actuator.placement.model import HostCpus, State, Vcpu

Loads = NDArray[np.float64]
Slots = tuple[NDArray[np.intp], NDArray[np.intp]]
Memory = Mapping[str, Mapping[int, float]]
"""Of each guest, the bytes of its memory on each NUMA node."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What counts for a strategy, and how much. `full`: the load at which a CPU counts as full."""

    full: float = 1.0
    contention: float = 1.0
    sharing: float = 0.0
    waste: float = 0.0
    remote: float = 0.5
    """Memory one hop away takes about twice as long: a guest that waits for memory runs half as fast."""


BALANCED = Weights(sharing=0.5)
"""So two busy siblings do the work of one and a half CPUs. The kernel long assumed 1.15 (its smt_gain); guests that
mostly wait for memory get more."""

PACKED = Weights(full=0.8, contention=4.0, waste=1.0)
"""Sharing a core is wanted here. Room is left for bursts, and contention outweighs all that packing gains."""


class Others(NamedTuple):
    """All vCPUs but one: the load of every CPU, and the cost of every core."""

    load: Loads
    costs: Loads


class Board:
    """The load of every CPU, and what it costs. Changed by `take` and `put`."""

    def __init__(self, host: HostCpus, vcpus: Mapping[Vcpu, State], memory: Memory, weights: Weights) -> None:
        self.host = host
        self.weights = weights
        self.nodes = tuple(sorted(host.nodes))
        # Rows are the siblings of each core, columns are cores; short columns end in CPUs that do not exist.
        self._sizes = np.array([len(core) for core in host.cores], dtype=np.float64)
        self.cpus = np.full((max(map(len, host.cores), default=1), len(host.cores)), -1)
        self._slot: dict[int, tuple[int, int]] = {}
        for column, core in enumerate(host.cores):
            for row, cpu in enumerate(sorted(core)):
                self.cpus[row, column] = cpu
                self._slot[cpu] = (row, column)
        self._node_of_core = np.array([self._index(host.node_of[min(core)]) for core in host.cores], dtype=np.intp)
        self._slots: dict[frozenset[int], tuple[Slots, Loads]] = {}
        self._remote = {guest: self._remoteness(of_node) for guest, of_node in memory.items()}
        self._no_memory = np.zeros(len(self.nodes) + 1)
        self.load = np.zeros(self.cpus.shape)
        for vcpu in sorted(vcpus):  # the last bit of a sum of floats depends on their order
            self._add(vcpus[vcpu].cpus, vcpus[vcpu].load)
        self.costs = self.of_cores(self.load)

    def of_cores(self, load: Loads) -> Loads:
        """The cost of each core (a column of `load`), remoteness aside."""
        weights = self.weights
        busy = np.minimum(load, weights.full)
        total = busy.sum(0)
        cost: Loads = weights.contention * (load.sum(0) - total)
        if weights.sharing:
            cost += weights.sharing * (total - busy.max(0))
        if weights.waste:
            cost += weights.waste * total * (1 - total / (weights.full * self._sizes))
        return cost

    def on_each_cpu(self, guest: str, load: float, others: Others) -> Loads:
        """What a vCPU of this load adds to the cost of the others on each CPU."""
        costs = np.empty(self.load.shape)
        for row in range(len(costs)):
            more = others.load.copy()
            more[row] += load
            costs[row] = self.of_cores(more) - others.costs
        return costs + load * self._remote_on(guest)[self._node_of_core]

    def on_each_node(self, guest: str, loads: Loads, others: Others) -> Loads:
        """The same on each node (in the order of `nodes`), of whose CPUs it takes `loads`."""
        more = self.of_cores(others.load + loads) - others.costs
        load = np.bincount(self._node_of_core, weights=loads.sum(0), minlength=len(self.nodes) + 1)
        return (np.bincount(self._node_of_core, weights=more, minlength=len(load)) + load * self._remote_on(guest))[:-1]

    def of_vcpu(self, guest: str, cpus: frozenset[int], load: float) -> float:
        """What a vCPU itself costs with these CPUs: its remoteness, and all that it wants if it may run nowhere."""
        slots, on_nodes = self._of(cpus)
        return load * float(on_nodes @ self._remote_on(guest)) if len(slots[0]) else self.weights.contention * load

    def without(self, cpus: frozenset[int], load: float) -> Others:
        """What is left when a vCPU of this load is gone."""
        rest = self.load.copy()
        slots, _ = self._of(cpus)
        if len(slots[0]):
            # What the others want can never be less than nothing, whatever floats make of it.
            rest[slots] = np.maximum(rest[slots] - load / len(slots[0]), 0.0)
        return Others(rest, self.of_cores(rest))

    def move(self, before: frozenset[int], after: frozenset[int], load: float) -> None:
        """Let a vCPU use other CPUs."""
        self.load = self.without(before, load).load
        self._add(after, load)
        self.costs = self.of_cores(self.load)

    def mask_of(self, cpus: frozenset[int]) -> NDArray[np.bool_]:
        """Where on the board these CPUs are."""
        mask = np.zeros(self.cpus.shape, dtype=np.bool_)
        mask[self._of(cpus)[0]] = True
        return mask

    def _add(self, cpus: frozenset[int], load: float) -> None:
        slots, _ = self._of(cpus)
        if len(slots[0]):
            self.load[slots] += load / len(slots[0])

    def _of(self, cpus: frozenset[int]) -> tuple[Slots, Loads]:
        """Where a vCPU that may use `cpus` runs: places on the board, and the share of its time on each node."""
        known = self._slots.get(cpus)
        if known is None:
            runs_on = sorted(self.host.runs_on(cpus))
            rows, columns = (np.array([self._slot[cpu][axis] for cpu in runs_on], dtype=np.intp) for axis in (0, 1))
            on_nodes = np.bincount(self._node_of_core[columns], minlength=len(self.nodes) + 1) / max(len(runs_on), 1)
            known = self._slots[cpus] = ((rows, columns), on_nodes)
        return known

    def _remote_on(self, guest: str) -> Loads:
        """The remoteness of one CPU of load on each of `nodes`, and on a CPU that is on none."""
        return self._remote.get(guest, self._no_memory)

    def _remoteness(self, of_node: Mapping[int, float]) -> Loads:
        total = sum(of_node.values())
        shares = [of_node.get(node, 0.0) / total if total > 0 else 1.0 for node in self.nodes]
        return self.weights.remote * (1.0 - np.array([*shares, 0.0 if total > 0 else 1.0]))

    def _index(self, node: int) -> int:
        return self.nodes.index(node) if node in self.nodes else len(self.nodes)


def of(host: HostCpus, vcpus: Mapping[Vcpu, State], memory: Memory, weights: Weights) -> float:
    """The cost of a placement as a whole, in CPUs."""
    board = Board(host, vcpus, memory, weights)
    own = (board.of_vcpu(vcpu.guest, state.cpus, state.load) for vcpu, state in vcpus.items())
    return float(board.costs.sum()) + sum(own)
