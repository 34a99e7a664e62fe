"""Looks at other tuners, and remembers what tuned is not asked each time. For a thread in the background."""

from __future__ import annotations

import logging
from collections.abc import Callable

from exporter.scrape import Tuning
from kvmhost import tuned, tuners
from kvmhost.dbus import Bus, BusError
from kvmhost.fs import HostError, HostFS
from kvmhost.tuned import Check, Profile, Tuned

_UNANSWERED = "tuned does not answer, so its profile is what its files say, and not verified: {}"

_LOG = logging.getLogger(__name__)


class TuningReader:
    """Who else tunes the host `fs`. tuned is asked over `bus`, which whoever made it closes.

    Every `check_seconds`, and when its profile changes, tuned is asked which profile it recommends and whether its own
    verifies: that costs it programs to run. `clock` gives unix seconds. A problem is logged when it begins, changes
    or ends.
    """

    def __init__(self, fs: HostFS, bus: Bus, *, check_seconds: float, clock: Callable[[], float]) -> None:
        self._fs = fs
        self._bus = bus
        self._check_seconds = check_seconds
        self._clock = clock
        self._problem: str | None = None
        self._checked: tuple[Profile, float, Check | None] | None = None

    def read(self) -> Tuning:
        """Look once. Takes as long as tuned takes to answer, up to a minute."""
        now = self._clock()
        found = tuners.running(self._fs)
        return Tuning(read_seconds=now, tuners=found, tuned=self._read_tuned(now))

    def _read_tuned(self, now: float) -> Tuned | None:
        try:
            configured = tuned.configured(self._fs)
            ksm_masked = tuned.ksm_masked(self._fs)
        except HostError as error:
            self._say(str(error))
            return None
        try:
            profile = tuned.profile(self._bus)
        except BusError as error:
            self._checked = None
            self._say(_UNANSWERED.format(error) if configured else None)
            return Tuned(up=False, profile=configured, check=None, ksm_masked=ksm_masked) if configured else None
        return Tuned(up=True, profile=profile, check=self._check(profile, now), ksm_masked=ksm_masked)

    def _check(self, profile: Profile, now: float) -> Check | None:
        if self._checked:
            checked, at, check = self._checked
            if checked == profile and 0 <= now - at < self._check_seconds:
                return check
        try:
            check = tuned.check(self._bus, profile.active)
        except BusError as error:
            self._say(f"tuned does not verify its profile: {error}")
            check = None
        else:
            self._say(None)
        # Also when it failed: a tuned that cannot do it in time is not asked again and again.
        self._checked = (profile, now, check)
        return check

    def _say(self, problem: str | None) -> None:
        if problem == self._problem or self._bus.closed:
            return
        if problem:
            _LOG.warning("%s", problem)
        else:
            _LOG.info("tuned answers again")
        self._problem = problem
