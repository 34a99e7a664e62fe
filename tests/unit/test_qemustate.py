"""The state of guests' QEMU processes: found once, then looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmhost.fs import HostFS
from kvmhost.qemustate import QemuStates
from tests.host import made_of

WEB = "5b0f3c52-7a52-4b7c-9d0e-6f1f1f8f0a01"
DB = "0d5bc2f4-6f0f-45b0-8ea8-a3b4d9d0d502"


def process(pid: int, uuid: str, state: str = "S", start_time: int = 100) -> dict[str, str]:
    """The files of a QEMU process."""
    return {
        f"proc/{pid}/cmdline": f"/usr/bin/kvm\0-uuid\0{uuid}\0",
        f"proc/{pid}/stat": f"{pid} (qemu (x) y) {state} " + "1 " * 18 + f"{start_time} " + "1 " * 30,
    }


class Looking:
    """States on a host of files, with a clock that only the test moves."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc").mkdir(parents=True)
        self.now = 0.0
        self.states = QemuStates(HostFS(root), lambda: self.now)

    def has(self, *processes: dict[str, str]) -> None:
        for files in processes:
            made_of(self.root, files)

    def state(self, uuid: str = WEB, *others: str) -> str | None:
        self.states.find({uuid, *others})
        return self.states.state(uuid)


@pytest.fixture
def host(tmp_path: Path) -> Looking:
    return Looking(tmp_path / "host")


@pytest.mark.parametrize("state", ["R", "S", "D", "T", "t"])
def test_the_state_is_that_of_now(host: Looking, state: str) -> None:
    host.has(process(7, WEB), process(8, DB, "T"))
    assert host.state(WEB, DB) == "S"
    host.has(process(7, WEB, state))
    assert host.states.state(WEB) == state


def test_a_process_that_cannot_be_seen_has_no_state(host: Looking) -> None:
    assert host.state() is None
    host.has({"proc/7/cmdline": f"/usr/bin/kvm\0-uuid\0{WEB}\0", "proc/7/stat": "damaged"})
    assert host.state() is None


def test_a_process_that_ended_has_no_state_even_if_another_got_its_number(host: Looking) -> None:
    host.has(process(7, WEB))
    assert host.state() == "S"
    host.has(process(7, "another", start_time=999))
    assert host.state() is None


def test_a_restarted_guest_is_found_again(host: Looking) -> None:
    host.has(process(7, WEB))
    host.state()
    (host.root / "proc/7/stat").unlink()
    assert host.states.state(WEB) is None
    host.has(process(9, WEB, "T", start_time=200))
    (host.root / "proc/7/cmdline").unlink()
    assert host.state() == "T"


@pytest.mark.parametrize(
    ("appears", "found"),
    [(3, 3), (9, 9), (15, 30)],
    ids=["young", "nearly old", "only looked for now and then"],
)
def test_when_a_process_is_found_that_is_not_there_at_first(host: Looking, appears: int, found: int) -> None:
    """libvirt lists a guest before its process has become QEMU."""
    seen = []
    for second in range(60):
        host.now = float(second)
        if second == appears:
            host.has(process(7, WEB))
        seen.append(host.state())
    assert seen.index("S") in range(found, found + 10)


def test_a_command_line_that_cannot_be_read_delays_only_so_much(host: Looking) -> None:
    """As that of a process that holds the lock of its own memory; here a pipe that nobody writes to."""
    host.has(process(7, WEB), process(9, DB))
    stuck = host.root / "proc/8/cmdline"
    stuck.parent.mkdir()
    os.mkfifo(stuck)
    assert (host.state(WEB, DB), host.states.state(DB)) == ("S", "S")
    with stuck.open("w"):
        pass  # lets the reader go
