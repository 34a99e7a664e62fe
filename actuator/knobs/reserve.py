"""What the host keeps of its memory for itself, whatever a knob could give away."""

from __future__ import annotations

from typing import NamedTuple

from kvmhost import ksm, memory
from kvmhost.fs import HostFS
from kvmhost.units import format_bytes

RESERVE_RATIO = 0.05


class Spare(NamedTuple):
    """Of the host's memory: the reserve that it keeps, and what is available beyond (below zero, it is short)."""

    reserve_bytes: int
    spare_bytes: int


def read(fs: HostFS) -> Spare | None:
    """None if the host does not say; `HostError`. Hugepages do not count, since not everything can use them."""
    state = memory.read(fs)
    if state is None or state.total_bytes is None or state.available_bytes is None:
        return None
    reserve_bytes = round(state.total_bytes * RESERVE_RATIO)
    return Spare(reserve_bytes, state.available_bytes - reserve_bytes)


def unmerge_shortage(fs: HostFS) -> str:
    """Why all of KSM's merging cannot be undone now; empty if it can. `HostError`.

    Not `kvmhost.headroom`: unmerged pages cannot be hugepages.
    """
    pages = ksm.saved_pages(fs)
    if not pages:
        return ""
    page_bytes, spare = memory.page_size_bytes(fs), read(fs)
    if page_bytes is None or spare is None:
        return "it is not known how much memory is available (/proc/meminfo, /proc/self/auxv)"
    if pages * page_bytes <= spare.spare_bytes:
        return ""
    return (
        f"undoing all merging takes {format_bytes(pages * page_bytes)}, and the host can spare "
        f"{format_bytes(max(spare.spare_bytes, 0))} beside its reserve: free memory first"
    )
