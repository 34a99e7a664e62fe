"""A host whose guests have balloons: who holds which memory, second by second (pure).

All sizes are MiB and all times seconds. Guests are columns of arrays, so that a host may have hundreds. A guest's
memory is its kernel's, its programs', its page cache's, or free; what does not fit goes to its swap, and when that is
full, it kills a program. QEMU holds what the guest has ever touched, less what the balloon took since. What the host
has not in memory, it swaps; when that is full, it kills the largest guest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = NDArray[np.float64]
"""A number of each guest."""
Flags: TypeAlias = NDArray[np.bool_]

QEMU_MIB = 40.0
"""What QEMU needs itself, beside the guest's memory."""
KERNEL_MIB, KERNEL_RATIO = 24.0, 0.025
"""What a guest's kernel keeps out of what it manages (actual less MemTotal): so much, and a part of the maximum."""
_WATERMARK_RATIO = 0.01  # of a guest's memory, which MemAvailable leaves out
_LEAST_CACHE_MIB = 8.0
_ALLOCATE_MIB_S = 500.0
_SWAP_MIB_S = 120.0
_RESTART_SECONDS, _RESTART_RATIO = 60.0, 0.1
_PAGE_MIB = 1 / 256
_HOST_LEAST_RATIO = 0.005  # MemAvailable never reads less: the kernel swaps before
_STALL_RATIO = 0.03  # of the host's memory: with less available, tasks begin to wait for some


