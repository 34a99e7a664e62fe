"""The loop: when ticks begin, and what is told of them. Time is a parameter."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from actuator import daemon
from actuator.console.status import Tick
from actuator.ledger.ledger import LedgerError
from actuator.metrics import Metrics
from actuator.servicemanager import ServiceManager


@pytest.mark.parametrize(
    ("now", "due", "missed"),
    [
        (100.5, 105.0, 0),
        (105.0, 105.0, 0),  # just in time
        (105.1, 110.0, 1),
        (121.0, 125.0, 4),
    ],
)
def test_what_is_missed_is_left_out(now: float, due: float, missed: int) -> None:
    assert daemon.next_due(100.0, 5.0, now) == (due, missed)


class Loop:
    """Stands for what `daemon.run` is given: `ticks` are what ticks do, one after another. `posted` are their reports."""

    def __init__(self, directory: Path, *ticks: Callable[[Loop], None], watchdog_seconds: float = 0.0) -> None:
        self.now = 1000.0
        self.began: list[float] = []
        self.reloaded: list[float] = []
        self.stop = self.reload = False
        self.reload_at: float | None = None
        self.metrics = Metrics("0", dry_run=True)
        self.paused = False
        self.posted: list[Tick] = []
        self._ticks = list(ticks)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(directory / "notify"))
            listener.setblocking(False)
            self._listener = listener
            self.told: list[tuple[float, str]] = []
            environ = {"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": f"{watchdog_seconds * 1e6:.0f}"}
            with ServiceManager(environ) as manager:
                daemon.run(
                    self, self.metrics, self, lambda: self.now, 5.0, self._read_again, manager, lambda: "dry run", self
                )  # type: ignore[arg-type]
            self._listen()

    def _read_again(self) -> None:
        self.reloaded.append(self.now)

    def tick(self, now: float) -> None:
        self._listen()
        self.began.append(now)
        tick = self._ticks.pop(0)
        self.stop = not self._ticks
        tick(self)

    def look_for_pause(self, now: float, wall: float) -> bool:
        return self.paused

    def post(self, tick: Tick) -> None:
        self.posted.append(tick)

    def wait(self, seconds: float) -> None:
        self._listen()
        self.now += seconds
        if self.reload_at is not None and self.now >= self.reload_at:
            self.now, self.reload_at, self.reload = self.reload_at, None, True

    def _listen(self) -> None:
        while True:
            try:
                self.told.append((self.now, self._listener.recv(1000).decode()))
            except BlockingIOError:
                return

    @property
    def signs_of_life(self) -> list[float]:
        return [time for time, message in self.told if "WATCHDOG=1" in message]

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"kvmtune_actuator_{name}")


def takes(seconds: float) -> Callable[[Loop], None]:
    def tick(loop: Loop) -> None:
        loop.now += seconds

    return tick


def fails(_loop: Loop) -> None:
    raise RuntimeError("it is a test")


def finds_the_disk_full(_loop: Loop) -> None:
    raise LedgerError("no space left")


def reload_after(seconds: float) -> Callable[[Loop], None]:
    def tick(loop: Loop) -> None:
        loop.reload_at = loop.now + seconds

    return tick


def test_ticks_keep_their_times_whatever_they_take(tmp_path: Path) -> None:
    assert Loop(tmp_path, takes(1), takes(4.9), takes(0)).began == [1000, 1005, 1010]


def test_a_tick_that_wakes_late_is_one_of_the_time_that_it_was_due_at(tmp_path: Path) -> None:
    """So that a rule with `every: 10s` acts each 10 s, and not each 15 s when a tick comes a millisecond early."""

    class Sleepy(Loop):
        def wait(self, seconds: float) -> None:
            super().wait(seconds + (0.004 if len(self.began) == 1 else 0.001))

    assert Sleepy(tmp_path, takes(0), takes(0), takes(0)).began == [1000, 1005, 1010]


def test_a_long_tick_costs_those_that_were_due_meanwhile(tmp_path: Path) -> None:
    loop = Loop(tmp_path, takes(12), takes(0), takes(0))
    assert loop.began == [1000, 1015, 1020]
    assert loop.value("missed_ticks_total") == 2


def test_a_tick_that_begins_late_says_so(tmp_path: Path) -> None:
    def oversleeps(loop: Loop) -> None:
        wait = loop.wait
        loop.wait = lambda seconds: wait(seconds + 1.5)  # type: ignore[method-assign]

    assert Loop(tmp_path, takes(0), takes(0)).value("tick_lag_seconds") == 0
    (tmp_path / "late").mkdir()
    assert Loop(tmp_path / "late", oversleeps, takes(0)).value("tick_lag_seconds") == 1.5


def test_after_a_reload_a_tick_comes_at_once(tmp_path: Path) -> None:
    loop = Loop(tmp_path, reload_after(2), takes(0), takes(0))
    assert loop.reloaded == [1002]
    assert loop.began == [1000, 1002, 1007]
    words = [message.partition("=")[0] for time, message in loop.told if time == 1002]
    assert words == ["RELOADING", "READY", "READY"]  # read again; and then a tick


def test_only_ticks_that_ran_are_signs_of_life(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop(tmp_path, fails, takes(0), fails, takes(0))
    assert loop.signs_of_life == [1005, 1015]
    assert loop.told[0] == (1000, "STATUS=the last tick failed: it is a test")
    assert "this tick failed" in caplog.text
    assert [tick.error for tick in loop.posted] == ["it is a test", "", "it is a test", ""]
    assert (loop.value("ticks_total"), loop.value("failed_ticks_total")) == (2, 2)


def test_each_tick_is_reported(tmp_path: Path) -> None:
    loop = Loop(tmp_path, takes(1), takes(6), takes(0))
    assert [(tick.time, tick.seconds, tick.lag_seconds) for tick in loop.posted] == [
        (1000, 1, 0),
        (1005, 6, 0),
        (1015, 0, 0),
    ]


def test_a_pause_is_looked_for_before_each_tick(tmp_path: Path) -> None:
    def is_paused(loop: Loop) -> None:
        loop.paused = True

    assert Loop(tmp_path, is_paused, takes(0)).value("paused") == 1
    (tmp_path / "not").mkdir()
    assert Loop(tmp_path / "not", takes(0), takes(0)).value("paused") == 0


def test_a_full_disk_is_told_once_and_no_reason_to_be_restarted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(tmp_path, finds_the_disk_full, finds_the_disk_full, takes(0), finds_the_disk_full)
    assert loop.signs_of_life == [1000, 1005, 1010, 1015]
    assert (loop.value("ticks_total"), loop.value("failed_ticks_total")) == (1, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "nothing is written without a ledger: no space left"
    ] * 2


def test_a_watchdog_that_waits_less_than_the_interval_is_answered_between(tmp_path: Path) -> None:
    loop = Loop(tmp_path, takes(0), fails, takes(0), watchdog_seconds=4.0)
    assert loop.signs_of_life == [1000, 1002, 1004, 1010]  # none after a tick that failed
