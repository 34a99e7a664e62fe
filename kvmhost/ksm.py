"""Kernel samepage merging: /sys/kernel/mm/ksm and the ksmd thread (mm/ksm.c, Documentation/mm/ksm.rst)."""

from __future__ import annotations

import re
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


_NUMERIC_FILES = tuple(field.name for field in fields(KsmCounts))


@dataclass(frozen=True, kw_only=True)
class KsmState(KsmCounts):
    """What KSM is set to do and what it has done."""

    advisor_mode: str | None
    """The mode in force: `none` or `scan-time`; None on kernels without advisor (before 6.8)."""
    advisor_modes: tuple[str, ...]
    unknown_files: tuple[str, ...]
    """Files of a newer kernel that this module does not know."""
    faults: tuple[HostError, ...]
    """Files that are there and could not be used; their values are None."""


def read(fs: HostFS) -> KsmState | None:
    """All of the directory; None on a kernel without KSM. A bad file costs its own value only."""
    present = fs.names(_DIRECTORY)
    if not present:
        return None
    numbers, faults = fs.integers(_DIRECTORY, _NUMERIC_FILES)
    try:
        modes = _modes(fs)
    except HostError as fault:
        modes, faults = {}, (*faults, fault)
    return KsmState(
        **numbers,
        advisor_mode=next((mode for mode, chosen in modes.items() if chosen), None),
        advisor_modes=tuple(modes),
        unknown_files=tuple(sorted(set(present) - set(_NUMERIC_FILES) - {"advisor_mode"})),
        faults=faults,
    )


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


def _modes(fs: HostFS) -> dict[str, bool]:
    """Each mode of `[none] scan-time`, True for the one in brackets; empty on kernels without advisor."""
    path = f"{_DIRECTORY}/advisor_mode"
    text = fs.text(path)
    if text is None:
        return {}
    if not re.fullmatch(r"([\w-]+ )*\[[\w-]+\]( [\w-]+)*", text.strip()):
        raise fs.malformed(path, "modes with the chosen one in brackets", text)
    return {word.strip("[]"): word.startswith("[") for word in text.split()}
