"""Hosts in figures that follow what rules write, for closed loops: pools of hugepages, and vCPUs under a scheduler.

State in, samples out, and back again. What a real kernel does is shown in tests/lab.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from actuator.decision import Decision
from actuator.knobs import Target, Value
from actuator.placement import HostCpus
from actuator.promql.labels import Labels, make
from actuator.rules import config, policy
from actuator.rules.ruleset import RuleSet
from actuator.simulated.simulatedhost import Fixture
from actuator.simulated.simulation import Simulation
from kvmhost import cpulist

MIB, GIB = 2**20, 2**30
RULES = Path(__file__).parents[2] / "rules"
Samples = dict[Labels, float]


def series(metric: str, /, **labels: str) -> Labels:
    """A label set as the exporter has it."""
    return make({"__name__": metric, **labels})


class Model(Protocol):
    """A host of figures."""

    def pass_time(self, seconds: float) -> None:
        """What goes on by itself."""

    def samples(self) -> Samples:
        """What the exporter shows of it."""

    def write(self, knob: str, target: Target, value: Value) -> None:
        """What a written setpoint does to it."""


def autopilot(*groups: str) -> RuleSet:
    """These groups of the autopilot's rules."""
    loaded = config.load([RULES / "autopilot.yml"])
    return RuleSet(tuple(group for group in loaded.groups if group.name in groups))


@dataclass
class Loop:
    """Rules at work on a model; `moves` is all that was written: time, rule, knob, target, before, after."""

    model: Model
    groups: Sequence[str]
    fixture: Fixture = field(default_factory=Fixture)
    tick_seconds: float = 5.0
    now: float = 0.0
    moves: list[Decision] = field(default_factory=list)
    faults: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __enter__(self) -> Loop:
        self._simulation = Simulation(autopilot("memory", *self.groups), policy.load(), self.fixture)
        self._simulation.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._simulation.__exit__(None, None, None)

    def run(self, seconds: float) -> list[Decision]:
        """Let so much time pass; returns what was written in it."""
        before = len(self.moves)
        end = self.now + seconds
        while self.now < end:
            self.model.pass_time(self.tick_seconds)
            self.now += self.tick_seconds
            self._simulation.feed(self.now, self.model.samples().items())
            for decision in self._simulation.tick(self.now):
                if decision.outcome == "written" and decision.after is not None:
                    self.moves.append(decision)
                    self.model.write(decision.knob, decision.target, decision.after)
            self.faults = {rule: faults for rule, faults in self._simulation.faults.items() if faults}
        return self.moves[before:]

    def reversals(self) -> int:
        """How often a number that was moved one way was moved the other way next."""
        last: dict[tuple[str, Target], int] = {}
        found = 0
        for move in self.moves:
            if isinstance(move.before, int) and isinstance(move.after, int):
                direction = 1 if move.after > move.before else -1
                found += last.get((move.knob, move.target), direction) != direction
                last[move.knob, move.target] = direction
        return found


@dataclass
class Pool:
    """Pages of a pool on one node; `used` by guests and others, `promised` ones are free still."""

    nr: int
    used: int = 0
    promised: int = 0


@dataclass
class PagesHost:
    """A host with pools of 2 MiB; `others_mib` is what all takes that is not in a pool, guests as (name, MiB)."""

    total_mib: int = 65536
    others_mib: int = 8192
    pools: dict[int, Pool] = field(default_factory=lambda: {0: Pool(0)})
    guests: dict[str, int] = field(default_factory=dict)
    overcommit: int = 0
    failed_starts: list[str] = field(default_factory=list)

    @property
    def hugetlb_mib(self) -> int:
        """What all pools take."""
        return sum(pool.nr * 2 for pool in self.pools.values())

    @property
    def available_mib(self) -> int:
        """What the host has for all else."""
        return self.total_mib - self.hugetlb_mib - self.others_mib

    @property
    def available_ratio(self) -> float:
        """As host:memory_available:ratio."""
        return self.available_mib / (self.total_mib - self.hugetlb_mib)

    def start(self, name: str, mib: int, node: int = 0) -> bool:
        """Start a guest whose memory is all on hugepages; it fails where they are not there."""
        pool = self.pools[node]
        if pool.nr - pool.used - pool.promised < mib // 2:
            self.failed_starts.append(name)
            return False
        pool.used += mib // 2
        self.guests[name] = mib
        return True

    def stop(self, name: str, node: int = 0) -> None:
        """Its pages stay in the pool."""
        self.pools[node].used -= self.guests.pop(name) // 2

    def pass_time(self, seconds: float) -> None:
        """Nothing moves by itself."""

    def samples(self) -> Samples:
        """Memory, pools and guests."""
        found = {
            series("kvm_memory_total_bytes"): self.total_mib * MIB,
            series("kvm_memory_available_bytes"): max(self.available_mib, 0) * MIB,
            series("kvm_memory_hugetlb_bytes"): self.hugetlb_mib * MIB,
        }
        free = {node: pool.nr - pool.used for node, pool in self.pools.items()}
        size = {"size": "2MiB"}
        of_host = {
            "nr": sum(pool.nr for pool in self.pools.values()),
            "free": sum(free.values()),
            "resv": sum(pool.promised for pool in self.pools.values()),
        }
        found |= {series(f"kvm_hugepages_{name}", **size): pages for name, pages in of_host.items()}
        found[series("kvm_hugepages_total_bytes", **size)] = of_host["nr"] * 2 * MIB
        found[series("kvm_hugepages_overcommit_bytes", **size)] = self.overcommit * 2 * MIB
        found[series("kvm_hugepages_surplus_bytes", **size)] = 0
        for node, pool in self.pools.items():
            labels = {"node": str(node), **size}
            found[series("kvm_hugepages_node_nr", **labels)] = pool.nr
            found[series("kvm_hugepages_node_free", **labels)] = free[node]
            found[series("kvm_hugepages_node_surplus", **labels)] = 0
        for name, mib in self.guests.items():
            who = {"domain": name, "uuid": f"u-{name}"}
            found[series("kvm_domain_memory_configured_bytes", **who)] = mib * MIB
            found[series("kvm_domain_info", **who, hugepage_size="2MiB")] = 1
        return {labels: float(value) for labels, value in found.items()}

    def write(self, knob: str, target: Target, value: Value) -> None:
        """A pool has as many pages as were asked for."""
        assert knob == "hugepages.pool"
        self.pools[int(dict(target)["node"])].nr = int(value)


