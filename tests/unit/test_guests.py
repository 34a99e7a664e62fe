"""Guests as /proc shows them, sampled: each costs itself only, whatever is wrong with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from kvmhost.fs import HostFS
from kvmhost.guests import Guests, GuestSample, GuestsSample
from tests.host import fixture, made_of
from tests.programs import wait_until

WEB = "5b0f3c52-7a52-4b7c-9d0e-6f1f1f8f0a01"
DB = "0d5bc2f4-6f0f-45b0-8ea8-a3b4d9d0d502"


def process(pid: int, uuid: str, threads: dict[int, str], *, options: str = "") -> dict[str, str]:
    """The files of a QEMU process and of its threads, by thread id and name."""
    stat = "{tid} ({name}) S " + " ".join(["1"] * 16) + f" {len(threads)} " + " ".join(["1"] * 18) + " 3" + " 0" * 13
    files = {
        f"proc/{pid}/cmdline": f"/usr/bin/kvm\0-uuid\0{uuid}\0-name\0guest=g{pid}\0{options}",
        f"proc/{pid}/stat": stat.format(tid=pid, name="kvm"),
    }
    for tid, name in threads.items():
        files |= {
            f"proc/{pid}/task/{tid}/comm": f"{name}\n",
            f"proc/{pid}/task/{tid}/stat": stat.format(tid=tid, name=name),
            f"proc/{pid}/task/{tid}/schedstat": "2000000000 1000000000 7\n",
        }
    return files


THREADS = {7: "kvm", 8: "IO mon_iothread", 9: "CPU 0/KVM", 10: "CPU 1/KVM", 11: "IO iothread2"}


def sampled(fs: HostFS) -> GuestsSample:
    return Guests(fs).sample(0.0, within_seconds=60)


def only(sample: GuestsSample) -> GuestSample:
    (guest,) = sample.guests
    return guest


def test_a_guest(tmp_path: Path) -> None:
    guest = only(sampled(made_of(tmp_path, process(7, WEB, THREADS))))
    assert (guest.pid, guest.uuid, guest.name, guest.state, guest.share_pages) == (7, WEB, "g7", "S", True)
    assert (guest.cpu_seconds, guest.rss_pages, guest.virtual_bytes) == (2 / os.sysconf("SC_CLK_TCK"), 1, 1)
    assert set(guest.vcpus) == {0, 1}
    assert set(guest.iothreads) == {"iothread2"}
    vcpu = guest.vcpus[1]
    assert (vcpu.cpu_seconds, vcpu.delay_seconds, vcpu.current_cpu, vcpu.asleep) == (2.0, 1.0, 3, True)
    assert vcpu.tid == 10
    assert not guest.faults


@pytest.mark.parametrize(("switch", "seconds"), [(None, None), ("0", None), ("1", 0.0)])
def test_waits_for_disks_are_unknown_unless_the_kernel_counts_them(
    tmp_path: Path, switch: str | None, seconds: float | None
) -> None:
    files = process(7, WEB, THREADS) | ({"proc/sys/kernel/task_delayacct": switch} if switch else {})
    assert only(sampled(made_of(tmp_path, files))).vcpus[0].block_io_seconds == seconds


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ("-machine\0pc-q35-9.2,usb=off,mem-merge=off\0", False),
        ('-object\0{"qom-type":"memory-backend-ram","merge":false}\0', False),
        ("-machine\0pc-q35-9.2,mem-merge=on\0", True),
    ],
)
def test_a_guest_that_is_not_to_share_pages(tmp_path: Path, options: str, shares: bool) -> None:
    assert only(sampled(made_of(tmp_path, process(7, WEB, THREADS, options=options)))).share_pages is shares


@pytest.mark.parametrize(
    ("file", "left"),
    [("7/task/9/schedstat", {1}), ("7/task/9/stat", {1})],
)
def test_a_damaged_file_costs_what_it_says(tmp_path: Path, file: str, left: set[int]) -> None:
    fs = made_of(tmp_path, process(7, WEB, THREADS))
    (tmp_path / "proc" / file).write_text("?\n")
    guest = only(sampled(fs))
    assert set(guest.vcpus) == left
    assert [fault.path for fault in guest.faults] == [str(tmp_path / "proc" / file)]


def test_a_damaged_process_costs_the_guest(tmp_path: Path) -> None:
    fs = made_of(tmp_path, process(7, WEB, THREADS) | process(20, DB, {20: "kvm"}))
    (tmp_path / "proc/7/stat").write_text("?\n")
    sample = sampled(fs)
    assert only(sample).uuid == DB
    assert [fault.path for fault in sample.faults] == [str(tmp_path / "proc/7/stat")]


def test_of_two_processes_that_claim_a_uuid_the_older_is_the_guest(tmp_path: Path) -> None:
    """Any user can start a process that calls itself QEMU, but not before the guest was there."""
    fs = made_of(tmp_path, process(8, WEB, THREADS) | process(7, WEB, {7: "kvm"}))
    younger = tmp_path / "proc/7/stat"
    fields = younger.read_text().split()
    fields[22 - 1] = "99"
    younger.write_text(" ".join(fields))
    sample = sampled(fs)
    assert only(sample).pid == 8
    assert [(fault.path, fault.reason) for fault in sample.faults] == [
        (str(tmp_path / "proc/7"), "claims to be the guest g7, as an older process does; left out")
    ]


@pytest.mark.parametrize("field", [14, 20, 22])
def test_a_field_that_is_no_number_costs_the_guest(tmp_path: Path, field: int) -> None:
    fs = made_of(tmp_path, process(7, WEB, THREADS) | process(20, DB, {20: "kvm"}))
    stat = tmp_path / "proc/7/stat"
    fields = stat.read_text().split()
    fields[field - 1] = "many"
    stat.write_text(" ".join(fields))
    sample = sampled(fs)
    assert only(sample).uuid == DB
    assert [fault.path for fault in sample.faults] == [str(stat)]


def test_processes_that_do_not_answer_cost_no_guest(tmp_path: Path) -> None:
    fs = made_of(tmp_path, process(7, WEB, THREADS))
    pipes = [tmp_path / f"proc/{pid}/cmdline" for pid in range(100, 140)]
    for pipe in pipes:
        pipe.parent.mkdir()
        os.mkfifo(pipe)
    guests = Guests(fs)
    for _ in range(2):
        assert only(guests.sample(0, within_seconds=2)).uuid == WEB
    for pipe in pipes:  # let the threads end that wait for a writer
        with suppress(OSError):
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


def test_guests_come_and_go(tmp_path: Path) -> None:
    fs = made_of(tmp_path, process(7, WEB, THREADS))
    guests = Guests(fs)
    assert [guest.pid for guest in guests.sample(0, within_seconds=60).guests] == [7]
    made_of(tmp_path, process(20, DB, {20: "kvm"}))
    assert [guest.pid for guest in guests.sample(1, within_seconds=60).guests] == [7, 20]
    (tmp_path / "proc/7").rename(tmp_path / "gone")
    assert [guest.pid for guest in guests.sample(2, within_seconds=60).guests] == [20]


def test_threads_come_and_go(tmp_path: Path) -> None:
    fs = made_of(tmp_path, process(7, WEB, {7: "kvm", 9: "CPU 0/KVM"}))
    guests = Guests(fs)
    assert set(only(guests.sample(0, within_seconds=60)).vcpus) == {0}
    made_of(tmp_path, process(7, WEB, {7: "kvm", 9: "CPU 0/KVM", 10: "CPU 1/KVM"}))
    assert set(only(guests.sample(1, within_seconds=60)).vcpus) == {0, 1}
    (tmp_path / "proc/7/task/9").rename(tmp_path / "gone")
    made_of(tmp_path, process(7, WEB, {7: "kvm", 10: "CPU 1/KVM"}))
    assert set(only(guests.sample(2, within_seconds=60)).vcpus) == {1}


def test_a_process_that_becomes_qemu_is_found_while_it_is_young(tmp_path: Path) -> None:
    fs = made_of(tmp_path, process(7, WEB, THREADS) | {"proc/7/cmdline": "libvirtd\0"})
    guests = Guests(fs)
    assert guests.sample(0, within_seconds=60).guests == ()
    made_of(tmp_path, process(7, WEB, THREADS))
    assert [guest.pid for guest in guests.sample(5, within_seconds=60).guests] == [7]


def test_a_process_that_becomes_qemu_between_two_slow_scrapes_is_found_at_the_second(tmp_path: Path) -> None:
    fs = made_of(tmp_path, process(7, WEB, THREADS) | {"proc/7/cmdline": "libvirtd\0"})
    guests = Guests(fs)
    guests.sample(0, within_seconds=60)
    made_of(tmp_path, process(7, WEB, THREADS))
    assert guests.sample(15, within_seconds=60).guests


def test_a_number_that_goes_to_qemu_later_is_found_in_the_end(tmp_path: Path) -> None:
    fs = made_of(tmp_path, process(7, WEB, THREADS) | {"proc/7/cmdline": "bash\0"})
    guests = Guests(fs)
    guests.sample(0, within_seconds=60)
    guests.sample(50, within_seconds=60)
    made_of(tmp_path, process(7, WEB, THREADS))
    found = [bool(guests.sample(100 + scan, within_seconds=60).guests) for scan in range(32)]
    assert found[-1]
    assert not found[0]  # it is not looked at each time


def test_a_guest_whose_files_do_not_answer_costs_only_itself(tmp_path: Path) -> None:
    """A pipe in place of a file blocks who opens it for reading, as /proc does for a process that holds its own lock."""
    fs = made_of(tmp_path, process(7, WEB, THREADS) | process(20, DB, {20: "kvm"}))
    pipe = tmp_path / "proc/7/task/9/schedstat"
    pipe.unlink()
    os.mkfifo(pipe)
    guests = Guests(fs)
    threads = threading.active_count()
    for _ in range(3):
        sample = guests.sample(0, within_seconds=60)
        assert only(sample).uuid == DB
        assert sample.stalled == ("g7",)
        assert threading.active_count() <= threads + 3  # the one that hangs, and one for each of two bulkheads
    with pipe.open("w"):
        wait_until(lambda: len(guests.sample(0, within_seconds=60).guests) == 2, "it is back")


def test_no_descriptor_is_left_of_a_guest_that_is_gone() -> None:
    """A process that calls itself QEMU, on the real /proc."""
    guests = Guests(HostFS(most_kept=4096))
    program = [sys.executable, "-c", "input()"]
    # The program's name is the first argument, whatever runs.
    with subprocess.Popen(
        ["qemu-test", *program[1:], "-uuid", WEB, "-name", "guest=mine"], executable=program[0], stdin=subprocess.PIPE
    ) as process:
        wait_until(lambda: any(one.pid == process.pid and one.rss_pages for one in sample_now(guests)), "it is found")
        assert open_files_of(process.pid)
        process.send_signal(signal.SIGKILL)
    assert not [one for one in sample_now(guests) if one.pid == process.pid]
    assert not open_files_of(process.pid)


def sample_now(guests: Guests) -> tuple[GuestSample, ...]:
    return guests.sample(0, within_seconds=60).guests


def open_files_of(pid: int) -> list[Path]:
    return [link for link in Path("/proc/self/fd").iterdir() if f"/proc/{pid}/" in os.path.realpath(link)]


def test_the_guests_of_a_fixture_host() -> None:
    sample = sampled(fixture("ordinary"))
    assert [guest.name for guest in sample.guests] == ["web", "db", "batch"]
