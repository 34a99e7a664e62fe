"""Guests as the kernel sees them: QEMU processes and their threads, sampled anew at each call.

All of it comes from /proc, so it costs neither QEMU nor libvirt anything, and is there when libvirt is not.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, TypeVar

from kvmhost import processes
from kvmhost.bulkhead import Bulkhead
from kvmhost.fs import HostError, HostFS
from kvmhost.processes import Identity

K = TypeVar("K")

# A process that becomes QEMU is seen as what it was before, at first: look again while it is young.
_YOUNG_SECONDS = 10.0
# And the number of one that ended may be given to QEMU: each scan looks again at one in so many of the others.
_SCANS_TO_SEE_ALL = 32
# A vCPU gets its name a moment after its thread starts, so that the number of threads alone does not tell of it.
_FIRST_SAMPLES = 3
_SAMPLES_TO_SEE_THREADS = 64
# A read of /proc takes microseconds. One that takes longer than this waits for a lock of that process, maybe for ever.
_STALL_SECONDS = 0.5
_LOOK_SECONDS = 0.1
_MOST_STALLED = 32
# Of a scrape's time, for processes that were not seen before.
_FINDING_RATIO = 0.2

_IOTHREAD_COMM = re.compile(r"IO (iothread[0-9]{1,5})")  # not "IO mon_iothread", which is QEMU's own

# Indexes into `processes.stat_fields`, which starts at the third field of proc(5).
_STATE, _MINOR_FAULTS, _MAJOR_FAULTS, _USER, _SYSTEM, _THREADS, _START, _VSIZE, _RSS, _BLOCK_IO = (
    field - 3 for field in (3, 10, 12, 14, 15, 20, 22, 23, 24, 42)
)
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ThreadSample(NamedTuple):
    """A thread of QEMU. A time is None if the kernel does not account for it."""

    tid: int
    cpu_seconds: float | None
    delay_seconds: float | None
    """Runnable, but waiting for a CPU."""
    block_io_seconds: float | None
    """Waiting for a disk or for swap."""
    current_cpu: int
    asleep: bool
    """Waiting for something to do; of a vCPU, the guest has halted it."""


class GuestSample(NamedTuple):
    """One guest at one moment."""

    pid: int
    start_ticks: int
    """When it was started, in clock ticks since boot."""
    uuid: str
    name: str
    state: str
    """One letter of proc(5): R running, S sleeping, D in uninterruptible wait, T stopped."""
    cpu_seconds: float
    """Of all its threads."""
    minor_faults: int
    major_faults: int
    rss_pages: int
    """Of the host's memory, those of hugepage pools not counted."""
    virtual_bytes: int
    """Its address space, touched or not."""
    share_pages: bool
    """False if it is started so that its memory is not merged (`<nosharepages/>`)."""
    vcpus: Mapping[int, ThreadSample]
    iothreads: Mapping[str, ThreadSample]
    faults: tuple[HostError, ...]
    """Files that could not be used; they cost their own value."""


class GuestsSample(NamedTuple):
    """All guests of the host, and what could not be read."""

    guests: tuple[GuestSample, ...] = ()
    stalled: tuple[str, ...] = ()
    """Names of guests whose files in /proc did not answer: they are left out until they do."""
    faults: tuple[HostError, ...] = ()


