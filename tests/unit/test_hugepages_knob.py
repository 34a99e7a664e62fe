"""Hugepage pools as a knob: how small and how large a pool may become, on which node, and what a write does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actuator.knobs import KnobError, Target
from actuator.knobs.hugepages import HugepagesPool
from kvmhost.fs import HostFS
from tests.host import FIXTURES, fixture, made_of

POOL = "sys/kernel/mm/hugepages/hugepages-2048kB"
SMALL: Target = (("node", "0"), ("size", "2MiB"))
MEMINFO = "MemTotal: 1048576 kB\nMemAvailable: {available} kB\n"
WITHOUT_NODES = {f"{POOL}/nr_hugepages": "100", f"{POOL}/free_hugepages": "40", f"{POOL}/resv_hugepages": "10"}


@pytest.mark.parametrize(
    ("files", "available_kb", "value", "low", "high"),
    [
        ({}, 0, 100, 70, 100),
        ({}, 52_429, 100, 70, 100),
        ({}, 52_429 + 20_480, 100, 70, 110),
        ({f"{POOL}/surplus_hugepages": "30"}, 0, 70, 40, 70),
        ({f"{POOL}/free_hugepages": "5"}, 0, 100, 100, 100),
    ],
    ids=[
        "a short host",
        "just its reserve",
        "20 MiB to spare",
        "surplus is not of its size",
        "more promised than free",
    ],
)
def test_how_far_a_pool_may_go(
    tmp_path: Path, files: dict[str, str], available_kb: int, value: int, low: int, high: int
) -> None:
    meminfo = {"proc/meminfo": MEMINFO.format(available=available_kb)}
    live = HugepagesPool(made_of(tmp_path, WITHOUT_NODES | meminfo | files)).live()[SMALL]
    assert (live.value, live.low, live.high) == (value, low, high)


def test_each_size_and_node_is_a_pool_of_its_own() -> None:
    live = HugepagesPool(fixture("two-numa-nodes")).live()
    assert list(live) == [(("node", node), ("size", size)) for node in "01" for size in ("2MiB", "1GiB")]
    assert live[SMALL].value == 4096


def test_a_kernel_without_hugetlb_has_none(tmp_path: Path) -> None:
    assert HugepagesPool(HostFS(tmp_path)).live() == {}


@pytest.fixture
def knob(tmp_path: Path) -> HugepagesPool:
    shutil.copytree(FIXTURES / "two-numa-nodes/sys", tmp_path / "sys")
    shutil.copy(FIXTURES / "two-numa-nodes/proc/meminfo", tmp_path / "proc_meminfo")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc_meminfo").rename(tmp_path / "proc/meminfo")
    return HugepagesPool(HostFS(tmp_path))


def test_a_write_is_of_one_node(knob: HugepagesPool) -> None:
    other: Target = (("node", "1"), ("size", "2MiB"))
    knob.write(SMALL, 5000)
    assert (knob.live()[SMALL].value, knob.live()[other].value) == (5000, 4096)


@pytest.mark.parametrize(
    ("target", "value", "says"),
    [
        ((("node", "7"), ("size", "2MiB")), 1, "there is no pool node 7/size 2MiB any more"),
        (SMALL, 10**6, "cannot make 1000000 pages of node 0/size 2MiB: [0-9]+ at most, what memory is available"),
    ],
)
def test_writes_that_are_not_made(knob: HugepagesPool, target: Target, value: int, says: str) -> None:
    with pytest.raises(KnobError, match=says):
        knob.write(target, value)


def test_a_pool_that_got_fewer_pages_is_ours(knob: HugepagesPool) -> None:
    assert knob.is_ours(63, (0, 100))
    assert knob.is_ours(100, (100,))
    assert not knob.is_ours(101, (0, 100))


@pytest.mark.parametrize(
    ("host", "target", "setting"),
    [
        ("ordinary", SMALL, "vm.nr_hugepages"),
        ("ordinary", (("node", "0"), ("size", "1GiB")), "/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages"),
        ("two-numa-nodes", SMALL, "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"),
    ],
)  # fmt: skip
def test_what_sets_it_at_a_boot(host: str, target: Target, setting: str) -> None:
    assert HugepagesPool(fixture(host)).setting(target) == setting


def test_no_boot_sets_a_pool_that_is_not_there() -> None:
    with pytest.raises(KnobError, match="there is no pool of 3MiB on node 0 any more"):
        HugepagesPool(fixture("ordinary")).setting((("node", "0"), ("size", "3MiB")))
