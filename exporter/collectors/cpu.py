"""CPUs of the host: how many can run vCPUs, and where they are."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.scrape import Scrape
from exporter.table import Family, Row, families, gauge
from kvmhost import topology
from kvmhost.fs import HostError
from kvmhost.topology import Layout, Topology

TABLE: tuple[Row[Topology], ...] = (
    gauge(
        "kvm_cpu_online",
        "CPUs that can run something now, SMT siblings counted each.",
        lambda state: len(state.online),
    ),
    gauge(
        "kvm_cpu_offline",
        "CPUs that are there but switched off.",
        lambda state: len(state.offline),
    ),
    gauge(
        "kvm_cpu_isolated",
        "CPUs that the scheduler leaves alone (boot parameter isolcpus): only pinned vCPUs run there.",
        lambda state: None if state.isolated is None else len(state.isolated),
    ),
    gauge(
        "kvm_cpu_nohz_full",
        "CPUs that are spared the timer tick while one task runs there (boot parameter nohz_full).",
        lambda state: None if state.nohz_full is None else len(state.nohz_full),
    ),
)

LAYOUT_TABLE: tuple[Row[Layout], ...] = (
    gauge(
        "kvm_cpu_sockets",
        "Physical CPU packages with an online CPU.",
        lambda layout: len(layout.sockets),
    ),
    gauge(
        "kvm_cpu_cores",
        "Cores with an online CPU: vCPUs on SMT siblings of one core share its speed.",
        lambda layout: len(layout.cores),
    ),
    gauge(
        "kvm_cpu_threads_per_core",
        "Online CPUs of the core that has most: 2 or more with SMT, 1 without.",
        lambda layout: layout.threads_per_core,
    ),
    gauge(
        "kvm_cpu_smt_active",
        "1 if some core has more than one online CPU, 0 if SMT is off or not there.",
        lambda layout: layout.threads_per_core > 1,
    ),
)

NODE_TABLE: tuple[Row[frozenset[int]], ...] = (
    gauge(
        "kvm_cpu_node_online",
        "Online CPUs of this NUMA node; 0 for a node that has memory only.",
        len,
    ),
)


class CpuCollector:
    """Remembers how CPUs share hardware, which takes a file for each core to read, until other CPUs are online."""

    def __init__(self) -> None:
        self._layouts: dict[frozenset[int], Layout | None] = {}

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        state = topology.read(scrape.fs)
        if state is None:
            return
        yield from families(TABLE, [((), state)])
        nodes = [((str(node),), cpus) for node, cpus in state.nodes.items()]
        yield from families(NODE_TABLE, nodes, labels=("node",))
        if state.online not in self._layouts:
            self._layouts = {state.online: topology.layout(scrape.fs, state.online)}
        yield from families(LAYOUT_TABLE, [((), layout) for layout in self._layouts.values() if layout])
