"""Pools of hugetlb pages, of the host and of each NUMA node (mm/hugetlb.c, Documentation/admin-guide/mm).

Counts are pages of the pool's own size. The node directories lack reserved and overcommit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kvmhost.fs import HostError, HostFS

_NODES = "sys/devices/system/node"
_POOL = re.compile(r"hugepages-([0-9]{1,12})kB")
_DEFAULT = re.compile(r"^Hugepagesize: +([0-9]{1,12}) kB$", re.MULTILINE)
_NODE = re.compile(r"node([0-9]{1,5})")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One page size, on the host as a whole or on one node; a count is None where the kernel does not say."""

    directory: str
    """Where its files are, below the root of the host."""
    size_bytes: int
    node: int | None
    """None: the whole host."""
    nr_pages: int | None
    free_pages: int | None
    reserved_pages: int | None
    surplus_pages: int | None
    overcommit_pages: int | None

    def bytes_of(self, pages: int | None) -> int | None:
        return None if pages is None else pages * self.size_bytes


@dataclass(frozen=True, kw_only=True)
class HugepagesState:
    """All pools, smallest pages first, and the errors of files that could not be used."""

    pools: tuple[Pool, ...]
    node_pools: tuple[Pool, ...]
    faults: tuple[HostError, ...]


_HOST = "sys/kernel/mm/hugepages"
_NODE_FILES = ("nr_hugepages", "free_hugepages", "surplus_hugepages")
_HOST_FILES = (*_NODE_FILES, "resv_hugepages", "nr_overcommit_hugepages")


def read(fs: HostFS) -> HugepagesState | None:
    """The pools of this host; None on a kernel without hugetlb. A bad file costs its own value only."""
    pools, faults = _pools(fs, _HOST, _HOST_FILES, node=None)
    if not pools:
        return None
    node_pools: tuple[Pool, ...] = ()
    for name in fs.names(_NODES):
        match = _NODE.fullmatch(name)
        if match:
            more, bad = _pools(fs, f"{_NODES}/{name}/hugepages", _NODE_FILES, node=int(match[1]))
            node_pools, faults = node_pools + more, faults + bad
    return HugepagesState(pools=pools, node_pools=node_pools, faults=faults)


def default_size_bytes(fs: HostFS) -> int | None:
    """The size that is meant where none is named, as by vm.nr_hugepages; None if the kernel does not say."""
    found = _DEFAULT.search(fs.text("proc/meminfo") or "")
    return int(found[1]) * 1024 if found else None


def usable_bytes(fs: HostFS) -> int | None:
    """Memory of all pools that is free and not promised; None if a pool does not tell, `HostError` on a bad file."""
    pools, faults = _pools(fs, _HOST, ("free_hugepages", "resv_hugepages"), node=None)
    for fault in faults:
        raise fault
    usable = 0
    for pool in pools:
        if pool.free_pages is None or pool.reserved_pages is None:
            return None
        usable += (pool.free_pages - pool.reserved_pages) * pool.size_bytes
    return usable


def _pools(
    fs: HostFS, directory: str, files: Iterable[str], node: int | None
) -> tuple[tuple[Pool, ...], tuple[HostError, ...]]:
    pools: list[Pool] = []
    faults: tuple[HostError, ...] = ()
    for name in fs.names(directory):
        match = _POOL.fullmatch(name)
        if match:
            pages, bad = fs.integers(f"{directory}/{name}", files)
            faults += bad
            pools.append(
                Pool(
                    directory=f"{directory}/{name}",
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
