"""The autopilot on real guests and the real kernel, with its times divided by ten; the rest of it is in test_rules_*.py."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.policies import quick
from tests.programs import wait_until

from .guests import Guest
from .hoststate import KSM, ksm
from .programs import Program, Programs

MIB = 2**20
FASTER = 10
PATROL = 200
"""What ksm.sleep_millisecs is then: 500 pages a second, minutes for what a guest has."""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The autopilot's group `ksm`, and the shipped policy beside it."""
    (tmp_path / "policy.yml").write_text(quick.policy(FASTER))
    file = tmp_path / "rules.yml"
    file.write_text(quick.rules(quick.RULES.read_text(), FASTER, "ksm"))
    return file


@contextmanager
def at_work(kvmtune: Programs, rules: Path) -> Iterator[Program]:
    """The actuator, which ends with the block and puts back what it has set."""
    flags = ("--policy", rules.with_name("policy.yml"), "--apply")
    actuator = kvmtune.actuator(kvmtune.exporter(), rules, *flags, interval="500ms")
    yield actuator
    assert actuator.end(signal.SIGTERM) == 0


def saved_mib() -> int:
    return (ksm("pages_sharing") + ksm("ksm_zero_pages")) * 4096 // MIB


def test_what_guests_have_in_common_is_merged_at_once_and_then_there_is_peace(
    guests: list[Guest], kvmtune: Programs, rules: Path
) -> None:
    for guest in guests:
        guest.command("fill 60 same")
    with at_work(kvmtune, rules):
        wait_until(lambda: saved_mib() > 60, "what is equal is merged", 60)
        wait_until(lambda: ksm("sleep_millisecs") == PATROL, "all was looked at twice", 60)
        for guest in guests:
            guest.command("fill 110 same")  # what there was, and as much more
        wait_until(lambda: saved_mib() > 110, "the new memory is hunted through", 60)
        wait_until(lambda: ksm("sleep_millisecs") == PATROL, "all was looked at again", 60)
    assert ksm("run") == 0
    assert saved_mib() > 110


def test_the_kernels_advisor_gives_way_and_comes_back(guests: list[Guest], kvmtune: Programs, rules: Path) -> None:
    advisor = KSM / "advisor_mode"
    if not advisor.exists():
        pytest.skip("this kernel has no advisor")
    advisor.write_text("scan-time")
    with at_work(kvmtune, rules) as actuator:
        actuator.wait_for(r"written +ksm_instead_of_the_advisor: host ksm.advisor_mode scan-time -> none")
        wait_until(lambda: ksm("pages_to_scan") == 20000, "the rules set the rate")
    assert advisor.read_text() == "none [scan-time]\n"
