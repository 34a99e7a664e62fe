"""Messages over a stream, and a child process. How it ends is in test_virtprocess, which uses it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from kvmhost.childprocess import Channel, ChildProcess


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = socket.socketpair()
    with one, other:
        yield Channel(one), Channel(other)


@pytest.mark.parametrize("message", [b"", b"x", b"x" * 5_000_000], ids=["empty", "short", "longer than any buffer"])
def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel], message: bytes) -> None:
    ours, theirs = ends
    sender = threading.Thread(target=lambda: [ours.send(message), ours.send(b"next")])
    sender.start()
    assert (theirs.receive(30), theirs.receive(30)) == (message, b"next")
    sender.join()


def test_a_silence_ends_the_wait(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(TimeoutError):
        ends[0].receive(0.01)


def test_a_reader_that_does_not_read_ends_the_wait(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(TimeoutError):
        ends[0].send(b"x" * 10_000_000, 0.01)


@pytest.mark.parametrize("sent", [b"", b"\0\0\0", b"\0\0\0\0\0\0\0\5abc"], ids=["nothing", "half a length", "half"])
def test_a_sender_that_ends_is_not_taken_for_a_message(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(sent)
        ours.close()
        with pytest.raises(EOFError):
            Channel(theirs).receive(30)


def test_a_child_whose_module_is_missing_just_ends(capfd: pytest.CaptureFixture[str]) -> None:
    child = ChildProcess("kvmhost.no_such_module")
    with pytest.raises(EOFError):
        child.channel.receive(30)
    child.close()
    assert not child.is_running()
    assert "No module named kvmhost.no_such_module" in capfd.readouterr().err
