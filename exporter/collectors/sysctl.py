"""Kernel parameters that tuners set, rules among them."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.scrape import Scrape
from exporter.table import Family, Row, families, gauge
from kvmhost import sysctl
from kvmhost.fs import HostError

TABLE: tuple[Row[int], ...] = (
    gauge(
        "kvm_sysctl_value",
        "Value of a kernel parameter, by its name in sysctl(8), in the kernel's own unit, which the name often says.",
        lambda value: value,
    ),
)


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """One sample for each parameter that this kernel has."""
    state = sysctl.read(scrape.fs)
    yield from families(TABLE, [((name,), value) for name, value in state.values.items()], labels=("name",))
    yield from state.faults
