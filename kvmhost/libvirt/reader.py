"""Keeps a process that watches libvirt, and what it found, so that nobody ever waits for libvirt."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from kvmhost.childprocess import ChildProcess
from kvmhost.libvirt.guests import Guests
from kvmhost.libvirt.journal import Journal
from kvmhost.libvirt.messages import Settings, Update
from kvmhost.libvirt.snapshot import Snapshot
from kvmhost.virtconnection import Guest

# Beyond the interval at which updates come. Listing the guests and opening a connection take milliseconds.
_HANG_SECONDS = 5.0
# From the start of a process that failed to that of the next.
_RESTART_SECONDS = 4.0
# Requests are some dozen bytes each, and read at least once in an interval.
_REQUEST_SECONDS = 0.1

_LOG = logging.getLogger(__name__)


class LibvirtReader:
    """The newest answers of libvirt, while the `with` block runs. Its process is replaced when it hangs or fails.

    `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        max_age_seconds: float,
        hang_seconds: float = _HANG_SECONDS,
        restart_seconds: float = _RESTART_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._silence_seconds = settings.interval_seconds + hang_seconds
        self._restart_seconds = restart_seconds
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._guests = Guests()
        self._journal = Journal(clock)
        self._hanging: frozenset[Guest] = frozenset()
        self._one_child = threading.Lock()
        self._child: ChildProcess | None = None
        self._is_listening = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="libvirt-reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._one_child:
            self._stopping.set()
            if self._child:
                self._child.kill()
        self._thread.join()

    def snapshot(self, now: float) -> Snapshot:
        """What may be shown at unix time `now`; at once, whatever libvirt does."""
        return self._guests.snapshot(now, self._max_age_seconds)

    def look_again(self, uuid: str) -> None:
        """Ask libvirt for this guest at once: it was just changed in a way that no event may tell of."""
        with self._one_child, suppress(OSError):  # it has ended, or is stuck: what comes then is as good
            if self._child and self._is_listening:
                self._child.requests.send(uuid.encode(), _REQUEST_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            started = self._clock()
            try:
                problem = self._follow_one()
            except Exception:  # noqa: BLE001 - a defect must not end the thread, and with it all data
                _LOG.exception("the thread that reads libvirt failed; please report this")
                problem = "kvmtune has a defect: see above"
            if not self._stopping.is_set():
                self._guests.failed()
                self._journal.failed(problem)
            self._stopping.wait(started + self._restart_seconds - self._clock())

    def _follow_one(self) -> str:
        """Take in the updates of one process until it ends, or is ended; the reason."""
        try:
            child = self._start()
        except OSError as error:
            return f"cannot start a process to talk to libvirt: {error}"
        if child is None:
            return "stopped"
        try:
            settings = replace(self._settings, hanging=self._hanging)
            child.channel.send(pickle.dumps(settings), self._silence_seconds)
            self._is_listening = True
            while True:
                update: Update = pickle.loads(child.channel.receive(self._silence_seconds))  # noqa: S301 - our own child
                self._hanging = update.hanging
                self._guests.apply(update)
                self._journal.heard(update)
        except TimeoutError:
            return (
                f"{self._settings.uri} did not answer for {self._silence_seconds:g} s;"
                " is libvirtd stopped? `ps -o pid,stat,wchan -C libvirtd,virtqemud`"
            )
        except (EOFError, ConnectionError):
            return "the process that talks to libvirt ended; another one is started"
        finally:
            with self._one_child:
                self._child = None
                self._is_listening = False
            child.close()

    def _start(self) -> ChildProcess | None:
        """A new process; None if there shall be none any more."""
        with self._one_child:
            if self._stopping.is_set():
                return None
            self._child = ChildProcess("kvmhost.libvirt.watch")
        self._guests.process_started()
        return self._child
