"""Memory of each NUMA node, and how far the nodes are from each other."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.scrape import Scrape
from exporter.table import Family, Row, families, gauge
from kvmhost import numa
from kvmhost.fs import HostError
from kvmhost.numa import Node

TABLE: tuple[Row[Node], ...] = (
    gauge(
        "kvm_numa_node_memory_total_bytes",
        "Memory of this NUMA node that the kernel manages (MemTotal of the node's meminfo).",
        lambda node: node.total_bytes,
    ),
    gauge(
        "kvm_numa_node_memory_free_bytes",
        "Memory of this NUMA node that nothing uses at all (MemFree).",
        lambda node: node.free_bytes,
    ),
    gauge(
        "kvm_numa_node_memory_file_bytes",
        "Cached contents of files on this NUMA node, shared memory included (FilePages).",
        lambda node: node.file_bytes,
    ),
    gauge(
        "kvm_numa_node_memory_anon_bytes",
        "Memory of processes on this NUMA node that no file backs: most of a guest, unless on hugepages (AnonPages).",
        lambda node: node.anon_bytes,
    ),
    gauge(
        "kvm_numa_node_memory_anon_huge_pages_bytes",
        "The part of anon on this NUMA node that is in transparent huge pages (AnonHugePages).",
        lambda node: node.anon_huge_pages_bytes,
    ),
    gauge(
        "kvm_numa_node_memory_shmem_bytes",
        "Shared memory and tmpfs on this NUMA node: guests with shared backing are here (Shmem).",
        lambda node: node.shmem_bytes,
    ),
    gauge(
        "kvm_numa_node_memory_slab_reclaimable_bytes",
        "Memory of the kernel's own objects on this NUMA node that shrinks when memory is short (SReclaimable).",
        lambda node: node.slab_reclaimable_bytes,
    ),
)

DISTANCE_TABLE: tuple[Row[int], ...] = (
    gauge(
        "kvm_numa_node_distance",
        "What memory on the node `to` costs a CPU on this node, as the firmware tells; its own memory costs 10.",
        lambda distance: distance,
    ),
)


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """Metrics of each online node."""
    state = numa.read(scrape.fs)
    if state is None:
        return
    yield from families(TABLE, [((str(node.node),), node) for node in state.nodes], labels=("node",))
    distances = [((str(node.node), str(to)), far) for node in state.nodes for to, far in node.distances.items()]
    yield from families(DISTANCE_TABLE, distances, labels=("node", "to"))
    yield from state.faults