class Guests:
    """Finds the guests of a host and samples them, for one thread at a time. Keeps their files open in between."""

    def __init__(self, fs: HostFS) -> None:
        self._fs = fs
        self.newest: tuple[GuestSample, ...] = ()
        """What the latest call of `sample` found; may be read by any thread."""
        self._guests: dict[int, _Guest] = {}
        self._others: dict[int, float] = {}
        """When each process that is no guest was first seen."""
        self._scans = 0
        self._scanned = -math.inf
        self._bulkhead: Bulkhead[int] = Bulkhead("guests", stall_seconds=_STALL_SECONDS, most_at_once=_MOST_STALLED)
        # Processes that are no guests must not use up the time and the places of those that are.
        self._looks: Bulkhead[int] = Bulkhead("processes", stall_seconds=_LOOK_SECONDS, most_at_once=_MOST_STALLED)

    def sample(self, now: float, *, within_seconds: float) -> GuestsSample:
        """Every guest there is; `now` is unix time. A guest whose files do not answer costs itself only.

        Of processes that claim one uuid, the oldest is the guest. `HostError` if /proc cannot be listed.
        """
        began = time.monotonic()
        self._find(now, within_seconds * _FINDING_RATIO)
        accounts_block_io, faults = self._accounts_block_io()
        jobs = [(pid, partial(guest.sample, accounts_block_io)) for pid, guest in self._guests.items()]
        run = self._bulkhead.run(jobs, within_seconds=within_seconds - (time.monotonic() - began))
        for pid, answer in run.results.items():
            if answer is None:
                self._guests.pop(pid).close()
        samples = [answer for answer in run.results.values() if isinstance(answer, GuestSample)]
        oldest: dict[str, GuestSample] = {}
        for sample in sorted(samples, key=lambda sample: sample.start_ticks):
            oldest.setdefault(sample.uuid, sample)
        self.newest = tuple(sample for sample in samples if oldest[sample.uuid] is sample)
        faults += [self._impostor(sample) for sample in samples if oldest[sample.uuid] is not sample]
        return GuestsSample(
            guests=self.newest,
            stalled=tuple(sorted(self._guests[pid].name for pid in run.stalled | run.skipped if pid in self._guests)),
            faults=(*faults, *(answer for answer in run.results.values() if isinstance(answer, HostError))),
        )

    def _accounts_block_io(self) -> tuple[bool, list[HostError]]:
        try:
            return bool(self._fs.integer("proc/sys/kernel/task_delayacct")), []
        except HostError as fault:
            return False, [fault]

    def _impostor(self, sample: GuestSample) -> HostError:
        path = self._fs.root / f"proc/{sample.pid}"
        return HostError(path, f"claims to be the guest {sample.name}, as an older process does; left out")

    def _find(self, now: float, within_seconds: float) -> None:
        pids = {int(name) for name in self._fs.names("proc") if name.isdecimal()}
        for pid in self._guests.keys() - pids:
            self._guests.pop(pid).close()
        self._scans += 1
        before, self._scanned = self._scanned, now
        self._others = {pid: self._others.get(pid, now) for pid in pids - self._guests.keys()}
        doubtful = sorted(
            pid
            for pid, first_seen in self._others.items()
            if before - first_seen < _YOUNG_SECONDS or pid % _SCANS_TO_SEE_ALL == self._scans % _SCANS_TO_SEE_ALL
        )
        looks = [(pid, partial(processes.identity, self._fs, pid)) for pid in doubtful]
        for pid, identity in self._looks.run(looks, within_seconds=within_seconds).results.items():
            if identity:
                del self._others[pid]
                self._guests[pid] = _Guest(self._fs, pid, identity)


class _Guest:
    """One QEMU process. Its kept files stay those of this process, also when another gets its number."""

    def __init__(self, fs: HostFS, pid: int, identity: Identity) -> None:
        self._identity = identity
        self._fs = fs
        self._pid = pid
        self._stat = fs.kept(f"proc/{pid}/stat")
        self._vcpus: dict[int, _Thread] = {}
        self._iothreads: dict[str, _Thread] = {}
        self._thread_count = 0
        self._samples = 0
        self._read: bytes | None = None
        self._process: _Process | None = None
        """What is in `_read`: of an idle guest, it is the same each time."""

    @property
    def name(self) -> str:
        return self._identity.name

    def close(self) -> None:
        self._stat.close()
        for thread in (*self._vcpus.values(), *self._iothreads.values()):
            thread.close()

    def sample(self, accounts_block_io: bool) -> GuestSample | HostError | None:
        """None if the process has ended."""
        try:
            return self._sample(accounts_block_io)
        except HostError as fault:
            return fault
        except ValueError as error:
            return self._fs.malformed(self._stat.path, "the fields of proc(5)", str(error))

    def _sample(self, accounts_block_io: bool) -> GuestSample | None:
        faults: list[HostError] = []
        content = self._stat.content()
        if content is None:
            return None
        process = self._process
        if process is None or content != self._read:
            self._process = process = _process(_stat_fields(self._fs, self._stat.path, content))
            self._read = content
        if process.state in "ZX":
            return None
        self._look_for_threads(process.threads)
        return GuestSample(
            pid=self._pid,
            start_ticks=process.start_ticks,
            uuid=self._identity.uuid,
            name=self._identity.name,
            state=process.state,
            cpu_seconds=process.cpu_seconds,
            minor_faults=process.minor_faults,
            major_faults=process.major_faults,
            rss_pages=process.rss_pages,
            virtual_bytes=process.virtual_bytes,
            share_pages=self._identity.share_pages,
            vcpus=_samples(self._vcpus, accounts_block_io, faults),
            iothreads=_samples(self._iothreads, accounts_block_io, faults),
            faults=tuple(faults),
        )

    def _look_for_threads(self, count: int) -> None:
        self._samples += 1
        due = self._samples <= _FIRST_SAMPLES or (self._samples + self._pid) % _SAMPLES_TO_SEE_THREADS == 0
        if count != self._thread_count:
            self._samples = 0
        elif not due:
            return
        self._thread_count = count
        known = {thread.tid for thread in (*self._vcpus.values(), *self._iothreads.values())}
        there = {int(name) for name in self._fs.names(f"proc/{self._pid}/task") if name.isdecimal()}
        for tid in there - known:
            comm = processes.comm(self._fs, f"proc/{self._pid}/task/{tid}")
            for index in processes.vcpu_indexes(comm):
                self._vcpus[index] = _Thread(self._fs, self._pid, tid)
            if match := _IOTHREAD_COMM.fullmatch(comm or ""):
                self._iothreads[match[1]] = _Thread(self._fs, self._pid, tid)
        self._vcpus = {index: thread for index, thread in sorted(self._vcpus.items()) if thread.tid in there}
        self._iothreads = {name: thread for name, thread in self._iothreads.items() if thread.tid in there}


