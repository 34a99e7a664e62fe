"""The process that watches libvirt. Each interval it lists all guests, then asks about those due.

The list involves no QEMU; calls about single guests are in `GuestCalls`. This process can hang itself, in a call to a
daemon that is frozen: then the parent gets no more updates, ends it, and starts another.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from kvmhost import childprocess, virt
from kvmhost.childprocess import Channel
from kvmhost.fs import HostFS
from kvmhost.libvirt.calls import GuestCalls
from kvmhost.libvirt.messages import LIST, Settings, Update
from kvmhost.libvirt.report import Report
from kvmhost.libvirt.schedule import Schedule
from kvmhost.qemustate import QemuStates
from kvmhost.virt import VirtError
from kvmhost.virtconnection import Change, Connection, Guest

# By the number of attempts in a row that failed.
_CONNECT_PAUSE_SECONDS = (0.0, 1.0, 2.0, 4.0)
_SLOW_SECONDS = 1.0


class Watch:
    """Sends what it finds with each tick. `clock` gives monotonic seconds, `unix` the time of day."""

    def __init__(
        self,
        settings: Settings,
        send: Callable[[Update], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._uri = settings.uri
        self._send = send
        self._clock = clock
        self._unix = unix
        self._report = Report(clock)
        self._schedule = Schedule(
            interval_seconds=settings.interval_seconds,
            stats_interval_seconds=settings.stats_interval_seconds,
            lost=settings.hanging,
        )
        self._qemus = QemuStates(HostFS(settings.rootfs), clock)
        self._calls = GuestCalls(
            self._schedule,
            self._report,
            self._qemus,
            interval_seconds=settings.interval_seconds,
            stall_seconds=settings.stall_seconds,
            clock=clock,
            unix=unix,
        )
        self._connection: Connection | None = None
        self._connect_at = clock()
        self._attempts = 0
        self._handles: dict[Guest, Any] = {}
        self._events: SimpleQueue[tuple[str, Change]] = SimpleQueue()

    def tick(self) -> bool:
        """Connect if need be, list the guests, and ask about those that are due; False if that was cut short."""
        began = self._clock()
        complete = True
        try:
            connection = self._connected(began)
            if connection:
                self._list(connection, began)
                if self._clock() >= began + _SLOW_SECONDS:
                    self._tell()  # or the parent may take what follows for a hang
                complete = self._calls.ask(connection, self._handles, began)
        except VirtError as error:
            self._report.problem = str(error)
        self._tell()
        return complete

    def look_again(self, uuid: str) -> None:
        """Whatever is known of this guest may have changed."""
        for change in Change:
            self._events.put((uuid, change))

    def _tell(self) -> None:
        self._calls.take_in()
        self._send(self._report.update(self._schedule.unread, self._calls.hanging))

    def _connected(self, now: float) -> Connection | None:
        """The connection, made anew if it broke or a call hangs in it; None while an attempt would be too early."""
        last = self._connection
        if last and last.is_open and last.is_free:
            return last
        # From one in which a call hangs, events still come.
        heard_all = last is not None and last.is_open
        if last:
            last.abandon()
            self._connection = None
            self._handles = {}
        if now >= self._connect_at:
            self._connect_at = now + _CONNECT_PAUSE_SECONDS[min(self._attempts, len(_CONNECT_PAUSE_SECONDS) - 1)]
            self._attempts += 1
            self._connection = Connection(self._uri, lambda uuid, change: self._events.put((uuid, change)))
            self._attempts = 0
            self._report.connections += 1
            if not heard_all:
                self._schedule.connected(now)
        return self._connection

    def _list(self, connection: Connection, now: float) -> None:
        read_seconds = self._unix()
        with self._report.counted(LIST):
            listed = connection.guests()
        self._handles = {guest: handle for guest, _, handle in listed}
        self._schedule.listed(self._handles, now)
        with suppress(Empty):
            while True:
                self._schedule.changed(*self._events.get_nowait(), now)
        self._qemus.find({guest.uuid for guest in self._handles})
        self._report.listed({guest: state for guest, state, _ in listed}, read_seconds)


def main() -> None:
    """Watch by the settings that the parent sends first, until it ends."""
    channel = childprocess.parent()
    settings: Settings = pickle.loads(channel.receive())  # noqa: S301 - from our own parent
    virt.start_event_loop()
    watch = Watch(settings, lambda update: channel.send(pickle.dumps(update)))
    due = time.monotonic()
    with suppress(ConnectionError, EOFError):  # the parent has ended, and so do we
        while True:
            complete = watch.tick()
            now = time.monotonic()
            if not complete:
                due = now
            elif now >= due:
                due = max(due + settings.interval_seconds, now)
            _await_requests(channel, watch, due)


def _await_requests(channel: Channel, watch: Watch, due: float) -> None:
    """Until `due`, or until there are some, which are all taken."""
    timeout_s = max(due - time.monotonic(), 0)
    while channel.has_message(timeout_s):
        watch.look_again(channel.receive().decode())
        timeout_s = 0


if __name__ == "__main__":
    main()
