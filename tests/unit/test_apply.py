"""Writes on files of a fake /sys: what is on disk and in the ledger after each step."""

import errno
import os
import shutil

import pytest

from actuator.apply import Obstacle
from actuator.knobs import HOST, KnobError, Live
from actuator.ledger.ledger import LedgerError
from actuator.ledger.records import Intent, Outcome
from actuator.plans.plan import Setpoint
from tests.unit.written import BALLOON, GUEST, MIB, PAGES, RUN, Host, host

__all__ = ["host"]  # the fixture


def test_intent_before_and_outcome_after(host: Host) -> None:
    assert host.set(RUN, 1) == ""
    assert host.file("run") == "1"
    before, after = host.records
    assert isinstance(before, Intent)
    assert (before.before, before.after, before.rule, before.because) == (0, 1, "r", "because")
    assert after == Outcome(id=before.id, time=100.0, result="ok", value=1)


def test_drift_hands_the_value_over_and_backs_off(host: Host) -> None:
    host.set(PAGES, 200)
    (host.ksm / "pages_to_scan").write_text("777\n")

    def obstacle(now: float) -> str | None:
        found = host.writer.obstacle(PAGES, host.knobs[PAGES[0]].live()[HOST], now)
        return found.outcome if found else None

    assert obstacle(101) == "drifted"
    assert PAGES not in host.ledger.owned
    assert obstacle(700) == "drifted"
    assert obstacle(701) is None
    # What we write after that starts from the other's value, and goes back to it.
    host.set(PAGES, 300)
    host.restore()
    assert host.file("pages_to_scan") == "777"


def test_the_advisor_is_named_before_the_kernel_refuses(host: Host) -> None:
    (host.ksm / "advisor_mode").write_text("none [scan-time]\n")
    refusal = host.knobs[PAGES[0]].live()[HOST].refusal
    assert refusal is not None
    assert "advisor" in refusal
    assert host.knobs[RUN[0]].live()[HOST].refusal is None


def test_a_failed_write_is_recorded_and_explained(host: Host) -> None:
    live = host.knobs[RUN[0]].live()[HOST]
    shutil.rmtree(host.ksm)
    problem = host.writer.write(Setpoint("r", *RUN, 0.0, "b", 0.1), live, 1, host.now)
    assert problem is not None and "cannot write 1 to" in problem.detail
    assert [record.result for record in host.records if isinstance(record, Outcome)] == ["failed"]


def test_who_does_not_follow_is_known_until_the_back_off_has_passed(host: Host) -> None:
    host.guest.speed = 0
    host.set(BALLOON, 100 * MIB)
    assert host.writer.settling == {BALLOON}
    host.writer.settle(110)
    assert host.writer.unresponsive(709) == {BALLOON: "asked for 100 MiB, it reads 256 MiB"}
    assert host.writer.unresponsive(710) == {}
    host.set(RUN, 1)
    (host.ksm / "run").write_text("0\n")
    host.writer.obstacle(RUN, host.knobs[RUN[0]].live()[HOST], 200)
    assert host.writer.unresponsive(799) == {RUN: "someone else set it to 0 after we wrote 1"}
    shutil.rmtree(host.ksm)
    host.writer.write(Setpoint("r", *RUN, 0.0, "b", 0.1), Live(value=0), 1, 800)
    assert "cannot write 1 to" in host.writer.unresponsive(801)[RUN]


def test_a_balloon_that_moved_follows_also_if_it_falls_short(host: Host) -> None:
    host.guest.speed = MIB
    host.set(BALLOON, 100 * MIB)
    host.writer.settle(105)
    host.writer.settle(110)
    host.writer.settle(111)
    assert (host.writer.settling, host.writer.unresponsive(111)) == (frozenset(), {})


def test_a_kernel_without_ksm_has_no_such_target(host: Host) -> None:
    shutil.rmtree(host.ksm)
    assert host.knobs[RUN[0]].live() == {}


def test_a_malformed_file_is_an_error_of_the_knob(host: Host) -> None:
    (host.ksm / "run").write_text("yes\n")
    with pytest.raises(KnobError, match="expected a whole number"):
        host.knobs[RUN[0]].live()


def test_a_balloon_settles_over_several_looks(host: Host) -> None:
    assert host.set(BALLOON, 100 * MIB) == ""
    live = host.guest.live()[GUEST]
    obstacle = host.writer.obstacle(BALLOON, live, host.now)
    assert obstacle is not None
    assert obstacle.outcome == "waiting"
    ends = [end for _ in range(4) for end in host.writer.settle(host.now)]
    assert [(end.outcome, end.after) for end in ends] == [("settled", 100 * MIB)]
    assert host.writer.obstacle(BALLOON, host.guest.live()[GUEST], host.now) is None


@pytest.mark.parametrize("speed", [0, MIB], ids=["not moved", "half way"])
def test_a_balloon_that_does_not_get_there_in_time_stays_where_it_is(host: Host, speed: int) -> None:
    host.guest.speed = speed
    host.set(BALLOON, 100 * MIB)
    assert host.writer.settle(109.9) == ()
    (end,) = host.writer.settle(110)
    reached = host.guest.actual
    assert (end.time, end.outcome) == (110, "fell short")
    assert end.detail == f"asked for 100 MiB, it reads {reached // MIB} MiB; it stays there"
    # Else it would go on at some later time, when nobody looks.
    host.guest.speed = 64 * MIB
    assert [end.outcome for end in host.writer.settle(111)] == ["settled"]
    assert (host.guest.actual, host.writer.settling) == (reached, frozenset())
    assert host.restore() == ([("balloon.target", "restored")] if speed else [])
    assert host.guest.actual == 256 * MIB


