"""The thread that looks for other tuners: what a scrape gets from it while tuned answers, fails, or hangs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.scrape import Tuning
from exporter.tuning_reader import TuningReader
from kvmhost.dbus import Bus
from kvmhost.fs import HostFS
from kvmhost.tuned import Check, Profile, Tuned
from tests.bus import MessageBus, message_bus
from tests.host import made_of

PROFILE = Profile(active="virtual-host", mode="manual")
ANSWERED = Tuned(up=True, profile=PROFILE, check=Check(recommended="virtual-host", verified=True), ksm_masked=False)
UNANSWERED = Tuned(up=False, profile=PROFILE, check=None, ksm_masked=False)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MessageBus]:
    with message_bus(tmp_path / "bus") as server:
        server.answers |= {
            "profile_mode": ("(ss)", (("manual", ""),)),
            "active_profile": ("s", ("virtual-host",)),
            "recommend_profile": ("s", ("virtual-host",)),
            "verify_profile": ("b", (True,)),
        }
        yield server


@pytest.fixture
def fs(tmp_path: Path) -> HostFS:
    """A host that has tuned, and on which ksmtuned runs."""
    files = {
        "proc/1/comm": "systemd\n",
        "proc/7/comm": "ksmtuned\n",
        "etc/tuned/active_profile": "virtual-host\n",
        "etc/tuned/profile_mode": "manual\n",
    }
    return made_of(tmp_path / "host", files)


def reading(fs: HostFS, address: str, clock: Callable[[], float]) -> TuningReader:
    return TuningReader(fs, Bus(address), check_seconds=300, clock=clock)


@pytest.fixture
def bus(server: MessageBus) -> Iterator[Bus]:
    bus = Bus(server.address)
    yield bus
    bus.close()


@pytest.fixture
def reader(fs: HostFS, bus: Bus, clock: Clock) -> TuningReader:
    return TuningReader(fs, bus, check_seconds=300, clock=clock)


def test_all_is_known(reader: TuningReader) -> None:
    assert reader.read() == Tuning(read_seconds=1000.0, tuners=frozenset({"ksmtuned"}), tuned=ANSWERED)


def test_tuned_has_its_profile_verified_now_and_then(reader: TuningReader, server: MessageBus, clock: Clock) -> None:
    verified = []
    for clock.now in (1000.0, 1030.0, 1299.0, 1300.0, 1330.0):
        reader.read()
        verified.append(server.calls.count("verify_profile"))
    assert verified == [1, 1, 1, 2, 2]


def test_another_profile_is_verified_at_once(reader: TuningReader, server: MessageBus) -> None:
    reader.read()
    server.answers |= {"active_profile": ("s", ("powersave",)), "verify_profile": ("b", (False,))}
    tuned = reader.read().tuned
    assert tuned is not None
    assert (tuned.profile, tuned.check) == (
        Profile(active="powersave", mode="manual"),
        Check(recommended="virtual-host", verified=False),
    )


def test_a_tuned_that_cannot_verify_is_not_asked_again_soon(reader: TuningReader, server: MessageBus) -> None:
    server.answers["verify_profile"] = "org.freedesktop.DBus.Error.NoReply"
    for _ in range(3):
        assert reader.read().tuned == Tuned(up=True, profile=PROFILE, check=None, ksm_masked=False)
    assert server.calls.count("verify_profile") == 1


def test_each_change_is_logged_once(reader: TuningReader, server: MessageBus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answer = server.answers.pop("profile_mode")
    for _ in range(3):
        assert reader.read().tuned == UNANSWERED
    server.answers["profile_mode"] = answer
    for _ in range(3):
        assert reader.read().tuned == ANSWERED
    assert [(record.levelname, record.message) for record in caplog.records] == [
        (
            "WARNING",
            "tuned does not answer, so its profile is what its files say, and not verified:"
            " nobody on the message bus has the name com.redhat.tuned: start that service",
        ),
        ("INFO", "tuned answers again"),
    ]


def test_a_host_without_tuned_is_nothing_to_complain_of(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    fs = made_of(tmp_path, {"proc/1/comm": "systemd\n"})
    reader = reading(fs, "unix:path=/nonexistent/bus", clock)
    assert reader.read() == Tuning(read_seconds=1000.0, tuners=frozenset(), tuned=None)
    assert caplog.text == ""


def test_a_bad_file_of_tuned_costs_tuned_only(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    fs = made_of(tmp_path, {"proc/1/comm": "systemd\n", "etc/tuned/active_profile/x": ""})
    reader = reading(fs, "unix:path=/nonexistent/bus", clock)
    assert reader.read() == Tuning(read_seconds=1000.0, tuners=frozenset(), tuned=None)
    assert "etc/tuned/active_profile: Is a directory" in caplog.text


def test_closing_the_bus_ends_a_look_without_a_word(
    reader: TuningReader, server: MessageBus, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["profile_mode"] = None
    thread = threading.Thread(target=reader.read)
    thread.start()
    assert server.called.wait(30)
    bus.close()
    thread.join(30)
    assert not thread.is_alive()
    assert caplog.text == ""
