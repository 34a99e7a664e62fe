"""One round of one program: start it, scrape it, watch it when nobody does, and stop it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from benchmarks import guests, meter, peers
from benchmarks.guests import Population
from benchmarks.meter import Cycle, Meter, Slot, median_cpu
from benchmarks.peers import Client, Exporter
from benchmarks.results import FLOOR, Round, Scrapes
from tests.lab.errors import LabError
from tests.lab.lab import Lab

_READY_SECONDS = 30.0
_WARM_SCRAPES = 5
_SLOT_SECONDS = 0.05
_CYCLES = 2
_FAST_SECONDS = 10.0
_SETTLE_SECONDS = 2.0
_AFTERMATH_SECONDS = 0.1


def exporter(program: Exporter, lab: Lab, population: Population, scrapes: int) -> Round:
    """A program with /metrics; `scrapes` of each kind."""
    with peers.running(program, lab) as (pid, client):
        _wait_ready(program, client, len(population.qemu))
        gauge = _meter(pid, population)
        plain, gzip = client.scrape(), client.scrape(compressed=True)
        slowest = max(client.scrape(compressed=True).seconds for _ in range(_WARM_SCRAPES))
        others = _Others(gauge)
        actions = {
            "plain": lambda: client.scrape().seconds,
            "gzip": lambda: client.scrape(compressed=True).seconds,
            "idle": lambda: 0.0,
        }
        slots = meter.slots(actions, each=scrapes, slot_seconds=max(_SLOT_SECONDS, 2 * slowest), meter=gauge)
        background = meter.cycle(gauge, _CYCLES) if program.has_background else None
        if set(meter.tree(pid)) != set(gauge.program):
            raise LabError(f"{program.name} began or ended processes while it was measured, see its log")
        return Round(
            program=program.name,
            guests=len(population.qemu),
            plain=_scrapes(slots["plain"], slots["idle"], len(plain.body)),
            gzip=_scrapes(slots["gzip"], slots["idle"], len(gzip.body)) if gzip.compressed else None,
            samples=peers.samples(plain.body),
            qemu_ran_idle_ratio=_qemu_ran_ratio(slots["idle"]),
            slow=background,
            background=background,
            footprint=meter.footprint(gauge.program),
            others_cores=others.cores(),
            others_guests=guests.others(population),
        )


def less(one: Round, fast: Exporter, lab: Lab, population: Population) -> Round:
    """`one` with a slow tier from which the use of `fast` in the same time is taken off: what is not slow about it."""
    if one.background is None:
        return one
    with peers.running(fast, lab) as (pid, client):
        _wait_ready(fast, client, len(population.qemu))
        gauge = _meter(pid, population)
        time.sleep(_SETTLE_SECONDS)  # what is done at its start only is none of its usual use
        before = gauge.read()
        time.sleep(_FAST_SECONDS)
        used = (gauge.read() - before) * (one.background.seconds / _FAST_SECONDS)
    return replace(one, slow=replace(one.background, cpu=one.background.cpu - used))


def floor(lab: Lab, population: Population, scrapes: int, interval_seconds: float) -> Round:
    """The floor program: as many reads as others get scrapes, and balloon calls at the interval of a slow tier."""
    with peers.floor(lab) as program:
        gauge = _meter(program.pid, population)
        slowest = max(program.reads() for _ in range(_WARM_SCRAPES))
        others = _Others(gauge)
        actions = {"reads": program.reads, "idle": lambda: 0.0}
        slots = meter.slots(actions, each=scrapes, slot_seconds=max(_SLOT_SECONDS, 2 * slowest), meter=gauge)
        calls = []
        for _ in range(_CYCLES):
            before, start = gauge.read(), time.monotonic()
            program.balloon()
            time.sleep(_AFTERMATH_SECONDS)
            calls.append(gauge.read() - before)
            time.sleep(max(start + interval_seconds - time.monotonic(), 0))
        return Round(
            program=FLOOR,
            guests=len(population.qemu),
            plain=_scrapes(slots["reads"], slots["idle"], 0),
            qemu_ran_idle_ratio=_qemu_ran_ratio(slots["idle"]),
            slow=Cycle(seconds=interval_seconds, cpu=median_cpu(calls)),
            footprint=meter.footprint(gauge.program),
            others_cores=others.cores(),
            others_guests=guests.others(population),
        )


class _Others:
    """How much of this machine is used by processes that are none of ours."""

    def __init__(self, gauge: Meter) -> None:
        self._gauge = gauge
        self._start = time.monotonic()
        self._before = self._read()

    def cores(self) -> float:
        """CPUs in use since the beginning."""
        return max(self._read() - self._before, 0.0) / (time.monotonic() - self._start)

    def _read(self) -> float:
        return meter.busy_seconds() - self._gauge.read().total - time.process_time()


def _wait_ready(program: Exporter, client: Client, count: int) -> None:
    """Until all guests are on the page, if it has guests."""
    deadline = time.monotonic() + _READY_SECONDS
    while program.guest_metric:
        shown = client.scrape().body.count(f"\n{program.guest_metric}{{".encode())
        if shown == count:
            return
        if time.monotonic() > deadline:
            raise LabError(f"{program.name} shows {shown} guests, and there are {count}")
        time.sleep(0.2)


def _meter(pid: int, population: Population) -> Meter:
    return Meter(program=meter.tree(pid), libvirtd=population.libvirtd, qemu=population.qemu)


def _scrapes(with_scrape: Sequence[Slot], without: Sequence[Slot], page_bytes: int) -> Scrapes:
    return Scrapes(
        seconds=tuple(slot.seconds for slot in with_scrape),
        cpu=median_cpu(slot.cpu for slot in with_scrape) - median_cpu(slot.cpu for slot in without),
        qemu_ran_ratio=_qemu_ran_ratio(with_scrape),
        page_bytes=page_bytes,
    )


def _qemu_ran_ratio(slots: Sequence[Slot]) -> float:
    return sum(slot.cpu.qemu > 0 for slot in slots) / len(slots)
