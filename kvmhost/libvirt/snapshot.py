"""What is known of libvirt's guests at one moment (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvmhost.domains import Domain
from kvmhost.libvirt.messages import Calls
from kvmhost.virtconnection import Guest


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The newest answers of libvirt."""

    up: bool
    """Whether the latest attempt to list the domains worked."""
    read_seconds: float | None = None
    """Unix time of the newest list; None before the first."""
    domains: tuple[Domain, ...] | None = None
    """All active domains in that list; None if there is none, or it is too old to be shown. The balloon of a domain is
    blank if what was read of it is too old."""
    listed: int | None = None
    """How many active domains there were in that list; None like `domains`."""
    unread: Mapping[Guest, str] = field(default_factory=dict)
    """Domains whose balloon was not read when it should have been, and why (`UNREAD`)."""
    calls_hanging: int = 0
    """Calls that are, or may be, under way in libvirt for longer than they should."""
    calls: Mapping[str, Calls] = field(default_factory=dict)
    """All calls so far, by their kind (`CALLS`)."""
    connections: int = 0
    """Connections to libvirt made so far."""
    processes: int = 0
    """Processes started so far to talk to libvirt."""
