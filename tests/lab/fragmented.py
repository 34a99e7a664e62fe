"""A host whose free memory is in small pieces: the kernel finds few hugepages in it, though there is memory enough."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_COMPACTS_LOCKED = Path("/proc/sys/vm/compact_unevictable_allowed")
_MADV_POPULATE_WRITE = 23  # Linux 5.14
_MLOCK_ONFAULT = 1  # only what is there
_EVERY = 128  # pages, of which one stays: several in each piece of 2 MiB


@contextmanager
def fragmented(size_bytes: int) -> Iterator[None]:
    """Within the block, so much memory is free in pieces of less than 1 MiB, and cannot be moved together.

    The sysctl that forbids that stays changed: the tests' keeper puts it back.
    """
    _COMPACTS_LOCKED.write_text("0")
    with subprocess.Popen(
        [sys.executable, __file__, str(size_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        yield


def _hold(size_bytes: int) -> None:
    """Take the memory in small pages, give most of them back, and keep the rest where they are."""
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory.madvise(_MADV_POPULATE_WRITE)
    piece = _EVERY * mmap.PAGESIZE
    for start in range(0, size_bytes - piece, piece):
        memory.madvise(mmap.MADV_DONTNEED, start + mmap.PAGESIZE, piece - mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if ctypes.CDLL(None).mlock2(ctypes.c_void_p(address), ctypes.c_size_t(size_bytes), _MLOCK_ONFAULT):
        sys.exit("mlock2 failed")
    print(flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _hold(int(sys.argv[1]))
