"""What of a guest is too slow to read for a scrape: its memory by kind, what KSM made of it, where its threads may run.

All of it changes slowly, and together costs the kernel as much as all that must be fresh (40 us a guest).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from kvmhost import cgroups, processes
from kvmhost.bulkhead import Bulkhead
from kvmhost.cgroups import Counted
from kvmhost.fs import HostError, HostFS
from kvmhost.guests import GuestSample

V = TypeVar("V")

_STALL_SECONDS = 0.5
_MOST_STALLED = 32

_KSM_HINT = (
    "without it there is no kvm_domain_ksm_*: grant CAP_DAC_READ_SEARCH (AmbientCapabilities= of a unit, or setpriv"
    " --ambient-caps +dac_read_search)"
)

# In the order of task_mem (fs/proc/task_mmu.c).
_STATUS = re.compile(
    r"VmLck:\s+(\d+) kB\n.*?RssAnon:\s+(\d+) kB\nRssFile:\s+(\d+) kB\nRssShmem:\s+(\d+) kB\n"
    r".*?VmSwap:\s+(\d+) kB\n(?:HugetlbPages:\s+(\d+) kB\n)?",
    re.DOTALL,
)


class Held(NamedTuple):
    """Memory of the host that a process holds: /proc/PID/status (fs/proc/task_mmu.c), in bytes."""

    locked: int
    """May not be swapped (VmLck)."""
    anon: int
    """No file behind it: most of a guest (RssAnon)."""
    file: int
    """Contents of files (RssFile)."""
    shmem: int
    """Shared memory: a guest with shared backing (RssShmem)."""
    swap: int
    """Swapped out (VmSwap)."""
    hugetlb: int
    """On pages of the hugepage pools; none of the above counts it (HugetlbPages; 0 on a kernel without them)."""


class Merged(NamedTuple):
    """What KSM made of a process: /proc/PID/ksm_stat (fs/proc/base.c). None where the kernel does not say."""

    merging_pages: int | None
    zero_pages: int | None
    rmap_items: int | None
    profit_bytes: int | None
    """Saved less spent on metadata: below zero while merging costs more than it saves."""
    mergeable: bool | None
    """Whether any of its memory is offered for merging."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestDetails:
    """Of one guest. None for what could not be read, or is not there any more."""

    held: Held | None
    counted: Counted | None
    """None, too, if it has no control group of its own."""
    merged: Merged | None
    """None, too, on a kernel without ksm_stat (before 6.1)."""
    emulator_cpus: frozenset[int] | None
    """Where its main thread may run."""
    thread_cpus: Mapping[int, frozenset[int]]
    """Where its vCPUs and I/O threads may run, by thread id."""
    faults: tuple[HostError, ...] = ()
    ksm_faults: tuple[HostError, ...] = ()
    """Of `merged`: it takes a right of its own."""


class GuestDetailsReader:
    """Reads them in a thread. A guest whose files do not answer, as behind its own memory lock, costs itself."""

    def __init__(self, fs: HostFS) -> None:
        self._fs = fs
        self._reads = Bulkhead[int]("guest details", stall_seconds=_STALL_SECONDS, most_at_once=_MOST_STALLED)

    def read(self, guests: Iterable[GuestSample]) -> dict[str, GuestDetails]:
        """By the guests' uuid."""
        by_pid = {guest.pid: guest for guest in guests}
        run = self._reads.run((pid, partial(_read, self._fs, guest)) for pid, guest in by_pid.items())
        silent = (run.stalled | run.skipped) & by_pid.keys()
        found = run.results | {pid: self._unknown(by_pid[pid]) for pid in silent}
        return {by_pid[pid].uuid: details for pid, details in found.items()}

    def _unknown(self, guest: GuestSample) -> GuestDetails:
        fault = HostError(
            self._fs.root / f"proc/{guest.pid}",
            f"the files on the memory of the guest {guest.name} do not answer",
            "look at its QEMU's state with ps",
        )
        return GuestDetails(held=None, counted=None, merged=None, emulator_cpus=None, thread_cpus={}, faults=(fault,))


def held(fs: HostFS, pid: int) -> Held | None:
    """Of the process `pid`; None if it has ended, `HostError` if its file is damaged."""
    path = f"proc/{pid}/status"
    text = fs.text(path)
    if text is None:
        return None
    found = _STATUS.search(text)
    if found is None and text and "\nVmLck:" not in text:
        return None  # it has let go of its memory, and is ending
    if found is None:
        raise fs.malformed(path, "lines from VmLck to HugetlbPages", text)
    return Held(*(int(kib or 0) * 1024 for kib in found.groups()))


def merged(fs: HostFS, pid: int) -> Merged | None:
    """Of the process `pid`; None if it has ended or the kernel does not tell, `HostError` if this user may not know."""
    path = f"proc/{pid}/ksm_stat"
    try:
        text = fs.text(path)
    except HostError as fault:
        # Said once, and not of each guest.
        raise HostError(fs.root / "proc/PID/ksm_stat", fault.reason, _KSM_HINT) from fault
    if text is None:
        return None
    words = text.replace(":", "").split()
    found = dict(zip(words[::2], words[1::2], strict=False))

    def count(name: str) -> int | None:
        return int(found[name]) if name in found else None

    try:
        merging_pages = count("ksm_merging_pages")
        if merging_pages is None:  # before 6.4 in a file of its own
            merging_pages = fs.integer(f"proc/{pid}/ksm_merging_pages")
        return Merged(
            merging_pages=merging_pages,
            zero_pages=count("ksm_zero_pages"),
            rmap_items=count("ksm_rmap_items"),
            profit_bytes=count("ksm_process_profit"),
            mergeable=found["ksm_mergeable"] == "yes" if "ksm_mergeable" in found else None,
        )
    except ValueError:
        raise fs.malformed(path, "pairs of a name and a number", text) from None


def affinity(fs: HostFS, pid: int, tid: int) -> frozenset[int] | None:
    """The CPUs a thread may run on now; None if it has ended."""
    if not fs.is_this_system:
        return processes.affinity(fs, pid, tid)
    try:
        return frozenset(os.sched_getaffinity(tid))  # a tenth of the cost of reading status
    except ProcessLookupError:
        return None
    except OSError as error:  # as when a security module forbids it
        raise HostError(f"/proc/{pid}/task/{tid}", f"its CPUs cannot be asked: {error.strerror}") from error


def _read(fs: HostFS, guest: GuestSample) -> GuestDetails:
    faults: list[HostError] = []
    ksm_faults: list[HostError] = []

    def known(read: Callable[[], V | None], into: list[HostError] = faults) -> V | None:
        try:
            return read()
        except HostError as fault:
            into.append(fault)
            return None

    threads = [thread.tid for thread in (*guest.vcpus.values(), *guest.iothreads.values())]
    cpus = ((tid, known(lambda tid=tid: affinity(fs, guest.pid, tid))) for tid in threads)  # type: ignore[misc]
    return GuestDetails(
        held=known(lambda: held(fs, guest.pid)),
        counted=known(lambda: cgroups.counted(fs, guest.pid)),
        merged=known(lambda: merged(fs, guest.pid), ksm_faults),
        emulator_cpus=known(lambda: affinity(fs, guest.pid, guest.pid)),
        thread_cpus={tid: allowed for tid, allowed in cpus if allowed is not None},
        faults=tuple(faults),
        ksm_faults=tuple(ksm_faults),
    )
