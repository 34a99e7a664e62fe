"""Which guest is asked when, as time goes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest

from kvmhost.libvirt.messages import BUSY, FAILED, STOPPED, TIMED_OUT, WAITING
from kvmhost.libvirt.schedule import Ask, Schedule
from kvmhost.virtconnection import Change, Guest


def guest(number: int) -> Guest:
    return Guest(uuid=f"uuid-{number}", id=number, name=f"web{number}")


WEB = guest(0)

Outcome = Callable[[Schedule, Guest, float], None]


def answered(schedule: Schedule, one: Guest, now: float) -> None:
    schedule.balloon_read(one, now)


def busy(schedule: Schedule, one: Guest, now: float) -> None:
    schedule.busy(one, now)


def failed(schedule: Schedule, one: Guest, now: float) -> None:
    schedule.failed(one, now)


def skipped(schedule: Schedule, one: Guest, now: float) -> None:
    schedule.skipped(one, STOPPED)


def late_by_2_s(schedule: Schedule, one: Guest, now: float) -> None:
    schedule.stalled(one, now + 1.5)
    schedule.balloon_read(one, now)


class Clockwork:
    """Ticks once a second, as the process that watches libvirt does; all guests answer but those in `outcomes`."""

    def __init__(self, guests: int, stats_interval_seconds: float = 5, outcomes: Mapping[Guest, Outcome] = {}) -> None:
        self.schedule = Schedule(interval_seconds=1, stats_interval_seconds=stats_interval_seconds)
        self.guests = [guest(number) for number in range(guests)]
        self.outcomes = dict(outcomes)
        self.configs: list[list[Guest]] = []
        self.balloons: list[list[Guest]] = []

    def run(self, first: int, last: int) -> None:
        for second in range(first, last):
            self.tick(float(second))

    def tick(self, now: float) -> None:
        self.schedule.listed(self.guests, now)
        left = self.schedule.balloons_per_tick
        self.configs.append([])
        self.balloons.append([])
        for ask in self.schedule.due(now):
            if ask.config:
                self.configs[-1].append(ask.guest)
                self.schedule.config_read(ask.guest, now)
            if ask.balloon and left:
                left -= 1
                self.balloons[-1].append(ask.guest)
                self.outcomes.get(ask.guest, answered)(self.schedule, ask.guest, now)

    def seconds_of(self, one: Guest) -> list[int]:
        """When its balloon was asked for."""
        return [second for second, asked in enumerate(self.balloons) if one in asked]


def test_a_guest_is_known_at_once_and_asked_in_the_next_tick_and_then_at_the_interval() -> None:
    clockwork = Clockwork(1)
    clockwork.run(0, 20)
    assert clockwork.configs[0] == [WEB]
    assert clockwork.seconds_of(WEB) == [1, 6, 11, 16]


@pytest.mark.parametrize(
    ("guests", "stats_interval_seconds", "most_at_once", "longest_pause"),
    [(10, 5, 10, 5), (50, 5, 11, 5), (300, 5, 66, 5), (300, 1, 330, 1), (300, 60, 10, 60)],
)
def test_the_load_is_even_and_every_guest_is_asked_in_time(
    guests: int, stats_interval_seconds: float, most_at_once: int, longest_pause: int
) -> None:
    clockwork = Clockwork(guests, stats_interval_seconds)
    clockwork.run(0, 200)
    # At first all are asked within seconds, whatever the interval.
    assert {one for asked in clockwork.balloons[:6] for one in asked} == set(clockwork.guests)
    assert max(map(len, clockwork.balloons[10:])) <= most_at_once
    for one in clockwork.guests:
        seconds = clockwork.seconds_of(one)
        pauses = [later - sooner for sooner, later in pairwise(seconds)]
        assert max(pauses[1:]) <= longest_pause


@pytest.mark.parametrize(
    ("outcome", "seconds", "unread"),
    [
        (answered, [1, 6, 11, 16, 21, 26, 31, 36], None),
        (busy, list(range(1, 41)), BUSY),
        (skipped, list(range(1, 41)), STOPPED),
        (failed, [1, 6, 16, 36], FAILED),
        (late_by_2_s, [1, 8, 20, 32], None),
    ],
)
def test_when_a_guest_is_asked_again(outcome: Outcome, seconds: list[int], unread: str | None) -> None:
    clockwork = Clockwork(1, outcomes={WEB: outcome})
    assert clockwork.schedule.unread == {}
    clockwork.tick(0)
    assert clockwork.schedule.unread == {WEB: WAITING}
    clockwork.run(1, 41)
    assert clockwork.seconds_of(WEB) == seconds
    assert clockwork.schedule.unread.get(WEB) == unread


def test_a_guest_that_fails_is_asked_at_least_once_a_minute() -> None:
    clockwork = Clockwork(1, outcomes={WEB: failed})
    clockwork.run(0, 320)
    assert clockwork.seconds_of(WEB) == [1, 6, 16, 36, 76, 136, 196, 256, 316]


def test_an_answer_ends_the_back_off() -> None:
    clockwork = Clockwork(1, outcomes={WEB: failed})
    clockwork.run(0, 20)
    clockwork.outcomes[WEB] = answered
    clockwork.run(20, 50)
    assert clockwork.seconds_of(WEB) == [1, 6, 16, 36, 41, 46]


def test_a_guest_that_hangs_is_asked_later_and_later_and_delays_no_other() -> None:
    clockwork = Clockwork(3, outcomes={WEB: lambda schedule, one, now: schedule.stalled(one, now)})
    clockwork.run(0, 20)
    assert clockwork.schedule.unread == {WEB: TIMED_OUT}
    assert clockwork.seconds_of(guest(1)) == clockwork.seconds_of(guest(2)) == [1, 6, 11, 16]


def test_what_is_said_twice_of_one_call_counts_once() -> None:
    schedule = Schedule(interval_seconds=1, stats_interval_seconds=5)
    schedule.listed([WEB], 0)
    for now in range(3):
        schedule.stalled(WEB, now)
    assert schedule.due(4.9) == []
    assert schedule.due(5.0) == [Ask(guest=WEB, config=True, balloon=False, is_known=False)]


# Configurations.


def test_configurations_are_read_again_in_turns() -> None:
    clockwork = Clockwork(300)
    clockwork.run(0, 200)
    assert [len(asked) for asked in clockwork.configs[:31]] == [300, *[0] * 29, 11]
    assert max(map(len, clockwork.configs[1:])) == 11
    for one in clockwork.guests:
        seconds = [second for second, asked in enumerate(clockwork.configs) if one in asked]
        first, *others = [later - sooner for sooner, later in pairwise(seconds)]
        assert first < 60  # all are new at the same time, and are spread from then on
        assert set(others) == {30}


def test_a_guest_that_has_changed_is_read_in_the_next_tick_whatever_the_turn() -> None:
    clockwork = Clockwork(50)
    clockwork.run(0, 3)
    for one in clockwork.guests:
        clockwork.schedule.changed(one.uuid, Change.CONFIG, 3)
    clockwork.run(3, 5)
    assert [len(asked) for asked in clockwork.configs] == [50, 0, 0, 50, 0]


def test_after_a_connection_broke_every_configuration_is_read() -> None:
    clockwork = Clockwork(50)
    clockwork.run(0, 3)
    clockwork.schedule.connected(3)
    clockwork.run(3, 5)
    assert [len(asked) for asked in clockwork.configs] == [50, 0, 0, 50, 0]


def test_a_balloon_that_moves_is_read_in_the_next_tick() -> None:
    clockwork = Clockwork(1)
    clockwork.run(0, 3)
    clockwork.schedule.changed(WEB.uuid, Change.BALLOON, 3)
    clockwork.run(3, 12)
    assert clockwork.seconds_of(WEB) == [1, 3, 8]


# Guests come and go, and calls are lost.


def test_guests_that_are_gone_are_forgotten() -> None:
    clockwork = Clockwork(2, outcomes={WEB: failed})
    clockwork.run(0, 3)
    clockwork.guests.remove(WEB)
    clockwork.run(3, 5)
    assert clockwork.schedule.unread == {}
    clockwork.schedule.balloon_read(WEB, 5)  # its call was late
    again = WEB._replace(id=99)
    clockwork.guests.append(again)
    clockwork.run(5, 7)
    assert clockwork.configs[5] == [again]
    assert again in clockwork.balloons[6]


def test_a_call_that_was_lost_is_held_against_its_guest_until_it_answers() -> None:
    clockwork = Clockwork(1, outcomes={WEB: lambda schedule, one, now: schedule.cut_off(one)})
    clockwork.run(0, 2)
    assert clockwork.schedule.lost == {WEB}
    clockwork.outcomes[WEB] = busy  # as libvirt says while it is still at the lost call
    clockwork.run(2, 9)
    assert (clockwork.schedule.lost, clockwork.schedule.unread) == ({WEB}, {WEB: TIMED_OUT})
    clockwork.outcomes[WEB] = answered
    clockwork.run(9, 14)
    assert (clockwork.schedule.lost, clockwork.schedule.unread) == (frozenset(), {})
    assert clockwork.seconds_of(WEB) == [1, 2, 7, 12]


def test_calls_that_an_earlier_process_lost_count_too() -> None:
    schedule = Schedule(interval_seconds=1, stats_interval_seconds=5, lost=[WEB, guest(1)])
    schedule.listed([WEB], 0)
    assert schedule.lost == {WEB}
