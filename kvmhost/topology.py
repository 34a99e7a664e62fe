"""CPUs and NUMA nodes of the host, from /sys/devices/system/{cpu,node} (drivers/base/cpu.c and node.c)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kvmhost import cpulist
from kvmhost.fs import HostFS

_CPU = "sys/devices/system/cpu"
_NODE = "sys/devices/system/node"
# The older of two names each: all kernels have them, with the online CPUs only (drivers/base/topology.c).
_THREADS = "thread_siblings_list"
_PACKAGE = "core_siblings_list"


@dataclass(frozen=True, kw_only=True)
class Topology:
    """Which CPUs there are, and which the kernel keeps free of its own work."""

    online: frozenset[int]
    offline: frozenset[int]
    isolated: frozenset[int] | None
    """Left alone by the scheduler (isolcpus); None on kernels that do not say (before 4.2)."""
    nohz_full: frozenset[int] | None
    """Spared the timer tick while one task runs there; None on kernels that cannot do it (CONFIG_NO_HZ_FULL)."""
    nodes: Mapping[int, frozenset[int]]
    """The online CPUs of each NUMA node; empty for a node that has memory only."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the online CPUs share hardware; each group in order of its lowest CPU."""

    cores: tuple[frozenset[int], ...]
    """CPUs of one core: its SMT threads."""
    sockets: tuple[frozenset[int], ...]
    """CPUs of one physical package."""

    @property
    def threads_per_core(self) -> int:
        """CPUs online on the core that has most."""
        return max(map(len, self.cores), default=0)


def read(fs: HostFS) -> Topology | None:
    """The CPUs of this host; None if sysfs does not list them. Costs two files and one per NUMA node."""
    online = cpus(fs, f"{_CPU}/online")
    if online is None:
        return None
    present = cpus(fs, f"{_CPU}/present")
    # What could be plugged in besides is in the file `offline`, too; where CPUs are left out at boot (nr_cpus), it was
    # wrong before 6.9.
    offline = cpus(fs, f"{_CPU}/offline") or frozenset() if present is None else present - online
    node_ids = cpus(fs, f"{_NODE}/online")
    # A kernel without NUMA has no node directory: to a planner, all its CPUs are on one node.
    nodes = {0: online} if node_ids is None else {node: _node_cpus(fs, node) for node in sorted(node_ids)}
    return Topology(
        online=online,
        offline=offline,
        isolated=cpus(fs, f"{_CPU}/isolated"),
        nohz_full=_nohz_full(fs),
        nodes=nodes,
    )


def layout(fs: HostFS, online: frozenset[int]) -> Layout | None:
    """Cores and sockets of these CPUs; None if the kernel does not tell. Costs a file for each core and socket."""
    first = f"{_CPU}/cpu{min(online, default=0)}/topology"
    if fs.content(f"{first}/{_THREADS}") is None or fs.content(f"{first}/{_PACKAGE}") is None:
        return None
    return Layout(cores=cores(fs, online), sockets=_groups(fs, online, _PACKAGE))


def cores(fs: HostFS, online: Iterable[int]) -> tuple[frozenset[int], ...]:
    """The SMT siblings of each core with an online CPU, in order of their lowest CPU. Costs a file for each core.

    A CPU whose siblings the kernel does not tell counts as a core of its own.
    """
    return _groups(fs, online, _THREADS)


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


def _nohz_full(fs: HostFS) -> frozenset[int] | None:
    path = f"{_CPU}/nohz_full"
    # So the kernel's printf writes a mask that was never made, since the boot parameter is not set.
    return frozenset() if (fs.content(path) or b"").strip() == b"(null)" else cpus(fs, path)


def _groups(fs: HostFS, online: Iterable[int], name: str) -> tuple[frozenset[int], ...]:
    groups: list[frozenset[int]] = []
    grouped: set[int] = set()
    for cpu in sorted(online):
        if cpu not in grouped:
            group = cpus(fs, f"{_CPU}/cpu{cpu}/topology/{name}") or frozenset({cpu})
            groups.append(group)
            grouped |= group
    return tuple(groups)
