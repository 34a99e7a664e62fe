"""CPUs and NUMA nodes of the host, from /sys/devices/system/{cpu,node} (drivers/base/cpu.c and node.c)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kvmhost import cpulist
from kvmhost.fs import HostFS

_CPU = "sys/devices/system/cpu"
_NODE = "sys/devices/system/node"


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Which CPUs there are. `isolated` is None on kernels that do not say (before 4.2)."""

    online: frozenset[int]
    offline: frozenset[int]
    isolated: frozenset[int] | None
    nodes: Mapping[int, frozenset[int]]
    """The online CPUs of each NUMA node; empty for a node that has memory only."""


def read(fs: HostFS) -> Topology | None:
    """The CPUs of this host; None if sysfs does not list them. Costs two files and one per NUMA node."""
    online = cpus(fs, f"{_CPU}/online")
    if online is None:
        return None
    node_ids = cpus(fs, f"{_NODE}/online")
    # A kernel without NUMA has no node directory: to a planner, all its CPUs are on one node.
    nodes = {0: online} if node_ids is None else {node: _node_cpus(fs, node) for node in sorted(node_ids)}
    return Topology(
        online=online,
        offline=cpus(fs, f"{_CPU}/offline") or frozenset(),
        isolated=cpus(fs, f"{_CPU}/isolated"),
        nodes=nodes,
    )


def cores(fs: HostFS, online: Iterable[int]) -> tuple[frozenset[int], ...]:
    """The SMT siblings of each core with an online CPU, in order of their lowest CPU. Costs one file per CPU.

    A CPU whose siblings the kernel does not tell counts as a core of its own.
    """
    siblings = {cpus(fs, f"{_CPU}/cpu{cpu}/topology/thread_siblings_list") or frozenset({cpu}) for cpu in online}
    return tuple(sorted(siblings, key=min))


def cpus(fs: HostFS, path: str) -> frozenset[int] | None:
    """The CPU (or node) list that is a file's content; None if it is absent, `HostError` if malformed."""
    text = fs.text(path)
    if text is None:
        return None
    try:
        return cpulist.parse(text)
    except ValueError as error:
        raise fs.malformed(path, "a CPU list such as 0-3,8", text) from error


def _node_cpus(fs: HostFS, node: int) -> frozenset[int]:
    return cpus(fs, f"{_NODE}/node{node}/cpulist") or frozenset()
