"""What the log says of libvirt, and how often."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from kvmhost.libvirt.journal import Journal
from kvmhost.libvirt.messages import Update
from kvmhost.virtconnection import Guest

GUESTS = [Guest(uuid=f"uuid-{number}", id=number, name=f"web{number}") for number in range(9)]
WEB = GUESTS[0]
FINE = Update(guests=dict.fromkeys(GUESTS, "running"), read_seconds=1.0)


class Told:
    """The log, a second after each update."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        self._now = 0.0
        self.journal = Journal(lambda: self._now)

    def after(self, update: Update, seconds: int = 1) -> list[str]:
        """What is said while the update comes each second."""
        self._caplog.clear()
        for _ in range(seconds):
            self.journal.heard(update)
            self._now += 1
        return [f"{record.levelname} {record.message}" for record in self._caplog.records]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


@pytest.fixture
def calm(told: Told) -> Told:
    told.after(FINE)
    return told


def test_that_libvirt_answers_is_said_once(told: Told) -> None:
    assert told.after(FINE, seconds=60) == ["INFO libvirt answers: active domains: 9"]


def test_each_problem_is_said_once_and_that_it_is_over(told: Told) -> None:
    down, refused = replace(FINE, problem="it is down"), replace(FINE, problem="it refuses us")
    assert told.after(down, seconds=60) == ["WARNING no data of guests from libvirt: it is down"]
    assert told.after(refused, seconds=60) == ["WARNING no data of guests from libvirt: it refuses us"]
    assert told.after(FINE, seconds=60) == ["INFO libvirt answers: active domains: 9"]


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("stopped", "the QEMU process is stopped by a signal or a debugger; `kill -CONT PID` continues it"),
        ("uninterruptible", "the QEMU process waits uninterruptibly, as for storage; see /proc/PID/wchan"),
        ("timed_out", "the QEMU process does not answer libvirt; see its state with `ps`"),
        ("busy", "libvirt is busy with another job for it; see `virsh domjobinfo DOMAIN`"),
        ("failed", "libvirt refused it"),
    ],
)
def test_a_guest_that_cannot_be_read_is_said_once_with_the_next_step(calm: Told, reason: str, says: str) -> None:
    assert calm.after(replace(FINE, unread={WEB: reason}), seconds=60) == [f"WARNING no balloon of web0: {says}"]
    assert calm.after(FINE, seconds=60) == ["INFO balloons again of web0"]


@pytest.mark.parametrize("reason", ["waiting", "limit"])
def test_what_is_no_trouble_of_the_guest_is_not_said_of_it(calm: Told, reason: str) -> None:
    assert calm.after(replace(FINE, unread={WEB: reason}), seconds=60) == []


def test_what_is_over_soon_is_not_worth_a_word(calm: Told) -> None:
    assert calm.after(replace(FINE, unread={WEB: "busy"}), seconds=10) == []
    assert calm.after(FINE) == []


def test_an_error_is_said_in_its_words(calm: Told) -> None:
    failed = replace(FINE, unread={WEB: "failed"})
    calm.after(replace(failed, faults={WEB: "no such device"}))
    assert calm.after(failed, seconds=60) == ["WARNING no balloon of web0: no such device"]


def test_many_guests_share_a_line(calm: Told) -> None:
    stopped = dict.fromkeys(GUESTS, "stopped") | {GUESTS[8]: "busy"}
    assert [line.partition(":")[0] for line in calm.after(replace(FINE, unread=stopped), seconds=60)] == [
        "WARNING no balloon of web8",
        "WARNING no balloon of web0, web1, web2, web3, web4 and 3 more",
    ]


def test_a_guest_that_has_gone_is_not_missed(calm: Told) -> None:
    calm.after(replace(FINE, unread={WEB: "stopped"}), seconds=20)
    assert calm.after(replace(FINE, guests=dict.fromkeys(GUESTS[1:], "running"))) == []


def test_that_too_many_calls_hang_is_said_once_with_the_guests(calm: Told) -> None:
    limited = replace(FINE, hanging=frozenset(GUESTS[:3]), unread=dict.fromkeys(GUESTS[3:], "limit"))
    says = ["WARNING balloons are not read: libvirt hangs in calls for web0, web1, web2"]
    assert calm.after(limited, seconds=60) == says
    # A new process has not met the limit yet, but knows of the calls.
    assert calm.after(replace(limited, unread=dict.fromkeys(GUESTS, "waiting"))) == []
    assert calm.after(FINE, seconds=60) == ["INFO balloons are read again"]
