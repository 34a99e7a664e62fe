"""What processes cost: CPU time to the nanosecond, memory, descriptors, threads.

CPU time is that of the kernel's clock of a whole process (clock_getcpuclockid(3)): exact, with the threads that have
ended, and one system call each, where /proc/PID/stat counts in hundredths of a second. It does not know what child
processes have used, so every process is read by itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_CPUCLOCK_SCHED = 2  # include/linux/posix-timers_types.h
_POLL_SECONDS = 0.005
_QUIET_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """CPU seconds: of the measured program with all its processes, of libvirtd, of all QEMU processes together."""

    program: float = 0.0
    libvirtd: float = 0.0
    qemu: float = 0.0

    @property
    def total(self) -> float:
        return self.program + self.libvirtd + self.qemu

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(
            program=self.program - other.program,
            libvirtd=self.libvirtd - other.libvirtd,
            qemu=self.qemu - other.qemu,
        )

    def __mul__(self, factor: float) -> Cpu:
        return Cpu(program=self.program * factor, libvirtd=self.libvirtd * factor, qemu=self.qemu * factor)


def median_cpu(readings: Iterable[Cpu]) -> Cpu:
    """The median of each part by itself."""
    rows = list(readings)
    return Cpu(
        program=median(row.program for row in rows),
        libvirtd=median(row.libvirtd for row in rows),
        qemu=median(row.qemu for row in rows),
    )


@dataclass(frozen=True, kw_only=True)
class Meter:
    """Reads the CPU time of one program and of the lab that it looks at."""

    program: tuple[int, ...]
    libvirtd: int
    qemu: tuple[int, ...]

    def read(self) -> Cpu:
        return Cpu(
            program=sum(map(cpu_seconds, self.program)),
            libvirtd=cpu_seconds(self.libvirtd),
            qemu=sum(map(cpu_seconds, self.qemu)),
        )


def cpu_seconds(pid: int) -> float:
    """CPU time of a process since it started. `OSError` (EINVAL) if there is none."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A stretch of time, and what was used in it; `seconds` is what the action at its beginning took."""

    seconds: float
    cpu: Cpu


def slots(
    actions: Mapping[str, Callable[[], float]], *, each: int, slot_seconds: float, meter: Meter
) -> dict[str, list[Slot]]:
    """`each` slots of equal length per action, in random order.

    All actions meet the same background then, also one with a period of its own, and the difference between two
    of them is theirs. An action gives the seconds that it took.
    """
    order = [name for name in actions for _ in range(each)]
    random.Random(len(order)).shuffle(order)
    found: dict[str, list[Slot]] = {name: [] for name in actions}
    for name in order:
        before, start = meter.read(), time.monotonic()
        seconds = actions[name]()
        time.sleep(max(start + slot_seconds - time.monotonic(), 0))
        found[name].append(Slot(seconds=seconds, cpu=meter.read() - before))
    return found


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """One turn of what a program does over and over in the background."""

    seconds: float
    cpu: Cpu


def cycle(meter: Meter, count: int, patience_seconds: float = 60.0) -> Cycle | None:
    """The mean of `count` whole cycles; None if they do not come in time.

    A cycle is told by a witness: the first paused guest. It sleeps, until it is asked for its balloon. So the time
    between two wakings holds all that is done in a cycle, in whatever order and however spread.
    """
    witness = meter.qemu[0]
    deadline = time.monotonic() + patience_seconds
    last, quiet_since = cpu_seconds(witness), time.monotonic()
    marks: list[tuple[float, Cpu]] = []
    while len(marks) <= count:
        time.sleep(_POLL_SECONDS)
        now, used = time.monotonic(), cpu_seconds(witness)
        if now > deadline:
            return None
        if used > last:
            if now - quiet_since > _QUIET_SECONDS:
                marks.append((now, meter.read()))
            last, quiet_since = used, now
    (start, before), (end, after) = marks[0], marks[-1]
    return Cycle(seconds=(end - start) / count, cpu=(after - before) * (1 / count))


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a program holds, in all its processes."""

    processes: int
    rss_bytes: int
    pss_bytes: int
    """Like RSS, but a page that several processes share counts as its part only."""
    descriptors: int
    threads: int


def footprint(pids: Iterable[int]) -> Footprint:
    processes = [Path(f"/proc/{pid}") for pid in pids]
    return Footprint(
        processes=len(processes),
        rss_bytes=sum(_kib(process / "smaps_rollup", "Rss") for process in processes) * 1024,
        pss_bytes=sum(_kib(process / "smaps_rollup", "Pss") for process in processes) * 1024,
        descriptors=sum(len(list((process / "fd").iterdir())) for process in processes),
        threads=sum(len(list((process / "task").iterdir())) for process in processes),
    )


def tree(pid: int) -> tuple[int, ...]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            with suppress(OSError):  # that thread has just ended
                found.extend(map(int, (task / "children").read_text().split()))
    return tuple(found)


def busy_seconds() -> float:
    """CPU time that this machine has spent on anything since it booted, from /proc/stat (in hundredths)."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / 100


def _kib(file: Path, field: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ValueError(f"{file} has no {field}")
