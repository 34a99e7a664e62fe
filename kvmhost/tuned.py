"""tuned, the system tuning daemon: its profile over D-Bus (tuned/daemon/controller.py), or else from its files.

Who may ask is up to polkit: tuned's own policy (com.redhat.tuned.policy) lets everyone make the calls made here. On a
host without polkit, tuned answers root only, and others with empty words instead of an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvmhost.dbus import Bus, BusError, Service
from kvmhost.fs import HostFS

CONTROL = Service(name="com.redhat.tuned", path="/Tuned", interface="com.redhat.tuned.control")

_CALL_SECONDS = 5.0
# Reads back every setting of the profile, with programs that tuned starts for some of them.
_VERIFY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What tuned applies; cheap to ask."""

    active: str
    """Name of the profile, or names with spaces between; `` for none."""
    mode: str
    """Who chose it: `manual` for a person, `auto` for tuned itself; `` if that is not told."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What tuned thinks of its profile; costs it programs to run."""

    recommended: str
    """The profile that tuned would choose for this machine."""
    verified: bool | None
    """Whether the host still has all settings of the active profile; None without one."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """tuned on this host; None for what is not known."""

    up: bool
    """Whether the daemon answers."""
    profile: Profile | None
    check: Check | None
    ksm_masked: bool
    """Whether a profile (cpu-partitioning) has switched KSM off and its services with it, by `systemctl mask`."""


def profile(bus: Bus) -> Profile:
    """The profile in force, from the daemon; `BusError` if it does not say."""
    mode, problem = bus.call(CONTROL, "profile_mode", timeout_s=_CALL_SECONDS)[0]
    if mode == "unknown":
        hint = "run as root, or install polkit, whose policy for tuned lets everyone read" * (problem == "Unauthorized")
        raise BusError("; ".join(filter(None, (f"tuned says of its profile: {problem}", hint))))
    (active,) = bus.call(CONTROL, "active_profile", timeout_s=_CALL_SECONDS)
    return Profile(active=active, mode=mode)


def check(bus: Bus, active: str) -> Check:
    """What the daemon says of its active profile; `BusError` if it does not. The same as `tuned-adm verify`."""
    (recommended,) = bus.call(CONTROL, "recommend_profile", timeout_s=_CALL_SECONDS)
    verified = bus.call(CONTROL, "verify_profile", timeout_s=_VERIFY_SECONDS)[0] if active else None
    return Check(recommended=recommended, verified=verified)


def configured(fs: HostFS) -> Profile | None:
    """The profile that the daemon applies when it starts, from its files; None if tuned was never installed."""
    active = fs.text("etc/tuned/active_profile")
    if active is None:
        return None
    return Profile(active=active.strip(), mode=(fs.text("etc/tuned/profile_mode") or "").strip())


def ksm_masked(fs: HostFS) -> bool:
    """Whether the note is there that tuned's `disable_ksm` (profiles/functions) makes, and `enable_ksm` removes."""
    return fs.content("var/lib/tuned/ksm-masked") is not None