class _Process(NamedTuple):
    """What the stat file of a process says; see GuestSample."""

    start_ticks: int
    state: str
    cpu_seconds: float
    minor_faults: int
    major_faults: int
    rss_pages: int
    virtual_bytes: int
    threads: int


def _process(stat: list[bytes]) -> _Process:
    return _Process(
        start_ticks=int(stat[_START]),
        state=stat[_STATE].decode(),
        cpu_seconds=(int(stat[_USER]) + int(stat[_SYSTEM])) / _TICKS_PER_SECOND,
        minor_faults=int(stat[_MINOR_FAULTS]),
        major_faults=int(stat[_MAJOR_FAULTS]),
        rss_pages=int(stat[_RSS]),
        virtual_bytes=int(stat[_VSIZE]),
        threads=int(stat[_THREADS]),
    )


class _Thread:
    def __init__(self, fs: HostFS, pid: int, tid: int) -> None:
        self.tid = tid
        self._fs = fs
        self._pid = pid
        self._stat = fs.kept(f"proc/{pid}/task/{tid}/stat")
        self._schedstat = fs.kept(f"proc/{pid}/task/{tid}/schedstat")
        self._read: tuple[bytes | None, bytes | None, bool] | None = None
        self._sampled: ThreadSample | None = None
        """What is in `_read`: of a thread that sleeps, it is the same each time."""

    def close(self) -> None:
        self._stat.close()
        self._schedstat.close()

    def sample(self, accounts_block_io: bool) -> ThreadSample | None:
        """None if the thread has ended."""
        read = (self._stat.content(), self._schedstat.content(), accounts_block_io)
        if read != self._read:
            self._sampled = self._parsed(*read)
            self._read = read
        return self._sampled

    def _parsed(
        self, stat_file: bytes | None, schedstat_file: bytes | None, accounts_block_io: bool
    ) -> ThreadSample | None:
        if stat_file is None:
            return None
        stat = _stat_fields(self._fs, self._stat.path, stat_file)
        times = self._times(schedstat_file)
        return ThreadSample(
            tid=self.tid,
            cpu_seconds=times[0] if times else None,
            delay_seconds=times[1] if times else None,
            block_io_seconds=int(stat[_BLOCK_IO]) / _TICKS_PER_SECOND if accounts_block_io else None,
            current_cpu=int(stat[processes.STAT_CPU]),
            asleep=stat[_STATE] == b"S",
        )

    def malformed(self, found: str) -> HostError:
        return self._fs.malformed(self._stat.path, "the fields of proc(5)", found)

    def _times(self, content: bytes | None) -> tuple[float, float] | None:
        try:
            return None if content is None else processes.run_and_wait_seconds(content)
        except ValueError:
            raise self._fs.malformed(self._schedstat.path, "three whole numbers", repr(content)) from None


def _samples(threads: Mapping[K, _Thread], accounts_block_io: bool, faults: list[HostError]) -> dict[K, ThreadSample]:
    samples = {}
    for key, thread in threads.items():
        try:
            sample = thread.sample(accounts_block_io)
        except HostError as fault:
            faults.append(fault)
        except ValueError as error:
            faults.append(thread.malformed(str(error)))
        else:
            if sample:
                samples[key] = sample
    return samples


def _stat_fields(fs: HostFS, path: str, content: bytes) -> list[bytes]:
    try:
        return processes.stat_fields(content)
    except ValueError:
        raise fs.malformed(path, "the fields of proc(5)", content.decode("utf-8", "replace")) from None
