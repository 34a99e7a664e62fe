"""Reads all domains from libvirt in a thread, over and over, so that no scrape ever waits for libvirt."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from exporter.scrape import Snapshot
from kvmhost.domains import Domain
from kvmhost.virt import VirtTimeout, read_domains
from kvmhost.virtprocess import VirtProcess

# 300 domains take about a second (two monitor commands each for balloon and vCPUs).
_CALL_SECONDS = 5.0
# A call that hangs keeps one of libvirtd's few workers, even when we give up: so ask less and less often, but
# often enough to be back within seconds. By the number of calls in a row that hung.
_BACKOFF_SECONDS = (0.0, 1.0, 2.0, 4.0)

_LOG = logging.getLogger(__name__)


def pause_seconds(interval_seconds: float, hangs: int) -> float:
    """How long to wait before the next call, when the last `hangs` of them hung."""
    return max(interval_seconds, _BACKOFF_SECONDS[min(hangs, len(_BACKOFF_SECONDS) - 1)])


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """The newest answer, and what was wrong with the latest attempt (None: nothing)."""

    domains: tuple[Domain, ...] | None = None
    read_seconds: float | None = None
    problem: str | None = "not asked yet"


class LibvirtReader:
    """The newest answer of libvirt, asked `interval_seconds` after the one before while the `with` block runs.

    It owns `virt` and closes it at the end of the block. `clock` gives unix seconds. A failure is logged when it
    begins, changes or ends, with its next step.
    """

    def __init__(
        self,
        virt: VirtProcess,
        *,
        interval_seconds: float,
        max_age_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._virt = virt
        self._interval_seconds = interval_seconds
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        # Replaced as a whole, never changed: a scrape in another thread sees one or the other.
        self._reading = _Reading()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="libvirt-reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._virt.close()
        self._thread.join()

    def snapshot(self, now: float) -> Snapshot:
        """What a scrape at unix time `now` may show; domains of more than `max_age_seconds` ago are withheld."""
        reading = self._reading
        expired = reading.read_seconds is None or now - reading.read_seconds > self._max_age_seconds
        return Snapshot(
            up=reading.problem is None,
            read_seconds=reading.read_seconds,
            domains=None if expired else reading.domains,
        )

    def _run(self) -> None:
        hangs = 0
        while not self._stopping.is_set():
            hangs = hangs + 1 if self.read() else 0
            self._stopping.wait(pause_seconds(self._interval_seconds, hangs))

    def read(self) -> bool:
        """Ask once; whether the call hung."""
        now = self._clock()
        try:
            domains = self._virt.call(read_domains, timeout_s=_CALL_SECONDS)
        except Exception as error:  # noqa: BLE001 - a defect must not end the thread, and with it all data
            if not self._stopping.is_set():
                self._failed(str(error) or type(error).__name__)
            return isinstance(error, VirtTimeout)
        if self._reading.problem is not None:
            _LOG.info("libvirt answers: active domains: %d", len(domains))
        self._reading = _Reading(domains=domains, read_seconds=now, problem=None)
        return False

    def _failed(self, problem: str) -> None:
        last = self._reading
        if problem != last.problem:
            _LOG.warning("no data of guests from libvirt: %s", problem)
        self._reading = _Reading(domains=last.domains, read_seconds=last.read_seconds, problem=problem)
