"""Kernel parameters."""

from __future__ import annotations

from pathlib import Path

from kvmhost import sysctl
from kvmhost.sysctl import NAMES, Sysctls
from tests.host import fixture, made_of


def test_values_are_the_kernels_own() -> None:
    numa = sysctl.read(fixture("two-numa-nodes"))
    wanted = ("kernel.sched_rt_runtime_us", "vm.dirty_expire_centisecs", "vm.page-cluster")
    assert [numa.values[name] for name in wanted] == [-1, 3000, 3]
    assert numa.faults == ()


def test_kernels_differ() -> None:
    old, new = sysctl.read(fixture("old-kernel")).values, sysctl.read(fixture("ordinary")).values
    assert "kernel.sched_min_granularity_ns" in old.keys() - new.keys()
    assert "vm.compaction_proactiveness" in new.keys() - old.keys()
    assert old.keys() | new.keys() == set(NAMES)


def test_a_bad_file_costs_its_own_value() -> None:
    for host in ("malformed-files", "unreadable-files"):
        found = sysctl.read(fixture(host))
        assert found.values == {"vm.dirty_ratio": 20}
        assert [Path(fault.path).name for fault in found.faults] == ["swappiness"]


def test_a_host_without_any(tmp_path: Path) -> None:
    assert sysctl.read(made_of(tmp_path, {})) == Sysctls(values={}, faults=())
