"""Calls over a message bus, and every way in which they are not answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmhost.dbus import Bus, BusError, Service, system_bus
from tests.bus import Answer, MessageBus, message_bus

SERVICE = Service(name="com.example.service", path="/Service", interface="com.example.control")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MessageBus]:
    with message_bus(tmp_path / "bus") as server:
        yield server


@pytest.fixture
def bus(server: MessageBus) -> Iterator[Bus]:
    bus = Bus(server.address)
    yield bus
    bus.close()


@pytest.mark.parametrize(
    ("answer", "values"),
    [(("s", ("virtual-host",)), ("virtual-host",)), (("(ss)", (("manual", ""),)), (("manual", ""),)), (("", ()), ())],
)
def test_what_a_method_returns(server: MessageBus, bus: Bus, answer: Answer, values: tuple[object, ...]) -> None:
    server.answers["ask"] = answer
    for _ in range(2):
        assert bus.call(SERVICE, "ask", timeout_s=30) == values
    assert server.calls == ["Hello", "ask", "ask"]


@pytest.mark.parametrize(
    ("answer", "timeout_s", "says"),
    [
        ("org.freedesktop.DBus.Error.ServiceUnknown", 30, "nobody on the message bus has the name com.example.service"),
        ("org.freedesktop.DBus.Error.NameHasNoOwner", 30, "nobody on the message bus has the name com.example.service"),
        (
            "org.freedesktop.DBus.Error.AccessDenied",
            30,
            "service: org.freedesktop.DBus.Error.AccessDenied: as the test",
        ),
        (None, 0.05, "com.example.service did not answer ask within 0.05 s"),
    ],
)
def test_a_call_that_is_not_answered(server: MessageBus, bus: Bus, answer: Answer, timeout_s: float, says: str) -> None:
    server.answers["ask"] = answer
    with pytest.raises(BusError, match=says):
        bus.call(SERVICE, "ask", timeout_s=timeout_s)
    server.answers["ask"] = ("b", (True,))
    assert bus.call(SERVICE, "ask", timeout_s=30) == (True,)


def test_a_bus_that_lets_nobody_in(server: MessageBus, bus: Bus) -> None:
    server.answers["Hello"] = None
    with pytest.raises(BusError, match=f"cannot talk to the message bus at {server.address}: it does not answer"):
        bus.call(SERVICE, "ask", timeout_s=0.05)


def test_a_connection_that_ends_is_made_again(server: MessageBus, bus: Bus) -> None:
    server.answers["ask"] = ("b", (True,))
    bus.call(SERVICE, "ask", timeout_s=30)
    server.hang_up()
    with pytest.raises(BusError, match="cannot talk to the message bus"):
        bus.call(SERVICE, "ask", timeout_s=30)
    assert bus.call(SERVICE, "ask", timeout_s=30) == (True,)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("unix:path=/nonexistent/bus", "No such file or directory; start dbus, or set DBUS_SYSTEM_BUS_ADDRESS"),
        ("tcp:host=localhost,port=1", "cannot talk to the message bus at tcp:host=localhost,port=1: "),
        ("somewhere", "cannot talk to the message bus at somewhere: "),
        (f"unix:path=/{'x' * 200}", "AF_UNIX path too long"),
    ],
)
def test_no_bus(address: str, says: str) -> None:
    with pytest.raises(BusError, match=says):
        Bus(address).call(SERVICE, "ask", timeout_s=30)


def test_closing_ends_the_call_that_is_under_way(server: MessageBus, bus: Bus) -> None:
    server.answers["ask"] = None
    failures = []

    def ask() -> None:
        try:
            bus.call(SERVICE, "ask", timeout_s=3600)
        except BusError as error:
            failures.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    assert server.called.wait(30)
    bus.close()
    thread.join(30)
    assert len(failures) == 1
    with pytest.raises(BusError, match="this connection was closed"):
        bus.call(SERVICE, "ask", timeout_s=30)


@pytest.mark.parametrize(
    ("environment", "root", "address"),
    [
        ({}, "/", "unix:path=/run/dbus/system_bus_socket"),
        ({"DBUS_SYSTEM_BUS_ADDRESS": ""}, "/host", "unix:path=/host/run/dbus/system_bus_socket"),
        ({}, "/a host,1", "unix:path=/a%20host%2C1/run/dbus/system_bus_socket"),
        ({"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/elsewhere"}, "/host", "unix:path=/elsewhere"),
    ],
)
def test_where_the_system_bus_is(environment: dict[str, str], root: str, address: str) -> None:
    assert system_bus(environment, Path(root)) == address
