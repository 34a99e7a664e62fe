"""Processes of this machine, as /proc tells them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a program has of the kernel: its process, all that descend from it, their threads and descriptors."""

    processes: int
    threads: int
    descriptors: int

    def within(self, other: Footprint) -> bool:
        """Whether there is no more of anything than in `other`."""
        return (
            self.processes <= other.processes
            and self.threads <= other.threads
            and self.descriptors <= other.descriptors
        )


def footprint(pid: int) -> Footprint:
    """The footprint of process `pid` now."""
    family = [pid]
    children = _children()
    for member in family:  # grows meanwhile
        family += children.get(member, [])
    return Footprint(
        processes=len(family),
        threads=sum(_entries(PROC / str(member) / "task") for member in family),
        descriptors=sum(_entries(PROC / str(member) / "fd") for member in family),
    )


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """PID and arguments of every process."""
    for pid in _pids():
        with suppress(OSError):  # it has just ended
            yield pid, (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")


def namespace(pid: int) -> Path | None:
    """Name of the PID namespace of a process; None if it has ended."""
    with suppress(OSError):
        return (PROC / str(pid) / "ns/pid").readlink()
    return None


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid in _pids():
        with suppress(OSError):
            # The name in parentheses may hold spaces and parentheses itself; the parent is the second field after it.
            parent = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    return children


def _entries(directory: Path) -> int:
    with suppress(OSError):
        return sum(1 for _ in directory.iterdir())
    return 0
