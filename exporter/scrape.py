"""What one scrape reads from: the host's files and the newest answer of libvirt (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric

from kvmhost.domains import Domain
from kvmhost.fs import HostError, HostFS


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The newest answer of libvirt."""

    up: bool
    """Whether the latest attempt to read from libvirt worked."""
    read_seconds: float | None = None
    """Unix time of the newest answer; None before the first."""
    domains: tuple[Domain, ...] | None = None
    """All active domains in that answer; None if there is none, or it is too old to be shown."""


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """The sources of one scrape. `now` is its unix time."""

    fs: HostFS
    now: float
    libvirt: Snapshot


Collect = Callable[[Scrape], Iterator[Metric | HostError]]
"""Yields the metrics of one area, and an error in place of each that could not be read.

What was yielded before an exception is still published.
"""
