"""Memory of NUMA nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmhost import numa
from kvmhost.fs import HostError
from kvmhost.numa import Node, NumaState
from tests.host import fixture, made_of

NODES = "sys/devices/system/node"


def state(name: str) -> NumaState:
    found = numa.read(fixture(name))
    assert found is not None
    return found


def test_two_nodes() -> None:
    zero, one = state("two-numa-nodes").nodes
    assert zero == Node(
        node=0,
        distances={0: 10, 1: 21},
        total_bytes=65763412 * 1024,
        free_bytes=8120948 * 1024,
        file_bytes=4532612 * 1024,
        anon_bytes=35120880 * 1024,
        anon_huge_pages_bytes=12582912 * 1024,
        shmem_bytes=90112 * 1024,
        slab_reclaimable_bytes=802880 * 1024,
    )
    assert (one.node, one.free_bytes, one.distances) == (1, 53988532 * 1024, {0: 21, 1: 10})


def test_distances_are_to_the_nodes_that_are_online(tmp_path: Path) -> None:
    files = {"online": "0,2", "node0/distance": "10 32", "node2/distance": "32 10"}
    found = numa.read(made_of(tmp_path, {f"{NODES}/{name}": text for name, text in files.items()}))
    assert found is not None
    assert [node.distances for node in found.nodes] == [{0: 10, 2: 32}, {0: 32, 2: 10}]


def test_a_node_that_says_nothing(tmp_path: Path) -> None:
    found = numa.read(made_of(tmp_path, {f"{NODES}/online": "0"}))
    assert found == NumaState(nodes=(Node(node=0, distances={}),), faults=())


@pytest.mark.parametrize("distance", ["10 21", "", "near"])
def test_distances_that_are_not_one_for_each_node(tmp_path: Path, distance: str) -> None:
    files = {
        f"{NODES}/online": "0",
        f"{NODES}/node0/distance": distance,
        f"{NODES}/node0/meminfo": "Node 0 MemFree: 4 kB",
    }
    found = numa.read(made_of(tmp_path, files))
    assert found is not None
    assert found.nodes == (Node(node=0, distances={}, free_bytes=4096),)
    assert [Path(fault.path).name for fault in found.faults] == ["distance"]


def test_a_bad_line_costs_its_own_value() -> None:
    (node,) = state("malformed-files").nodes
    assert (node.total_bytes, node.free_bytes) == (65763412 * 1024, None)


def test_an_unreadable_file_costs_its_node() -> None:
    found = state("unreadable-files")
    assert found.nodes == (Node(node=0, distances={}),)
    assert [Path(fault.path).name for fault in found.faults] == ["meminfo"]


def test_a_kernel_without_numa(tmp_path: Path) -> None:
    assert numa.read(made_of(tmp_path, {})) is None


def test_a_bad_list_of_nodes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="node/online"):
        numa.read(made_of(tmp_path, {f"{NODES}/online": "all"}))
