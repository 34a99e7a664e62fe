"""Writes and restoration on files of a fake /sys: what is on disk and in the ledger after each step."""

import os
import shutil
from pathlib import Path

import pytest

from actuator import knobs
from actuator.apply import Writer
from actuator.knobs import HOST, Knob, KnobError, Live, Target, Unit, Value
from actuator.ledger import Intent, Ledger, Outcome, Released
from actuator.ledger import decode as decode_record
from actuator.plan import Setpoint
from actuator.restore import Restoration, Restorer
from kvmhost.fs import HostFS
from kvmhost.virtprocess import VirtProcess

RUN, PAGES = ("ksm.run", HOST), ("ksm.pages_to_scan", HOST)
GUEST: Target = (("domain", "web-1"),)
BALLOON = ("balloon.target", GUEST)
MIB = 2**20


class Guest(Knob):
    """A guest that moves its balloon by `speed` bytes each time it is looked at; it uses `low` bytes."""

    name, unit, summary = "balloon.target", Unit.BYTES, "a model of a guest"
    keys, quantum, settle_seconds = ("domain",), MIB, 10.0

    def __init__(self, actual: int, speed: int, uuid: str = "u") -> None:
        self.actual = self.goal = actual
        self.speed = speed
        self.uuid: str | None = uuid
        self.low = 0

    def live(self) -> dict[Target, Live]:
        step = max(-self.speed, min(self.speed, self.goal - self.actual))
        self.actual += step
        return {GUEST: Live(value=self.actual, low=self.low, identity=self.uuid)} if self.uuid else {}

    def write(self, target: Target, value: Value) -> None:
        self.goal = int(value)

    is_ours = knobs.KNOBS["balloon.target"].is_ours


class Host:
    """KSM files below `root`, a guest, a ledger; and a clock that `sleep` moves."""

    def __init__(self, root: Path, guest: Guest) -> None:
        self.ksm = root / "sys/kernel/mm/ksm"
        self.state = root / "state"
        self.now = 100.0
        self.guest = guest
        virt = VirtProcess("test:///default", readonly=True)
        self.knobs = {**knobs.connect(HostFS(root), virt, self.clock), "balloon.target": guest}
        self.restart()

    def restart(self) -> None:
        """What a new process of the actuator starts with."""
        if hasattr(self, "ledger"):
            self.ledger.close()
        self.ledger = Ledger(self.state)
        self.writer = Writer(self.knobs, self.ledger, drift_backoff_seconds=600)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def file(self, name: str) -> str:
        return (self.ksm / name).read_text().strip()

    def set(self, key: tuple[str, Target], value: Value) -> str:
        live = self.knobs[key[0]].live()[key[1]]
        return self.writer.write(Setpoint("r", *key, 0.0, "because", 0.1), live, value, self.now)

    def restore(self) -> list[tuple[str, str]]:
        told: list[Restoration] = []
        clean = Restorer(self.knobs, self.ledger, self.clock, self.sleep, told.append).run()
        assert clean == all(restoration.result != "failed" for restoration in told)
        return [(restoration.owned.knob, restoration.result) for restoration in told]

    @property
    def records(self) -> list[object]:
        return [decode_record(line) for line in self.ledger.path.read_bytes().splitlines()]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    shutil.copytree(Path(__file__).parents[1] / "hosts/ordinary/sys/kernel/mm/ksm", tmp_path / "sys/kernel/mm/ksm")
    host = Host(tmp_path, Guest(256 * MIB, speed=64 * MIB))
    for name, value in (("run", 0), ("pages_to_scan", 100), ("advisor_mode", "[none] scan-time")):
        (host.ksm / name).write_text(f"{value}\n")
    return host


def test_intent_before_and_outcome_after(host: Host) -> None:
    assert host.set(RUN, 1) == ""
    assert host.file("run") == "1"
    before, after = host.records
    assert isinstance(before, Intent)
    assert (before.before, before.after, before.rule, before.because) == (0, 1, "r", "because")
    assert after == Outcome(id=before.id, time=100.0, result="ok", value=1)


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
    assert "cannot write 1 to" in problem
    assert [record.result for record in host.records if isinstance(record, Outcome)] == ["failed"]


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


def test_a_balloon_that_stops_half_way_falls_short(host: Host) -> None:
    host.guest.speed = 0
    host.set(BALLOON, 100 * MIB)
    assert host.writer.settle(109.9) == ()
    (end,) = host.writer.settle(110)
    assert (end.time, end.outcome, end.detail) == (110, "fell short", "asked for 100 MiB, it reads 256 MiB")
    # It may still go on later: that is not someone else's doing.
    host.guest.speed = 64 * MIB
    assert host.writer.obstacle(BALLOON, host.guest.live()[GUEST], 120) is None


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


def test_restore_never_takes_from_a_guest_what_it_uses_by_now(host: Host) -> None:
    host.set(BALLOON, 400 * MIB)
    while host.guest.actual != 400 * MIB:
        host.writer.settle(host.now)
    host.guest.low = 390 * MIB
    assert host.restore() == [("balloon.target", "restored")]
    assert host.guest.actual == 390 * MIB


def test_a_balloon_that_someone_else_moves_while_ours_settles_is_theirs(host: Host) -> None:
    host.set(BALLOON, 100 * MIB)
    host.guest.actual = host.guest.goal = 900 * MIB
    (end,) = host.writer.settle(host.now)
    assert end.outcome == "drifted"
    assert host.restore() == []
    assert host.guest.actual == 900 * MIB


def test_an_operator_who_unmerges_is_not_disturbed(host: Host) -> None:
    (host.ksm / "run").write_text("2\n")
    assert host.knobs[RUN[0]].live()[HOST].refusal == "it is 2: someone unmerges all pages"


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
