"""Which guest libvirt is asked about, and when (pure). All times are monotonic seconds.

A guest's configuration and its balloon are due at their own intervals. Per tick only a share of all guests is asked, so
that the load is even. A guest whose call hangs or fails is asked less and less often.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kvmhost.libvirt.messages import BUSY, FAILED, TIMED_OUT, WAITING
from kvmhost.virtconnection import Change, Guest

# An upper bound for changes that no event tells of, such as the stats period.
CONFIG_INTERVAL_SECONDS = 30.0
# One in so many more than what is needed on average, to catch up after a stall.
_SLACK = 10
# So many at once are no burst, and cheaper than one by one.
_FEW_GUESTS = 10
# How soon guests have been asked that never were before.
_FIRST_SECONDS = 5.0
# By the number of times in a row that the guest's call hung or failed.
_BACKOFF_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)
_FAILURES_OF_THE_LATE = 1


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is due for one guest."""

    guest: Guest
    config: bool
    balloon: bool
    is_known: bool
    """Whether its configuration was read before."""


@dataclass(kw_only=True)
class _Plan:
    config_due: float
    balloon_due: float
    is_known: bool = False
    has_changed: bool = False
    failures: int = 0
    not_before: float = -math.inf
    is_late: bool = False
    """Its call takes too long."""
    is_lost: bool = False
    """Its call ended with the connection, so libvirt may still be at it."""
    unread: str | None = WAITING


class Schedule:
    """The plans of all guests."""

    def __init__(self, *, interval_seconds: float, stats_interval_seconds: float, lost: Iterable[Guest] = ()) -> None:
        self._interval_seconds = interval_seconds
        self._stats_interval_seconds = stats_interval_seconds
        self._plans: dict[Guest, _Plan] = {}
        self._lost_before = frozenset(lost)

    def listed(self, guests: Iterable[Guest], now: float) -> None:
        """These are all active guests."""
        self._plans = {
            guest: self._plans.get(guest) or _Plan(config_due=now, balloon_due=now, is_lost=guest in self._lost_before)
            for guest in guests
        }

    def connected(self, now: float) -> None:
        """There is a new connection: changes went unheard before it, and lost calls can be looked into."""
        for plan in self._plans.values():
            plan.has_changed = True
            if plan.is_lost:
                plan.not_before = now

    def changed(self, uuid: str, change: Change, now: float) -> None:
        """An event tells of a change."""
        for guest, plan in self._plans.items():
            if guest.uuid == uuid:
                plan.has_changed |= change is Change.CONFIG
                if change is Change.BALLOON:
                    plan.balloon_due = min(plan.balloon_due, now)

    @property
    def lost(self) -> frozenset[Guest]:
        """Guests that libvirt may still be asking on behalf of a connection that is gone."""
        return frozenset(guest for guest, plan in self._plans.items() if plan.is_lost)

    @property
    def unread(self) -> dict[Guest, str]:
        """Guests whose balloon was not read when it should have been, and why."""
        return {guest: plan.unread for guest, plan in self._plans.items() if plan.unread}

    @property
    def balloons_per_tick(self) -> int:
        """How many guests' balloons may be read in one tick."""
        is_first = any(plan.unread == WAITING for plan in self._plans.values())
        return self._share(min(self._stats_interval_seconds, _FIRST_SECONDS if is_first else math.inf))

    def due(self, now: float) -> list[Ask]:
        """What to ask at `now`: unknown guests first, then those whose balloon is overdue most."""
        ready = {guest: plan for guest, plan in self._plans.items() if plan.not_before <= now}
        configs = frozenset(self._due_configs(ready, now))
        unknown = [guest for guest, plan in ready.items() if not plan.is_known]
        # A tick that comes a little early counts as in time, or the guest would wait for the next.
        soon = now + self._interval_seconds / 2
        balloons = sorted(
            (guest for guest, plan in ready.items() if plan.is_known and plan.balloon_due <= soon),
            key=lambda guest: ready[guest].balloon_due,
        )
        others = configs.difference(unknown, balloons)
        return [
            *(Ask(guest=guest, config=True, balloon=False, is_known=False) for guest in unknown),
            *(Ask(guest=guest, config=guest in configs, balloon=True, is_known=True) for guest in balloons),
            *(Ask(guest=guest, config=True, balloon=False, is_known=True) for guest in others),
        ]

    # What became of it.

    def config_read(self, guest: Guest, asked: float) -> None:
        if plan := self._plans.get(guest):
            plan.is_known = True
            plan.has_changed = False
            plan.is_late = False
            plan.config_due = asked + CONFIG_INTERVAL_SECONDS

    def balloon_read(self, guest: Guest, asked: float) -> None:
        if plan := self._plans.get(guest):
            plan.is_lost = False
            self._answered(plan, asked, unread=None)

    def busy(self, guest: Guest, asked: float) -> None:
        """libvirt has another job for the guest: perhaps a call of ours that was lost."""
        if plan := self._plans.get(guest):
            self._answered(plan, asked, unread=TIMED_OUT if plan.is_lost else BUSY)
            if not plan.is_lost:  # jobs are short, mostly, and asking costs nothing while one is under way
                plan.balloon_due = asked + self._interval_seconds

    def skipped(self, guest: Guest, unread: str) -> None:
        """It was not asked, and stays due."""
        if plan := self._plans.get(guest):
            plan.unread = unread

    def failed(self, guest: Guest, asked: float) -> None:
        if plan := self._plans.get(guest):
            plan.is_late = False
            plan.unread = FAILED
            self._back_off(plan, asked)

    def stalled(self, guest: Guest, now: float) -> None:
        """Its call takes too long, and is left behind. What it returns in the end still counts."""
        plan = self._plans.get(guest)
        if plan and not plan.is_late:
            plan.is_late = True
            plan.unread = TIMED_OUT
            self._back_off(plan, now)

    def cut_off(self, guest: Guest) -> None:
        """Its call ended with the connection."""
        if plan := self._plans.get(guest):
            plan.is_late = False
            plan.is_lost = True
            plan.unread = TIMED_OUT

    def _due_configs(self, ready: dict[Guest, _Plan], now: float) -> Iterator[Guest]:
        yield from (guest for guest, plan in ready.items() if plan.has_changed)
        share = self._share(CONFIG_INTERVAL_SECONDS)
        in_turn = (guest for guest, plan in ready.items() if plan.config_due <= now and not plan.has_changed)
        yield from sorted(in_turn, key=lambda guest: ready[guest].config_due)[:share]

    def _share(self, period_seconds: float) -> int:
        """How many guests to ask in a tick, so that all are asked in the period."""
        ticks = max(period_seconds / self._interval_seconds, 1.0)
        share = math.ceil(len(self._plans) / ticks)
        return max(share + share // _SLACK, _FEW_GUESTS)

    def _answered(self, plan: _Plan, asked: float, unread: str | None) -> None:
        # Who is late each time is still asked now and then: often enough for its data not to grow too old.
        plan.failures = min(plan.failures, _FAILURES_OF_THE_LATE) if plan.is_late else 0
        plan.is_late = False
        plan.unread = unread
        plan.balloon_due = asked + self._stats_interval_seconds

    def _back_off(self, plan: _Plan, now: float) -> None:
        plan.failures += 1
        plan.not_before = now + _BACKOFF_SECONDS[min(plan.failures, len(_BACKOFF_SECONDS)) - 1]
