"""A small host made of a big one: hugepages are reserved, and what is reserved is there for nobody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import LabError

_POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
_PAGE_BYTES = 2 * 2**20
_ROUNDS = 5  # what the reservation itself frees and takes moves MemAvailable a little


def available_bytes() -> int:
    """MemAvailable of /proc/meminfo."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, value, *_ = line.split()
        if name == "MemAvailable:":
            return int(value) * 1024
    raise LabError("/proc/meminfo has no MemAvailable")


@contextmanager
def small_host(wanted_bytes: int) -> Iterator[None]:
    """Within the block, MemAvailable has fallen to `wanted_bytes` (within 1 % of what it was)."""
    before = int(_POOL.read_text())
    try:
        shrink(wanted_bytes)
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
