"""One client's connection, plain or under TLS. Whatever waits for the client ends at a deadline."""

from __future__ import annotations

import contextlib
import fcntl
import math
import re
import socket
import ssl
import struct
import sys
import termios
import threading
import time
from typing import Any

from kvmweb.messages import MOST_HEAD_BYTES

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_PART_BYTES = 8192

_SEND_BUFFER_BYTES = 131072
"""What the kernel may hold of an answer. By itself it grows to megabytes, for each reader that is slow."""

_RESET = struct.pack("ii", 1, 0)
"""Of socket(7)'s SO_LINGER: a close forgets what was not sent."""


class Connection:
    """Its methods raise `OSError` when the client is gone and `TimeoutError`, which is one, at the deadline."""

    def __init__(self, accepted: socket.socket, client: str) -> None:
        """`client` is the address it comes from, without the port."""
        self.client = client
        self.waits_since = time.monotonic()
        """Since when we wait for the client, in monotonic seconds; infinity while the client waits for us."""
        self._deadline = math.inf
        self._received = bytearray()
        # A socket must not be shut down while it becomes another or after its descriptor is free for others.
        self._lock = threading.Lock()
        self._socket = accepted
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def expect(self, seconds: float) -> None:
        """It is the client's turn, and that may take so long."""
        self.waits_since = time.monotonic()
        self._deadline = self.waits_since + seconds

    def rest(self) -> None:
        """It is our turn."""
        self.waits_since = math.inf

    def secure(self, context: ssl.SSLContext) -> dict[str, Any] | None:
        """Speak TLS from now on; the client's certificate if one was asked for and verified."""
        with self._lock:
            wrapped = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
            self._socket = wrapped
        self._wait()
        wrapped.do_handshake()
        return wrapped.getpeercert()

    def head(self) -> bytes | None:
        """The head of the next request without its empty line, or what is already too much of it.

        None if the client has closed.
        """
        while (end := _HEAD_END.search(self._received)) is None and len(self._received) <= MOST_HEAD_BYTES:
            part = self._receive()
            if not part:
                return None
            self._received += part
        head = bytes(self._received[: end.start()] if end else self._received)
        del self._received[: end.end() if end else len(self._received)]
        return head

    def has_more(self) -> bool:
        """Wait for a first byte of the next request; False if the client has closed, or none came in time."""
        if not self._received:
            with contextlib.suppress(TimeoutError):
                self._received += self._receive()
        return bool(self._received)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            self._wait()
            rest = rest[self._socket.send(rest) :]

    def send_bare(self, data: bytes) -> None:
        """Send past TLS, to a client that does not speak it."""
        self._wait()
        socket.socket.sendall(self._socket, data)

    def linger(self) -> None:
        """Say that nothing more comes, and wait until the client has taken all and closed.

        To close at once would reset the connection when more has come from the client, and so may take from it what
        was sent last.
        """
        with self._lock:
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
        while self._wait() and socket.socket.recv(self._socket, _PART_BYTES):
            pass

    def cut_off(self) -> None:
        """From any thread: whatever waits for the client ends at once, and what it has not taken is forgotten."""
        with self._lock, contextlib.suppress(OSError):  # it may just end by itself
            if self._socket.fileno() < 0:
                return
            if _untaken_bytes(self._socket):
                # Else the kernel would offer it to a reader that does not read, for minutes.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # The method of a plain socket: that of one under TLS would have the others go on in clear.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._socket.close()

    def _receive(self) -> bytes:
        self._wait()
        return self._socket.recv(_PART_BYTES)

    def _wait(self) -> bool:
        """Have the next call of the socket end at the deadline."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return True


def _untaken_bytes(sock: socket.socket) -> int:
    """SIOCOUTQ of tcp(7): what was sent and the other side has not acknowledged."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
