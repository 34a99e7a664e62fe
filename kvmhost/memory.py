"""Host memory: /proc/meminfo (fs/proc/meminfo.c, proc(5)) and the page size."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from kvmhost import hugepages
from kvmhost.fs import HostError, HostFS

_MEMINFO = "proc/meminfo"
_KIB = re.compile(r"([0-9]{1,17}) kB")

_AUXV = "proc/self/auxv"
_AT_PAGESZ = 6  # include/uapi/linux/auxvec.h


@dataclass(frozen=True, kw_only=True)
class MemoryState:
    """Lines of /proc/meminfo in bytes; None where the kernel lacks the line."""

    total_bytes: int | None = None
    free_bytes: int | None = None
    available_bytes: int | None = None
    buffers_bytes: int | None = None
    cached_bytes: int | None = None
    anon_bytes: int | None = None
    anon_huge_pages_bytes: int | None = None
    shmem_bytes: int | None = None
    mapped_bytes: int | None = None
    mlocked_bytes: int | None = None
    dirty_bytes: int | None = None
    writeback_bytes: int | None = None
    slab_bytes: int | None = None
    slab_reclaimable_bytes: int | None = None
    kernel_stack_bytes: int | None = None
    page_tables_bytes: int | None = None
    secondary_page_tables_bytes: int | None = None
    hugetlb_bytes: int | None = None
    """In hugepage pools of all sizes; without its line (since 4.16), what the pools in sysfs add up to."""
    commit_limit_bytes: int | None = None
    committed_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None
    swap_cached_bytes: int | None = None
    hardware_corrupted_bytes: int | None = None
    faults: tuple[HostError, ...] = ()
    """Lines that are there and malformed; their values are None."""


_FIELD_OF_LINE = {
    "MemTotal": "total_bytes",
    "MemFree": "free_bytes",
    "MemAvailable": "available_bytes",
    "Buffers": "buffers_bytes",
    "Cached": "cached_bytes",
    "AnonPages": "anon_bytes",
    "AnonHugePages": "anon_huge_pages_bytes",
    "Shmem": "shmem_bytes",
    "Mapped": "mapped_bytes",
    "Mlocked": "mlocked_bytes",
    "Dirty": "dirty_bytes",
    "Writeback": "writeback_bytes",
    "Slab": "slab_bytes",
    "SReclaimable": "slab_reclaimable_bytes",
    "KernelStack": "kernel_stack_bytes",
    "PageTables": "page_tables_bytes",
    "SecPageTables": "secondary_page_tables_bytes",
    "Hugetlb": "hugetlb_bytes",
    "CommitLimit": "commit_limit_bytes",
    "Committed_AS": "committed_bytes",
    "SwapTotal": "swap_total_bytes",
    "SwapFree": "swap_free_bytes",
    "SwapCached": "swap_cached_bytes",
    "HardwareCorrupted": "hardware_corrupted_bytes",
}


def read(fs: HostFS) -> MemoryState | None:
    """The host's memory; None without /proc/meminfo. `HostError` if the file cannot be read at all."""
    text = fs.text(_MEMINFO)
    if text is None:
        return None
    amounts, faults = amounts_bytes(fs, _MEMINFO, text, _FIELD_OF_LINE)
    state = MemoryState(**amounts, faults=faults)
    return state if "hugetlb_bytes" in amounts else replace(state, hugetlb_bytes=_in_pools_bytes(fs))


def amounts_bytes(
    fs: HostFS, path: str, text: str, field_of_line: Mapping[str, str], prefix: str = ""
) -> tuple[dict[str, int], tuple[HostError, ...]]:
    """The wanted lines `<prefix>MemFree: 4 kB` in `text` of the file `path`, by field; and what is malformed."""
    amounts: dict[str, int] = {}
    faults = []
    for line in text.splitlines():
        name, _, value = line.removeprefix(prefix).partition(":")
        field = field_of_line.get(name)
        if field is None:
            continue
        match = _KIB.fullmatch(value.strip())
        if match:
            amounts[field] = int(match[1]) * 1024
        else:
            faults.append(fs.malformed(path, f"{name} in kB", line))
    return amounts, tuple(faults)


def page_size_bytes(fs: HostFS) -> int | None:
    """Bytes of an ordinary page: 4096 on x86, up to 65536 on arm64 and ppc64.

    From the auxiliary vector that the kernel hands to every program; None if /proc lacks this process.
    """
    vector = fs.content(_AUXV)
    if vector is None:
        return None
    entry = struct.Struct("@LL")
    if len(vector) % entry.size == 0:
        for kind, value in entry.iter_unpack(vector):
            if kind == _AT_PAGESZ:
                return int(value)
    raise HostError(fs.root / _AUXV, "holds no page size (AT_PAGESZ)")


def _in_pools_bytes(fs: HostFS) -> int | None:
    state = hugepages.read(fs)
    total_bytes = 0  # a kernel without hugepages has no pools
    for pool in state.pools if state else ():
        if pool.nr_pages is None:
            return None
        total_bytes += pool.nr_pages * pool.size_bytes
    return total_bytes
