"""Paused guests in a lab of their own, and the processes that they are made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.lab import Lab
from tests.lab.processes import command_lines
from tests.lab.specs import small


@dataclass(frozen=True, kw_only=True)
class Population:
    """The processes of a lab, as this machine numbers them."""

    libvirtd: int
    qemu: tuple[int, ...]


@contextmanager
def population(lab: Lab, count: int) -> Iterator[Population]:
    """Within the block, `count` paused guests are there: emulated, small, without kernel and disk, with a balloon."""
    with lab.crowd(small(count)) as guests:
        uuids = {guest.uuid for guest in guests}
        qemu = tuple(sorted(pid for pid, arguments in _qemu() if uuids & set(arguments)))
        yield Population(libvirtd=lab.daemon_pid(), qemu=qemu)


def others(ours: Population) -> int:
    """How many guests run on this machine beside ours. Exporters that look into /proc see them, too."""
    return len({pid for pid, _ in _qemu()} - set(ours.qemu))


def _qemu() -> Iterator[tuple[int, list[str]]]:
    """PID and arguments of the QEMU processes of this machine."""
    return ((pid, arguments) for pid, arguments in command_lines() if "/qemu-system-" in arguments[0])
