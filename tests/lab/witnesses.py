"""What the kernel and virsh say of guests: no code of kvmtune."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .guests import Guest
from .lab import Lab


def actual_mib(lab: Lab, guest: Guest) -> int:
    """What the balloon leaves to the guest."""
    return sizes_mib(lab)[guest.name]


def sizes_mib(lab: Lab) -> dict[str, int]:
    """What the balloons leave to the guests, by name, all in one answer."""
    found = re.findall(r"^Domain: '(.+)'\n  balloon.current=(\d+)$", lab.virsh("domstats", "--balloon"), re.MULTILINE)
    return {name: int(kib) // 1024 for name, kib in found}


def thread_cpus(lab: Lab, guest: Guest, name: str) -> set[int]:
    """Where the threads of the guest's QEMU whose name begins with this may run: `CPU 0/`, `IO iothread1`.

    The thread of the empty name is QEMU's main thread.
    """
    pid = lab.qemu_pid(guest)
    if not name:
        return os.sched_getaffinity(pid)
    threads = [
        int(comm.parent.name) for comm in Path(f"/proc/{pid}/task").glob("*/comm") if comm.read_text().startswith(name)
    ]
    assert threads, f"{guest.name} has no thread {name!r}"
    return set().union(*(os.sched_getaffinity(thread) for thread in threads))


def vcpu_cpus(lab: Lab, guest: Guest) -> set[int]:
    """Where the guest's vCPUs may run."""
    return thread_cpus(lab, guest, "CPU ")
