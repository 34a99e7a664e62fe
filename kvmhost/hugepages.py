"""Pools of hugetlb pages, of the host and of each NUMA node (mm/hugetlb.c, Documentation/admin-guide/mm).

Counts are pages of the pool's own size. The node directories lack reserved and overcommit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kvmhost.fs import HostError, HostFS

_NODES = "sys/devices/system/node"
_POOL = re.compile(r"hugepages-([0-9]{1,12})kB")
_NODE = re.compile(r"node([0-9]{1,5})")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One page size, on the host as a whole or on one node; a count is None where the kernel does not say."""

    size_bytes: int
    node: int | None
    """None: the whole host."""
    nr_pages: int | None
    free_pages: int | None
    reserved_pages: int | None
    surplus_pages: int | None
    overcommit_pages: int | None


@dataclass(frozen=True, kw_only=True)
class HugepagesState:
    """All pools, smallest pages first, and the errors of files that could not be used."""

    pools: tuple[Pool, ...]
    node_pools: tuple[Pool, ...]
    faults: tuple[HostError, ...]


def read(fs: HostFS) -> HugepagesState | None:
    """The pools of this host; None on a kernel without hugetlb. A bad file costs its own value only."""
    pools, faults = _pools(fs, "sys/kernel/mm/hugepages", node=None)
    if not pools:
        return None
    node_pools: tuple[Pool, ...] = ()
    for name in fs.names(_NODES):
        match = _NODE.fullmatch(name)
        if match:
            more, bad = _pools(fs, f"{_NODES}/{name}/hugepages", node=int(match[1]))
            node_pools, faults = node_pools + more, faults + bad
    return HugepagesState(pools=pools, node_pools=node_pools, faults=faults)


def _pools(fs: HostFS, directory: str, node: int | None) -> tuple[tuple[Pool, ...], tuple[HostError, ...]]:
    pools: list[Pool] = []
    faults: tuple[HostError, ...] = ()
    for name in fs.names(directory):
        match = _POOL.fullmatch(name)
        if match:
            pages, bad = fs.integers(f"{directory}/{name}", _FILES)
            faults += bad
            pools.append(
                Pool(
                    size_bytes=int(match[1]) * 1024,
                    node=node,
                    nr_pages=pages.get("nr_hugepages"),
                    free_pages=pages.get("free_hugepages"),
                    reserved_pages=pages.get("resv_hugepages"),
                    surplus_pages=pages.get("surplus_hugepages"),
                    overcommit_pages=pages.get("nr_overcommit_hugepages"),
                )
            )
    return tuple(sorted(pools, key=lambda pool: pool.size_bytes)), faults


_FILES = (
    "nr_hugepages",
    "free_hugepages",
    "resv_hugepages",
    "surplus_hugepages",
    "nr_overcommit_hugepages",
)
