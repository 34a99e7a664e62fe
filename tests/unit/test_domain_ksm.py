"""Why a guest shares no pages: a table over what its processes and the host tell."""

from __future__ import annotations

import pytest

from exporter.collectors.domain_ksm import (
    HOST_OFF,
    HUGEPAGES,
    NOSHAREPAGES,
    NOT_YET_SCANNED,
    NOTHING_EQUAL,
    SHARED_MEMORY,
    SHARING,
    Merging,
    status,
)
from kvmhost.guestdetails import Held, Merged

ANON = Held(locked=0, anon=1000, file=10, shmem=5, swap=0, hugetlb=0)
ON_HUGEPAGES = ANON._replace(anon=100, hugetlb=2000)
ON_MEMFD = ANON._replace(anon=100, shmem=2000)
FRESH = Merged(merging_pages=0, zero_pages=0, rmap_items=0, profit_bytes=0, mergeable=True)
SCANNED = FRESH._replace(rmap_items=250)
SHARED = SCANNED._replace(merging_pages=7)
ZEROS = SCANNED._replace(zero_pages=7)
REFUSED = SIX_ZERO = None  # without the right to read it; kernels before 6.1 have no ksm_stat


def guest(
    merged: Merged | None, held: Held | None = ANON, *, share_pages: bool = True
) -> tuple[bool, Held | None, Merged | None]:
    return share_pages, held, merged


@pytest.mark.parametrize(
    ("sample", "ksmd_scans", "expected"),
    [
        (guest(SHARED), True, SHARING),
        (guest(ZEROS), True, SHARING),
        (guest(SHARED), False, SHARING),  # run=0 keeps what was merged
        (guest(FRESH), True, NOT_YET_SCANNED),
        (guest(SCANNED), True, NOTHING_EQUAL),
        (guest(FRESH), False, HOST_OFF),
        (guest(FRESH), None, None),
        (guest(SCANNED._replace(merging_pages=None)), True, None),
        (guest(FRESH, share_pages=False), True, NOSHAREPAGES),
        (guest(REFUSED, share_pages=False), False, NOSHAREPAGES),
        (guest(FRESH, ON_HUGEPAGES), True, HUGEPAGES),
        (guest(SIX_ZERO, ON_HUGEPAGES), False, HUGEPAGES),
        (guest(FRESH, ON_MEMFD), True, SHARED_MEMORY),
        (guest(FRESH, None), True, NOT_YET_SCANNED),
        (guest(REFUSED), True, None),
        (guest(SIX_ZERO), True, None),
        (guest(SIX_ZERO), False, None),
    ],
)
def test_status(sample: tuple[bool, Held | None, Merged | None], ksmd_scans: bool | None, expected: str | None) -> None:
    assert status(Merging(*sample, ksmd_scans)) == expected
