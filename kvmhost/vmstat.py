"""What the kernel's memory management has done since boot: /proc/vmstat (vmstat_text in mm/vmstat.c)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kvmhost.fs import HostError, HostFS

_VMSTAT = "proc/vmstat"
# Some events have a line for each memory zone, on all kernels (allocstall) or on old ones (pgscan, pgsteal).
_ZONES = ("dma", "dma32", "normal", "high", "movable", "device")


@dataclass(frozen=True, kw_only=True)
class Vmstat:
    """Counts of events, by the kernel's name; one that this kernel does not have is left out."""

    counts: Mapping[str, int]
    faults: tuple[HostError, ...]
    """Lines that are there and malformed; their counts are left out."""


def read(fs: HostFS, names: Iterable[str]) -> Vmstat | None:
    """The counts of these names; a name that has a line per zone is their sum. None without /proc/vmstat."""
    content = fs.content(_VMSTAT)
    if content is None:
        return None
    lines = {name: value for name, _, value in (line.partition(b" ") for line in content.splitlines())}
    counts = {}
    faults = []
    for name in names:
        values = _values(lines, name.encode())
        if not all(map(bytes.isdigit, values)):
            faults.append(fs.malformed(_VMSTAT, f"{name} as a count", b" ".join(values).decode("utf-8", "replace")))
        elif values:
            counts[name] = sum(map(int, values))
    return Vmstat(counts=counts, faults=tuple(faults))


def _values(lines: Mapping[bytes, bytes], name: bytes) -> list[bytes]:
    if name in lines:
        return [lines[name]]
    return [lines[line] for zone in _ZONES if (line := b"%b_%b" % (name, zone.encode())) in lines]
