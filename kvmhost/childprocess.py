"""A child process that runs one of our modules and exchanges messages with us over a socket pair.

It is a plain `python -m`: one of multiprocessing would import the parent's main module again, and keep a process
more. The child ends when its parent does, however that ends, and only then: it ignores SIGINT and SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

_LENGTH = struct.Struct("!Q")
_PART_BYTES = 1 << 20
_KILL_SECONDS = 1.0


class Channel:
    """Whole messages over a stream socket, each sent after its length."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def send(self, message: bytes, timeout_s: float | None = None) -> None:
        """`TimeoutError`; `ConnectionError` if the other side has closed."""
        self._stream.settimeout(timeout_s)
        self._stream.sendall(_LENGTH.pack(len(message)) + message)

    def receive(self, timeout_s: float | None = None) -> bytes:
        """The next message. `TimeoutError`; `EOFError` or `ConnectionError` if the other side has closed."""
        self._stream.settimeout(timeout_s)
        (length,) = _LENGTH.unpack(self._bytes(_LENGTH.size))
        return self._bytes(length)

    def has_message(self, timeout_s: float) -> bool:
        """Whether a message, or the end, comes within this time."""
        return bool(select.select([self._stream], [], [], timeout_s)[0])

    def close(self) -> None:
        self._stream.close()

    def _bytes(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._stream.recv(min(count - len(data), _PART_BYTES))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


class ChildProcess:
    """The parent's side. `OSError` if the process cannot be started. Close it in the end."""

    def __init__(self, module: str, *arguments: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                    [sys.executable, "-P", "-m", module, *arguments],
                    stdin=theirs.fileno(),
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                    process_group=0,  # a terminal's Ctrl-C is for the parent, which decides when the child ends
                )
            except OSError:
                ours.close()
                raise
        self.channel = Channel(ours)
        # Of the same socket, but with a timeout of its own, so that one thread may send while another receives.
        self.requests = Channel(ours.dup())

    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process. Another thread's `receive` then ends by `EOFError`; so the channel stays open."""
        self._process.kill()
        # One that the kernel cannot interrupt (state D) ends when it can: waiting for that would hang us, too.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_SECONDS)

    def close(self) -> None:
        self.kill()
        self.channel.close()
        self.requests.close()


def parent() -> Channel:
    """The child's side, called once and first: from here on this process ends with its parent."""
    # Only the parent ends this process: at a shutdown of the service it may still need it to put things back.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    expose_to_oom_killer()
    stream = socket.socket(fileno=0)
    threading.Thread(target=_end_with_parent, args=(stream,), daemon=True).start()
    return Channel(stream)


def expose_to_oom_killer(score: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Give up what a child inherits of its parent's protection: it can be started again."""
    with contextlib.suppress(OSError):
        if int(score.read_text()) < 0:
            score.write_text("0\n")


def _end_with_parent(stream: socket.socket) -> None:
    """Ends this process when the parent has, also in the middle of a call.

    PR_SET_PDEATHSIG would not do: it already fires when the *thread* that started this process ends.
    """
    hangup = select.poll()
    hangup.register(stream, 0)
    hangup.poll()
    os._exit(0)
