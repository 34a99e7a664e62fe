"""Which vCPU runs on which host CPU (pure). One strategy so far: `spread`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from actuator.knobs import Target

# A move is only worth it when it frees at least this share of a CPU: the same input never moves twice.
MIN_GAIN_CPUS = 0.1


def spread(
    movable: Collection[Target],
    demand: Mapping[Target, float],
    affinity: Mapping[Target, frozenset[int]],
    cpus: frozenset[int],
) -> Mapping[Target, frozenset[int]]:
    """Move contended vCPUs to the CPUs on which the other vCPUs want the least.

    `demand`: CPU seconds a second that each vCPU wants (0 when absent). `affinity`: where each may run now;
    `cpus`: the host's online CPUs. Returns the new affinity (one CPU) of those that gain by a move. A vCPU
    that may already run on the best CPU is left to the kernel's scheduler.
    """
    moves: dict[Target, frozenset[int]] = {}
    places = dict(affinity)
    for target in sorted(movable, key=lambda target: (-demand.get(target, 0.0), target)):
        if target not in places or not cpus:
            continue
        others = _demand_by_cpu({other: cpus_of for other, cpus_of in places.items() if other != target}, demand, cpus)
        best = min(sorted(cpus), key=lambda cpu: others[cpu])
        here = min((others[cpu] for cpu in places[target] & cpus), default=float("inf"))
        if here - others[best] >= MIN_GAIN_CPUS:
            places[target] = moves[target] = frozenset({best})
    return moves


def _demand_by_cpu(
    places: Mapping[Target, frozenset[int]], demand: Mapping[Target, float], cpus: frozenset[int]
) -> dict[int, float]:
    """What the vCPUs want of each CPU, each vCPU's demand shared evenly by the CPUs it may run on."""
    wanted = dict.fromkeys(cpus, 0.0)
    for target, allowed in places.items():
        usable = allowed & cpus
        for cpu in usable:
            wanted[cpu] += demand.get(target, 0.0) / len(usable)
    return wanted
