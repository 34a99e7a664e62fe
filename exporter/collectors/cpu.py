"""CPUs of the host: how many can run vCPUs, and where they are."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from exporter.scrape import Scrape
from exporter.table import Row, families, gauge
from kvmhost import topology
from kvmhost.fs import HostError
from kvmhost.topology import Topology

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
)

NODE_TABLE: tuple[Row[frozenset[int]], ...] = (
    gauge(
        "kvm_cpu_node_online",
        "Online CPUs of this NUMA node; 0 for a node that has memory only.",
        len,
    ),
)


def collect(scrape: Scrape) -> Iterator[Metric | HostError]:
    """Counts of CPUs, of the host and of each NUMA node."""
    state = topology.read(scrape.fs)
    if state:
        yield from families(TABLE, [((), state)])
        nodes = [((str(node),), cpus) for node, cpus in state.nodes.items()]
        yield from families(NODE_TABLE, nodes, labels=("node",))
