"""An HTTP peer that answers byte for byte as a test says, also badly or not at all."""

import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

TLS_HANDSHAKE = 22
OK = b"HTTP/1.1 200 OK\r\n\r\n"


class Target:
    """A server that answers each connection with ``answer``, byte for byte, and keeps the last request."""

    def __init__(self) -> None:
        self.answer: bytes | Callable[[socket.socket], None] = OK
        self.request = b""
        self.stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self.stopped.set()
        socket.create_connection(self._listener.getsockname()).close()  # wakes accept()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, suppress(OSError):
                if self.stopped.is_set():
                    return
                self.request = whole_request(connection)
                if isinstance(self.answer, bytes):
                    connection.sendall(self.answer)
                else:
                    self.answer(connection)


def whole_request(connection: socket.socket) -> bytes:
    """Head and body: what is left unread when a connection is closed resets it."""
    request = b""
    while chunk := connection.recv(4096):
        request += chunk
        if request[0] == TLS_HANDSHAKE:
            break
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            break
    return request


def trickle(connection: socket.socket) -> None:
    """A byte now and then, each well within any timeout of a single read."""
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.01)


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def after(head: bytes, rest: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        rest(connection)

    return answer
