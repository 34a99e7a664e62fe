"""Knobs of /proc/sys/vm (Documentation/admin-guide/sysctl/vm.rst, mm/page-writeback.c, mm/vmscan.c, kernel/sysctl.c).

Limits are the kernel's, and narrower where its own documentation warns of what lies beyond.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

from actuator.knobs import reserve
from actuator.knobs.files import FileKnob, number, refused
from actuator.knobs.knob import Live, Metric, Target, Unit
from actuator.knobs.privilege import SYSCTL
from kvmhost import memory
from kvmhost.fs import HostFS

DIRECTORY = "proc/sys/vm"

# The other face of one setting: writing the one sets the other to 0, and 0 cannot be written back to all of them.
_OTHER_FACE = {
    "dirty_bytes": "dirty_ratio",
    "dirty_background_bytes": "dirty_background_ratio",
    "overcommit_kbytes": "overcommit_ratio",
}
_OTHER_FACE |= {ratio: amount for amount, ratio in _OTHER_FACE.items()}

_LARGE_BYTES = 2**40
_LARGE = 2**31 - 1  # most of them are a C int


class Sysctl(FileKnob):
    """One number."""

    privilege = SYSCTL
    can_persist = True
    advice = {errno.EINVAL: "this kernel has narrower limits: see its Documentation/admin-guide/sysctl/vm.rst"}  # noqa: RUF012

    def setting(self, target: Target) -> str:
        """Its name, as sysctl(8) has it."""
        return self.name.removeprefix("sysctl.")


def _in_force(name: str) -> Callable[[HostFS, Live], Live]:
    other = _OTHER_FACE[name]

    def narrow(fs: HostFS, live: Live) -> Live:
        """A rule moves the face that is in force; which one that is stays the operator's choice."""
        theirs = fs.integer(f"{DIRECTORY}/{other}")
        if live.value or (not theirs and name.endswith("ratio")):
            return live
        return refused(live, f"vm.{other} ({theirs}) is in force: set that, or choose by hand: sysctl -w vm.{name}=")

    return narrow


def _strict(fs: HostFS) -> bool:
    return fs.integer(f"{DIRECTORY}/overcommit_memory") == 2


def _commit_limit(name: str) -> Callable[[HostFS, Live], Live]:
    in_force = _in_force(name)

    def narrow(fs: HostFS, live: Live) -> Live:
        """With strict accounting, every allocation hangs on it."""
        if _strict(fs):
            return refused(live, "vm.overcommit_memory is 2: a smaller limit would fail allocations of all programs")
        return in_force(fs, live)

    return narrow


def _strict_only_if_it_fits(fs: HostFS, live: Live) -> Live:
    state = memory.read(fs)
    if live.value == 2 or state is None or None in (state.committed_bytes, state.commit_limit_bytes):
        return live
    assert state.committed_bytes is not None
    assert state.commit_limit_bytes is not None
    if state.committed_bytes <= state.commit_limit_bytes:
        return live
    return replace(live, high=1, high_because="programs have committed more than CommitLimit, so 2 would fail them")


def _within_reserve(fs: HostFS, live: Live) -> Live:
    spare = reserve.read(fs)
    if spare is None:
        return refused(live, "it is not known how much memory there is (/proc/meminfo)")
    return replace(live, high=spare.reserve_bytes // 1024, high_because="5 % of the host's memory")


def _vm(
    name: str,
    summary: str,
    lowest: int,
    highest: int,
    unit: Unit = Unit.COUNT,
    narrow: Callable[[HostFS, Live], Live] | None = None,
) -> type[FileKnob]:
    file = f"{DIRECTORY}/{name}"
    metric = Metric("kvm_sysctl_value", labels=(("name", f"vm.{name}"),))
    return number(
        f"sysctl.vm.{name}", file, summary, lowest, highest, metric=metric, unit=unit, base=Sysctl, narrow=narrow
    )


def _face(name: str, summary: str, lowest: int, highest: int, unit: Unit = Unit.COUNT) -> type[FileKnob]:
    narrow = _commit_limit(name) if name.startswith("overcommit") else _in_force(name)
    return _vm(name, f"{summary} Only while vm.{_OTHER_FACE[name]} is not in force.", lowest, highest, unit, narrow)


KNOBS: tuple[type[FileKnob], ...] = (
    _vm("compaction_proactiveness", "How eagerly memory is compacted ahead of need.", 0, 100),
    _face("dirty_background_bytes", "Dirty memory at which writeback begins.", 2**20, _LARGE_BYTES, Unit.BYTES),
    _face("dirty_background_ratio", "Percent of available memory at which writeback begins.", 1, 100),
    _face("dirty_bytes", "Dirty memory at which writers are stalled.", 2**20, _LARGE_BYTES, Unit.BYTES),
    _face("dirty_ratio", "Percent of available memory at which writers are stalled.", 1, 100),
    _vm("dirty_expire_centisecs", "Age at which dirty memory is written, in 1/100 s.", 1, 360_000),
    _vm("dirty_writeback_centisecs", "How often dirty memory is looked at, in 1/100 s; 0 never.", 0, 360_000),
    _vm("extfrag_threshold", "How fragmented memory is before it is compacted instead of reclaimed.", 0, 1000),
    _vm(
        "max_map_count",
        "Memory areas that a process may have; below the kernel's default, programs fail.",
        65_530,
        _LARGE,
    ),
    _vm(
        "min_free_kbytes",
        "KiB that the kernel keeps free; at most 5 % of memory.",
        1024,
        _LARGE,
        narrow=_within_reserve,
    ),
    _vm("nr_overcommit_hugepages", "Hugepages of the default size that the pool may grow by on demand.", 0, 2**20),
    _face("overcommit_kbytes", "KiB that programs may commit when overcommit_memory is 2.", 2**20, 2**40),
    _vm(
        "overcommit_memory",
        "Whether programs may commit more memory than there is: 0 within reason, 1 always, 2 never.",
        0,
        2,
        Unit.SWITCH,
        _strict_only_if_it_fits,
    ),
    _face("overcommit_ratio", "Percent of memory that programs may commit when overcommit_memory is 2.", 1, 1000),
    _vm("page-cluster", "Logarithm of the pages that are read from swap at once.", 0, 8),
    _vm("stat_interval", "How often the kernel's memory statistics are gathered.", 1, 3600, Unit.SECONDS),
    _vm(
        "swappiness",
        "How readily programs' memory is swapped rather than caches dropped (above 100: Linux 5.8).",
        0,
        200,
    ),
    _vm("vfs_cache_pressure", "How readily caches of names and inodes are dropped; 0 would never.", 1, 1000),
    _vm(
        "watermark_boost_factor",
        "How much is reclaimed after fragmentation, in 1/10000 of the high watermark.",
        0,
        150_000,
    ),
    _vm("watermark_scale_factor", "Distance between kswapd's watermarks, in 1/10000 of memory.", 1, 1000),
    _vm(
        "zone_reclaim_mode", "Whether memory of this NUMA node is reclaimed before another's is used; a bit mask.", 0, 7
    ),
)
