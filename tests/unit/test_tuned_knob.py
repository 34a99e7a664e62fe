"""tuned's profile as a knob, against a message bus with the answers of tuned's controller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actuator.knobs import HOST, KnobError
from actuator.knobs.tuned import TunedProfile
from kvmhost.dbus import Bus
from kvmhost.fs import HostFS
from tests.bus import Answer, MessageBus, message_bus
from tests.host import made_of

DONE = ("(bs)", ((True, "OK"),))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MessageBus]:
    with message_bus(tmp_path / "bus") as server:
        server.answers |= {
            "profile_mode": ("(ss)", (("manual", ""),)),
            "active_profile": ("s", ("virtual-host",)),
            "profiles": ("as", (["balanced", "virtual-host"],)),
            "switch_profile": DONE,
            "auto_profile": DONE,
            "disable": ("b", (True,)),
            "start": ("b", (True,)),
            "verify_profile": ("b", (True,)),
        }
        yield server


@pytest.fixture
def knob(server: MessageBus, tmp_path: Path) -> Iterator[TunedProfile]:
    bus = Bus(server.address)
    yield TunedProfile(made_of(tmp_path, {"etc/tuned/active_profile": "virtual-host\n"}), bus)
    bus.close()


@pytest.mark.parametrize(
    ("active", "mode", "value", "words"),
    [
        ("virtual-host", "manual", "virtual-host", ("auto", "off", "balanced", "virtual-host")),
        ("virtual-host", "auto", "auto", ("auto", "off", "balanced", "virtual-host")),
        ("", "manual", "off", ("auto", "off", "balanced", "virtual-host")),
        ("balanced mine", "manual", "balanced mine", ("auto", "off", "balanced", "virtual-host", "balanced mine")),
    ],
)
def test_what_is_in_force(
    server: MessageBus, knob: TunedProfile, active: str, mode: str, value: str, words: tuple[str, ...]
) -> None:
    server.answers |= {"active_profile": ("s", (active,)), "profile_mode": ("(ss)", ((mode, ""),))}
    live = knob.live()[HOST]
    assert (live.value, live.words) == (value, words)


@pytest.mark.parametrize(
    ("value", "calls"),
    [("balanced", ["switch_profile", "start"]), ("auto", ["auto_profile", "start"]), ("off", ["disable"])],
)
def test_a_switch(server: MessageBus, knob: TunedProfile, value: str, calls: list[str]) -> None:
    knob.write(HOST, value)
    assert server.calls == ["Hello", *calls]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (("(bs)", ((False, "Unauthorized"),)), "tuned does not switch to x: Unauthorized; run as root, or let polkit allow it: install 60-kvmtune-tuned.rules (docs/privileges.md)"),
        (("(bs)", ((False, "Cannot find profile 'x'"),)), "tuned does not switch to x: Cannot find profile 'x'"),
        ("org.freedesktop.DBus.Error.ServiceUnknown", "cannot have tuned switch to x: nobody on the message bus has the name com.redhat.tuned: start that service; is it running? systemctl start tuned"),
    ],
)  # fmt: skip
def test_a_switch_that_is_refused(server: MessageBus, knob: TunedProfile, answer: Answer, says: str) -> None:
    server.answers["switch_profile"] = answer
    with pytest.raises(KnobError) as error:
        knob.write(HOST, "x")
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (("b", (True,)), "tuned has verified it"),
        (("b", (False,)), "tuned misses settings of it: see /var/log/tuned/tuned.log"),
        ("org.freedesktop.DBus.Error.Failed", "not verified: com.redhat.tuned: org.freedesktop.DBus.Error.Failed"),
    ],
)
def test_the_profile_is_verified(server: MessageBus, knob: TunedProfile, answer: Answer, says: str) -> None:
    server.answers["verify_profile"] = answer
    assert knob.remark(HOST).startswith(says)


def test_a_host_without_tuned(tmp_path: Path) -> None:
    knob = TunedProfile(HostFS(tmp_path), Bus(f"unix:path={tmp_path}/none"))
    with pytest.raises(KnobError, match=r"cannot ask tuned for its profile: .*tuned was never set up here: install it"):
        knob.live()
