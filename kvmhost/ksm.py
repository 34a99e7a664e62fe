"""Kernel samepage merging: /sys/kernel/mm/ksm and the ksmd thread (mm/ksm.c, Documentation/mm/ksm.rst)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from kvmhost import processes
from kvmhost.fs import HostError, HostFS

_DIRECTORY = "sys/kernel/mm/ksm"


@dataclass(frozen=True, kw_only=True)
class KsmCounts:
    """The numeric files of the directory, named and scaled as the kernel does; None where one is absent."""

    run: int | None = None
    pages_to_scan: int | None = None
    sleep_millisecs: int | None = None
    merge_across_nodes: int | None = None
    max_page_sharing: int | None = None
    use_zero_pages: int | None = None
    smart_scan: int | None = None
    stable_node_chains_prune_millisecs: int | None = None
    advisor_max_cpu: int | None = None
    advisor_min_pages_to_scan: int | None = None
    advisor_max_pages_to_scan: int | None = None
    advisor_target_scan_time: int | None = None
    pages_shared: int | None = None
    pages_sharing: int | None = None
    pages_unshared: int | None = None
    pages_volatile: int | None = None
    pages_scanned: int | None = None
    pages_skipped: int | None = None
    full_scans: int | None = None
    ksm_zero_pages: int | None = None
    stable_node_chains: int | None = None
    stable_node_dups: int | None = None
    general_profit: int | None = None
    """Bytes saved less bytes of metadata: below zero while merging costs more than it saves."""


_SAVED = ("pages_sharing", "ksm_zero_pages")
_NUMERIC_FILES = tuple(field.name for field in fields(KsmCounts))


@dataclass(frozen=True, kw_only=True)
class KsmState(KsmCounts):
    """What KSM is set to do and what it has done."""

    advisor_mode: str | None
    """The mode in force: `none` or `scan-time`; None on kernels without advisor (before 6.8)."""
    advisor_modes: tuple[str, ...]
    saved_pages: int | None
    """Ordinary pages that would be in use without merging; what undoing all of it takes, too."""
    faults: tuple[HostError, ...]
    """Files that are there and could not be used; their values are None."""


def read(fs: HostFS) -> KsmState | None:
    """All of the directory; None on a kernel without KSM. A bad file costs its own value only."""
    numbers, faults = fs.integers(_DIRECTORY, _NUMERIC_FILES)
    try:
        modes = fs.choices(f"{_DIRECTORY}/advisor_mode")
    except HostError as fault:
        modes, faults = {}, (*faults, fault)
    if not (numbers or modes or faults):
        return None
    return KsmState(
        **numbers,
        advisor_mode=next((mode for mode, chosen in modes.items() if chosen), None),
        advisor_modes=tuple(modes),
        saved_pages=_saved_pages(numbers, faults),
        faults=faults,
    )


def run(fs: HostFS) -> int | None:
    """What ksmd does: 0 nothing, 1 scan and merge, 2 undo all merging; None on a kernel without KSM."""
    return fs.integer(f"{_DIRECTORY}/run")


def unknown_files(fs: HostFS) -> tuple[str, ...]:
    """Files of a newer kernel that this module does not know."""
    return tuple(sorted(set(fs.names(_DIRECTORY)) - set(_NUMERIC_FILES) - {"advisor_mode"}))


def saved_pages(fs: HostFS) -> int | None:
    """Ordinary pages that undoing all merging would take; None on a kernel without KSM, `HostError` on a bad file."""
    numbers, faults = fs.integers(_DIRECTORY, _SAVED)
    for fault in faults:
        raise fault
    return _saved_pages(numbers, faults)


def metadata_bytes(state: KsmState, page_size_bytes: int) -> int | None:
    """What KSM's own records (rmap items, one for each page that it watches) cost; None before kernel 6.4.

    `general_profit` is what is saved less this cost (general_profit_show in mm/ksm.c). The kernel gives its numbers
    one by one, so while ksmd merges, this is off by what it merged in between.
    """
    if state.saved_pages is None or state.general_profit is None:
        return None
    return max(state.saved_pages * page_size_bytes - state.general_profit, 0)


def ksmd_pid(fs: HostFS) -> int | None:
    """The kernel thread that scans: the same until the next boot. None if /proc does not show it.

    Looks at processes one by one: keep the answer.
    """
    pids = sorted(int(name) for name in fs.names("proc") if name.isdecimal())
    return next((pid for pid in pids if processes.comm(fs, f"proc/{pid}") == "ksmd"), None)


def ksmd_cpu_seconds(fs: HostFS, pid: int) -> float | None:
    """CPU time of ksmd since boot, the price of merging; None if the kernel does not account for it."""
    times = processes.schedstat(fs, f"proc/{pid}")
    return times[0] if times else None


def _saved_pages(numbers: Mapping[str, int], faults: Iterable[HostError]) -> int | None:
    # A kernel without ksm_zero_pages (before 6.6) does not count them as profit either. A damaged file is not 0.
    if "pages_sharing" not in numbers or any(fault.path.endswith(_SAVED) for fault in faults):
        return None
    return sum(numbers.get(name, 0) for name in _SAVED)