@dataclass
class Vcpu:
    """Of a guest with one vCPU: what it wants of a CPU, where it may run, and on which node its memory is."""

    wants: float
    cpus: str
    node: int = 0
    got_seconds: float = 0.0
    waited_seconds: float = 0.0


@dataclass
class CpuHost:
    """vCPUs under a scheduler that leaves no CPU idle while a vCPU waits that may use it."""

    cpus: HostCpus
    vcpus: dict[str, Vcpu]

    def pass_time(self, seconds: float) -> None:
        """Slices in which each CPU runs the vCPU that had least of those which may use it."""
        slices = 20
        spent = dict.fromkeys(self.vcpus, 0)
        allowed = {name: cpulist.parse(vcpu.cpus) for name, vcpu in self.vcpus.items()}
        for _ in range(slices):
            running: set[str] = set()
            waiting = {name for name, vcpu in self.vcpus.items() if spent[name] < vcpu.wants * slices}
            by_choice = sorted(self.cpus.online, key=lambda cpu: sum(cpu in allowed[name] for name in waiting))
            for cpu in by_choice:
                able = [name for name in waiting - running if cpu in allowed[name]]
                if able:
                    chosen = min(able, key=lambda name: (spent[name], len(allowed[name]), name))
                    running.add(chosen)
                    spent[chosen] += 1
        for name, vcpu in self.vcpus.items():
            got = spent[name] / slices * seconds
            vcpu.got_seconds += got
            vcpu.waited_seconds += max(vcpu.wants * seconds - got, 0.0)

    def samples(self) -> Samples:
        """Its CPUs, and what each vCPU got, waited for and may use."""
        found = {series("kvm_cpu_online"): float(len(self.cpus.online))}
        for node, cpus in self.cpus.nodes.items():
            found[series("kvm_cpu_node_online", node=str(node))] = float(len(cpus))
        for name, vcpu in self.vcpus.items():
            guest = {"domain": name, "uuid": f"u-{name}"}
            who = {**guest, "vcpu": "0"}
            allowed = cpulist.parse(vcpu.cpus)
            found[series("kvm_domain_info", **guest)] = 1.0
            found[series("kvm_domain_vcpu_cpu_seconds_total", **who)] = vcpu.got_seconds
            found[series("kvm_domain_vcpu_delay_seconds_total", **who)] = vcpu.waited_seconds
            found[series("kvm_domain_vcpu_affinity_effective_cpus", **who)] = float(len(allowed))
            found[series("kvm_domain_vcpu_affinity_info", **who, configured="", effective=vcpu.cpus)] = 1.0
            if len(self.cpus.nodes) > 1:
                near = len(allowed & self.cpus.nodes[vcpu.node]) / len(allowed)
                for node in self.cpus.nodes:
                    found[series("kvm_domain_numa_memory_bytes", **guest, node=str(node))] = (node == vcpu.node) * 1e9
                # Where it ran last: where it may run at all, by its larger part.
                found[series("kvm_domain_numa_remote_memory_bytes", **guest)] = 0.0 if near >= 0.5 else 1e9
        return found

    def write(self, knob: str, target: Target, value: Value) -> None:
        """A vCPU may run where it was put."""
        assert knob == "vcpu.affinity"
        self.vcpus[dict(target)["domain"]].cpus = str(value)


def one_node(cpus: int) -> HostCpus:
    """A host without nodes or siblings."""
    return HostCpus(cores=tuple(frozenset({cpu}) for cpu in range(cpus)), nodes={0: frozenset(range(cpus))})


def pins(moves: Iterable[Decision]) -> list[tuple[str, str, str]]:
    """Who was put where by which rule."""
    return [(move.rule, dict(move.target)["domain"], str(move.after)) for move in moves]


def written(moves: Iterable[Decision]) -> list[tuple[str, Value | None]]:
    """Which rule wrote what."""
    return [(move.rule, move.after) for move in moves]


@dataclass
class MemoryHost:
    """A host whose memory somebody else moves, with the kernel parameters that rules set while it is short."""

    available_ratio: float = 0.4
    total_mib: int = 65536
    sysctls: dict[str, int] = field(
        default_factory=lambda: {"swappiness": 60, "dirty_ratio": 20, "dirty_background_ratio": 10}
    )

    def pass_time(self, seconds: float) -> None:
        """Nothing moves by itself."""

    def samples(self) -> Samples:
        """Memory, and the parameters."""
        sizes = {
            "total": self.total_mib,
            "available": self.available_ratio * self.total_mib,
            "hugetlb": 0,
            "swap_total": 8192,
        }
        found = {series(f"kvm_memory_{name}_bytes"): float(mib * MIB) for name, mib in sizes.items()}
        return found | {
            series("kvm_sysctl_value", name=f"vm.{name}"): float(value) for name, value in self.sysctls.items()
        }

    def write(self, knob: str, target: Target, value: Value) -> None:
        """It is what was written."""
        self.sysctls[knob.removeprefix("sysctl.vm.")] = int(value)
