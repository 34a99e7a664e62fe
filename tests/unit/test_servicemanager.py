"""What the service manager is told, on real datagram sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from actuator.servicemanager import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """A manager's socket, in the file system or not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify") if request.param == "path" else f"\0kvmtune-test-{os.getpid()}")
        listener.settimeout(10)
        yield listener


def address(listener: socket.socket) -> str:
    name = listener.getsockname()
    return f"@{name[1:].decode()}" if isinstance(name, bytes) else name


def test_the_words_of_the_protocol(listener: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": address(listener), "OTHER": "1"}
    with ServiceManager(environ) as manager:
        tell_everything(manager, listener)
    assert environ == {"OTHER": "1"}


def tell_everything(manager: ServiceManager, listener: socket.socket) -> None:
    manager.reloading()  # before we are ready, that is no news
    manager.reloaded()
    manager.ticked("dry run")
    assert listener.recv(1000) == b"READY=1\nWATCHDOG=1\nSTATUS=dry run"
    manager.reloading()
    assert listener.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    manager.reloaded()
    assert listener.recv(1000) == b"READY=1"
    manager.status("the last tick failed")
    assert listener.recv(1000) == b"STATUS=the last tick failed"
    manager.extend(2.5)
    assert listener.recv(1000) == b"EXTEND_TIMEOUT_USEC=2500000"
    manager.stopping("ends")
    assert listener.recv(1000) == b"STOPPING=1\nSTATUS=ends"


@pytest.mark.parametrize("listener", ["path"], indirect=True)
def test_a_manager_that_does_not_read_is_not_waited_for(listener: socket.socket) -> None:
    with ServiceManager({"NOTIFY_SOCKET": address(listener)}) as manager:
        for _ in range(10_000):  # more than a socket holds
            manager.alive()
    assert listener.recv(1000) == b"WATCHDOG=1"


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        with ServiceManager(environ) as manager:
            manager.ticked("dry run")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_how_long_the_watchdog_waits(environ: dict[str, str], seconds: float | None) -> None:
    with ServiceManager(dict(environ)) as manager:
        assert manager.watchdog_seconds == seconds
