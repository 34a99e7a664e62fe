"""Gathers what the process that watches libvirt has to tell, until it is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from kvmhost.domains import Balloon, DomainConfig
from kvmhost.libvirt.messages import Calls, Update
from kvmhost.virt import VirtError
from kvmhost.virtconnection import Guest


class Report:
    """What is new since the last `update`. All but `counted` belongs to one thread. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.problem: str | None = "not asked yet"
        self._read_seconds: float | None = None
        self._guests: dict[Guest, str] | None = None
        self._clear()

    def _clear(self) -> None:
        self.connections = 0
        self.configs: dict[Guest, DomainConfig] = {}
        self.balloons: dict[Guest, Balloon] = {}
        self.faults: dict[Guest, str] = {}
        self._calls: dict[str, Calls] = {}

    def listed(self, guests: dict[Guest, str], read_seconds: float) -> None:
        """These are all active guests and their states."""
        self.problem = None
        self._guests = guests
        self._read_seconds = read_seconds

    @contextmanager
    def counted(self, kind: str) -> Iterator[None]:
        """Counts the call that is made inside; any thread."""
        began = self._clock()
        failures = 0
        try:
            yield
        except VirtError:
            failures = 1
            raise
        finally:
            call = Calls(count=1, seconds=self._clock() - began, failures=failures)
            with self._lock:
                self._calls[kind] = self._calls.get(kind, Calls()) + call

    def update(self, unread: Mapping[Guest, str], hanging: frozenset[Guest]) -> Update:
        """All of it, and a new beginning."""
        with self._lock:
            update = Update(
                problem=self.problem,
                read_seconds=self._read_seconds,
                guests=self._guests,
                configs=self.configs,
                balloons=self.balloons,
                unread=unread,
                faults=self.faults,
                hanging=hanging,
                calls=self._calls,
                connections=self.connections,
            )
            self._clear()
        return update
