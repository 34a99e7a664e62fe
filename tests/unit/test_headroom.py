"""What guests could still be given."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmhost.fs import HostError
from kvmhost.headroom import headroom_bytes
from tests.host import made_of

KSM = "sys/kernel/mm/ksm"
SMALL, LARGE = (f"sys/kernel/mm/hugepages/hugepages-{size}kB" for size in (2048, 1048576))
MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("files", "bytes_"),
    [
        ({}, 4 * GIB),
        ({f"{SMALL}/free_hugepages": "100", f"{SMALL}/resv_hugepages": "30"}, 4 * GIB + 140 * MIB),
        (
            {
                f"{SMALL}/free_hugepages": "1",
                f"{SMALL}/resv_hugepages": "0",
                f"{LARGE}/free_hugepages": "3",
                f"{LARGE}/resv_hugepages": "1",
            },
            6 * GIB + 2 * MIB,
        ),
        ({f"{KSM}/pages_sharing": "1024"}, 4 * GIB - 4 * MIB),
        ({f"{KSM}/pages_sharing": "1024", f"{KSM}/ksm_zero_pages": "256"}, 4 * GIB - 5 * MIB),
        ({f"{KSM}/pages_sharing": str(2 * 2**20)}, -4 * GIB),
        ({f"{SMALL}/nr_hugepages": "100"}, None),
    ],
    ids=[
        "neither hugepages nor KSM",
        "promised hugepages do not count",
        "all sizes",
        "a kernel that counts no zero pages",
        "zero pages, too",
        "a host that lives on merging",
        "unknown hugepages",
    ],
)
def test_headroom(tmp_path: Path, files: dict[str, str], bytes_: int | None) -> None:
    assert headroom_bytes(made_of(tmp_path, files), available_bytes=4 * GIB, page_size_bytes=4096) == bytes_


@pytest.mark.parametrize(
    "files",
    [
        {f"{SMALL}/free_hugepages": "all", f"{SMALL}/resv_hugepages": "0"},
        {f"{KSM}/pages_sharing": "12 34"},
        {f"{KSM}/pages_sharing": "12", f"{KSM}/ksm_zero_pages": "-"},
    ],
)
def test_a_bad_file_is_an_error_and_not_a_smaller_number(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(HostError):
        headroom_bytes(made_of(tmp_path, files), available_bytes=4 * GIB, page_size_bytes=4096)