def test_a_guest_in_trouble_gets_back_what_was_taken(host: Host) -> None:
    host.set(BALLOON, 64 * MIB)
    assert host.writer.settle(101) == ()
    host.guest.trouble = "the guest needs its memory by now"
    (end,) = host.writer.settle(102)
    assert end.detail == "asked for 64 MiB, it reads 128 MiB: the guest needs its memory by now; it is undone"
    assert host.writer.settle(103) == ()  # growing is no trouble
    assert [end.outcome for end in host.writer.settle(104)] == ["settled"]
    assert (host.guest.actual, host.ledger.owned) == (256 * MIB, {})


def test_a_balloon_that_cannot_be_told_to_stay_is_told_of(host: Host) -> None:
    host.guest.speed = 0
    host.set(BALLOON, 100 * MIB)
    host.guest.breaks = "libvirt does not answer"
    (end,) = host.writer.settle(110)
    assert end.detail == "asked for 100 MiB, it reads 256 MiB; libvirt does not answer"
    host.guest.breaks = ""
    assert host.restore() == [("balloon.target", "restored")]


def test_a_balloon_that_goes_on_until_it_is_told_to_stay_is_still_ours(host: Host) -> None:
    host.guest.speed = 0
    host.set(BALLOON, 100 * MIB)
    host.writer.settle(110)
    host.guest.actual = 200 * MIB  # it moved between the read and the write
    assert host.writer.settle(111) == ()
    host.restart()
    assert host.restore() == [("balloon.target", "failed")]
    host.guest.speed = 64 * MIB
    assert host.restore() == [("balloon.target", "restored")]


def test_a_balloon_that_someone_else_moves_while_ours_settles_is_theirs(host: Host) -> None:
    host.set(BALLOON, 100 * MIB)
    host.guest.actual = host.guest.goal = 900 * MIB
    (end,) = host.writer.settle(host.now)
    assert end.outcome == "drifted"
    assert host.restore() == []
    assert host.guest.actual == 900 * MIB


def test_what_a_knob_remarks_is_in_the_ledger(host: Host) -> None:
    host.guest.says = "a diff"
    host.set(BALLOON, 200 * MIB)
    host.writer.settle(host.now)
    outcome = host.records[-1]
    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.detail) == ("ok", "a diff")


def test_a_value_that_no_boot_can_set_is_not_written(host: Host) -> None:
    live = host.knobs[RUN[0]].live()[HOST]
    told = host.writer.write(Setpoint("r", *RUN, 0.0, "b", 0.1, persist=True), live, 1, host.now)
    assert told == Obstacle("failed", "no boot sets ksm.run")
    assert host.records == []


def balloon_obstacle(host: Host, now: float) -> str | None:
    found = host.writer.obstacle(BALLOON, host.guest.live()[GUEST], now)
    return found.outcome if found else None


def test_the_balloon_of_a_guest_that_boots_is_ours_still(host: Host) -> None:
    host.set(BALLOON, 128 * MIB)
    host.guest.live()
    host.writer.settle(105)
    host.guest.actual = 256 * MIB  # the balloon is empty until the guest's driver is loaded, and fills again then
    assert [balloon_obstacle(host, now) for now in (110, 111)] == ["waiting", None]
    assert host.restore() == [("balloon.target", "restored")]
    assert host.guest.goal == 256 * MIB


def test_a_balloon_that_stays_where_someone_else_has_set_it_is_theirs(host: Host) -> None:
    host.set(BALLOON, 128 * MIB)
    host.guest.live()
    host.writer.settle(105)
    host.guest.actual = host.guest.goal = 200 * MIB
    assert [balloon_obstacle(host, now) for now in (110, 115, 120)] == ["waiting", "waiting", "drifted"]
    assert BALLOON not in host.ledger.owned


def test_a_guest_that_was_started_anew_has_the_values_of_its_start(host: Host) -> None:
    host.set(BALLOON, 128 * MIB)
    host.guest.live()
    host.writer.settle(105)
    host.guest.actual = host.guest.goal = 256 * MIB
    host.guest.run = "2"
    assert balloon_obstacle(host, 110) is None
    assert BALLOON not in host.ledger.owned


def test_what_a_guest_that_is_gone_leaves_behind_is_forgotten_after_two_looks(host: Host) -> None:
    host.set(BALLOON, 128 * MIB)
    host.guest.live()
    host.writer.settle(105)
    host.guest.hangs, host.guest.uuid = "libvirt does not answer", None
    for now in (170, 240, 310):
        host.writer.settle(now)
        assert BALLOON in host.ledger.owned
    host.guest.hangs = None
    host.writer.settle(380)
    assert BALLOON in host.ledger.owned
    host.writer.settle(450)
    assert BALLOON not in host.ledger.owned


def test_an_outcome_that_cannot_be_recorded_is_still_to_come(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.guest.speed = 0
    host.set(BALLOON, 100 * MIB)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(LedgerError):
            host.writer.settle(110)
    assert host.writer.settling == {BALLOON}
    (end,) = host.writer.settle(115)
    assert "it stays there" in end.detail
    assert host.guest.goal == 256 * MIB
