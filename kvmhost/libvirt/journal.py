"""What the log says of libvirt: each trouble once when it begins, with the next step, and once when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from kvmhost.libvirt.messages import (
    BUSY,
    FAILED,
    MOST_BALLOONS_AT_ONCE,
    STOPPED,
    TIMED_OUT,
    UNINTERRUPTIBLE,
    Update,
)
from kvmhost.virtconnection import Guest

# A job of libvirt's, or a wait for a disk, may take a while without being trouble.
_PATIENCE_SECONDS = 10.0
_MOST_NAMES = 5

_REASONS = {
    STOPPED: "the QEMU process is stopped by a signal or a debugger; `kill -CONT PID` continues it",
    UNINTERRUPTIBLE: "the QEMU process waits uninterruptibly, as for storage; see /proc/PID/wchan",
    TIMED_OUT: "the QEMU process does not answer libvirt; see its state with `ps`",
    BUSY: "libvirt is busy with another job for it; see `virsh domjobinfo DOMAIN`",
    FAILED: "libvirt refused it",
}

_LOG = logging.getLogger(__name__)


class Journal:
    """`clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._problem: str | None = ""
        self._is_limited = False
        self._unread_since: dict[Guest, float] = {}
        self._faults: dict[Guest, str] = {}
        self._told: set[Guest] = set()

    def failed(self, problem: str) -> None:
        """There is no list of guests."""
        if problem != self._problem:
            _LOG.warning("no data of guests from libvirt: %s", problem)
        self._problem = problem

    def heard(self, update: Update) -> None:
        """An update has come, and was taken in."""
        if update.problem is not None:
            self.failed(update.problem)
            return
        if self._problem is not None:
            _LOG.info("libvirt answers: active domains: %d", len(update.guests or ()))
        self._problem = None
        self._limit(update)
        self._unread(update)

    def _limit(self, update: Update) -> None:
        """That too many calls hang concerns all guests, so it is said once."""
        is_limited = len(update.hanging) >= MOST_BALLOONS_AT_ONCE
        if is_limited and not self._is_limited:
            _LOG.warning("balloons are not read: libvirt hangs in calls for %s", _names(update.hanging))
        if self._is_limited and not is_limited:
            _LOG.info("balloons are read again")
        self._is_limited = is_limited

    def _unread(self, update: Update) -> None:
        now = self._clock()
        unread = {guest: reason for guest, reason in update.unread.items() if reason in _REASONS}
        self._unread_since = {guest: self._unread_since.get(guest, now) for guest in unread}
        self._faults = {guest: why for guest, why in (self._faults | dict(update.faults)).items() if guest in unread}
        overdue = {guest for guest, since in self._unread_since.items() if now - since >= _PATIENCE_SECONDS}
        by_reason: dict[str, list[Guest]] = {}
        for guest in overdue - self._told:
            reason = _REASONS[unread[guest]]
            by_reason.setdefault(self._faults.get(guest, reason), []).append(guest)
        for reason, guests in sorted(by_reason.items()):
            _LOG.warning("no balloon of %s: %s", _names(guests), reason)
        over = self._told - update.unread.keys()
        if back := over & (update.guests or {}).keys():
            _LOG.info("balloons again of %s", _names(back))
        self._told = (self._told | overdue) - over


def _names(guests: Iterable[Guest]) -> str:
    names = sorted(guest.name for guest in guests)
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
