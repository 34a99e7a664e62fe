"""Kernel parameters that tuners set: /proc/sys (Documentation/admin-guide/sysctl/{vm,kernel}.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kvmhost.fs import HostError, HostFS

NAMES = (
    "kernel.numa_balancing",
    "kernel.sched_autogroup_enabled",
    "kernel.sched_cfs_bandwidth_slice_us",
    "kernel.sched_latency_ns",  # this and the other _ns ones: until kernel 5.13, then in debugfs
    "kernel.sched_migration_cost_ns",
    "kernel.sched_min_granularity_ns",
    "kernel.sched_rt_runtime_us",
    "kernel.sched_wakeup_granularity_ns",
    "kernel.timer_migration",
    "vm.compaction_proactiveness",
    "vm.dirty_background_bytes",
    "vm.dirty_background_ratio",
    "vm.dirty_bytes",
    "vm.dirty_expire_centisecs",
    "vm.dirty_ratio",
    "vm.dirty_writeback_centisecs",
    "vm.extfrag_threshold",
    "vm.max_map_count",
    "vm.min_free_kbytes",
    "vm.nr_overcommit_hugepages",
    "vm.overcommit_kbytes",
    "vm.overcommit_memory",
    "vm.overcommit_ratio",
    "vm.page-cluster",
    "vm.stat_interval",
    "vm.swappiness",
    "vm.vfs_cache_pressure",
    "vm.watermark_boost_factor",
    "vm.watermark_scale_factor",
    "vm.zone_reclaim_mode",
)
"""As sysctl(8) writes them."""

_FILE_OF = {name: name.replace(".", "/") for name in NAMES}


@dataclass(frozen=True, kw_only=True)
class Sysctls:
    """Values by name, in the kernel's own unit; one that this kernel does not have is left out."""

    values: Mapping[str, int]
    faults: tuple[HostError, ...]
    """Files that are there and could not be used; their values are left out."""


def read(fs: HostFS) -> Sysctls:
    """All of NAMES that this kernel has. Costs a file each."""
    numbers, faults = fs.integers("proc/sys", _FILE_OF.values())
    return Sysctls(values={name: numbers[file] for name, file in _FILE_OF.items() if file in numbers}, faults=faults)
