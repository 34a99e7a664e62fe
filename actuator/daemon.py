"""The loop around the ticks: time, signals, reload, and word of them to the service manager."""

from __future__ import annotations

import contextlib
import logging
import math
import select
import signal
import socket
import time
from collections.abc import Callable
from datetime import datetime
from types import FrameType

from actuator.console.board import Board
from actuator.console.status import Tick
from actuator.engine import Engine
from actuator.ledger.ledger import LedgerError
from actuator.metrics import Metrics
from actuator.servicemanager import ServiceManager

log = logging.getLogger("kvmtune-actuator")


class Clock:
    """Unix seconds that never jump: the wall clock at the start, and what has passed since."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Now."""
        return self._offset + time.monotonic()


class Signals:
    """SIGINT and SIGTERM ask to stop, SIGHUP to read the rules again.

    The handler only sets flags. The interpreter itself wakes `wait` through a socket, since a lock that a
    handler takes may be held by what it interrupts.
    """

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self._wakened, waker = socket.socketpair()
        self._wakened.setblocking(False)
        waker.setblocking(False)
        self._waker = waker
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.stop = True

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until a signal."""
        select.select([self._wakened], [], [], max(seconds, 0.0))
        with contextlib.suppress(BlockingIOError):
            self._wakened.recv(4096)


def run(
    engine: Engine,
    metrics: Metrics,
    signals: Signals,
    clock: Callable[[], float],
    interval_seconds: float,
    reload: Callable[[], None],
    manager: ServiceManager,
    status: Callable[[], str],
    board: Board,
) -> None:
    """Tick every `interval_seconds` until a signal says stop. A tick that fails is logged, the next one runs.

    One that takes longer than the interval costs those that were due meanwhile: they are left out, not made up for.
    After a reload a tick comes at once. `manager` hears `status` after each tick, and `board` how the tick went.
    """
    told = ""
    due = clock()
    while not signals.stop:
        started = clock()
        lag = max(started - due, 0.0)
        metrics.tick_lag.set(lag)
        problem, is_alive = "", True
        try:
            metrics.paused.set(board.look_for_pause(started, time.time()))
            if signals.reload:
                signals.reload = False
                _reload(reload, manager)
            engine.tick(due)
        except LedgerError as error:
            problem = str(error)
            if problem != told:
                told = problem
                log.error("nothing is written without a ledger: %s", told)  # noqa: TRY400 (no traceback for a full disk)
            manager.ticked(f"the last tick failed: {problem}")  # no restart makes room on a disk
        except Exception as error:
            problem, is_alive = str(error) or type(error).__name__, False
            log.exception("this tick failed; the next one runs in %g s", interval_seconds)
            manager.status(f"the last tick failed: {problem}")
        else:
            told = ""
            metrics.ticks.inc()
            metrics.last_tick.set(clock())
            manager.ticked(f"{status()}; last tick {datetime.fromtimestamp(started):%H:%M:%S}")
        metrics.failed_ticks.inc(bool(problem))
        seconds = clock() - started
        metrics.tick_seconds.set(seconds)
        board.post(Tick(time=started, monotonic=time.monotonic(), seconds=seconds, lag_seconds=lag, error=problem))
        due, missed = next_due(due, interval_seconds, clock())
        metrics.missed_ticks.inc(missed)
        _rest(signals, clock, due, manager if is_alive else None)
        if signals.reload:
            due = clock()


def next_due(due: float, interval_seconds: float, now: float) -> tuple[float, int]:
    """When the tick after that of `due` is, not before `now`, and how many are left out (pure)."""
    missed = max(math.ceil((now - due) / interval_seconds) - 1, 0)
    return due + (missed + 1) * interval_seconds, missed


def _reload(reload: Callable[[], None], manager: ServiceManager) -> None:
    manager.reloading()
    try:
        reload()
    finally:
        manager.reloaded()


def _rest(signals: Signals, clock: Callable[[], float], until: float, manager: ServiceManager | None) -> None:
    """Sleep until a signal, or `until`; a `manager` that would not wait so long for a sign of life gets some."""
    nap_seconds = manager.watchdog_seconds / 2 if manager and manager.watchdog_seconds else math.inf
    while (left := until - clock()) > 0 and not (signals.stop or signals.reload):
        signals.wait(min(left, nap_seconds))
        if manager and left > nap_seconds:
            manager.alive()
