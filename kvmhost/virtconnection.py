"""A read-only connection to libvirt for one call at a time, which hears of the guests that change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple

from kvmhost import virt
from kvmhost.domains import Balloon
from kvmhost.virt import VirtError


class Guest(NamedTuple):
    """One run of one domain: its id changes with each start."""

    uuid: str
    id: int
    name: str


class Change(Enum):
    """What an event says has changed."""

    CONFIG = "config"
    BALLOON = "balloon"


# virDomainEventID. No event tells of the stats period, the number of vCPUs, I/O threads, or an updated device.
_EVENTS = {
    0: Change.CONFIG,  # lifecycle
    13: Change.BALLOON,  # balloon change; the size that it tells lacks virtio-mem (qemuProcessHandleBalloonChange)
    15: Change.CONFIG,  # device removed
    17: Change.CONFIG,  # tunable: pins, shares
    18: Change.CONFIG,  # agent lifecycle
    19: Change.CONFIG,  # device added
    23: Change.CONFIG,  # metadata change
    26: Change.CONFIG,  # memory device size change
}


class Connection:
    """`VirtUnavailable` if it cannot be made. `on_change` gets a guest's uuid, in another thread.

    Calls raise `VirtError`, and are made by who has taken the connection. Two at once, or one beside a keepalive, can
    crash or hang the client library before libvirt 10.4: in virNetClientIOEventLoop the one woke the other, which left
    a GSource behind that pointed into its stack (CVE-2024-4418). Needs `virt.start_event_loop` before.
    """

    def __init__(self, uri: str, on_change: Callable[[str, Change], None]) -> None:
        self._conn = virt.connect(uri, readonly=True)
        self._on_change = on_change
        self._callbacks: list[int] = []
        self._lock = threading.Lock()
        self._is_taken = False
        self._is_abandoned = False
        for number, change in _EVENTS.items():
            with suppress(VirtError), virt.translated():  # an old libvirt does not know all of them
                self._callbacks.append(self._conn.domainEventRegisterAny(None, number, self._changed, change))

    @property
    def is_open(self) -> bool:
        """Whether it is unbroken, as far as is known without asking."""
        return virt.is_alive(self._conn)

    @property
    def is_free(self) -> bool:
        return not self._is_taken

    def take(self) -> bool:
        """Whether it is the caller's now, to be given back; False if a call is under way."""
        with self._lock:
            taken = not self._is_taken and not self._is_abandoned
            self._is_taken |= taken
            return taken

    def give_back(self) -> None:
        with self._lock:
            self._is_taken = False
            is_abandoned = self._is_abandoned
        if is_abandoned:
            self._close()

    def abandon(self) -> None:
        """Close it, if need be when the call under way has returned."""
        with self._lock:
            self._is_abandoned = True
            is_taken = self._is_taken
        if not is_taken:
            self._close()

    def guests(self) -> list[tuple[Guest, str, Any]]:
        """Every active guest, its state, and libvirt's handle of it, for this connection only."""
        return [
            (Guest(uuid=domain.UUIDString(), id=domain.ID(), name=domain.name()), state, domain)
            for domain, state in virt.list_states(self._conn)
        ]

    def balloon(self, handle: Any, now: float) -> Balloon | None:
        """As `virt.read_balloon`."""
        return virt.read_balloon(self._conn, handle, now)

    def _close(self) -> None:
        # Each callback holds a reference, and the descriptor is closed with the last one.
        for callback in self._callbacks:
            with suppress(VirtError), virt.translated():
                self._conn.domainEventDeregisterAny(callback)
        with suppress(VirtError), virt.translated():
            self._conn.close()

    def _changed(self, _conn: Any, domain: Any, *details: Any) -> None:
        *_, change = details
        self._on_change(domain.UUIDString(), change)
