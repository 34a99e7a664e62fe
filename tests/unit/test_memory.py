"""/proc/meminfo and the page size."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmhost import memory
from kvmhost.fs import HostError
from tests.host import fixture, made_of

POOLS = "sys/kernel/mm/hugepages/hugepages"


def test_kilobytes_become_bytes() -> None:
    ordinary = memory.read(fixture("ordinary"))
    assert ordinary is not None
    assert ordinary.total_bytes == 65763412 * 1024
    assert [name for name, value in vars(ordinary).items() if value is None] == []


def test_lines_of_a_later_kernel_are_none() -> None:
    old = memory.read(fixture("old-kernel"))
    assert old is not None
    assert (old.secondary_page_tables_bytes, old.faults) == (None, ())


@pytest.mark.parametrize(
    ("files", "hugetlb_bytes"),
    [
        ({"proc/meminfo": "Hugetlb: 2048 kB\n"}, 2**21),
        ({"proc/meminfo": ""}, 0),
        (
            {"proc/meminfo": "", f"{POOLS}-2048kB/nr_hugepages": "3", f"{POOLS}-1048576kB/nr_hugepages": "1"},
            6 * 2**20 + 2**30,
        ),
        ({"proc/meminfo": "", f"{POOLS}-2048kB/nr_hugepages": "3", f"{POOLS}-1048576kB/nr_hugepages": "many"}, None),
    ],
    ids=["the kernel says it", "no hugepages", "before 4.16", "before 4.16, damaged"],
)
def test_memory_in_hugepage_pools_is_known_on_every_kernel(
    tmp_path: Path, files: dict[str, str], hugetlb_bytes: int | None
) -> None:
    """Rules subtract it from all memory, and could not act without it."""
    found = memory.read(made_of(tmp_path, files))
    assert found is not None
    assert found.hugetlb_bytes == hugetlb_bytes


def test_a_bad_line_costs_its_own_value() -> None:
    malformed = memory.read(fixture("malformed-files"))
    assert malformed is not None
    assert (malformed.total_bytes, malformed.cached_bytes) == (65763412 * 1024, 8120544 * 1024)
    assert [fault.reason.partition(",")[0] for fault in malformed.faults] == [
        "expected MemFree in kB",
        "expected MemAvailable in kB",
        "expected Buffers in kB",
        "expected SwapTotal in kB",
    ]


def test_without_the_file_there_is_nothing(tmp_path: Path) -> None:
    assert memory.read(made_of(tmp_path, {})) is None
    assert memory.page_size_bytes(made_of(tmp_path, {})) is None


def test_an_unreadable_file_is_an_error() -> None:
    with pytest.raises(HostError, match="Is a directory"):
        memory.read(fixture("unreadable-files"))


@pytest.mark.parametrize(("host", "size_bytes"), [("ordinary", 4096), ("64k-pages", 65536)])
def test_page_size(host: str, size_bytes: int) -> None:
    assert memory.page_size_bytes(fixture(host)) == size_bytes


@pytest.mark.parametrize(
    "vector",
    [b"", b"\x06", b"\x06" + bytes(9), bytes(16)],
    ids=["empty", "cut off", "cut off after the type", "no page size in it"],
)
def test_page_size_in_a_damaged_vector(tmp_path: Path, vector: bytes) -> None:
    fs = made_of(tmp_path, {"proc/self/auxv": ""})
    (tmp_path / "proc/self/auxv").write_bytes(vector)
    with pytest.raises(HostError, match="no page size"):
        memory.page_size_bytes(fs)
