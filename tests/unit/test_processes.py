"""QEMU processes and vCPU threads, as /proc shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmhost import processes
from kvmhost.cpulist import parse
from kvmhost.fs import HostError
from kvmhost.processes import QemuProcess, ThreadTimes
from tests.host import fixture, made_of

WEB = "5b0f3c52-7a52-4b7c-9d0e-6f1f1f8f0a01"
CI = "e07d41aa-5c1e-4d43-9f52-7788990a0d04"
STAT = "7 ({name}) {state} " + " ".join(["1"] * 35) + " 3" + " 0" * 13


def process(command: str, threads: dict[int, str], *, state: str = "S") -> dict[str, str]:
    """The files of process 7, its command's arguments given with spaces."""
    files = {f"proc/7/task/{tid}/comm": f"{name}\n" for tid, name in threads.items()}
    return files | {
        "proc/7/cmdline": command.replace(" ", "\0") + "\0",
        "proc/7/stat": STAT.format(name="qemu) S 1 (", state=state),
    }


def test_guests_of_a_host() -> None:
    found = processes.qemu(fixture("ordinary"))
    assert len(found) == 3
    assert found[WEB] == QemuProcess(pid=4021, uuid=WEB, name="web", vcpus={0: 4037, 1: 4038}, state="S")
    assert sorted(one.state for one in found.values()) == ["S", "S", "T"]


def test_emulation_that_runs_all_vcpus_in_one_thread() -> None:
    assert processes.qemu(fixture("two-numa-nodes"))[CI].vcpus == {0: 2309}


@pytest.mark.parametrize(
    "program",
    ["/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm", "/usr/bin/kvm", "qemu-system-aarch64"],
)
def test_programs_that_are_qemu(tmp_path: Path, program: str) -> None:
    files = process(f"{program} -uuid {WEB.upper()} -m 1", {7: "qemu", 9: "CPU 0/KVM", 12: "CPU 11/TCG"})
    found = processes.qemu(made_of(tmp_path, files))
    assert found == {WEB: QemuProcess(pid=7, uuid=WEB, name=WEB, vcpus={0: 9, 11: 12}, state="S")}


def test_a_guest_of_proxmox_ve(tmp_path: Path) -> None:
    command = f"/usr/bin/kvm -id 8006 -name simple,debug-threads=on -smbios type=1,uuid={WEB} -m 1"
    (found,) = processes.qemu(made_of(tmp_path, process(command, {7: "kvm"}))).values()
    assert (found.uuid, found.name) == (WEB, "simple")


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (" -name guest=web,debug-threads=on", "web"),
        (" -name guest=a,,b=c,debug-threads=on", "a,b=c"),
        (" -name web", "web"),
        (" -name", WEB),
        ("", WEB),
    ],
)
def test_the_name_of_a_guest(tmp_path: Path, option: str, name: str) -> None:
    fs = made_of(tmp_path, process(f"/usr/bin/kvm -uuid {WEB}{option}", {7: "kvm"}))
    assert processes.qemu(fs)[WEB].name == name


@pytest.mark.parametrize(
    "command",
    [
        "",
        f"/usr/bin/sudo qemu-system-x86_64 -uuid {WEB}",
        f"/usr/bin/swtpm socket -uuid {WEB}",
        "/usr/bin/qemu-system-x86_64 -m 1",
        "/usr/bin/qemu-system-x86_64 -uuid",
        "/usr/bin/qemu-system-x86_64 -uuid nonsense",
    ],
    ids=["kernel thread", "wrapper", "another program", "no uuid", "uuid cut off", "malformed uuid"],
)
def test_processes_that_are_no_guest(tmp_path: Path, command: str) -> None:
    assert processes.qemu(made_of(tmp_path, process(command, {7: "qemu"}))) == {}


def test_a_guest_that_ends_while_it_is_looked_at(tmp_path: Path) -> None:
    fs = made_of(tmp_path, process(f"/usr/bin/kvm -uuid {WEB}", {7: "kvm"}))
    (tmp_path / "proc/7/stat").unlink()
    assert processes.qemu(fs) == {}


