"""Tells the service manager how we are: the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Self


class ServiceManager:
    """Whoever listens at `$NOTIFY_SOCKET`, or nobody.

    The variables are taken out of `environ`, so that our child processes do not speak for us. A manager that does not
    read what it is told, or is gone, is not waited for. Close it, or use it as a context manager.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket:
            self._socket.setblocking(False)
        self.watchdog_seconds = _watchdog_seconds(environ)
        """It ends us if it hears nothing for so long; None if it does not."""
        self._is_ready = False

    def ticked(self, status: str) -> None:
        """A tick ran to its end: with the first one we are ready, and each shows that we are alive."""
        self._is_ready = True
        self._tell(READY=1, WATCHDOG=1, STATUS=status)

    def alive(self) -> None:
        """The last tick ran as far as it could, and the next is not due yet."""
        self._tell(WATCHDOG=1)

    def status(self, text: str) -> None:
        """What there is to say of us, without a sign of life."""
        self._tell(STATUS=text)

    def reloading(self) -> None:
        """The rules are read again. Before the first tick that is a part of the start."""
        if self._is_ready:
            self._tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def reloaded(self) -> None:
        """They were read, or refused."""
        if self._is_ready:
            self._tell(READY=1)

    def stopping(self, status: str) -> None:
        """We end, and have still something to do."""
        self._tell(STOPPING=1, STATUS=status)

    def extend(self, seconds: float) -> None:
        """What we are at takes longer: do not give up on us in the next `seconds`."""
        self._tell(EXTEND_TIMEOUT_USEC=round(seconds * 1e6))

    def close(self) -> None:
        if self._socket:
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell(self, **variables: object) -> None:
        if self._socket is None:
            return
        message = "\n".join(f"{name}={value}" for name, value in variables.items())
        with suppress(OSError):
            self._socket.sendto(message.encode(), self._address)


def _watchdog_seconds(environ: MutableMapping[str, str]) -> float | None:
    microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not microseconds.isascii() or not microseconds.isdigit() or pid not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1e6 or None
