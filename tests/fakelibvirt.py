"""A stand-in for the library `libvirt`, for what its test driver cannot: guests that hang, daemons that die.

It is as strict as the real one is fragile: two calls at once on one connection are counted as `overlaps`.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from tests.programs import wait_until

NO_DOMAIN, TIMED_OUT, NO_CONNECTION = 42, 68, 38


class FakeError(Exception):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self._code = code

    def get_error_code(self) -> int:
        return self._code


@dataclass
class FakeGuest:
    """An active guest. It hangs as long as `answers` is cleared; `error` is what its calls end with instead."""

    name: str
    id: int = 1
    state: int = 1
    title: str = ""
    persistent: bool = False
    error: FakeError | None = None
    has_ended: bool = False
    """Though it is still listed."""
    xml_hangs: bool = False
    """Whether the call for its XML hangs with it, as with libvirt 11."""
    answers: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    """Calls for its balloon."""
    xml_asked: int = 0
    has_job: bool = False
    """Whether a call is under way in the daemon, also one whose client is gone."""

    def __post_init__(self) -> None:
        self.answers.set()

    @property
    def uuid(self) -> str:
        return str(UUID(bytes=self.name.encode().ljust(16, b"-")[:16]))


class FakeLibvirt:
    """The module and the daemon behind it."""

    libvirtError = FakeError  # noqa: N815 - libvirt's name

    def __init__(self, *guests: FakeGuest) -> None:
        self.guests = {guest.name: guest for guest in guests}
        self.is_up = True
        self.attempts = 0
        self.connections: list[_Connection] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.overlaps = 0
        self._lock = threading.Lock()

    def add(self, guest: FakeGuest) -> None:
        self.guests[guest.name] = guest

    def hang(self, *names: str) -> None:
        for name in names:
            self.guests[name].answers.clear()

    def resume(self, *names: str) -> None:
        for name in names or self.guests:
            self.guests[name].answers.set()
            self.guests[name].has_job = False

    def break_connections(self) -> None:
        """Clients see their calls fail, and the daemon is still at them."""
        for connection in self.connections:
            connection.broken.set()

    def wait_for_idle(self) -> None:
        """Until the threads of calls that were left behind have ended."""
        gc.collect()  # with a watch of an earlier test goes its thread
        wait_until(lambda: sum(thread.name == "libvirt-call" for thread in threading.enumerate()) <= 1, "they ended")
        assert self.in_flight == 0

    def event(self, name: str, number: int, *details: object) -> None:
        for connection in self.connections:
            if not connection.broken.is_set() and number in connection.callbacks:
                callback, opaque = connection.callbacks[number]
                callback(connection, _Domain(connection, self.guests[name]), *details, opaque)

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1

    # What the library has.

    def registerErrorHandler(self, handler: object, context: object) -> None:  # noqa: N802
        pass

    def openReadOnly(self, uri: str) -> _Connection:  # noqa: N802
        self.attempts += 1
        if not self.is_up:
            raise FakeError(f"Failed to connect socket to '{uri}'", NO_CONNECTION)
        self.connections.append(_Connection(self))
        return self.connections[-1]


class _Connection:
    def __init__(self, daemon: FakeLibvirt) -> None:
        self.daemon = daemon
        self.broken = threading.Event()
        self.is_closed = False
        self.callbacks: dict[int, tuple[Callable[..., None], object]] = {}
        self._in_use = threading.Lock()

    def isAlive(self) -> bool:  # noqa: N802
        return not self.broken.is_set() and not self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def domainEventRegisterAny(self, domain: None, number: int, callback: Any, opaque: object) -> int:  # noqa: N802
        self.callbacks[number] = (callback, opaque)
        return number

    def domainEventDeregisterAny(self, number: int) -> None:  # noqa: N802
        del self.callbacks[number]
        with self.call():
            pass

    def getAllDomainStats(self, stats: int, flags: int) -> list[tuple[_Domain, dict[str, int]]]:  # noqa: N802
        with self.call():
            return [(_Domain(self, guest), {"state.state": guest.state}) for guest in self.daemon.guests.values()]

    def domainListGetStats(  # noqa: N802
        self, domains: list[_Domain], stats: int, flags: int
    ) -> list[tuple[_Domain, dict[str, int]]]:
        (domain,) = domains
        assert domain.connection is self, "libvirt would use the connection that the domain came from"
        guest = domain.guest
        sizes = {"balloon.current": 1024, "balloon.maximum": 2048}
        with self.call(), self.daemon.counted():
            guest.asked += 1
            if guest.has_ended:
                return []
            if guest.has_job:
                return [(domain, sizes)]
            self.wait_for(guest)
            return [(domain, sizes | {"balloon.rss": 512})]

    @contextmanager
    def call(self) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            self.daemon.overlaps += 1
            self._in_use.acquire()
        try:
            if self.broken.is_set() or not self.daemon.is_up:
                self.broken.set()
                raise FakeError("client socket is closed", NO_CONNECTION)
            yield
        finally:
            self._in_use.release()

    def wait_for(self, guest: FakeGuest) -> None:
        guest.has_job = True
        while not guest.answers.wait(0.005):
            if self.broken.is_set():
                raise FakeError("End of file while reading data", NO_CONNECTION)
        guest.has_job = False
        if guest.error:
            raise guest.error


class _Domain:
    def __init__(self, connection: _Connection, guest: FakeGuest) -> None:
        self.connection = connection
        self.guest = guest

    def UUIDString(self) -> str:  # noqa: N802
        return self.guest.uuid

    def ID(self) -> int:  # noqa: N802
        return self.guest.id

    def name(self) -> str:
        return self.guest.name

    def isPersistent(self) -> bool:  # noqa: N802
        return self.guest.persistent

    def XMLDesc(self, flags: int = 0) -> str:  # noqa: N802
        with self.connection.call(), self.connection.daemon.counted():
            self.guest.xml_asked += 1
            if self.guest.xml_hangs:
                self.connection.wait_for(self.guest)
            if self.guest.has_ended:
                raise FakeError("Domain not found", NO_DOMAIN)
            guest = self.guest
            return (
                f"<domain type='kvm'><name>{guest.name}</name><uuid>{guest.uuid}</uuid><title>{guest.title}</title>"
                "<devices/></domain>"
            )


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLibvirt]:
    """In place of the library, for this process. In the end nothing hangs any more, nor imports the real one."""
    fake = FakeLibvirt()
    monkeypatch.setitem(sys.modules, "libvirt", fake)
    yield fake
    fake.resume()
    fake.wait_for_idle()
