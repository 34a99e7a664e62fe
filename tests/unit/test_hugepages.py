"""Pools of hugetlb pages."""

from __future__ import annotations

from pathlib import Path

from kvmhost import hugepages
from kvmhost.hugepages import HugepagesState, Pool
from tests.host import fixture, made_of

MIB, GIB = 2**20, 2**30


def state(name: str) -> HugepagesState:
    found = hugepages.read(fixture(name))
    assert found is not None
    return found


def test_pools_of_the_host_and_of_its_nodes() -> None:
    numa = state("two-numa-nodes")
    assert numa.pools[0] == Pool(
        directory="sys/kernel/mm/hugepages/hugepages-2048kB",
        size_bytes=2 * MIB,
        node=None,
        nr_pages=8192,
        free_pages=5120,
        reserved_pages=2,
        surplus_pages=0,
        overcommit_pages=64,
    )
    assert [(pool.node, pool.size_bytes, pool.nr_pages, pool.free_pages) for pool in numa.node_pools] == [
        (0, 2 * MIB, 4096, 1024),
        (0, GIB, 8, 0),
        (1, 2 * MIB, 4096, 4096),
        (1, GIB, 8, 6),
    ]
    assert {pool.reserved_pages for pool in numa.node_pools} == {None}
    assert numa.faults == ()


def test_sizes_are_in_order_of_size_not_of_name() -> None:
    assert [pool.size_bytes for pool in state("64k-pages").pools] == [2 * MIB, 512 * MIB, 16 * GIB]


def test_pages_in_bytes() -> None:
    (small, large) = state("two-numa-nodes").pools
    assert (small.bytes_of(small.free_pages), large.bytes_of(large.free_pages)) == (5120 * 2 * MIB, 6 * GIB)
    assert small.bytes_of(None) is None


def test_a_kernel_without_hugepages(tmp_path: Path) -> None:
    assert hugepages.read(made_of(tmp_path, {})) is None


def test_a_bad_file_costs_its_own_value() -> None:
    (pool,) = state("malformed-files").pools
    assert (pool.nr_pages, pool.free_pages) == (16, None)
    assert [Path(fault.path).name for fault in state("malformed-files").faults] == ["free_hugepages"]
