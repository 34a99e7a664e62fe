"""A small host made of a big one, and a short one of that: hugepages are reserved, and a process takes the rest."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import LabError

_POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
_PAGE_BYTES = 2 * 2**20
_ROUNDS = 5  # what the reservation itself frees and takes moves MemAvailable a little


ROOM_BYTES = 8 * 2**30
"""What a short host keeps outside of its pools.

So much that what a guest of 1 GiB lends does not end the shortage: from 4 % of it to the rules' 15 % are 0.9 GiB.
"""


def available_bytes() -> int:
    """MemAvailable of /proc/meminfo."""
    return _meminfo()["MemAvailable"]


def available_ratio() -> float:
    """MemAvailable as a share of all that is not in hugepage pools: what the shipped rules go by."""
    fields = _meminfo()
    return fields["MemAvailable"] / (fields["MemTotal"] - fields["Hugetlb"])


@contextmanager
def ballast(ratio: float) -> Iterator[None]:
    """Within the block, a process holds as much memory as leaves the host `ratio` of `available_ratio`."""
    fields = _meminfo()
    held_bytes = max(0, fields["MemAvailable"] - int(ratio * (fields["MemTotal"] - fields["Hugetlb"])))
    program = f"import sys; memory = bytearray(b'x') * {held_bytes}; print(flush=True); sys.stdin.read()"
    # In a session of its own: a Ctrl-C is for us, and it ends when its standard input does.
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        yield


def _meminfo() -> dict[str, int]:
    found = re.findall(r"^(\w+): +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {name: int(kib) * 1024 for name, kib in found}


@contextmanager
def small_host(wanted_bytes: int) -> Iterator[None]:
    """Within the block, MemAvailable has fallen to `wanted_bytes` (within 1 % of what it was)."""
    before = int(_POOL.read_text())
    try:
        shrink(wanted_bytes)
        yield
    finally:
        _POOL.write_text(str(before))


@contextmanager
def hugepages(size_bytes: int) -> Iterator[None]:
    """Within the block, the pool of 2 MiB pages has that much more."""
    before = int(_POOL.read_text())
    wanted = before + size_bytes // _PAGE_BYTES
    try:
        _POOL.write_text(str(wanted))
        if int(_POOL.read_text()) != wanted:
            raise LabError(f"the kernel found no {size_bytes >> 20} MiB of hugepages; free some memory and try again")
        yield
    finally:
        _POOL.write_text(str(before))


def shrink(wanted_bytes: int) -> None:
    """Reserve 2 MiB pages, or give back reserved ones, until MemAvailable is about `wanted_bytes`."""
    started_bytes = available_bytes()
    for _ in range(_ROUNDS):
        pages = int(_POOL.read_text())
        wanted_pages = max(0, pages + (available_bytes() - wanted_bytes) // _PAGE_BYTES)
        if wanted_pages == pages:
            break
        _POOL.write_text(str(wanted_pages))
    if abs(available_bytes() - wanted_bytes) > max(started_bytes // 100, 32 * 2**20):
        raise LabError(
            f"MemAvailable is {available_bytes() >> 20} MiB, not {wanted_bytes >> 20} MiB: "
            "the kernel found no more memory in one piece, or there is less than that; free some and try again"
        )


def shrink_noting(wanted_bytes: int, note: Path) -> None:
    """Like `shrink`; the file `note` keeps the size the pool had before the first call, for `release`."""
    if not note.exists():
        note.write_text(_POOL.read_text())
    shrink(wanted_bytes)


def release(note: Path) -> None:
    """Give the pool the size it had, as the file `note` says; nothing to do when there is none."""
    if note.exists():
        _POOL.write_text(note.read_text())
        note.unlink()
