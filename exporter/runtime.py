"""How the interpreter is set up for a process that makes and drops a page of megabytes at each scrape."""

from __future__ import annotations

import ctypes
import gc
import resource
from contextlib import suppress

# Three files a guest with one vCPU: enough for thousands of guests.
_MOST_DESCRIPTORS = 65536
# A scrape of 300 guests makes some 20,000 objects and drops them all, none of which is in a cycle.
_GC_THRESHOLD = 50_000

# mallopt(3), malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 32 * 2**20


def tune() -> int:
    """Set up this process; returns how many files of guests it may keep open.

    The kernel need not clear the same memory again for each page of metrics, and the collector of cycles does not look
    through objects that live for milliseconds. What was measured of it: DECISIONS.md.
    """
    gc.set_threshold(_GC_THRESHOLD)
    with suppress(OSError, AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = min(most, _MOST_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, most))
    return descriptors // 2
