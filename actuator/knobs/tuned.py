"""The knob of tuned's profile, through its D-Bus interface (tuned/daemon/controller.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actuator.knobs.knob import HOST, Knob, KnobError, Live, Metric, Target, Unit, Value
from actuator.knobs.privilege import TUNED
from kvmhost import tuned
from kvmhost.dbus import Bus, BusError, BusTimeout
from kvmhost.fs import HostFS
from kvmhost.tuned import CONTROL

AUTO = "auto"
OFF = "off"
_CALL_SECONDS = 5.0


class TunedProfile(Knob):
    """`auto` is the profile that tuned recommends, `off` none; else a profile's name, or several with spaces between.

    A profile sets many of the values that other knobs set: those of them that a rule has set then count as changed by
    someone else. tuned needs seconds to switch; then it is asked to verify the profile; the answer is in the ledger.
    """

    name = "tuned.profile"
    unit = Unit.WORD
    summary = "The profile that tuned applies."
    metric = Metric("kvm_tuned_profile_info", word="active", empty=OFF)
    settle_seconds = 60.0
    privilege = TUNED

    def __init__(self, fs: HostFS, bus: Bus) -> None:
        self._fs = fs
        self._bus = bus

    def live(self) -> Mapping[Target, Live]:
        """The profile in force."""
        try:
            profile = tuned.profile(self._bus)
            (known,) = self._bus.call(CONTROL, "profiles", timeout_s=_CALL_SECONDS)
        except BusError as error:
            raise KnobError(f"cannot ask tuned for its profile: {error}; {self._next_step()}") from error
        value = (AUTO if profile.mode == "auto" else profile.active) if profile.active else OFF
        words = (AUTO, OFF, *known)
        return {HOST: Live(value=value, words=words if value in words else (*words, value))}

    def write(self, target: Target, value: Value) -> None:
        """Have tuned switch. It may still be at it when this returns."""
        try:
            self._switch(str(value))
        except BusTimeout:
            return  # the read-back tells what became of it
        except BusError as error:
            raise KnobError(f"cannot have tuned switch to {value}: {error}; {self._next_step()}") from error

    def _next_step(self) -> str:
        if tuned.configured(self._fs) is None:
            return "tuned was never set up here: install it and choose a profile, or remove the rule"
        return "is it running? systemctl start tuned"

    def _switch(self, profile: str) -> None:
        if profile == OFF:
            (done,) = self._bus.call(CONTROL, "disable", timeout_s=_CALL_SECONDS)
            _check(done, "Unauthorized", profile)
            return
        method, texts = ("auto_profile", ()) if profile == AUTO else ("switch_profile", (profile,))
        done, message = self._bus.call(CONTROL, method, *texts, timeout_s=_CALL_SECONDS)[0]
        _check(done, message, profile)
        # After `disable`, tuned has a profile and does not apply it.
        (_,) = self._bus.call(CONTROL, "start", timeout_s=_CALL_SECONDS)

    def remark(self, target: Target) -> str:
        """Whether tuned finds all settings of the profile in force."""
        try:
            (verified,) = self._bus.call(CONTROL, "verify_profile", timeout_s=_CALL_SECONDS)
        except BusError as error:
            return f"not verified: {error}"
        return "tuned has verified it" if verified else "tuned misses settings of it: see /var/log/tuned/tuned.log"


def _check(done: Any, message: str, profile: str) -> None:
    if not done:
        hint = f"; {TUNED.fix}" * (message == "Unauthorized")
        raise KnobError(f"tuned does not switch to {profile}: {message}{hint}")
