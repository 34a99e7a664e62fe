"""The autopilot on real guests and the real kernel, with its times divided by ten; the rest of it is in test_rules_*.py."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.policies import quick
from tests.programs import wait_until

from .guests import Guest
from .hoststate import KSM, ksm
from .lab import Lab
from .programs import Program, Programs, series

MIB = 2**20
FASTER = 10
PATROL = 200
"""What ksm.sleep_millisecs is then: 500 pages a second, minutes for what a guest has."""


@contextmanager
def at_work(kvmtune: Programs, directory: Path, group: str) -> Iterator[tuple[Program, Program]]:
    """A group of the autopilot under the shipped policy: exporter, and the actuator, which puts back what it has set."""
    policy, rules = directory / "policy.yml", directory / "rules.yml"
    policy.write_text(quick.policy(FASTER))
    rules.write_text(quick.rules(quick.RULES.read_text(), FASTER, group))
    exporter = kvmtune.exporter()
    actuator = kvmtune.actuator(exporter, rules, "--policy", policy, "--apply", interval="500ms")
    yield exporter, actuator
    assert actuator.end(signal.SIGTERM) == 0


def saved_mib() -> int:
    return (ksm("pages_sharing") + ksm("ksm_zero_pages")) * 4096 // MIB


def test_what_guests_have_in_common_is_merged_at_once_and_then_there_is_peace(
    guests: list[Guest], kvmtune: Programs, tmp_path: Path
) -> None:
    for guest in guests:
        guest.command("fill 60 same")
    with at_work(kvmtune, tmp_path, "ksm"):
        wait_until(lambda: saved_mib() > 60, "what is equal is merged", 60)
        wait_until(lambda: ksm("sleep_millisecs") == PATROL, "all was looked at twice", 60)
        for guest in guests:
            guest.command("fill 110 same")  # what there was, and as much more
        wait_until(lambda: saved_mib() > 110, "the new memory is hunted through", 60)
        wait_until(lambda: ksm("sleep_millisecs") == PATROL, "all was looked at again", 60)
    assert ksm("run") == 0
    assert saved_mib() > 100  # guests write to a page now and then


def test_the_kernels_advisor_gives_way_and_comes_back(guests: list[Guest], kvmtune: Programs, tmp_path: Path) -> None:
    advisor = KSM / "advisor_mode"
    if not advisor.exists():
        pytest.skip("this kernel has no advisor")
    advisor.write_text("scan-time")
    with at_work(kvmtune, tmp_path, "ksm") as (_, actuator):
        actuator.wait_for(r"written +ksm_instead_of_the_advisor: host ksm.advisor_mode scan-time -> none")
        actuator.wait_for(r"written +ksm_hunt: host ksm.pages_to_scan \S+ -> 20000")  # it may be over in one tick
        assert advisor.read_text() == "[none] scan-time\n"
    assert advisor.read_text() == "none [scan-time]\n"


def test_a_balloon_driver_that_nobody_asks_is_asked_until_the_stop(
    lab: Lab, guests: list[Guest], kvmtune: Programs, tmp_path: Path, never_asked: Guest
) -> None:
    with at_work(kvmtune, tmp_path, "balloon") as (exporter, actuator):
        actuator.wait_for(rf"written +balloon_ask: {never_asked.name} balloon.stats_period 0s -> 5s")
        assert period_seconds(lab, never_asked) == 5
        usable = series("kvm_domain_balloon_usable_bytes", domain=never_asked.name, uuid=never_asked.uuid)
        wait_until(lambda: usable in exporter.scrape(), "what the guest uses is known")
        assert period_seconds(lab, guests[1]) == guests[1].spec.stats_period_seconds
    assert period_seconds(lab, never_asked) == 0


@pytest.fixture
def never_asked(lab: Lab, guests: list[Guest]) -> Iterator[Guest]:
    guest = guests[0]
    lab.virsh("dommemstat", guest.name, "--period", "0", "--live")
    yield guest
    lab.virsh("dommemstat", guest.name, "--period", str(guest.spec.stats_period_seconds), "--live")


def period_seconds(lab: Lab, guest: Guest) -> int:
    found = re.search(r"<stats period='(\d+)'/>", lab.virsh("dumpxml", guest.name))
    return int(found[1]) if found else 0
