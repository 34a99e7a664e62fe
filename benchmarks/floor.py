"""The floor: the least that a scrape and a slow-tier round can cost. `python -m benchmarks.floor URI`.

It does one thing for each line on standard input, and answers with a line: the seconds that it took.

    reads     what the kernel says of host and guests: all files are read, from kept descriptors, and thrown away
    balloon   one bulk call for the balloons of all guests

Nothing is parsed, kept or rendered, and there is no HTTP.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kvmhost import processes, sysctl, virt
from kvmhost.fs import HostFS
from kvmhost.processes import QemuProcess

_HOST_FILES = (
    "proc/meminfo",
    "proc/vmstat",
    "proc/pressure/*",
    "sys/kernel/mm/ksm/*",
    "sys/kernel/mm/hugepages/*/*",
    "sys/kernel/mm/transparent_hugepage/*",
    "sys/kernel/mm/transparent_hugepage/khugepaged/*",
    "sys/devices/system/cpu/*line",
    "sys/devices/system/cpu/cpu*/topology/*_siblings_list",
    "sys/devices/system/node/node*/meminfo",
    "sys/devices/system/node/node*/distance",
    "sys/devices/system/node/node*/cpulist",
    "sys/devices/system/node/node*/hugepages/*/*",
    *(f"proc/sys/{name.replace('.', '/')}" for name in sysctl.NAMES),
)
_GUEST_FILES = ("stat", "status", "ksm_stat")
_VCPU_FILES = ("stat", "schedstat")

_PAGE_BYTES = 1 << 16
_BALLOON, _ACTIVE = 1 << 2, 1  # VIR_DOMAIN_STATS_BALLOON, VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE


def main() -> None:
    connection = virt.connect(sys.argv[1], readonly=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    guests = tuple(processes.qemu(HostFS()).values())
    descriptors = [os.open(path, os.O_RDONLY) for path in _files(guests) if _readable(path)]
    threads = [thread for guest in guests for thread in (guest.pid, *guest.vcpus.values())]
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        _reads(descriptors, threads) if line == "reads\n" else _balloon(connection)
        print(time.perf_counter() - start, flush=True)


def _reads(descriptors: Iterable[int], threads: Iterable[int]) -> None:
    os.listdir("/proc")  # which guests there are  # noqa: PTH208
    for descriptor in descriptors:
        os.pread(descriptor, _PAGE_BYTES, 0)
    for thread in threads:
        os.sched_getaffinity(thread)


def _balloon(connection: Any) -> None:
    connection.getAllDomainStats(_BALLOON, _ACTIVE)


def _files(guests: Iterable[QemuProcess]) -> Iterator[Path]:
    for pattern in _HOST_FILES:
        yield from Path("/").glob(pattern)
    for guest in guests:
        process = Path(f"/proc/{guest.pid}")
        yield from (process / name for name in _GUEST_FILES)
        yield from (process / f"task/{thread}" / name for thread in guest.vcpus.values() for name in _VCPU_FILES)


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:  # write-only, such as hugepages' demote, or not in this kernel
        return False
    return True


if __name__ == "__main__":
    main()
