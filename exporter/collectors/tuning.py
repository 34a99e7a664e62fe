"""Who else tunes this host: programs that turn the same knobs, and tuned with its profile."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.scrape import Scrape
from exporter.table import Family, Row, families, gauge, info, state_set
from kvmhost.fs import HostError
from kvmhost.tuned import Tuned
from kvmhost.tuners import TUNERS

TUNERS_TABLE: tuple[Row[frozenset[str]], ...] = (
    state_set(
        "kvm_tuner_active",
        "1 for each other program that runs and turns knobs of this host: rules that turn the same ones fight with it.",
        "tuner",
        lambda running: {tuner: tuner in running for tuner in TUNERS},
    ),
)


def _profile(tuned: Tuned) -> tuple[str, str, str] | None:
    if tuned.profile is None:
        return None
    return tuned.profile.active, tuned.check.recommended if tuned.check else "", tuned.profile.mode


def _recommended(tuned: Tuned) -> bool | None:
    if tuned.profile is None or tuned.check is None:
        return None
    return tuned.profile.active == tuned.check.recommended


TUNED_TABLE: tuple[Row[Tuned], ...] = (
    gauge(
        "kvm_tuned_up",
        "1 if tuned answers over D-Bus; the rest is from its files otherwise. Absent on a host without tuned.",
        lambda tuned: tuned.up,
    ),
    info(
        "kvm_tuned_profile_info",
        "Profile of tuned: the active one, the one it recommends for this machine (empty if it does not answer),"
        " and who chose (mode manual or auto).",
        ("active", "recommended", "mode"),
        _profile,
    ),
    gauge(
        "kvm_tuned_profile_verified",
        "1 if the host has all settings of tuned's active profile, 0 if someone changed one: see tuned-adm verify.",
        lambda tuned: tuned.check.verified if tuned.check else None,
    ),
    gauge(
        "kvm_tuned_profile_recommended",
        "1 if tuned's active profile is the one that it recommends for this machine.",
        _recommended,
    ),
    gauge(
        "kvm_tuned_ksm_masked",
        "1 if a profile of tuned has switched KSM off and masked its services (profile cpu-partitioning does).",
        lambda tuned: tuned.ksm_masked,
    ),
)

AGE_TABLE: tuple[Row[float], ...] = (
    gauge(
        "kvm_tuning_data_age_seconds",
        "How long ago other tuners were last looked for, in the background; withheld when it is too long.",
        lambda seconds: seconds,
    ),
)


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """What the last look found."""
    tuning = scrape.tuning
    if tuning is None:
        return
    if tuning.tuners is not None:
        yield from families(TUNERS_TABLE, [((), tuning.tuners)])
    if tuning.tuned is not None:
        yield from families(TUNED_TABLE, [((), tuning.tuned)])
    yield from families(AGE_TABLE, [((), max(scrape.now - tuning.read_seconds, 0.0))])
