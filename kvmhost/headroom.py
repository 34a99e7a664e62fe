"""Memory that guests could still be given: what is free in every form, less what KSM might ask back."""

from __future__ import annotations

from kvmhost import hugepages, ksm
from kvmhost.fs import HostFS


def headroom_bytes(fs: HostFS, available_bytes: int, page_size_bytes: int) -> int | None:
    """MemAvailable, and the hugepages that are free and not promised, less what undoing all of KSM would take.

    Below zero, the host lives on merging: guests that write to their merged pages can exhaust it. None if the kernel
    leaves out a count that it takes; `HostError` if one is malformed.
    """
    hugepages_bytes = hugepages.usable_bytes(fs)
    if hugepages_bytes is None:
        return None
    reversal_pages = ksm.saved_pages(fs) or 0  # a kernel without KSM has merged nothing
    return available_bytes + hugepages_bytes - reversal_pages * page_size_bytes
