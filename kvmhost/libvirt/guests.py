"""What is known of libvirt's guests, put together from the updates about them (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from kvmhost.domains import Balloon, Domain
from kvmhost.libvirt.messages import CALLS, Calls, Update
from kvmhost.libvirt.snapshot import Snapshot
from kvmhost.virtconnection import Guest

_NOT_READ = Balloon()


class Guests:
    """One thread applies updates; others may take snapshots meanwhile."""

    def __init__(self) -> None:
        # Replaced as a whole, never changed, so that a snapshot has all of one update or nothing.
        self._newest = Snapshot(up=False)
        self._domains: dict[Guest, Domain] = {}

    def apply(self, update: Update) -> None:
        """Take in what the process found."""
        before = self._newest
        if update.guests is not None:
            self._domains = dict(_merged(self._domains, update, update.guests))
        self._newest = replace(
            before,
            up=update.problem is None,
            read_seconds=update.read_seconds or before.read_seconds,
            domains=before.domains if update.guests is None else tuple(self._domains.values()),
            listed=before.listed if update.guests is None else len(update.guests),
            unread=update.unread,
            calls_hanging=len(update.hanging),
            calls={kind: before.calls.get(kind, Calls()) + update.calls.get(kind, Calls()) for kind in CALLS},
            connections=before.connections + update.connections,
        )

    def process_started(self) -> None:
        self._newest = replace(self._newest, processes=self._newest.processes + 1)

    def failed(self) -> None:
        """There is no process that could tell anything."""
        self._newest = replace(self._newest, up=False)

    def snapshot(self, now: float, max_age_seconds: float) -> Snapshot:
        """What may be shown at unix time `now`: nothing that was read more than `max_age_seconds` ago."""
        newest = self._newest
        if newest.domains is None or newest.read_seconds is None or now - newest.read_seconds > max_age_seconds:
            return replace(newest, domains=None, listed=None, unread={})
        oldest = now - max_age_seconds
        return replace(newest, domains=tuple(_without_old_balloon(domain, oldest) for domain in newest.domains))


def _merged(
    before: Mapping[Guest, Domain], update: Update, states: Mapping[Guest, str]
) -> Iterator[tuple[Guest, Domain]]:
    """All guests whose configuration is known, with what is new."""
    for guest, state in states.items():
        known = before.get(guest)
        config = update.configs.get(guest) or (known.config if known else None)
        if config is None:
            continue
        balloon = update.balloons.get(guest) or (known.balloon if known else _NOT_READ)
        domain = Domain(id=guest.id, state=state, config=config, balloon=balloon)
        yield guest, domain


def _without_old_balloon(domain: Domain, oldest: float) -> Domain:
    read_seconds = domain.balloon.read_seconds
    is_old = read_seconds is not None and read_seconds < oldest
    return replace(domain, balloon=_NOT_READ) if is_old else domain
