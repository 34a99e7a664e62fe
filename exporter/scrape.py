"""What one scrape reads: files of the host, its guests as /proc shows them, the newest answer of libvirt (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from exporter.table import Family
from kvmhost.domains import Domain
from kvmhost.fs import HostError, HostFS
from kvmhost.guestdetails import GuestDetails
from kvmhost.guests import GuestsSample
from kvmhost.libvirt.snapshot import Snapshot
from kvmhost.tuned import Tuned


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Other programs that tune this host."""

    read_seconds: float
    """Unix time of the look at them."""
    tuners: frozenset[str] | None
    """Those of `kvmhost.tuners.TUNERS` that run; None if /proc does not show them."""
    tuned: Tuned | None
    """None on a host without tuned."""


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """The sources of one scrape. `now` is its unix time."""

    fs: HostFS
    now: float
    libvirt: Snapshot
    guests: GuestsSample
    guest_details: Mapping[str, GuestDetails] = field(default_factory=dict)
    """By the uuid of each guest; read in the background."""
    tuning: Tuning | None = None
    """Read in the background; None before the first look, and when that is too old to be shown."""

    @cached_property
    def domains(self) -> Mapping[str, Domain]:
        """What libvirt says of each guest, by uuid; empty when its answer is missing or too old."""
        return {domain.uuid: domain for domain in self.libvirt.domains or ()}


Collect = Callable[[Scrape], Iterator[Family | HostError]]
"""Yields the metrics of one area, and an error in place of each that could not be read.

What was yielded before an exception is still published.
"""
