"""Reads in a thread, over and over, what is too slow for a scrape or may keep it waiting."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

V = TypeVar("V")

# A read that hangs is not waited for: its thread ends with the process.
_END_SECONDS = 2.0

_CLOCK_SLACK_SECONDS = 1.0

_LOG = logging.getLogger(__name__)


class Background(Generic[V]):
    """The newest value of `read`, called every `interval_seconds` while the `with` block runs.

    What is older than `max_age_seconds` is withheld: if `read` hangs or fails, its value is soon missing, not frozen.
    `clock` gives unix seconds.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], V],
        *,
        interval_seconds: float,
        max_age_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._read = read
        self._interval_seconds = interval_seconds
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._newest: tuple[float, V] | None = None
        self._failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(_END_SECONDS)

    def newest(self, now: float) -> V | None:
        """The newest value at unix time `now`; None before the first, when it is too old, or the clock was set back."""
        newest = self._newest
        return newest[1] if newest and -_CLOCK_SLACK_SECONDS <= now - newest[0] <= self._max_age_seconds else None

    def read(self) -> None:
        """Read once. A failure is logged when it begins and when it ends."""
        began = self._clock()
        try:
            self._newest = (began, self._read())
        except Exception:  # noqa: BLE001 - a defect must not end the thread, and with it all data
            if not self._failing:
                _LOG.warning("%s: %s", self._name, traceback.format_exc().rstrip())
            self._failing = True
        else:
            if self._failing:
                _LOG.info("%s: reads again", self._name)
            self._failing = False

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.read()
            self._stopping.wait(self._interval_seconds)
