"""What is read of guests in the background: memory by kind, KSM's share, affinity."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kvmhost import guestdetails
from kvmhost.fs import HostError, HostFS
from kvmhost.guestdetails import Held, Merged
from kvmhost.guests import Guests
from tests.host import fixture, made_of, public_directory, unprivileged
from tests.unit.test_guests import process

MIB = 2**20
STATUS = (
    "Name:\tx\nVmLck:\t 1 kB\nVmPin:\t 9 kB\nRssAnon:\t 2 kB\nRssFile:\t 3 kB\nRssShmem:\t 4 kB\nVmStk:\t 9 kB\n"
    "VmSwap:\t 5 kB\nHugetlbPages:\t 6 kB\n"
)


def test_what_a_process_holds(tmp_path: Path) -> None:
    held = guestdetails.held(made_of(tmp_path, {"proc/7/status": STATUS}), 7)
    assert held == Held(locked=1024, anon=2048, file=3072, shmem=4096, swap=5120, hugetlb=6144)


def test_a_process_that_is_ending_has_let_go_of_its_memory(tmp_path: Path) -> None:
    assert guestdetails.held(made_of(tmp_path, {"proc/7/status": "Name:\tx\nState:\tZ (zombie)\n"}), 7) is None


def test_a_process_that_has_ended(tmp_path: Path) -> None:
    assert guestdetails.held(made_of(tmp_path, {}), 7) is None


@pytest.mark.parametrize("content", ["", STATUS.replace("4 kB", "four kB")])
def test_a_damaged_status(tmp_path: Path, content: str) -> None:
    with pytest.raises(HostError, match="lines from VmLck to HugetlbPages"):
        guestdetails.held(made_of(tmp_path, {"proc/7/status": content}), 7)


@pytest.mark.parametrize(
    ("content", "merged"),
    [
        (
            "ksm_rmap_items 4\nksm_zero_pages 1\nksm_merging_pages 2\nksm_process_profit -96\n"
            "ksm_merge_any: no\nksm_mergeable: yes\n",
            Merged(merging_pages=2, zero_pages=1, rmap_items=4, profit_bytes=-96, mergeable=True),
        ),
        (
            "ksm_rmap_items 4\n",
            Merged(merging_pages=None, zero_pages=None, rmap_items=4, profit_bytes=None, mergeable=None),
        ),
    ],
    ids=["kernel 6.15", "kernel 6.1"],
)
def test_what_ksm_made_of_a_process(tmp_path: Path, content: str, merged: Merged) -> None:
    assert guestdetails.merged(made_of(tmp_path, {"proc/7/ksm_stat": content}), 7) == merged


def test_before_kernel_6_4_merged_pages_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    fs = made_of(tmp_path, {"proc/7/ksm_stat": "ksm_rmap_items 4\n", "proc/7/ksm_merging_pages": "3\n"})
    merged = guestdetails.merged(fs, 7)
    assert merged is not None
    assert merged.merging_pages == 3


def test_a_kernel_without_hugetlb(tmp_path: Path) -> None:
    status = "".join(line for line in STATUS.splitlines(keepends=True) if not line.startswith("HugetlbPages"))
    held = guestdetails.held(made_of(tmp_path, {"proc/7/status": status}), 7)
    assert held is not None
    assert held.hugetlb == 0


def test_a_guest_whose_memory_does_not_answer_costs_itself_only(tmp_path: Path) -> None:
    """A pipe in place of a file blocks who opens it, as ksm_stat does of a process that holds its own memory lock."""
    guests = {pid: f"6a3f1a8e-0000-4000-8000-00000000000{pid}" for pid in (7, 8)}
    fs = made_of(tmp_path, {})
    for pid, uuid in guests.items():
        made_of(tmp_path, process(pid, uuid, {pid: "kvm"}) | {f"proc/{pid}/status": STATUS})
    os.mkfifo(tmp_path / "proc/7/ksm_stat")
    samples = Guests(fs).sample(0, within_seconds=60).guests
    assert {sample.pid for sample in samples} == set(guests)
    reader = guestdetails.GuestDetailsReader(fs)
    for _ in range(2):
        found = reader.read(samples)
        assert [fault.path.rpartition("/")[2] for fault in found[guests[7]].faults] == ["7"]
        assert found[guests[8]].held is not None
    with (tmp_path / "proc/7/ksm_stat").open("w"):
        pass


def test_a_kernel_that_does_not_tell_what_ksm_made_of_it(tmp_path: Path) -> None:
    assert guestdetails.merged(made_of(tmp_path, {}), 7) is None


def test_a_damaged_ksm_stat(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="pairs of a name and a number"):
        guestdetails.merged(made_of(tmp_path, {"proc/7/ksm_stat": "ksm_rmap_items many\n"}), 7)


def test_without_the_right_to_read_ksm_stat_all_guests_say_the_same() -> None:
    said = set()
    with public_directory() as root:
        fs = made_of(root, {"proc/7/ksm_stat": "x 1\n", "proc/20/ksm_stat": "x 1\n"})
        for pid in (7, 20):
            (root / f"proc/{pid}/ksm_stat").chmod(0)
            with unprivileged(), pytest.raises(HostError) as refusal:
                guestdetails.merged(fs, pid)
            said.add(str(refusal.value))
    (line,) = said
    assert line.startswith(f"{root}/proc/PID/ksm_stat: Permission denied")
    assert "CAP_DAC_READ_SEARCH" in line


def test_affinity_is_the_schedulers_own() -> None:
    assert guestdetails.affinity(HostFS(), os.getpid(), os.getpid()) == os.sched_getaffinity(0)


def test_affinity_of_another_systems_threads_is_what_their_files_say() -> None:
    assert guestdetails.affinity(fixture("ordinary"), 4021, 4037) == {0, 1}


def test_a_thread_that_has_ended_may_run_nowhere() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert guestdetails.affinity(HostFS(), process.pid, process.pid) is None


def test_one_that_is_damaged_costs_itself_only() -> None:
    fs = fixture("malformed-files")
    (details,) = guestdetails.GuestDetailsReader(fs).read(Guests(fs).sample(0, within_seconds=60).guests).values()
    assert details.held is None
    assert str(fs.root / "proc/4188/status") in [fault.path for fault in details.faults]


def test_the_guests_of_a_fixture_host() -> None:
    fs = fixture("ordinary")
    found = guestdetails.GuestDetailsReader(fs).read(Guests(fs).sample(0, within_seconds=60).guests)
    assert sum(details.held.hugetlb for details in found.values() if details.held) == 8192 * MIB
