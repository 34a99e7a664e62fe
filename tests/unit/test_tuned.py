"""tuned: what it says over the message bus, and what its files say without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmhost import tuned
from kvmhost.dbus import Bus, BusError
from kvmhost.tuned import Check, Profile
from tests.bus import MessageBus, message_bus
from tests.host import fixture, made_of


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MessageBus]:
    with message_bus(tmp_path / "bus") as server:
        server.answers |= {
            "profile_mode": ("(ss)", (("manual", ""),)),
            "active_profile": ("s", ("virtual-host",)),
            "recommend_profile": ("s", ("balanced",)),
            "verify_profile": ("b", (False,)),
        }
        yield server


@pytest.fixture
def bus(server: MessageBus) -> Iterator[Bus]:
    bus = Bus(server.address)
    yield bus
    bus.close()


def test_the_daemon_answers(server: MessageBus, bus: Bus) -> None:
    assert tuned.profile(bus) == Profile(active="virtual-host", mode="manual")
    assert tuned.check(bus, "virtual-host") == Check(recommended="balanced", verified=False)


def test_without_a_profile_there_is_nothing_to_verify(server: MessageBus, bus: Bus) -> None:
    assert tuned.check(bus, "") == Check(recommended="balanced", verified=None)
    assert "verify_profile" not in server.calls


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        ("Unauthorized", "tuned says of its profile: Unauthorized; run as root, or install polkit"),
        ("Failed to read profile mode: x", "tuned says of its profile: Failed to read profile mode: x$"),
    ],
)
def test_the_daemon_refuses(server: MessageBus, bus: Bus, problem: str, says: str) -> None:
    server.answers["profile_mode"] = ("(ss)", (("unknown", problem),))
    with pytest.raises(BusError, match=says):
        tuned.profile(bus)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({"active_profile": ""}, Profile(active="", mode="")),
        ({"active_profile": "virtual-host\n"}, Profile(active="virtual-host", mode="")),
        (
            {"active_profile": "virtual-host mine\n", "profile_mode": "manual\n"},
            Profile(active="virtual-host mine", mode="manual"),
        ),
    ],
    ids=["not installed", "no profile", "before modes were noted", "two profiles"],
)
def test_what_its_files_say(tmp_path: Path, files: dict[str, str], found: Profile | None) -> None:
    assert tuned.configured(made_of(tmp_path, {f"etc/tuned/{name}": text for name, text in files.items()})) == found


@pytest.mark.parametrize(("host", "masked"), [("ordinary", False), ("two-numa-nodes", True)])
def test_ksm_masked(host: str, masked: bool) -> None:
    assert tuned.ksm_masked(fixture(host)) is masked
