"""The knob of hugepage pools (mm/hugetlb.c, Documentation/admin-guide/mm/hugetlbpage.rst)."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import ClassVar

from actuator.knobs import reserve
from actuator.knobs.knob import Knob, KnobError, Live, Metric, Target, Unit, Value, label
from actuator.knobs.privilege import SYS_FILE
from actuator.knobs.write import Disposable, Write
from kvmhost import hugepages, numa
from kvmhost.fs import HostError, HostFS
from kvmhost.hugepages import Pool
from kvmhost.units import format_bytes


class HugepagesPool(Knob):
    """Never below the pages that are in use or promised. It grows by what is available beyond 5 % of the host's memory.

    The kernel gives what it can: on a host whose memory is fragmented, fewer pages than asked for. What it gave is
    read back, and told. It is written by a process of its own, since making room may take long.
    """

    name = "hugepages.pool"
    unit = Unit.COUNT
    summary = "Pages of one size that a NUMA node keeps for hugetlb, in use or not; nothing else can use them."
    keys = ("node", "size")
    lowest = 0
    metric = Metric("kvm_hugepages_node_nr")
    privilege = SYS_FILE
    settle_seconds = 30.0
    can_persist = True
    advice: ClassVar[Mapping[int, str]] = {
        errno.EINVAL: "this kernel cannot make or free pages of this size while it runs: set hugepages= at boot",
        errno.ENOMEM: "the kernel has not enough memory for it",
    }

    def __init__(self, fs: HostFS) -> None:
        self._fs = fs
        self._writers: dict[Target, Disposable] = {}

    def live(self) -> Mapping[Target, Live]:
        """Each pool by node and size; on a kernel without NUMA, the pools of the host as those of node 0."""
        try:
            state = hugepages.read(self._fs)
            if state is None:
                return {}
            for fault in state.faults:
                raise fault
            return dict(self._read(state.node_pools or state.pools, state.pools))
        except HostError as error:
            raise KnobError(f"cannot read the hugepage pools: {error}") from error

    def _read(self, pools: tuple[Pool, ...], of_host: tuple[Pool, ...]) -> Iterator[tuple[Target, Live]]:
        spare = reserve.read(self._fs)
        free_bytes = _free_bytes(self._fs)
        promised = {pool.size_bytes: pool.reserved_pages or 0 for pool in of_host}
        for pool in pools:
            if pool.nr_pages is None or pool.free_pages is None:
                continue
            value = pool.nr_pages - (pool.surplus_pages or 0)
            # The kernel does not say which node's pages are promised: any of them may be.
            low = max(value - max(pool.free_pages - promised[pool.size_bytes], 0), 0)
            room_bytes = max(spare.spare_bytes, 0) if spare else 0
            room_bytes = min(room_bytes, free_bytes.get(pool.node or 0, room_bytes))
            yield (
                (("node", str(pool.node or 0)), ("size", _size(pool.size_bytes))),
                Live(
                    value=value,
                    low=low,
                    high=value + room_bytes // pool.size_bytes,
                    low_because="the pages in use or promised",
                    high_because="what memory is available, 5 % of the host's left out",
                ),
            )

    def write(self, target: Target, value: Value) -> None:
        """Ask for `value` pages. Other pools may have taken the memory since that was decided."""
        live = self.live().get(target)
        if live is None:
            raise KnobError(f"there is no pool {label(target)} any more")
        if live.high is not None and int(value) > max(live.high, int(live.value)):
            raise KnobError(f"cannot make {value} pages of {label(target)}: {live.high} at most, {live.high_because}")
        node, size = (text for _, text in target)
        pool = _directory(self._fs, node, size)
        writer = self._writers.setdefault(target, Disposable())
        if problem := writer.make([Write(self._fs.root / pool / "nr_hugepages", f"{value}\n")], [], self.causes()):
            raise KnobError(problem)

    def setting(self, target: Target) -> str:
        """The sysctl where it means this pool, which is on a host with one node for the default size; else the file."""
        node, size = (text for _, text in target)
        try:
            state, default_bytes = hugepages.read(self._fs), hugepages.default_size_bytes(self._fs)
        except HostError as error:
            raise KnobError(str(error)) from error
        nodes = {pool.node for pool in state.node_pools} if state else set()
        if len(nodes) < 2 and default_bytes is not None and _size(default_bytes) == size:
            return "vm.nr_hugepages"
        return f"/{_directory(self._fs, node, size)}/nr_hugepages"

    def is_ours(self, live: Value, written: tuple[Value, ...]) -> bool:
        """A pool on its way, or one that fell short, is between the values we wrote."""
        numbers = [int(value) for value in written]
        return min(numbers) <= int(live) <= max(numbers)


def _size(size_bytes: int) -> str:
    """As the exporter's label `size` has it."""
    return format_bytes(size_bytes).replace(" ", "")


def _directory(fs: HostFS, node: str, size: str) -> str:
    state = hugepages.read(fs)
    for pool in (state.node_pools or state.pools) if state else ():
        if (str(pool.node or 0), _size(pool.size_bytes)) == (node, size):
            return pool.directory
    raise KnobError(f"there is no pool of {size} on node {node} any more")


def _free_bytes(fs: HostFS) -> dict[int, int]:
    """Memory of each node that is free or a cache of files; {} where there are no nodes."""
    state = numa.read(fs)
    return {
        node.node: node.free_bytes + (node.file_bytes or 0) - (node.shmem_bytes or 0)
        for node in (state.nodes if state else ())
        if node.free_bytes is not None
    }