def test_a_guest_whose_files_are_damaged_is_left_out(tmp_path: Path) -> None:
    fs = made_of(tmp_path, process(f"/usr/bin/kvm -uuid {WEB}", {7: "kvm"}))
    (tmp_path / "proc/7/stat").write_text("")
    assert processes.qemu(fs) == {}


def test_a_name_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    assert processes.comm(made_of(tmp_path, {"proc/7/comm/file": ""}), "proc/7") is None


def test_a_uuid_that_two_processes_claim_says_nothing_of_the_guest(tmp_path: Path) -> None:
    """As when two libvirtd run a copy each, or someone imitates a guest: its times would jump between them."""
    files = process(f"/usr/bin/kvm -uuid {WEB}", {7: "CPU 0/KVM"})
    others = {path.replace("proc/7", "proc/8"): content for path, content in files.items()}
    assert processes.qemu(made_of(tmp_path, files | others)) == {}


def test_an_unreadable_process_does_not_hide_the_others() -> None:
    assert processes.qemu(fixture("unreadable-files")) == {}


@pytest.mark.parametrize("comm", ["CPU 0/KVM2", "CPU /KVM", "CPU x/KVM", "ALL CPUs/KVM", "IO iothread1", "vnc_worker"])
def test_threads_that_are_no_vcpu(tmp_path: Path, comm: str) -> None:
    fs = made_of(tmp_path, process(f"/usr/bin/kvm -uuid {WEB}", {7: comm}))
    assert processes.qemu(fs)[WEB].vcpus == {}


def test_times_of_a_thread() -> None:
    assert processes.thread_times(fixture("ordinary"), 4188, 4195) == ThreadTimes(
        cpu_seconds=322.90411822, delay_seconds=0.113447118, current_cpu=5
    )


def test_a_kernel_that_keeps_no_times(tmp_path: Path) -> None:
    files = {"proc/7/task/9/schedstat": "0 0 0\n", "proc/7/task/9/stat": STAT.format(name="x", state="R")}
    assert processes.thread_times(made_of(tmp_path, files), 7, 9) is None


def test_affinity_of_a_thread() -> None:
    assert processes.affinity(fixture("ordinary"), 4021, 4037) == parse("0-1")


def test_a_thread_that_is_gone(tmp_path: Path) -> None:
    fs = made_of(tmp_path, {})
    assert processes.thread_times(fs, 7, 9) is None
    assert processes.affinity(fs, 7, 9) is None
    assert processes.comm(fs, "proc/7") is None


@pytest.mark.parametrize("content", ["", "1 2", "1 2 x", "1 2 -3", "1 2 3 4"])
def test_a_damaged_schedstat(tmp_path: Path, content: str) -> None:
    fs = made_of(tmp_path, {"proc/7/schedstat": content})
    with pytest.raises(HostError, match="expected three whole numbers"):
        processes.schedstat(fs, "proc/7")


@pytest.mark.parametrize("content", ["", "7 (x) R 1 2", STAT.format(name="x", state="R").replace(" 3 0", " -3 0")])
def test_a_damaged_stat(tmp_path: Path, content: str) -> None:
    fs = made_of(tmp_path, {"proc/7/task/9/schedstat": "1 2 3", "proc/7/task/9/stat": content})
    with pytest.raises(HostError, match=r"expected the fields of proc\(5\)"):
        processes.thread_times(fs, 7, 9)


@pytest.mark.parametrize("content", ["", "Name:\tx\n", "Cpus_allowed_list:\t0-7,\n"])
def test_a_damaged_status(tmp_path: Path, content: str) -> None:
    fs = made_of(tmp_path, {"proc/7/task/9/status": content})
    with pytest.raises(HostError, match="Cpus_allowed_list"):
        processes.affinity(fs, 7, 9)
