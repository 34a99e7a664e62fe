"""What the peers that steer KSM write, step by step, written after their algorithms: oracles for the rules.

Sizes are KiB, as the peers read them in /proc, unless a name says otherwise. Where each algorithm is from stands in the
head of its file in rules/peers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

GIB_16 = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a host; `free` has the caches with it. `rss` and `vsz`: of all its QEMU processes."""

    total: int
    free: int
    available: int
    rss: int
    vsz: int
    anon: int


@dataclass
class Files:
    """Those of /sys/kernel/mm/ksm."""

    run: int = 0
    pages_to_scan: int = 100
    sleep_millisecs: int = 20


@dataclass
class Ksmtuned:
    """adjust() of Debian's script, its process pattern corrected."""

    npages: int = 0

    def step(self, memory: Memory, files: Files) -> None:
        threshold = max(memory.total * 20 // 100, 2048)
        if memory.rss + threshold < memory.total and memory.free > threshold:
            files.run = 0
            return
        self.npages = min(max(self.npages + (300 if memory.free < threshold else -50), 64), 1250)
        files.pages_to_scan = self.npages
        files.sleep_millisecs = max(10 * GIB_16 // memory.total, 10)
        files.run = 1


@dataclass
class Mom:
    """03-ksm.policy of vdsm, on averages of the last ten samples."""

    free: list[int] = field(default_factory=list)

    def step(self, memory: Memory, files: Files) -> None:
        self.free = [*self.free[-9:], memory.free]
        threshold = memory.total * 0.20
        if threshold + memory.vsz < memory.total and fmean(self.free) > threshold:
            files.run = 0
            return
        files.run = 1
        files.sleep_millisecs = int(max(10, 10 * GIB_16 / memory.total))
        step = 300 if fmean(self.free) < threshold else -50
        files.pages_to_scan = max(min(files.pages_to_scan + step, 1250), 64)


@dataclass
class KubeVirt:
    """calculateNewRunSleepAndPages() and writeKsmValuesToFiles()."""

    def step(self, memory: Memory, files: Files) -> None:
        running, pages = files.run == 1, files.pages_to_scan
        sleep = max(100 * GIB_16 // (memory.total - memory.available), 10)
        if memory.available > memory.total * 0.2:
            if not running or pages - 50 < 64:
                files.run = 0
                return
            pages -= 50
        else:
            pages = min(pages + 300, 1250) if running else 100
        files.sleep_millisecs, files.pages_to_scan, files.run = sleep, pages, 1


@dataclass
class Harvester:
    """adjust() of node-manager's ksmtuned, in its mode high."""

    pages: int = 100

    def step(self, memory: Memory, files: Files) -> None:
        total_bytes = memory.total * 1024
        if memory.available * 1024 < max(20 * total_bytes // 100, 5):
            self.pages = min(self.pages + 200, 10000)
            files.run, files.sleep_millisecs = 1, max(20 * GIB_16 // total_bytes, 10)
        else:
            self.pages = 100 if self.pages < 50 else max(self.pages - 50, 100)
            files.run = 0
        files.pages_to_scan = self.pages


@dataclass
class Kata:
    """throttle() of ksm-throttler from the first guest on, asked at `now` (seconds), whole pages of 4 KiB."""

    initial: Files = field(default_factory=Files)
    kicked: float | None = None
    stage: int = 3

    def step(self, now: float, has_new_guest: bool, memory: Memory, files: Files) -> None:
        before = self.stage
        if has_new_guest:
            self.kicked, before = now, 3
        if self.kicked is None:
            return
        self.stage = sum(now - self.kicked >= after for after in (30, 30 + 120, 30 + 120 + 120))
        if self.stage == 3 and before != 3:
            vars(files).update(vars(self.initial))
        elif self.stage != before:
            factor, sleep = ((10, 1), (100, 10), (500, 100))[self.stage]
            files.pages_to_scan, files.sleep_millisecs, files.run = memory.anon // 4 // factor, sleep, 1


@dataclass
class Advisor:
    """scan_time_advisor() of mm/ksm.c: `scan_ms` and `cpu_ms` are of the full scan that has just ended."""

    scan_time: int = 0
    change: int = 0

    def step(self, scan_ms: int, cpu_ms: int, files: Files) -> None:
        scan_time = scan_ms // 1000 or 1
        percent = cpu_ms * 100 // (scan_time * 1000) or 1
        factor = 200 * 100 // scan_time or 1
        change = scan_time * 100 // (self.scan_time or scan_time) or 1
        self.change = (70 * self.change + 30 * change) // 100
        self.scan_time = scan_time
        pages = files.pages_to_scan * 100 // factor * self.change // 100
        per_percent = files.pages_to_scan // percent or 1
        files.pages_to_scan = min(max(min(pages, per_percent * 70), per_percent * 10), 30000)
