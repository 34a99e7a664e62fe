"""Pools of hugetlb pages, by size, and by size and NUMA node."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from exporter.scrape import Scrape
from exporter.table import Row, families, gauge
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
)


def collect(scrape: Scrape) -> Iterator[Metric | HostError]:
    """Metrics of each pool, in pages of its own size."""
    state = hugepages.read(scrape.fs)
    if state:
        pools = [((_size(pool),), pool) for pool in state.pools]
        yield from families(TABLE, pools, labels=("size",))
        node_pools = [((str(pool.node), _size(pool)), pool) for pool in state.node_pools]
        yield from families(NODE_TABLE, node_pools, labels=("node", "size"))
        yield from state.faults


def _size(pool: Pool) -> str:
    return format_bytes(pool.size_bytes).replace(" ", "")