@dataclass(frozen=True, kw_only=True)
class Guests:
    """What guests are, one element each.

    `least`: what their owner configured as the least that the balloon leaves them. `driver`: MiB a second that the
    balloon moves; 0 never follows. `period`: between two reports of the driver at first; `lag`: until one is seen.
    `hot`: of the page cache, what its programs read all the time.
    """

    maximum: Column
    least: Column
    start: Column
    driver: Column
    period: Column
    lag: Column
    swap: Column
    hot: Column

    def __len__(self) -> int:
        return len(self.maximum)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a host and its guests go through: rows are seconds.

    `own`: memory of the host's own. `demand`: of the programs in each guest; `files`: what it would cache if it could;
    `mute`: its balloon driver does nothing. `steps`: the second and the guest of each step of demand.
    `is_constant`: nothing has changed for a while, nor will in this second.
    """

    name: str
    total: float
    swap: float
    guests: Guests
    own: Column
    demand: NDArray[np.float64]
    files: NDArray[np.float64]
    mute: Flags
    steps: tuple[tuple[int, int], ...]
    is_constant: Flags

    @property
    def seconds(self) -> int:
        return len(self.own)


@dataclass
class Report:
    """What the drivers of the guests told last; counters since the start."""

    time: Column
    available: Column
    usable: Column
    unused: Column
    caches: Column
    swap_in: Column
    swap_out: Column
    major_faults: Column

    @classmethod
    def none(cls, guests: int) -> Report:
        """From before the guests ever told anything."""
        never = np.full(guests, -np.inf)
        return cls(never, *(np.zeros(guests) for _ in range(7)))

    def take(self, other: Report, which: Flags) -> None:
        """Take over the numbers of some guests."""
        for name, column in vars(self).items():
            setattr(self, name, np.where(which, getattr(other, name), column))


class Host:
    """The state of a workload's host at `time`; `target` is what was asked of the balloons, `period` of the drivers."""

    def __init__(self, workload: Workload, start: float = 0.0) -> None:
        self.workload = workload
        self.start = start
        guests = workload.guests
        count = len(guests)
        self.second = 0
        self.actual = guests.start.copy()
        self.target = self.actual.copy()
        self.period = guests.period.copy()
        self.held = np.minimum(workload.demand[0], self._memory() - _LEAST_CACHE_MIB)
        self.swapped = workload.demand[0] - self.held
        self.cache = np.clip(np.minimum(workload.files[0], self._memory() - self.held), 0.0, None)
        self.touched = np.minimum(self._kernel() + self.held + self.cache, self.actual)
        self.swap_in, self.swap_out, self.major_faults = (np.zeros(count) for _ in range(3))
        self.restarts_at = np.zeros(count)
        self.guest_kills, self.host_kills = 0, 0
        self.host_swapped, self.host_swap_out = 0.0, 0.0
        self.some_seconds, self.full_seconds = 0.0, 0.0
        self._told: list[tuple[Report, Flags]] = []  # and is not seen yet, by whom
        self._seen = Report.none(count)
        self._seen.take(self._now(), np.ones(count, bool))

    @property
    def time(self) -> float:
        return self.start + self.second

    @property
    def report(self) -> Report:
        """The last that is known of what the guests told; times are those of the guests' answers."""
        return self._seen

    @property
    def rss(self) -> Column:
        """What each QEMU process holds; what the host has swapped out of them is not taken off."""
        return np.asarray(self.touched + QEMU_MIB)

    @property
    def own(self) -> float:
        return float(self.workload.own[self.second])

    @property
    def available(self) -> float:
        """MemAvailable."""
        left = self.workload.total - self.own - float(self.rss.sum()) + self.host_swapped
        return max(left, _HOST_LEAST_RATIO * self.workload.total)

    @property
    def demand(self) -> Column:
        """What the programs of each guest want now; those of a guest that has killed some start again."""
        is_down = self.restarts_at > self.second
        return np.asarray(np.where(is_down, _RESTART_RATIO, 1.0) * self.workload.demand[self.second])

    @property
    def shortfall(self) -> Column:
        """What each guest's programs and hot cache want beyond the memory that the balloon leaves them."""
        return np.asarray(np.clip(self.demand + self.workload.guests.hot - self._memory(), 0.0, None))

    @property
    def could_grow(self) -> Column:
        """How much of each guest's shortfall a smaller balloon would end."""
        return np.minimum(self.shortfall, self.workload.guests.maximum - self.actual)

    def pass_second(self) -> None:
        """One second of balloons, programs, caches, reports, and the host."""
        self.second += 1
        self._move_balloons()
        self._run_programs()
        self._fill_caches()
        self._keep_within()
        guests = self.workload.guests
        phase = np.arange(len(guests)) % self.period
        is_mute = self.workload.mute[self.second]
        self._tell((np.mod(self.second, self.period) == phase) & ~is_mute)
        self._see()

    def _kernel(self) -> Column:
        return KERNEL_MIB + KERNEL_RATIO * self.workload.guests.maximum

    def _memory(self) -> Column:
        return np.clip(self.actual - self._kernel(), _LEAST_CACHE_MIB, None)

    def _move_balloons(self) -> None:
        guests = self.workload.guests
        rate = np.where(self.workload.mute[self.second], 0.0, guests.driver)
        # What is neither free nor cache has to go to the guest's swap first.
        gives = np.clip(self._memory() - self.held - _LEAST_CACHE_MIB, 0.0, None)
        swaps = np.minimum(_SWAP_MIB_S, np.clip(guests.swap - self.swapped, 0.0, None))
        move = np.clip(self.target - self.actual, -np.minimum(rate, gives + swaps), 2 * rate)
        self.actual = self.actual + move
        self.touched = np.minimum(self.touched, self.actual)

    def _run_programs(self) -> None:
        guests = self.workload.guests
        demand = self.demand
        has = self.held + self.swapped
        freed = np.clip(has - demand, 0.0, None)
        part = np.divide(self.swapped, has, out=np.zeros_like(has), where=has > 0)
        self.swapped = self.swapped - freed * part
        self.held = self.held - freed * (1 - part)
        room = self._memory() - _LEAST_CACHE_MIB
        # Where there is no room, who wants memory waits until something else is in swap.
        fastest = np.minimum(_ALLOCATE_MIB_S, np.clip(room - self.held, 0.0, None) + _SWAP_MIB_S)
        wanted = self.held + np.clip(demand - self.held - self.swapped, 0.0, fastest)
        out = np.clip(wanted - room, 0.0, None)
        back = np.minimum(np.clip(room - wanted, 0.0, None), np.minimum(self.swapped, _SWAP_MIB_S))
        # Programs use all that they hold, so what is in swap comes back while other parts go.
        thrash = np.clip(np.minimum(self.swapped + out - back, _SWAP_MIB_S - back - out), 0.0, None) * 0.5
        self.held = wanted - out + back
        self.swapped = self.swapped + out - back
        self.swap_in = self.swap_in + back + thrash
        self.swap_out = self.swap_out + out + thrash
        self.major_faults = self.major_faults + (back + thrash) / _PAGE_MIB
        killed = self.swapped > guests.swap
        self.guest_kills += int(killed.sum())
        self._restart(killed)

    def _restart(self, which: Flags) -> None:
        self.restarts_at = np.where(which, self.second + _RESTART_SECONDS, self.restarts_at)
        self.held = np.where(which, np.minimum(self.held, self.demand), self.held)
        self.swapped = np.where(which, 0.0, self.swapped)

    def _fill_caches(self) -> None:
        guests = self.workload.guests
        room = np.clip(self._memory() - self.held, 0.0, None)
        files = self.workload.files[self.second]
        grown = self.cache + np.clip(files - self.cache, 0.0, 0.02 * files)
        self.cache = np.minimum(grown, room)
        missing = np.clip(np.minimum(guests.hot, files) - self.cache, 0.0, None)
        self.major_faults = self.major_faults + np.minimum(missing, _SWAP_MIB_S) / _PAGE_MIB
        self.touched = np.minimum(np.maximum(self.touched, self._kernel() + self.held + self.cache), self.actual)

    def _keep_within(self) -> None:
        total = self.workload.total
        short = self.own + float(self.rss.sum()) - (1 - _HOST_LEAST_RATIO) * total
        self.host_swap_out += max(short - self.host_swapped, 0.0)
        self.host_swapped = max(short, 0.0)
        if self.host_swapped > self.workload.swap:
            largest = np.arange(len(self.touched)) == int(self.touched.argmax())
            self.host_kills += 1
            self._restart(largest)
            self.cache = np.where(largest, 0.0, self.cache)
            self.touched = np.where(largest, self._kernel() + self.held, self.touched)
        stalls = min(max((_STALL_RATIO * total - self.available) / (_STALL_RATIO * total), 0.0), 1.0)
        self.some_seconds += 0.5 * stalls
        self.full_seconds += 0.25 * stalls**2

    def _see(self) -> None:
        waiting = []
        for report, by in self._told:
            arrived = by & (report.time + self.workload.guests.lag <= self.time)
            self._seen.take(report, arrived)
            waiting.append((report, by & ~arrived))
        self._told = [(report, by) for report, by in waiting if by.any()]

    def _tell(self, which: Flags) -> None:
        if which.any():
            self._told.append((self._now(), which))

    def _now(self) -> Report:
        memory = self._memory()
        free = np.clip(memory - self.held - self.cache, 0.0, None)
        usable = np.clip(free + self.cache - _WATERMARK_RATIO * memory, 0.0, None)
        time = np.full(len(memory), self.time)
        counters = (self.swap_in, self.swap_out, self.major_faults)
        return Report(time, memory, usable, free, self.cache, *counters)
