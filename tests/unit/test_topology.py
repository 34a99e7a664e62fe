"""CPUs and NUMA nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmhost import topology
from kvmhost.cpulist import parse
from kvmhost.fs import HostError
from kvmhost.topology import Topology
from tests.host import fixture, made_of


def test_two_nodes() -> None:
    assert topology.read(fixture("two-numa-nodes")) == Topology(
        online=parse("0-14"),
        offline=parse("15"),
        isolated=parse("6-7,14"),
        nohz_full=parse("6-7,14"),
        nodes={0: parse("0-3,8-11"), 1: parse("4-7,12-14")},
    )


def test_smt_siblings_share_a_core() -> None:
    cores = topology.cores(fixture("two-numa-nodes"), parse("0-14"))
    assert cores == tuple(map(parse, ("0,8", "1,9", "2,10", "3,11", "4,12", "5,13", "6,14", "7")))


def test_a_cpu_of_unknown_siblings_is_a_core() -> None:
    assert topology.cores(fixture("old-kernel"), parse("0-2")) == tuple(map(parse, ("0", "1", "2")))


@pytest.mark.parametrize(
    ("host", "online", "sockets", "threads_per_core"),
    [
        ("ordinary", "0-7", ("0-7",), 2),
        ("two-numa-nodes", "0-14", ("0-3,8-11", "4-7,12-14"), 2),
        ("ordinary", "0", ("0-7",), 2),
    ],
)
def test_sockets_and_threads(host: str, online: str, sockets: tuple[str, ...], threads_per_core: int) -> None:
    layout = topology.layout(fixture(host), parse(online))
    assert layout is not None
    assert (layout.sockets, layout.threads_per_core) == (tuple(map(parse, sockets)), threads_per_core)


@pytest.mark.parametrize(("host", "online"), [("old-kernel", "0-3"), ("old-kernel", "")])
def test_a_kernel_that_does_not_tell_the_layout(host: str, online: str) -> None:
    assert topology.layout(fixture(host), parse(online)) is None


@pytest.mark.parametrize(("text", "cpus"), [("2-3\n", "2-3"), ("\n", ""), ("  (null)\n", "")])
def test_cpus_without_a_tick(tmp_path: Path, text: str, cpus: str) -> None:
    files = {"sys/devices/system/cpu/online": "0-3", "sys/devices/system/cpu/nohz_full": text}
    found = topology.read(made_of(tmp_path, files))
    assert found is not None
    assert found.nohz_full == parse(cpus)


def test_a_kernel_without_numa_is_one_node(tmp_path: Path) -> None:
    found = topology.read(made_of(tmp_path, {"sys/devices/system/cpu/online": "0-3"}))
    assert found == Topology(
        online=parse("0-3"), offline=parse(""), isolated=None, nohz_full=None, nodes={0: parse("0-3")}
    )


def test_a_node_of_memory_only(tmp_path: Path) -> None:
    files = {"cpu/online": "0-1", "node/online": "0,2", "node/node0/cpulist": "0-1", "node/node2/cpulist": "\n"}
    found = topology.read(made_of(tmp_path, {f"sys/devices/system/{path}": text for path, text in files.items()}))
    assert found is not None
    assert found.nodes == {0: parse("0-1"), 2: parse("")}


def test_without_sysfs_there_is_nothing(tmp_path: Path) -> None:
    assert topology.read(made_of(tmp_path, {})) is None


@pytest.mark.parametrize("host", ["malformed-files", "unreadable-files"])
def test_a_bad_list_is_an_error_that_names_the_file(host: str) -> None:
    with pytest.raises(HostError, match="sys/devices/system/cpu/online: "):
        topology.read(fixture(host))


@pytest.mark.parametrize("offline", ["4-15\n", ",8-15\n", "\n"])
def test_cpus_that_could_be_plugged_in_are_not_there(tmp_path: Path, offline: str) -> None:
    names = {"online": "0-2\n", "present": "0-3\n", "offline": offline}
    found = topology.read(made_of(tmp_path, {f"sys/devices/system/cpu/{name}": text for name, text in names.items()}))
    assert found is not None
    assert found.offline == {3}
