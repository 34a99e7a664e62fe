"""Restoration on files of a fake /sys: what is put back, and what is left alone."""

import os

import pytest

from actuator.knobs import HOST, KnobError, Live, Target
from actuator.ledger.records import Intent, Released
from tests.unit.written import BALLOON, GUEST, MIB, PAGES, RUN, Host, host

__all__ = ["host"]  # the fixture


def test_restore_puts_back_what_was_there_first_in_reverse(host: Host) -> None:
    host.set(RUN, 1)
    host.set(PAGES, 200)
    host.set(PAGES, 300)
    assert host.restore() == [("ksm.pages_to_scan", "restored"), ("ksm.run", "restored")]
    assert (host.file("run"), host.file("pages_to_scan")) == ("0", "100")
    assert host.restore() == []


@pytest.mark.parametrize("written", [False, True], ids=["killed before the write", "killed after it"])
def test_a_crash_between_intent_and_outcome(host: Host, written: bool) -> None:
    intent = Intent(
        id=1, time=1, knob="ksm.run", target=HOST, identity="", before=0, after=1, rule="r", because="b"
    )  # fmt: skip
    host.ledger.append(intent)
    (host.ksm / "run").write_text(f"{int(written)}\n")
    host.restart()
    assert host.restore() == [("ksm.run", "restored" if written else "already there")]
    assert host.file("run") == "0"


def test_what_someone_else_has_changed_is_left_alone_and_named(host: Host) -> None:
    host.set(RUN, 1)
    host.set(PAGES, 200)
    (host.ksm / "pages_to_scan").write_text("777\n")
    assert host.restore() == [("ksm.pages_to_scan", "left alone"), ("ksm.run", "restored")]
    assert host.file("pages_to_scan") == "777"
    (reason,) = [record.reason for record in host.records if isinstance(record, Released) and record.knob == PAGES[0]]
    assert reason == "left alone: someone else set it to 777 after we wrote 200"


def test_restore_waits_for_the_guest(host: Host) -> None:
    host.set(BALLOON, 100 * MIB)
    host.restart()  # killed while the balloon was on its way
    assert host.restore() == [("balloon.target", "restored")]
    assert host.guest.actual == 256 * MIB


def test_restore_says_so_when_the_guest_does_not_follow_and_can_be_asked_again(host: Host) -> None:
    host.set(BALLOON, 100 * MIB)
    while host.guest.actual != 100 * MIB:
        host.writer.settle(host.now)
    host.guest.speed = 0
    assert host.restore() == [("balloon.target", "failed")]
    host.guest.speed = 64 * MIB
    assert host.restore() == [("balloon.target", "restored")]


@pytest.mark.parametrize("uuid", [None, "another"])
def test_a_guest_that_is_gone_or_replaced_needs_no_restoring(host: Host, uuid: str | None) -> None:
    host.set(BALLOON, 100 * MIB)
    host.guest.uuid = uuid
    assert host.restore() == [("balloon.target", "gone")]
    assert host.ledger.owned == {}


def test_a_guest_that_hangs_is_not_taken_for_one_that_is_gone(host: Host) -> None:
    host.set(BALLOON, 100 * MIB)
    host.guest.uuid, host.guest.hangs = None, "its QEMU process is stopped"
    assert host.restore() == [("balloon.target", "failed")]
    host.guest.uuid, host.guest.hangs = "u", None
    assert host.restore() == [("balloon.target", "restored")]
    assert host.guest.actual == 256 * MIB


def test_restore_never_takes_from_a_guest_what_it_uses_by_now(host: Host) -> None:
    host.set(BALLOON, 400 * MIB)
    while host.guest.actual != 400 * MIB:
        host.writer.settle(host.now)
    host.guest.low = 390 * MIB
    assert host.restore() == [("balloon.target", "restored")]
    assert host.guest.actual == 390 * MIB


def test_a_rate_that_the_advisor_has_taken_over_is_its_own(host: Host) -> None:
    host.set(PAGES, 500)
    (host.ksm / "advisor_mode").write_text("none [scan-time]\n")
    (host.ksm / "pages_to_scan").write_text("700\n")
    live = host.knobs[PAGES[0]].live()[HOST]
    assert host.writer.obstacle(PAGES, live, host.now) is None
    assert (live.refusal or "").startswith("the kernel's KSM advisor sets it")
    assert host.restore() == [("ksm.pages_to_scan", "gone")]
    assert host.file("pages_to_scan") == "700"


def test_an_operator_who_unmerges_is_not_disturbed(host: Host) -> None:
    (host.ksm / "run").write_text("2\n")
    assert (
        host.knobs[RUN[0]].live()[HOST].refusal
        == "it is 2 and 91022 pages are still shared: someone unmerges all pages"
    )


def test_one_value_that_cannot_be_restored_costs_no_other(host: Host) -> None:
    host.set(RUN, 1)
    unknown = Intent(
        id=9, time=1, knob="ksm.of_tomorrow", target=HOST, identity="", before=0, after=1, rule="r", because="b"
    )  # fmt: skip
    host.ledger.append(unknown)
    host.set(PAGES, 200)
    assert host.restore() == [("ksm.pages_to_scan", "restored"), ("ksm.of_tomorrow", "failed"), ("ksm.run", "restored")]


def test_restore_goes_on_without_a_ledger_that_can_be_written(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.set(RUN, 1)
    host.ledger.close()
    read_only = os.open(host.ledger.path, os.O_RDONLY)
    host.ledger._fd = read_only  # as on a disk that became read-only
    assert host.restore() == [("ksm.run", "restored")]
    assert host.file("run") == "0"
    assert "restoring all the same: cannot write" in caplog.text


def test_a_knob_that_hangs_is_asked_once(host: Host) -> None:
    others: list[Target] = [(("domain", name),) for name in ("web-2", "web-3")]
    host.set(BALLOON, 100 * MIB)
    for number, target in enumerate(others, start=20):
        host.ledger.append(
            Intent(id=number, time=1, knob="balloon.target", target=target, identity="u", before=1, after=2, rule="r", because="b")
        )  # fmt: skip
    asked = []

    def hang() -> dict[Target, Live]:
        asked.append(1)
        host.sleep(5)
        raise KnobError("libvirt did not answer")

    host.guest.live = hang  # type: ignore[method-assign]
    assert host.restore() == [("balloon.target", "failed")] * 3
    assert len(asked) == 1


def test_restore_waits_until_a_balloon_that_was_on_its_way_stands_still(host: Host) -> None:
    host.set(BALLOON, 100 * MIB)
    host.restart()
    # It is where it shall be, still follows the last command for a while, and comes back.
    sizes = iter([256, 256, 256, 200, 230, *[256] * 20])

    def live() -> dict[Target, Live]:
        return {GUEST: Live(value=next(sizes) * MIB, low=0, identity="u")}

    host.guest.live = live  # type: ignore[method-assign]
    assert host.restore() == [("balloon.target", "restored")]
    assert len(list(sizes)) == 11  # it looked on for 2 s after the dip
