"""Transparent huge pages: /sys/kernel/mm/transparent_hugepage (mm/huge_memory.c, mm/khugepaged.c).

What has become of them is in /proc/vmstat: `kvmhost.vmstat`, names that begin with `thp_`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from kvmhost.fs import HostError, HostFS

_DIRECTORY = "sys/kernel/mm/transparent_hugepage"


@dataclass(frozen=True, kw_only=True)
class Khugepaged:
    """The thread that puts small pages together into huge ones; named and scaled as the kernel does, None if absent."""

    defrag: int | None = None
    pages_to_scan: int | None = None
    scan_sleep_millisecs: int | None = None
    alloc_sleep_millisecs: int | None = None
    max_ptes_none: int | None = None
    max_ptes_swap: int | None = None
    max_ptes_shared: int | None = None
    pages_collapsed: int | None = None
    full_scans: int | None = None


@dataclass(frozen=True, kw_only=True)
class ThpState:
    """How the kernel uses transparent huge pages."""

    enabled: Mapping[str, bool]
    """Each mode, True for the one in force; likewise for the next two. {} where the file is absent."""
    defrag: Mapping[str, bool]
    shmem_enabled: Mapping[str, bool]
    use_zero_page: int | None
    shrink_underused: int | None
    hpage_pmd_size: int | None
    khugepaged: Khugepaged
    faults: tuple[HostError, ...]
    """Files that are there and could not be used; their values are None or {}."""


_KHUGEPAGED = tuple(field.name for field in fields(Khugepaged))


def read(fs: HostFS) -> ThpState | None:
    """All of the directory; None on a kernel without transparent huge pages. A bad file costs its own value only."""
    modes: dict[str, dict[str, bool]] = {}
    bad_modes = []
    for name in ("enabled", "defrag", "shmem_enabled"):
        try:
            modes[name] = fs.choices(f"{_DIRECTORY}/{name}")
        except HostError as fault:
            modes[name] = {}
            bad_modes.append(fault)
    numbers, bad_numbers = fs.integers(_DIRECTORY, ("use_zero_page", "shrink_underused", "hpage_pmd_size"))
    khugepaged, bad_khugepaged = fs.integers(f"{_DIRECTORY}/khugepaged", _KHUGEPAGED)
    faults = (*bad_modes, *bad_numbers, *bad_khugepaged)
    if not (any(modes.values()) or numbers or khugepaged or faults):
        return None
    return ThpState(
        enabled=modes["enabled"],
        defrag=modes["defrag"],
        shmem_enabled=modes["shmem_enabled"],
        use_zero_page=numbers.get("use_zero_page"),
        shrink_underused=numbers.get("shrink_underused"),
        hpage_pmd_size=numbers.get("hpage_pmd_size"),
        khugepaged=Khugepaged(**khugepaged),
        faults=faults,
    )
