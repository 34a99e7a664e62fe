"""What control groups tell of guests: the memory of each, by NUMA node, and the CPUs that all may use.

The kernel tells this of a process, too (numa_maps, smaps_rollup), but walks all its page tables for it: milliseconds
per GiB. The counters of a control group cost microseconds, and no privileges. They are those of the guest where libvirt
gave it a control group of its own, as it does with systemd.

Sources: cgroup_path of /proc/PID/cgroup (cgroups(7)); memory.numa_stat and memory.stat of cgroup v2 (mm/memcontrol.c,
in bytes) and v1 (mm/memcontrol-v1.c, in pages); cpuset.cpus.effective of v2 and cpuset.effective_cpus of v1
(kernel/cgroup/cpuset.c).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kvmhost import memory, topology
from kvmhost.fs import HostFS

_ROOT = "sys/fs/cgroup"
# What libvirt names it (src/util/vircgroup.c, virsystemd.c): with systemd, and without.
_OF_ONE_GUEST = re.compile(r"machine-.*\.scope|.*\.libvirt-qemu")
# Where libvirt puts all guests: with systemd, and without.
_CPUS_OF_ALL = tuple(
    f"{_ROOT}/{path}"
    for parent in ("machine.slice", "machine")
    for path in (f"{parent}/cpuset.cpus.effective", f"cpuset/{parent}/cpuset.effective_cpus")
)
_NODE = re.compile(r"N([0-9]{1,5})=([0-9]{1,20})")


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Of one guest, QEMU's own memory included, pages of hugepage pools not."""

    node_bytes: Mapping[int, int]
    """On each NUMA node."""
    anon_thp_bytes: int | None
    """On transparent huge pages."""


def counted(fs: HostFS, pid: int) -> Counted | None:
    """Of the QEMU process `pid`; None if it has ended, or has no control group of its own."""
    for line in (fs.text(f"proc/{pid}/cgroup") or "").split("\n"):  # other breaks may stand in a name
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        own = _of_the_guest(path)
        if own and controllers == "":
            return _v2(fs, f"{_ROOT}{own}") or _v2(fs, f"{_ROOT}/unified{own}")
        if own and controllers == "memory":
            return _v1(fs, f"{_ROOT}/memory{own}")
    return None


def cpus_of_guests(fs: HostFS) -> frozenset[int] | None:
    """The CPUs that the control group of all guests may use; None if it does not limit them (no cpuset controller)."""
    return next(filter(None, (topology.cpus(fs, path) for path in _CPUS_OF_ALL)), None)


def _of_the_guest(path: str) -> str | None:
    """The part of a cgroup's path that leads to the guest's own; libvirt moves threads into groups below it."""
    # Seen from a control group namespace of its own, as in a container, the way to it leads up first.
    names = [name for name in path.split("/") if name != ".."]
    for depth, name in enumerate(names, start=1):
        if _OF_ONE_GUEST.fullmatch(name):
            return "/".join(names[:depth])
    return None


def _v2(fs: HostFS, group: str) -> Counted | None:
    nodes = _by_node(fs.text(f"{group}/memory.numa_stat"), " ")
    if "anon" not in nodes:
        return None
    anon, shmem = nodes["anon"], nodes.get("shmem", {})
    return Counted(
        node_bytes={node: size + shmem.get(node, 0) for node, size in anon.items()},
        anon_thp_bytes=sum(nodes["anon_thp"].values()) if "anon_thp" in nodes else None,
    )


def _v1(fs: HostFS, group: str) -> Counted | None:
    # There, pages of shared memory count as anon, and locked ones as neither.
    nodes = _by_node(fs.text(f"{group}/memory.numa_stat"), "=")
    anon, locked = nodes.get("hierarchical_anon"), nodes.get("hierarchical_unevictable", {})
    page_bytes = memory.page_size_bytes(fs)
    if anon is None or page_bytes is None:
        return None
    huge = re.search(r"^total_rss_huge ([0-9]{1,20})$", fs.text(f"{group}/memory.stat") or "", re.MULTILINE)
    return Counted(
        node_bytes={node: (pages + locked.get(node, 0)) * page_bytes for node, pages in anon.items()},
        anon_thp_bytes=int(huge[1]) if huge else None,
    )


def _by_node(text: str | None, separator: str) -> dict[str, dict[int, int]]:
    """The lines `anon N0=1 N1=2` (v2), `anon=3 N0=1 N1=2` (v1), by their first word."""
    lines = (line.partition(separator) for line in (text or "").splitlines())
    return {name: {int(node): int(size) for node, size in _NODE.findall(rest)} for name, _, rest in lines}
