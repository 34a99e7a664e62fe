"""Faults of the host that take root to make: a disk that is full or read-only under the ledger, a clock that jumps.

The host whose knobs are turned is made of files (`tests.filehost`).
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.filehost import HOLDS, HOLDS_NOT, SCAN_FASTER, Host, host_in
from tests.programs import wait_until
from tests.target import Target

from . import packages
from .lab import CACHE


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    target.answer = HOLDS
    yield target
    target.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path) as host:
        host.rules.write_text(SCAN_FASTER)
        yield host


@pytest.fixture
def disk(host: Host) -> Iterator[Path]:
    """A small file system of its own under the ledger."""
    state = host.directory / "state"
    state.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=64k", "disk", state), check=True)
    yield state
    host.end()
    subprocess.run(("umount", state), check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """No room is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


def url(target: Target) -> str:
    return f"http://{target.address}/metrics"


def test_with_a_full_disk_nothing_is_changed_and_with_room_again_all_goes_on(
    host: Host, target: Target, disk: Path
) -> None:
    target.answer = HOLDS_NOT
    actuator = host.actuator(url(target), "--apply")
    actuator.wait_for("the exporter answers")
    with full(disk):
        target.answer = HOLDS
        actuator.wait_for("nothing is written without a ledger: .*No space left on device")
        assert host.rate == "100"
    host.wait_for_rate("190")
    with full(disk):
        assert actuator.end(signal.SIGTERM) == 0  # to put back needs no room
    assert host.rate == "100"
    assert host.restore().returncode == 0


def test_from_a_read_only_disk_all_is_put_back_and_nothing_is_begun(host: Host, target: Target, disk: Path) -> None:
    actuator = host.actuator(url(target), "--apply")
    wait_until(lambda: host.rate == "190" and b'"outcome"' in (disk / "ledger.jsonl").read_bytes(), "it is written")
    actuator.end(signal.SIGKILL)
    subprocess.run(("mount", "-o", "remount,ro", disk), check=True)
    assert host.restore().returncode == 0
    assert host.rate == "100"
    again = host.actuator(url(target), "--apply")
    again.wait_for("its file system was read-only")
    assert again.end(signal.SIGTERM) == 0
    assert host.rate == "100"


class WallClock:
    """What a program takes for the time of day; the monotonic clock stays as it is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Be so far from the truth from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._file)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Command to run a program by."""
        (library,) = packages.unpacked("libfaketime", CACHE).glob("usr/lib/*/faketime/libfaketime.so.1")
        return (
            "/usr/bin/env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={self._file}", "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        )  # fmt: skip


def test_a_wall_clock_that_jumps_both_ways_hastens_and_delays_nothing(host: Host, target: Target) -> None:
    host.rules.write_text(SCAN_FASTER.replace("for: 0s", "for: 4s"))
    target.answer = HOLDS_NOT
    clock = WallClock(host.directory / "clock")
    actuator = host.actuator(url(target), "--apply", prefix=clock.prefix)
    actuator.wait_for("the exporter answers")
    target.answer = HOLDS
    began = time.monotonic()
    for seconds in (3600, -3600, 7200):
        clock.jump(seconds)
        time.sleep(0.9)
    assert host.rate == "100"
    host.wait_for_rate("190")
    assert 3.5 < time.monotonic() - began < 8
    clock.jump(-86400)
    assert actuator.end(signal.SIGTERM) == 0
    assert host.rate == "100"
    assert "rule scan_faster" not in actuator.output  # no data was ever missing
