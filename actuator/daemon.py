"""The loop around the ticks: time, signals, reload."""

from __future__ import annotations

import logging
import signal
import threading
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
    """SIGINT and SIGTERM ask to stop, SIGHUP to read the rules again."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self._wake = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.stop = True
        self._wake.set()

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until a signal."""
        self._wake.wait(max(seconds, 0.0))
        self._wake.clear()


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
        if signals.reload:
            signals.reload = False
            reload()
        try:
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
