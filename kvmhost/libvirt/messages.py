"""What the exporter and its process that watches libvirt tell each other: pickles of these (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kvmhost.domains import Balloon, DomainConfig
from kvmhost.virtconnection import Guest

MOST_AT_ONCE = 4
"""Calls about single guests that may be under way at once, those that hang included."""
MOST_BALLOONS_AT_ONCE = MOST_AT_ONCE - 1
"""The last place is for configurations, or no new guest could be shown while others hang."""

WAITING, STOPPED, UNINTERRUPTIBLE, TIMED_OUT, LIMIT, BUSY, FAILED = UNREAD = (
    "waiting",
    "stopped",
    "uninterruptible",
    "timed_out",
    "limit",
    "busy",
    "failed",
)
"""Why a guest's balloon was not read when it should have been: not asked yet; its QEMU process is stopped (T), or
waits uninterruptibly (D); the call did not return in time; it was not made since too many others hang; libvirt is
busy with another job of the guest; libvirt or the guest answered with an error.
"""

LIST, XML, BALLOON = CALLS = ("list", "xml", "balloon")
"""The kinds of calls to libvirt: all guests and their states; one guest's configuration; one guest's balloon."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The first message to the process."""

    uri: str
    rootfs: Path
    """Where /proc is, to see the state of QEMU processes."""
    interval_seconds: float
    stats_interval_seconds: float
    stall_seconds: float = 1.5
    """A call about one guest that takes longer is left behind."""
    hanging: frozenset[Guest] = frozenset()
    """Guests that libvirt may still be asking on behalf of an earlier process."""


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Calls of one kind that have returned."""

    count: int = 0
    seconds: float = 0.0
    failures: int = 0

    def __add__(self, other: Calls) -> Calls:
        return Calls(
            count=self.count + other.count,
            seconds=self.seconds + other.seconds,
            failures=self.failures + other.failures,
        )


@dataclass(frozen=True, kw_only=True)
class Update:
    """What the process found since the update before. One comes at least every few seconds, or it hangs."""

    problem: str | None = None
    """Why the guests cannot be listed now."""
    read_seconds: float | None = None
    """Unix time of the newest list; None before the first."""
    guests: Mapping[Guest, str] | None = None
    """All active guests in the newest list, and their states."""
    configs: Mapping[Guest, DomainConfig] = field(default_factory=dict)
    """Of those whose configuration is new or has changed."""
    balloons: Mapping[Guest, Balloon] = field(default_factory=dict)
    """Of those that were asked."""
    unread: Mapping[Guest, str] = field(default_factory=dict)
    """All guests whose balloon was not read when it should have been, and why."""
    faults: Mapping[Guest, str] = field(default_factory=dict)
    """Errors of single guests, in words."""
    hanging: frozenset[Guest] = frozenset()
    """Guests that a call is, or may be, under way for longer than it should."""
    calls: Mapping[str, Calls] = field(default_factory=dict)
    connections: int = 0
    """Connections made since the update before."""
