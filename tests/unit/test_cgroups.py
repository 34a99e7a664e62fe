"""What control groups tell of guests: both versions, and when they tell nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kvmhost import cgroups
from kvmhost.cgroups import Counted
from tests.host import fixture, made_of

SCOPE = r"machine.slice/machine-qemu\x2d1\x2dweb.scope"
V2 = "anon N0=8192 N1=4096\nfile N0=70000 N1=0\nshmem N0=0 N1=1000\nanon_thp N0=2048 N1=0\n"
V1 = "total=9 N0=9\nanon=1 N0=1\nhierarchical_total=30 N0=20 N1=10\nhierarchical_anon=3 N0=2 N1=1\nhierarchical_unevictable=5 N0=5 N1=0\n"
COUNTED = Counted(node_bytes={0: 8192, 1: 5096}, anon_thp_bytes=2048)


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        (f"/{SCOPE}/libvirt/emulator", f"sys/fs/cgroup/{SCOPE}"),
        (f"/{SCOPE}", f"sys/fs/cgroup/{SCOPE}"),
        (f"/{SCOPE}/libvirt/vcpu0", f"sys/fs/cgroup/unified/{SCOPE}"),
        ("/machine/web.libvirt-qemu/emulator", "sys/fs/cgroup/machine/web.libvirt-qemu"),
        (f"/../../{SCOPE}/libvirt/emulator", f"sys/fs/cgroup/{SCOPE}"),
    ],
    ids=["systemd", "not moved", "hybrid", "no systemd", "from a container"],
)
def test_version_2(tmp_path: Path, path: str, directory: str) -> None:
    files = {"proc/7/cgroup": f"1:name=systemd:/\n0::{path}\n", f"{directory}/memory.numa_stat": V2}
    assert cgroups.counted(made_of(tmp_path, files), 7) == COUNTED


def test_version_1_counts_pages(tmp_path: Path) -> None:
    fs = made_of(
        tmp_path,
        {
            "proc/7/cgroup": f"4:memory:/{SCOPE}/emulator\n0::/\n",
            f"sys/fs/cgroup/memory/{SCOPE}/memory.numa_stat": V1,
            f"sys/fs/cgroup/memory/{SCOPE}/memory.stat": "cache 1\ntotal_rss_huge 2097152\n",
        },
    )
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/auxv").write_bytes(struct.pack("@LLLL", 6, 4096, 0, 0))
    assert cgroups.counted(fs, 7) == Counted(node_bytes={0: 7 * 4096, 1: 4096}, anon_thp_bytes=2097152)


@pytest.mark.parametrize(
    "line", ["0::/", "0::/user.slice/session-1.scope", "0::/kubepods/pod1", f"4:cpuset:/{SCOPE}", ""]
)
def test_a_guest_without_a_group_of_its_own(tmp_path: Path, line: str) -> None:
    """A group that it shares would count others' memory as the guest's."""
    assert cgroups.counted(made_of(tmp_path, {"proc/7/cgroup": line}), 7) is None


def test_a_process_that_has_ended(tmp_path: Path) -> None:
    assert cgroups.counted(made_of(tmp_path, {}), 7) is None


def test_a_kernel_that_does_not_count_by_node(tmp_path: Path) -> None:
    assert cgroups.counted(made_of(tmp_path, {"proc/7/cgroup": f"0::/{SCOPE}"}), 7) is None


def test_guests_of_a_fixture_host() -> None:
    assert cgroups.counted(fixture("two-numa-nodes"), 2302) == Counted(
        node_bytes={0: 0, 1: 2214592512}, anon_thp_bytes=0
    )


@pytest.mark.parametrize(
    ("path", "text", "cpus"),
    [
        ("machine.slice/cpuset.cpus.effective", "2-3\n", {2, 3}),
        ("cpuset/machine.slice/cpuset.effective_cpus", "2-3\n", {2, 3}),
        ("machine/cpuset.cpus.effective", "1\n", {1}),
        ("cpuset/machine/cpuset.effective_cpus", "1\n", {1}),
        ("machine.slice/cpuset.cpus.effective", "\n", None),
        ("user.slice/cpuset.cpus.effective", "1\n", None),
    ],
)
def test_cpus_of_all_guests(tmp_path: Path, path: str, text: str, cpus: set[int] | None) -> None:
    assert cgroups.cpus_of_guests(made_of(tmp_path, {f"sys/fs/cgroup/{path}": text})) == cpus
