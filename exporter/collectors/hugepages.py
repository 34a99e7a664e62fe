"""Pools of hugetlb pages, by size, and by size and NUMA node."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.scrape import Scrape
from exporter.table import Family, Row, families, gauge
from kvmhost import hugepages
from kvmhost.fs import HostError
from kvmhost.hugepages import Pool
from kvmhost.units import format_bytes

TABLE: tuple[Row[Pool], ...] = (
    gauge(
        "kvm_hugepages_nr",
        "Pages in the pool, in use or not; memory that nothing else can use (nr_hugepages).",
        lambda pool: pool.nr_pages,
    ),
    gauge(
        "kvm_hugepages_free",
        "Pages of the pool that no process has, promised ones included (free_hugepages).",
        lambda pool: pool.free_pages,
    ),
    gauge(
        "kvm_hugepages_resv",
        "Free pages that are promised to a process: a new guest cannot have them (resv_hugepages).",
        lambda pool: pool.reserved_pages,
    ),
    gauge(
        "kvm_hugepages_surplus",
        "Pages beyond the set size of the pool, given back when they become free (surplus_hugepages).",
        lambda pool: pool.surplus_pages,
    ),
    gauge(
        "kvm_hugepages_nr_overcommit",
        "How many surplus pages the pool may grow by on demand (nr_overcommit_hugepages).",
        lambda pool: pool.overcommit_pages,
    ),
    gauge(
        "kvm_hugepages_total_bytes",
        "Memory in the pool, in use or not: nr * size.",
        lambda pool: pool.bytes_of(pool.nr_pages),
    ),
    gauge(
        "kvm_hugepages_free_bytes",
        "Memory of the pool that no process has, promised memory included: free * size.",
        lambda pool: pool.bytes_of(pool.free_pages),
    ),
    gauge(
        "kvm_hugepages_reserved_bytes",
        "Free memory of the pool that is promised to a process: resv * size. A new guest can have free - reserved.",
        lambda pool: pool.bytes_of(pool.reserved_pages),
    ),
    gauge(
        "kvm_hugepages_surplus_bytes",
        "Memory of the pool beyond its set size: surplus * size.",
        lambda pool: pool.bytes_of(pool.surplus_pages),
    ),
    gauge(
        "kvm_hugepages_overcommit_bytes",
        "How much surplus memory the pool may grow by on demand: nr_overcommit * size.",
        lambda pool: pool.bytes_of(pool.overcommit_pages),
    ),
)

NODE_TABLE: tuple[Row[Pool], ...] = (
    gauge(
        "kvm_hugepages_node_nr",
        "Pages that the pool has on this NUMA node, in use or not (nr_hugepages).",
        lambda pool: pool.nr_pages,
    ),
    gauge(
        "kvm_hugepages_node_free",
        "Pages of the pool on this NUMA node that no process has (free_hugepages).",
        lambda pool: pool.free_pages,
    ),
    gauge(
        "kvm_hugepages_node_surplus",
        "Pages on this NUMA node beyond the set size of the pool (surplus_hugepages).",
        lambda pool: pool.surplus_pages,
    ),
    gauge(
        "kvm_hugepages_node_total_bytes",
        "Memory that the pool has on this NUMA node, in use or not: node_nr * size.",
        lambda pool: pool.bytes_of(pool.nr_pages),
    ),
    gauge(
        "kvm_hugepages_node_free_bytes",
        "Memory of the pool on this NUMA node that no process has: node_free * size.",
        lambda pool: pool.bytes_of(pool.free_pages),
    ),
    gauge(
        "kvm_hugepages_node_surplus_bytes",
        "Memory on this NUMA node beyond the set size of the pool: node_surplus * size.",
        lambda pool: pool.bytes_of(pool.surplus_pages),
    ),
)


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """Metrics of each pool, in pages of its own size and in bytes."""
    state = hugepages.read(scrape.fs)
    if state:
        pools = [((_size(pool),), pool) for pool in state.pools]
        yield from families(TABLE, pools, labels=("size",))
        node_pools = [((str(pool.node), _size(pool)), pool) for pool in state.node_pools]
        yield from families(NODE_TABLE, node_pools, labels=("node", "size"))
        yield from state.faults


def _size(pool: Pool) -> str:
    return format_bytes(pool.size_bytes).replace(" ", "")
