"""Events of memory management."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.collectors.vmstat import TABLE
from kvmhost import vmstat
from kvmhost.fs import HostError
from kvmhost.vmstat import Vmstat
from tests.host import fixture, made_of


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("allocstall 7\n", 7),
        ("allocstall_dma 1\nallocstall_normal 20\nallocstall_movable 300\n", 321),
        ("allocstall 7\nallocstall_normal 20\n", 7),
        ("allocstall_other 5\nnr_allocstall 6\n", None),
        ("", None),
    ],
    ids=["one line", "a line per zone", "both", "neither", "empty"],
)
def test_a_count(tmp_path: Path, text: str, count: int | None) -> None:
    found = vmstat.read(made_of(tmp_path, {"proc/vmstat": text}), ["allocstall"])
    assert found == Vmstat(counts={} if count is None else {"allocstall": count}, faults=())


@pytest.mark.parametrize("value", ["", "many", "-2", "1 2", "0x10", "²"])
def test_a_bad_line_costs_its_own_count(tmp_path: Path, value: str) -> None:
    found = vmstat.read(made_of(tmp_path, {"proc/vmstat": f"pswpin {value}\npswpout 4\n"}), ["pswpin", "pswpout"])
    assert found is not None
    assert found.counts == {"pswpout": 4}
    assert [fault.reason for fault in found.faults] == [f"expected pswpin as a count, found {value!r}"]


def test_without_the_file_there_is_nothing(tmp_path: Path) -> None:
    assert vmstat.read(made_of(tmp_path, {}), ["pswpin"]) is None


def test_an_unreadable_file_is_an_error() -> None:
    with pytest.raises(HostError, match="Is a directory"):
        vmstat.read(fixture("unreadable-files"), ["pswpin"])


def test_names_of_the_metrics_are_the_kernels() -> None:
    names = [row.name for row in TABLE]
    assert {"kvm_vmstat_pswpin_total", "kvm_vmstat_oom_kill_total", "kvm_thp_fault_alloc_total"} <= set(names)
    assert len(set(names)) == len(names)
