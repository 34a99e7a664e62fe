"""How small a guest's balloon may become, and when it must not be touched: a table over what the guest reports."""

from dataclasses import replace

import pytest

from actuator.knobs.balloon import BalloonTarget, Rest, floor_bytes, live_of, refusal
from kvmhost.domains import Balloon, Domain

MIB = 2**20
NOW = 1000.0
BALLOON = Balloon(
    actual_bytes=1024 * MIB,
    maximum_bytes=2048 * MIB,
    available_bytes=960 * MIB,
    usable_bytes=524 * MIB,
    last_update_seconds=998,
    stats_period_seconds=5,
)


def guest(state: str = "running", **changes: int | None) -> Domain:
    balloon = replace(BALLOON, **changes)  # type: ignore[arg-type]
    return Domain(
        name="web", uuid="u", id=1, state=state, virt_type="kvm", machine=None, balloon=balloon, vcpus=()
    )  # fmt: skip


@pytest.mark.parametrize(
    ("usable_mib", "floor_mib"),
    [(524, 550), (1004, 36), (0, 1126.4)],  # 500 used + 10 %; 20 used + 16; all used + 10 %
)
def test_the_floor_is_what_the_guest_uses_plus_a_margin(usable_mib: int, floor_mib: float) -> None:
    assert floor_bytes(guest(usable_bytes=usable_mib * MIB)) == pytest.approx(floor_mib * MIB, abs=1)


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        (guest(), None),
        (guest(state="paused"), "the guest is paused"),
        (guest(actual_bytes=None), "libvirt reports no balloon"),
        (guest(stats_period_seconds=0), "the guest reports no memory statistics: virsh dommemstat web --period 5"),
        (guest(usable_bytes=None), "the balloon driver in the guest does not answer"),
        (guest(last_update_seconds=None), "the balloon driver in the guest does not answer"),
        (guest(last_update_seconds=964), "the balloon driver in the guest has not answered for 36 s"),
        (guest(last_update_seconds=965), None),
    ],
)
def test_who_is_not_touched(domain: Domain, why: str | None) -> None:
    assert (refusal(domain, NOW) or "").startswith(why or "")
    assert (refusal(domain, NOW) is None) == (why is None)


@pytest.mark.parametrize(
    ("seen_at", "low_mib"),
    [
        (998, 1024),  # the report that we saw when the balloon came to this size: it may be of the size before
        (997, 1024),  # libvirt cuts to whole seconds
        (996, 550),
        (4000, 550),  # the clock was set back since
        (None, 1024),
    ],
)
def test_the_floor_counts_when_the_guest_has_reported_at_this_size(seen_at: int | None, low_mib: int) -> None:
    live = live_of(guest(), Rest(1024 * MIB, seen_at), NOW)
    assert live.low == pytest.approx(low_mib * MIB, abs=1)
    assert (live.high, live.value, live.identity) == (2048 * MIB, 1024 * MIB, "u")


def test_a_balloon_between_what_we_wrote_is_ours() -> None:
    knob = BalloonTarget.__new__(BalloonTarget)
    assert knob.is_ours(700 * MIB, (1024 * MIB, 512 * MIB))
    assert knob.is_ours(511 * MIB, (512 * MIB,))
    assert not knob.is_ours(1100 * MIB, (1024 * MIB, 512 * MIB))
