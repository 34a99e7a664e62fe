"""How long a plan of vCPU placement takes, by strategy, on hosts that are made up: `make bench-placement`.

The worst of what a tick can meet: every vCPU may be moved and the budget has no end. *Pinned*: each vCPU is on one CPU,
chosen at random. *Floating*: half of them may run everywhere, or on one node.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random
from statistics import median

from actuator import placement
from actuator.placement import HostCpus, Memory, State, Vcpu

_ROUNDS = 5
_SIZES = ((1, 16, 20), (2, 64, 100), (8, 256, 500))
"""NUMA nodes, CPUs of each, guests."""
_VCPUS = 4
_EXCLUSIVE_RATIO = 0.1
_NO_BUDGET = 10**6


@dataclass(frozen=True)
class Population:
    """A host and its guests."""

    host: HostCpus
    vcpus: dict[Vcpu, State]
    memory: Memory


def main() -> None:
    """Print a row for each size and kind of population."""
    columns = "  ".join(f"{strategy:>9}" for strategy in placement.STRATEGIES)
    print(f"milliseconds a plan, median of {_ROUNDS} (moves in it)\n")
    print(f"{'nodes x CPUs, guests':<22}{'':<10}{columns}")
    for nodes, cpus, guests in _SIZES:
        for is_floating in (False, True):
            made = population(nodes, cpus, guests, is_floating=is_floating)
            kind = "floating" if is_floating else "pinned"
            cells = "  ".join(f"{_cell(made, strategy):>9}" for strategy in placement.STRATEGIES)
            print(f"{f'{nodes} x {cpus}, {guests}':<22}{kind:<10}{cells}")


def population(nodes: int, cpus: int, guests: int, *, is_floating: bool) -> Population:
    """Guests of four vCPUs, a tenth of them exclusive, whose memory is mostly on one node. The same at each call."""
    random = Random(0)
    count = nodes * cpus // 2
    cores = tuple(frozenset({core, core + count}) for core in range(count))
    per_node = count // nodes
    of_node = {node: frozenset[int]().union(*cores[node * per_node : (node + 1) * per_node]) for node in range(nodes)}
    host = HostCpus(cores=cores, nodes=of_node)
    vcpus = {}
    for guest in range(guests):
        pin: placement.Pin = "exclusive" if random.random() < _EXCLUSIVE_RATIO else "shared"
        for number in range(_VCPUS):
            affinity = frozenset({random.randrange(2 * count)})
            if is_floating and random.random() < 0.5:
                affinity = random.choice((host.online, *of_node.values()))
            vcpus[Vcpu(f"guest-{guest}", number)] = State(load=random.random(), cpus=affinity, pin=pin)
    memory = {f"guest-{guest}": {random.randrange(nodes): 3e9, random.randrange(nodes): 1e9} for guest in range(guests)}
    return Population(host, vcpus, memory)


def _cell(made: Population, strategy: placement.Strategy) -> str:
    wants_cores = strategy == "exclusive"
    selected = [vcpu for vcpu, state in made.vcpus.items() if (state.pin != "shared") == wants_cores]
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        plan = placement.plan(strategy, made.host, made.vcpus, selected, memory=made.memory, budget=_NO_BUDGET)
        seconds.append(time.perf_counter() - start)
    return f"{median(seconds) * 1000:.0f} ({len(plan.moves)})"


if __name__ == "__main__":
    main()
