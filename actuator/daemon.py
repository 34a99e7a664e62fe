"""The loop around the ticks: time, signals, reload."""

from __future__ import annotations

import contextlib
import logging
import select
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

from actuator.engine import Engine
from actuator.ledger import LedgerError
from actuator.metrics import Metrics

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
) -> None:
    """Tick every `interval_seconds` until a signal says stop. A tick that fails is logged, the next one runs."""
    while not signals.stop:
        started = clock()
        try:
            if signals.reload:
                signals.reload = False
                reload()
            engine.tick(started)
        except LedgerError as error:
            log.error("nothing is written without a ledger: %s", error)  # noqa: TRY400 (no traceback for a full disk)
        except Exception:
            log.exception("this tick failed; the next one runs in %g s", interval_seconds)
        else:
            metrics.ticks.inc()
            metrics.last_tick.set(clock())
        metrics.tick_seconds.set(clock() - started)
        signals.wait(started + interval_seconds - clock())
