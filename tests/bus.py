"""A message bus with one service on it, whose answers a test sets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jeepney import HeaderFields, Message, Parser, new_error, new_method_return

Answer = tuple[str, tuple[Any, ...]] | str | None
"""Signature and values of a reply, the name of an error, or silence."""


class MessageBus:
    """Serves one connection after another; `answers` by method, `calls` are the methods called so far."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix:path={path}"
        self.answers: dict[str, Answer] = {"Hello": ("s", (":1.7",))}
        self.calls: list[str] = []
        self.called = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="message-bus")
        self._thread.start()

    def hang_up(self) -> None:
        """End the connection that is open."""
        connection = self._connection
        if connection:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self._connection = connection
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n" not in received:
            received += _some(connection)
        connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
        received = b""
        while b"BEGIN\r\n" not in received:
            received += _some(connection)
        parser = Parser()
        parser.add_data(received.partition(b"BEGIN\r\n")[2])
        while True:
            message = parser.get_next_message()
            if message is None:
                parser.add_data(_some(connection))
                continue
            method = message.header.fields[HeaderFields.member]
            self.calls.append(method)
            self.called.set()
            answer = self.answers.get(method, "org.freedesktop.DBus.Error.ServiceUnknown")
            if answer is not None:
                connection.sendall(_reply(message, answer).serialise(serial=len(self.calls)))


def _reply(call: Message, answer: tuple[str, tuple[Any, ...]] | str) -> Message:
    if isinstance(answer, str):
        return new_error(call, answer, "s", ("as the test wants",))
    return new_method_return(call, *answer)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(4096)
    if not data:
        raise ConnectionError("the client has gone")
    return data


@contextmanager
def message_bus(path: Path) -> Iterator[MessageBus]:
    """A bus at `path` while the block runs."""
    bus = MessageBus(path)
    try:
        yield bus
    finally:
        bus.stop()
