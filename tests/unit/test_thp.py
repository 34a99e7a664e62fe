"""Transparent huge pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmhost import thp
from kvmhost.thp import Khugepaged, ThpState
from tests.host import fixture, made_of

DIRECTORY = "sys/kernel/mm/transparent_hugepage"


def state(name: str) -> ThpState:
    found = thp.read(fixture(name))
    assert found is not None
    return found


def chosen(modes: dict[str, bool]) -> list[str]:
    return [mode for mode, holds in modes.items() if holds]


def test_every_file_is_read() -> None:
    ordinary = state("ordinary")
    assert (chosen(dict(ordinary.enabled)), chosen(dict(ordinary.defrag))) == (["madvise"], ["madvise"])
    assert (ordinary.use_zero_page, ordinary.shrink_underused, ordinary.hpage_pmd_size) == (1, 1, 2**21)
    assert ordinary.khugepaged == Khugepaged(
        defrag=1,
        pages_to_scan=4096,
        scan_sleep_millisecs=10000,
        alloc_sleep_millisecs=60000,
        max_ptes_none=511,
        max_ptes_swap=64,
        max_ptes_shared=256,
        pages_collapsed=22015,
        full_scans=811,
    )
    assert ordinary.faults == ()


def test_a_mode_of_two_words() -> None:
    assert chosen(dict(state("two-numa-nodes").defrag)) == ["defer+madvise"]


def test_files_of_a_later_kernel_are_none() -> None:
    old = state("old-kernel")
    assert (old.shrink_underused, old.khugepaged.max_ptes_shared, old.faults) == (None, None, ())


@pytest.mark.parametrize(
    ("host", "bad"),
    [
        ("malformed-files", {"enabled", "defrag", "use_zero_page", "scan_sleep_millisecs"}),
        ("unreadable-files", {"enabled"}),
    ],
)
def test_a_bad_file_costs_its_own_value(host: str, bad: set[str]) -> None:
    found = state(host)
    assert {Path(fault.path).name for fault in found.faults} == bad
    assert (found.enabled, found.hpage_pmd_size) == ({}, 2**21)


def test_a_kernel_without_it(tmp_path: Path) -> None:
    assert thp.read(made_of(tmp_path, {})) is None


def test_one_file_is_enough(tmp_path: Path) -> None:
    found = thp.read(made_of(tmp_path, {f"{DIRECTORY}/khugepaged/full_scans": "3"}))
    assert found is not None
    assert found.khugepaged == Khugepaged(full_scans=3)
