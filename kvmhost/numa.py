"""Memory of each NUMA node: /sys/devices/system/node/node*/{meminfo,distance} (drivers/base/node.c)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kvmhost import memory, topology
from kvmhost.fs import HostError, HostFS

_NODE = "sys/devices/system/node"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node that is online; None where the kernel does not say."""

    node: int
    distances: Mapping[int, int]
    """Cost of memory on each node to a CPU on this one, this one's own being 10 (ACPI SLIT); {} if not told."""
    total_bytes: int | None = None
    free_bytes: int | None = None
    file_bytes: int | None = None
    anon_bytes: int | None = None
    anon_huge_pages_bytes: int | None = None
    shmem_bytes: int | None = None
    slab_reclaimable_bytes: int | None = None


_FIELD_OF_LINE = {
    "MemTotal": "total_bytes",
    "MemFree": "free_bytes",
    "FilePages": "file_bytes",
    "AnonPages": "anon_bytes",
    "AnonHugePages": "anon_huge_pages_bytes",
    "Shmem": "shmem_bytes",
    "SReclaimable": "slab_reclaimable_bytes",
}


@dataclass(frozen=True, kw_only=True)
class NumaState:
    """All nodes in order, and the errors of files that could not be used."""

    nodes: tuple[Node, ...]
    faults: tuple[HostError, ...]


def read(fs: HostFS) -> NumaState | None:
    """The nodes that are online; None on a kernel without NUMA. Costs two files for each node."""
    online = topology.cpus(fs, f"{_NODE}/online")
    if online is None:
        return None
    nodes: list[Node] = []
    faults: list[HostError] = []
    for node in sorted(online):
        amounts: dict[str, int] = {}
        distances: dict[int, int] = {}
        try:
            path = f"{_NODE}/node{node}/meminfo"
            amounts, bad = memory.amounts_bytes(fs, path, fs.text(path) or "", _FIELD_OF_LINE, f"Node {node} ")
            faults.extend(bad)
            distances = _distances(fs, node, online)
        except HostError as fault:
            faults.append(fault)
        nodes.append(Node(node=node, distances=distances, **amounts))
    return NumaState(nodes=tuple(nodes), faults=tuple(faults))


def _distances(fs: HostFS, node: int, online: Iterable[int]) -> dict[int, int]:
    """Of `10 21`, the distance to each online node in ascending order (node_read_distance)."""
    path = f"{_NODE}/node{node}/distance"
    text = fs.text(path)
    if text is None:
        return {}
    try:
        return dict(zip(sorted(online), map(int, text.split()), strict=True))
    except ValueError:
        raise fs.malformed(path, "a number for each online node", text) from None
