"""Pressure stall information of the host: how long work waited for memory, CPU and I/O."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.scrape import Scrape
from exporter.table import Family, Row, counter, families
from kvmhost import pressure
from kvmhost.fs import HostError
from kvmhost.pressure import Pressure

TABLE: tuple[Row[Pressure], ...] = (
    counter(
        "kvm_pressure_some_seconds_total",
        "Time in which at least one task waited for the resource (/proc/pressure, some).",
        lambda resource: resource.some_seconds,
    ),
    counter(
        "kvm_pressure_full_seconds_total",
        "Time in which all tasks at work waited for the resource: nothing was done (/proc/pressure, full);"
        " the kernel says 0 for the CPU of a whole host.",
        lambda resource: resource.full_seconds,
    ),
)


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """Metrics of each resource that the kernel accounts for."""
    state = pressure.read(scrape.fs)
    if state:
        yield from families(TABLE, [((one.resource,), one) for one in state.resources], labels=("resource",))
        yield from state.faults
