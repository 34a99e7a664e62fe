"""The guests of this host: read in the background, so that no tick waits for one that hangs; changed call by call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from actuator.knobs.knob import KnobError, Target
from kvmhost.domains import Domain
from kvmhost.libvirt.messages import Settings
from kvmhost.libvirt.reader import LibvirtReader
from kvmhost.libvirt.snapshot import Snapshot
from kvmhost.virt import SYSTEM_URI, VirtTimeout, VirtUnavailable
from kvmhost.virtprocess import VirtProcess

T = TypeVar("T")

# A guest that hangs shows in its process (see `unread`), so that few calls meet one: each costs the tick this long.
_CALL_SECONDS = 2.0
# A process starts and connects in half a second, on a busy machine in seconds.
_START_SECONDS = 5.0
# After a libvirtd that did not answer, the rest of a tick's writes are not to wait for it one by one.
_REST_SECONDS = 10.0
# Older answers are as good as none: a balloon could be anything by now.
_MAX_AGE_SECONDS = 15.0

_HANGING = {
    "stopped": "its QEMU process is stopped by a signal or a debugger",
    "uninterruptible": "its QEMU process waits uninterruptibly, as for storage",
    "timed_out": "its QEMU process does not answer libvirt",
    "limit": "libvirt hangs in calls for other guests, and is asked no more",
}
"""Why a guest must not be written to; `busy` is none, since a job of libvirt's is mostly short."""
_UNREAD = {
    **_HANGING,
    "waiting": "libvirt has not been asked for its balloon yet",
    "failed": "libvirt refused to tell of its balloon",
}
"""Why a guest's balloon must not be written to."""


def untouchable(domain: Domain, hanging: Mapping[str, str]) -> str | None:
    """Why nothing of this guest must be changed now, or None; `hanging` as `Libvirt.hanging` gives it (pure)."""
    if domain.state != "running":
        return f"the guest is {domain.state}"
    return hanging.get(domain.uuid)


class Libvirt:
    """One host's guests; use it as a context manager. Reads nothing before it is asked. `clock` gives unix seconds."""

    def __init__(
        self,
        uri: str | None,
        rootfs: Path,
        clock: Callable[[], float],
        *,
        readonly: bool,
        interval_seconds: float = 1.0,
    ) -> None:
        """`interval_seconds`: how often balloons are read."""
        self.uri = uri or SYSTEM_URI
        self._clock = clock
        self._process = VirtProcess(self.uri, readonly=readonly)
        self._reader = LibvirtReader(
            Settings(
                uri=self.uri,
                rootfs=rootfs,
                interval_seconds=interval_seconds,
                stats_interval_seconds=interval_seconds,
            ),
            max_age_seconds=max(_MAX_AGE_SECONDS, 3 * interval_seconds),
        )

        self._reads = ExitStack()
        self._is_reading = False
        self._rests_until = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reads.close()
        self._process.close()

    def domains(self) -> tuple[Domain, ...]:
        """All active domains that are known by now; `KnobError` while libvirt does not answer."""
        snapshot = self._snapshot()
        if snapshot.domains is None or not snapshot.up:
            raise KnobError(f"{self.uri} does not answer; the log says why")
        return snapshot.domains

    def hanging(self) -> dict[str, str]:
        """Guests that hang, or may: by uuid, why nothing of them must be written now."""
        return self._reasons(_HANGING)

    def unread(self) -> dict[str, str]:
        """Guests of which the balloon could not be read: by uuid, why it must not be written now."""
        return self._reasons(_UNREAD)

    def doubt(self, target: Target) -> str | None:
        """Why it is not known whether the target's guest is there, or how it is; None if it is not there."""
        domain = dict(target).get("domain")
        reasons = (reason for guest, reason in self._snapshot().unread.items() if guest.name == domain)
        return next((_UNREAD.get(reason, "libvirt is busy with another job of it") for reason in reasons), None)

    def _reasons(self, words: Mapping[str, str]) -> dict[str, str]:
        unread = self._snapshot().unread
        return {guest.uuid: words[reason] for guest, reason in unread.items() if reason in words}

    def is_complete(self) -> bool:
        """Whether all active domains are known, and their balloons as far as they can be."""
        snapshot = self._snapshot()
        known = snapshot.domains is not None and len(snapshot.domains) == snapshot.listed
        return known and "waiting" not in snapshot.unread.values()

    def change(self, function: Callable[..., T], uuid: str, *args: object) -> T:
        """`function(connection, uuid, *args)` in libvirt's process, and a fresh look at the guest; `VirtError`."""
        try:
            return self._call(function, uuid, *args)
        finally:
            self._reader.look_again(uuid)

    def glance(self, function: Callable[..., T], uuid: str) -> T:
        """`function(connection, uuid)` in libvirt's process; `VirtError`."""
        return self._call(function, uuid)

    def call(self, function: Callable[..., T], *args: Any, timeout_s: float) -> T:
        """`function(connection, *args)` in libvirt's process; `VirtError`."""
        return self._process.call(function, *args, timeout_s=timeout_s)

    def _call(self, function: Callable[..., T], *args: object) -> T:
        if time.monotonic() < self._rests_until:
            raise VirtUnavailable(
                f"{self.uri} did not answer a moment ago, and is asked again in {_REST_SECONDS:g} s at most"
            )
        try:
            self._process.warm_up(_START_SECONDS)
        except VirtTimeout:
            self._rests_until = time.monotonic() + _REST_SECONDS
            raise
        return self.call(function, *args, timeout_s=_CALL_SECONDS)

    def _snapshot(self) -> Snapshot:
        if not self._is_reading:
            self._is_reading = True
            self._reads.enter_context(self._reader)
        return self._reader.snapshot(self._clock())
