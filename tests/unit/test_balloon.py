"""How small a guest's balloon may become, and when it must not be touched: a table over what the guest reports."""

from dataclasses import replace

import pytest

from actuator.knobs.balloon import BalloonTarget, Past, Rest, floor_bytes, live_of, refusal, trouble
from kvmhost.domains import Balloon, BalloonDevice, Domain, DomainConfig

MIB = 2**20
NOW = 1000.0
BALLOON = Balloon(
    actual_bytes=1024 * MIB,
    maximum_bytes=2048 * MIB,
    available_bytes=960 * MIB,
    usable_bytes=524 * MIB,
    last_update_seconds=998,
)


def guest(state: str = "running", stats_period_seconds: int = 5, **changes: int | None) -> Domain:
    device = BalloonDevice(model="virtio", stats_period_seconds=stats_period_seconds)
    config = DomainConfig(name="web", uuid="u", virt_type="kvm", balloon_device=device)
    balloon = replace(BALLOON, **changes)  # type: ignore[arg-type]
    return Domain(id=1, state=state, config=config, balloon=balloon)


@pytest.mark.parametrize(
    ("usable_mib", "floor_mib"),
    [(524, 550), (1004, 36), (0, 1126.4)],  # 500 used + 10 %; 20 used + 16; all used + 10 %
)
def test_the_floor_is_what_the_guest_uses_plus_a_margin(usable_mib: int, floor_mib: float) -> None:
    assert floor_bytes(guest(usable_bytes=usable_mib * MIB)) == pytest.approx(floor_mib * MIB, abs=1)


def test_a_guest_that_uses_nearly_all_may_have_the_rest() -> None:
    assert floor_bytes(guest(usable_bytes=0, maximum_bytes=1100 * MIB)) == 1100 * MIB


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        (guest(), None),
        (guest(state="paused"), "the guest is paused"),
        (guest(actual_bytes=None), "libvirt reports no balloon"),
        (replace(guest(), config=replace(guest().config, balloon_device=None)), "the guest has no balloon device"),
        (guest(stats_period_seconds=0), "the guest reports no memory statistics: virsh dommemstat web --period 5"),
        (guest(usable_bytes=None), "the balloon driver in the guest does not answer"),
        (guest(last_update_seconds=0), "the balloon driver in the guest does not answer"),
        (guest(last_update_seconds=None), "the balloon driver in the guest does not answer"),
        (guest(last_update_seconds=964), "the balloon driver in the guest has not answered for 36 s"),
        (guest(last_update_seconds=965), None),
        (guest(last_update_seconds=1029), None),
        (guest(last_update_seconds=4600), "the guest's last report is of a time yet to come"),
    ],
)
def test_who_is_not_touched(domain: Domain, why: str | None) -> None:
    assert (refusal(domain, None, NOW) or "").startswith(why or "")
    assert (refusal(domain, None, NOW) is None) == (why is None)


def test_who_hangs_is_not_touched() -> None:
    assert refusal(guest(), "its QEMU process is stopped", NOW) == "its QEMU process is stopped"


@pytest.mark.parametrize(
    ("seen_at", "low_mib"),
    [
        (998, 1024),  # the report that we saw when the balloon came to this size: it may be of the size before
        (997, 1024),  # libvirt cuts to whole seconds
        (996, 550),
        (4000, 550),  # the clock was set back since
        (0, 550),  # it had not reported yet when we looked
        (None, 1024),
    ],
)
def test_the_floor_counts_when_the_guest_has_reported_at_this_size(seen_at: int | None, low_mib: int) -> None:
    live = live_of(guest(), Rest(1024 * MIB, seen_at), Past(), None, NOW)
    assert live.low == pytest.approx(low_mib * MIB, abs=1)
    assert (live.high, live.value, live.identity) == (2048 * MIB, 1024 * MIB, "u")


@pytest.mark.parametrize(
    ("seen_at", "before_mib", "soon_mib"),
    [
        (998, None, 550),  # by the report that there is
        (998, 300, 300),  # what was known at its last size
        (0, 300, None),  # it is known
    ],
)
def test_until_the_floor_is_known_plans_go_by_what_it_was(
    seen_at: int, before_mib: int | None, soon_mib: int | None
) -> None:
    past = Past(floor_bytes=None if before_mib is None else before_mib * MIB)
    live = live_of(guest(), Rest(1024 * MIB, seen_at), past, None, NOW)
    assert live.low_soon == (None if soon_mib is None else pytest.approx(soon_mib * MIB, abs=1))


@pytest.mark.parametrize(
    ("usable_mib", "swapped_out_mib", "before_mib", "why"),
    [
        (524, 0, 0, ""),
        (49, 0, 0, ""),  # half of a tenth of the 975 MiB that it uses
        (48, 0, 0, "the guest needs its memory by now, 48 MiB are left"),
        (524, 1050, 1000, ""),  # some is on every way down: as much as the margin of 50 MiB
        (524, 1051, 1000, "the guest has swapped 51 MiB out meanwhile"),
        (524, 1051, None, ""),  # nothing of ours is on its way
        (524, None, 1000, ""),
        (None, 0, 0, ""),
    ],
)
def test_when_a_guest_must_not_become_any_smaller(
    usable_mib: int | None, swapped_out_mib: int | None, before_mib: int | None, why: str
) -> None:
    def size(mib: int | None) -> int | None:
        return None if mib is None else mib * MIB

    balloon = replace(BALLOON, usable_bytes=size(usable_mib), swap_out_bytes=size(swapped_out_mib))
    assert trouble(balloon, size(before_mib)) == why


def test_a_balloon_between_what_we_wrote_is_ours() -> None:
    knob = BalloonTarget.__new__(BalloonTarget)
    assert knob.is_ours(700 * MIB, (1024 * MIB, 512 * MIB))
    assert knob.is_ours(511 * MIB, (512 * MIB,))
    assert not knob.is_ours(1100 * MIB, (1024 * MIB, 512 * MIB))
