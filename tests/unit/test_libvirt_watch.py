"""The process that watches libvirt, ticked by hand: what it finds, and what guests and daemons cost that do not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmhost.libvirt.messages import BALLOON, LIST, XML, Settings, Update
from kvmhost.libvirt.watch import Watch
from kvmhost.virtconnection import Guest
from tests.fakelibvirt import TIMED_OUT, FakeError, FakeGuest, FakeLibvirt, libvirt
from tests.host import made_of
from tests.unit.test_qemustate import process

__all__ = ["libvirt"]  # the fixture

STALL_SECONDS = 0.05


class Watched:
    """A watch on the fake, whose clock stands still between ticks, and all that it has told."""

    def __init__(self, fake: FakeLibvirt, rootfs: Path, hanging: frozenset[Guest] = frozenset()) -> None:
        self.fake = fake
        self.now = 0.0
        self.updates: list[Update] = []
        settings = Settings(
            uri="qemu:///system",
            rootfs=rootfs,
            interval_seconds=1,
            stats_interval_seconds=5,
            stall_seconds=STALL_SECONDS,
            hanging=hanging,
        )
        self.watch = Watch(settings, self.updates.append, clock=lambda: self.now, unix=lambda: 1000 + self.now)

    def tick(self, times: int = 1) -> Update:
        for _ in range(times):
            self.watch.tick()
            self.now += 1
        return self.updates[-1]

    def read(self) -> list[tuple[float, str]]:
        """When, in seconds since the start, the balloon of each guest was read."""
        return [
            (balloon.read_seconds - 1000, guest.name)
            for update in self.updates
            for guest, balloon in update.balloons.items()
            if balloon.read_seconds is not None
        ]


@pytest.fixture
def watched(libvirt: FakeLibvirt, tmp_path: Path) -> Watched:
    """On a host where no QEMU process can be seen."""
    return Watched(libvirt, tmp_path)


def names(guests: object) -> set[str]:
    assert isinstance(guests, dict | frozenset)
    return {guest.name for guest in guests}


def unread(update: Update) -> dict[str, str]:
    return {guest.name: reason for guest, reason in update.unread.items()}


def crowd(libvirt: FakeLibvirt, count: int) -> list[str]:
    for number in range(count):
        libvirt.add(FakeGuest(f"web{number}", id=number + 1))
    return list(libvirt.guests)


# What it finds.


def test_first_the_guests_then_their_balloons_then_what_is_new(libvirt: FakeLibvirt, watched: Watched) -> None:
    libvirt.add(FakeGuest("web", id=7, title="The web"))
    first = watched.tick()
    (guest,) = first.guests or ()
    assert guest == Guest(uuid=libvirt.guests["web"].uuid, id=7, name="web")
    assert (first.problem, first.read_seconds, first.guests) == (None, 1000, {guest: "running"})
    assert first.configs[guest].title == "The web"
    assert (first.balloons, unread(first)) == ({}, {"web": "waiting"})
    second = watched.tick()
    assert second.balloons[guest].actual_bytes == 2**20
    assert (second.read_seconds, second.configs, second.unread) == (1001, {}, {})
    watched.tick(9)
    assert watched.read() == [(1, "web"), (6, "web")]


def test_states_and_ends_are_seen_with_each_tick(libvirt: FakeLibvirt, watched: Watched) -> None:
    crowd(libvirt, 2)
    watched.tick()
    libvirt.guests["web0"].state = 3
    del libvirt.guests["web1"]
    update = watched.tick()
    assert {guest.name: state for guest, state in (update.guests or {}).items()} == {"web0": "paused"}


def test_a_configuration_is_sent_again_only_if_it_has_changed(libvirt: FakeLibvirt, watched: Watched) -> None:
    libvirt.add(FakeGuest("web"))
    for second in range(70):
        if second == 40:
            libvirt.guests["web"].title = "changed, and no event tells"
        watched.tick()
    assert libvirt.guests["web"].xml_asked == 3
    sent = [(update.read_seconds, config.title) for update in watched.updates for config in update.configs.values()]
    assert sent == [(1000, None), (1060, "changed, and no event tells")]


@pytest.mark.parametrize("event", [0, 15, 17, 18, 19, 23, 26])
def test_an_event_has_the_configuration_read_at_once(libvirt: FakeLibvirt, watched: Watched, event: int) -> None:
    libvirt.add(FakeGuest("web"))
    watched.tick(3)
    libvirt.guests["web"].title = "changed"
    libvirt.event("web", event, "details", 1)
    assert [config.title for config in watched.tick().configs.values()] == ["changed"]


def test_a_balloon_that_moves_is_read_at_once(libvirt: FakeLibvirt, watched: Watched) -> None:
    libvirt.add(FakeGuest("web"))
    watched.tick(3)
    libvirt.event("web", 13, 512)
    watched.tick(2)
    assert watched.read() == [(1, "web"), (3, "web")]


def test_a_domain_that_ends_while_it_is_asked_is_no_fault(libvirt: FakeLibvirt, watched: Watched) -> None:
    libvirt.add(FakeGuest("web"))
    watched.tick()
    libvirt.guests["web"].has_ended = True
    libvirt.event("web", 0, 5, 0)
    update = watched.tick()
    assert (update.faults, update.configs, update.balloons) == ({}, {}, {})


def test_calls_are_counted(libvirt: FakeLibvirt, watched: Watched) -> None:
    libvirt.add(FakeGuest("web"))
    libvirt.add(FakeGuest("bad", id=2, error=FakeError("no balloon", 1)))
    watched.tick(2)
    counts = {kind: (calls.count, calls.failures) for kind, calls in watched.updates[-1].calls.items()}
    assert counts == {LIST: (1, 0), BALLOON: (2, 1)}
    assert watched.updates[0].calls[XML].count == 2


# What one guest costs.


def test_an_error_costs_its_own_guest_and_is_told(libvirt: FakeLibvirt, watched: Watched) -> None:
    crowd(libvirt, 2)
    libvirt.guests["web0"].error = FakeError("cannot acquire state change lock", TIMED_OUT)
    update = watched.tick(2)
    assert unread(update) == {"web0": "failed"}
    assert names(update.balloons) == {"web1"}
    assert list(update.faults.values()) == [
        "cannot acquire state change lock; the guest's QEMU process may be stuck: look at its state with ps"
    ]


def test_xml_that_is_damaged_costs_its_own_guest(libvirt: FakeLibvirt, watched: Watched) -> None:
    crowd(libvirt, 2)
    libvirt.guests["web0"].title = "<"
    update = watched.tick()
    assert names(update.configs) == {"web1"}
    assert names(update.faults) == {"web0"}


def test_a_guest_that_hangs_costs_itself_only_and_its_late_answer_counts(
    libvirt: FakeLibvirt, watched: Watched
) -> None:
    crowd(libvirt, 3)
    watched.tick()
    libvirt.hang("web1")
    update = watched.tick(7)
    assert unread(update) == {"web1": "timed_out"}
    assert names(update.hanging) == {"web1"}
    assert {name for _, name in watched.read()} == {"web0", "web2"}
    assert libvirt.guests["web1"].asked == 1
    libvirt.resume("web1")
    libvirt.wait_for_idle()
    update = watched.tick()
    assert (unread(update), update.hanging) == ({}, frozenset())
    assert "web1" in names(update.balloons)
    assert libvirt.overlaps == 0


def test_a_guest_whose_xml_hangs_costs_itself_only(libvirt: FakeLibvirt, watched: Watched) -> None:
    """Since libvirt 11 the XML waits for another job of the guest."""
    crowd(libvirt, 3)
    libvirt.guests["web1"].xml_hangs = True
    libvirt.hang("web1")
    watched.tick(4)
    assert {name for update in watched.updates for name in names(update.configs)} == {"web0", "web2"}
    assert {name for _, name in watched.read()} == {"web0", "web2"}
    assert (libvirt.guests["web1"].xml_asked, libvirt.guests["web1"].asked) == (1, 0)
    assert libvirt.overlaps == 0


# How many may hang.


def test_at_most_three_balloons_hang_and_new_guests_are_still_shown(libvirt: FakeLibvirt, watched: Watched) -> None:
    all_names = crowd(libvirt, 8)
    watched.tick()
    libvirt.hang(*all_names)
    update = watched.tick(9)
    assert len(update.hanging) == 3
    assert sorted(unread(update).values()) == ["limit"] * 5 + ["timed_out"] * 3
    assert libvirt.most_in_flight == 3
    libvirt.add(FakeGuest("new", id=99))
    assert names(watched.tick().configs) == {"new"}
    libvirt.resume()
    libvirt.wait_for_idle()
    assert watched.tick(2).unread == {}
    assert libvirt.overlaps == 0


def test_at_most_four_calls_of_any_kind_hang(libvirt: FakeLibvirt, watched: Watched) -> None:
    all_names = crowd(libvirt, 8)
    for name in all_names:
        libvirt.guests[name].xml_hangs = True
    libvirt.hang(*all_names)
    watched.tick(12)
    assert libvirt.most_in_flight == 4
    assert sum(guest.xml_asked for guest in libvirt.guests.values()) == 4
    # The list goes on.
    assert watched.updates[-1].problem is None
    assert len(watched.updates[-1].guests or {}) == 8


def test_calls_that_hang_count_over_connections_that_break(libvirt: FakeLibvirt, watched: Watched) -> None:
    """libvirt is still at a call whose client is gone: it says that it is busy with another job."""
    all_names = crowd(libvirt, 8)
    watched.tick()
    libvirt.hang(*all_names)
    hanging = watched.tick(5).hanging
    for _ in range(3):
        libvirt.break_connections()
        libvirt.wait_for_idle()
        update = watched.tick(6)
        assert update.hanging == hanging
    assert sum(guest.has_job for guest in libvirt.guests.values()) == 3
    assert sorted(unread(update).values()) == ["limit"] * 5 + ["timed_out"] * 3
    libvirt.resume()
    assert watched.tick(8).unread == {}


def test_calls_that_hang_count_over_processes(libvirt: FakeLibvirt, tmp_path: Path) -> None:
    crowd(libvirt, 8)
    hanging = frozenset(
        Guest(uuid=libvirt.guests[name].uuid, id=libvirt.guests[name].id, name=name)
        for name in ("web0", "web1", "web2")
    )
    for guest in hanging:
        libvirt.guests[guest.name].has_job = True
    watched = Watched(libvirt, tmp_path, hanging)
    assert watched.tick().hanging == hanging
    update = watched.tick(3)
    assert (update.hanging, watched.read()) == (hanging, [])
    libvirt.resume()
    assert watched.tick(8).unread == {}


# What the state of a QEMU process tells.


@pytest.mark.parametrize(("state", "reason"), [("T", "stopped"), ("t", "stopped"), ("D", "uninterruptible")])
def test_a_qemu_process_that_does_not_run_is_not_asked_until_it_does(
    libvirt: FakeLibvirt, tmp_path: Path, state: str, reason: str
) -> None:
    crowd(libvirt, 2)
    uuid = libvirt.guests["web0"].uuid
    made_of(tmp_path, process(7, uuid, state))
    watched = Watched(libvirt, tmp_path)
    update = watched.tick(10)
    assert unread(update) == {"web0": reason}
    assert names(watched.updates[0].configs) == {"web0", "web1"}  # for which QEMU is not asked
    assert libvirt.guests["web0"].asked == 0
    made_of(tmp_path, process(7, uuid, "S"))
    assert watched.tick().unread == {}
    assert libvirt.guests["web0"].asked == 1


# The daemon.


def test_a_daemon_that_is_down_is_tried_again_less_and_less_often(libvirt: FakeLibvirt, watched: Watched) -> None:
    libvirt.is_up = False
    attempts = []
    for _ in range(16):
        watched.tick()
        attempts.append(libvirt.attempts)
    assert attempts == [1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6]
    problem = watched.updates[-1].problem or ""
    assert "cannot connect to qemu:///system: Failed to connect" in problem
    assert "systemctl start libvirtd" in problem
    assert watched.updates[-1].guests is None
    libvirt.is_up = True
    libvirt.add(FakeGuest("web"))
    watched.tick(4)
    assert watched.updates[-1].problem is None


def test_a_connection_that_broke_is_made_anew(libvirt: FakeLibvirt, watched: Watched) -> None:
    libvirt.add(FakeGuest("web"))
    watched.tick(3)
    libvirt.break_connections()
    libvirt.guests["web"].title = "changed unheard"
    update = watched.tick()
    assert (update.problem, update.connections) == (None, 1)
    assert [config.title for config in update.configs.values()] == ["changed unheard"]


def test_a_daemon_that_dies_is_a_problem_until_it_is_back(libvirt: FakeLibvirt, watched: Watched) -> None:
    libvirt.add(FakeGuest("web"))
    watched.tick(3)
    libvirt.is_up = False
    update = watched.tick()
    assert update.problem is not None
    assert update.read_seconds == 1002  # the newest list, which is still sent
    libvirt.is_up = True
    assert watched.tick().problem is None
    watched.tick(5)
    assert watched.updates[-1].unread == {}


def test_no_connection_is_left_open(libvirt: FakeLibvirt, watched: Watched) -> None:
    crowd(libvirt, 4)
    watched.tick()
    libvirt.hang("web0", "web1")
    watched.tick(4)
    libvirt.break_connections()
    libvirt.wait_for_idle()
    libvirt.resume()
    watched.tick(3)
    *earlier, current = libvirt.connections
    assert len(earlier) >= 3
    assert all(connection.is_closed and not connection.callbacks for connection in earlier)
    assert not current.is_closed


def test_who_was_just_changed_is_looked_at_again(libvirt: FakeLibvirt, watched: Watched) -> None:
    crowd(libvirt, 2)
    watched.tick(3)
    libvirt.guests["web0"].title = "changed, and no event tells"
    watched.watch.look_again(libvirt.guests["web0"].uuid)
    update = watched.tick()
    assert {guest.name: config.title for guest, config in update.configs.items()} == {
        "web0": "changed, and no event tells"
    }
    assert names(update.balloons) == {"web0"}
