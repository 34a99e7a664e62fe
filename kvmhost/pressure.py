"""Pressure stall information: how long work waited for a resource (kernel/sched/psi.c, since 4.20)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kvmhost.fs import HostError, HostFS

RESOURCES = ("cpu", "io", "memory")

_LINE = re.compile(r"(some|full) .*\btotal=([0-9]{1,20})")


@dataclass(frozen=True, kw_only=True)
class Pressure:
    """Stall time of one resource since boot."""

    resource: str
    some_seconds: float | None
    """Time in which at least one task waited."""
    full_seconds: float | None
    """Time in which all tasks waited; None for the CPU on kernels before 5.13."""


@dataclass(frozen=True, kw_only=True)
class PressureState:
    """The resources that the kernel accounts for, and the errors of files that could not be used."""

    resources: tuple[Pressure, ...]
    faults: tuple[HostError, ...]


def read(fs: HostFS) -> PressureState | None:
    """Pressure of CPU, I/O and memory; None if the kernel has none or runs with psi=0."""
    resources, faults = [], []
    for resource in RESOURCES:
        try:
            pressure = _read(fs, resource)
        except HostError as fault:
            faults.append(fault)
        else:
            if pressure:
                resources.append(pressure)
    if not resources and not faults:
        return None
    return PressureState(resources=tuple(resources), faults=tuple(faults))


def _read(fs: HostFS, resource: str) -> Pressure | None:
    path = f"proc/pressure/{resource}"
    text = fs.text(path)
    if text is None:
        return None
    totals_us = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise fs.malformed(path, "lines `some ... total=N`", line)
        totals_us[match[1]] = int(match[2])
    if not totals_us:
        raise fs.malformed(path, "lines `some ... total=N`", text)
    return Pressure(
        resource=resource,
        some_seconds=_seconds(totals_us.get("some")),
        full_seconds=_seconds(totals_us.get("full")),
    )


def _seconds(total_us: int | None) -> float | None:
    return None if total_us is None else total_us / 1e6
