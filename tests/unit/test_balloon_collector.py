"""What is shown of a guest's balloon in the odd cases. The ordinary ones are in the golden pages."""

from __future__ import annotations

import pytest

from exporter.collectors.balloon import BalloonCollector, driver_answering
from kvmhost.domains import Balloon, BalloonDevice, Domain, DomainConfig
from tests.collected import NOW, UUID, collected


def guest(
    balloon: Balloon, *, state: str = "running", device: BalloonDevice | None = None, config: DomainConfig | None = None
) -> Domain:
    made = config or DomainConfig(name="web", uuid=UUID, virt_type="kvm", balloon_device=device)
    return Domain(id=1, state=state, config=made, balloon=balloon)


def shown(domain: Domain) -> dict[str, float]:
    samples, errors = collected(BalloonCollector(), domain)
    assert errors == []
    return samples


def test_what_the_guest_does_not_say_is_absent_and_not_zero() -> None:
    assert shown(guest(Balloon(actual_bytes=2**30))) == {"kvm_domain_balloon_actual_bytes": 2**30}


@pytest.mark.parametrize(
    ("balloon", "used"),
    [
        (Balloon(available_bytes=1000, usable_bytes=400), 600),
        (Balloon(available_bytes=1000), None),
        (Balloon(usable_bytes=400), None),
    ],
)
def test_memory_used_needs_both_of_its_parts(balloon: Balloon, used: int | None) -> None:
    assert shown(guest(balloon)).get("kvm_domain_memory_used_bytes") == used


@pytest.mark.parametrize(("updated", "age"), [(990, 10.0), (1000, 0.0), (1060, 0.0), (0, None), (None, None)])
def test_age_of_the_guests_answer(updated: int | None, age: float | None) -> None:
    """Never negative, even if the clock was set back since; none if the guest has never answered."""
    balloon = Balloon(last_update_seconds=updated)
    assert shown(guest(balloon)).get("kvm_domain_balloon_stats_age_seconds") == age


def test_age_of_the_question() -> None:
    assert shown(guest(Balloon(read_seconds=NOW - 3.5))) == {"kvm_domain_balloon_data_age_seconds": 3.5}


EVERY_2_S = BalloonDevice(model="virtio", stats_period_seconds=2)
EVERY_10_S = BalloonDevice(model="virtio", stats_period_seconds=10)
NEVER = BalloonDevice(model="virtio", stats_period_seconds=0)


@pytest.mark.parametrize(
    ("device", "answered", "answering"),
    [
        (EVERY_10_S, 900, True),
        (EVERY_10_S, 870, True),  # two answers are missing, the third is due now
        (EVERY_10_S, 869, False),
        (EVERY_2_S, 890, True),  # a busy guest may be late
        (EVERY_2_S, 889, False),
        (EVERY_10_S, 960, True),  # the clock was set back since
        (EVERY_10_S, 0, False),  # no driver has ever answered
        (EVERY_10_S, None, None),  # QEMU did not say
        (NEVER, 890, None),  # it is not asked any more
        (None, 900, None),  # there is no balloon
    ],
)
def test_a_driver_answers_if_it_did_when_it_was_last_looked_at(
    device: BalloonDevice | None, answered: int | None, answering: bool | None
) -> None:
    """Looked at 100 s ago: what has happened since, nobody knows."""
    balloon = Balloon(read_seconds=NOW - 100, last_update_seconds=answered)
    assert driver_answering(guest(balloon, device=device)) is answering
    assert shown(guest(balloon, device=device)).get("kvm_domain_balloon_driver_answering") == answering


@pytest.mark.parametrize("state", ["paused", "pmsuspended", "shutdown", "crashed"])
def test_a_guest_that_does_not_run_cannot_answer(state: str) -> None:
    balloon = Balloon(read_seconds=NOW, last_update_seconds=0)
    assert driver_answering(guest(balloon, state=state, device=EVERY_10_S)) is None


def test_there_is_no_telling_before_it_was_looked_at() -> None:
    assert driver_answering(guest(Balloon(last_update_seconds=990), device=EVERY_10_S)) is None


def test_a_domain_without_a_balloon_device_has_none_of_its_features() -> None:
    assert shown(guest(Balloon())) == {}
    assert shown(guest(Balloon(), device=NEVER)) == {
        "kvm_domain_balloon_stats_period_seconds": 0,
        "kvm_domain_balloon_autodeflate": 0,
        "kvm_domain_balloon_free_page_reporting": 0,
    }


def test_what_the_balloon_should_leave_to_the_guest() -> None:
    config = DomainConfig(
        name="web", uuid=UUID, virt_type="kvm", balloon_configured_bytes=2**30, memory_min_guarantee_bytes=2**29
    )
    assert shown(guest(Balloon(), config=config)) == {
        "kvm_domain_balloon_configured_bytes": 2**30,
        "kvm_domain_memory_min_guarantee_bytes": 2**29,
    }
