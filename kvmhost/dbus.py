"""Calls over a D-Bus message bus: the only import of jeepney, of which the protocol is used and the I/O is not.

Its connections can wait without limit. Here every step of a call, connecting included, ends at the call's deadline.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jeepney import DBusAddress, HeaderFields, Message, MessageFlag, MessageType, Parser, message_bus, new_method_call
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus import get_bus

# What the bus says of a name that nobody has: the first if no service could be started for it, else the second.
_NOBODY = frozenset({"org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"})


class BusError(Exception):
    """A call that was not answered as asked: why, and the next step."""


class BusTimeout(BusError):  # noqa: N818 - its base says Error
    """A call that was not answered in time. Whether it was carried out is unknown."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """An object of a program on the bus, and the interface of it that is used."""

    name: str
    path: str
    interface: str


def system_bus(environment: Mapping[str, str], root: Path) -> str:
    """Address of the system bus: DBUS_SYSTEM_BUS_ADDRESS, or else the usual one of the host below `root`."""
    path = root.absolute() / "run/dbus/system_bus_socket"
    return environment.get("DBUS_SYSTEM_BUS_ADDRESS") or f"unix:path={quote(str(path))}"


class Bus:
    """A connection to the bus at `address`, made at the first call, and again after a failure. One call at a time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._calling = threading.Lock()
        self.closed = False
        self._socket: socket.socket | None = None
        self._parser = Parser()
        self._serials = count(1)

    def call(self, service: Service, method: str, *texts: str, timeout_s: float) -> tuple[Any, ...]:
        """What `method` with these texts as arguments returns; `BusError`, `BusTimeout` after `timeout_s`.

        A service that does not run is not started for it.
        """
        deadline = time.monotonic() + timeout_s
        to = DBusAddress(service.path, bus_name=service.name, interface=service.interface)
        message = new_method_call(to, method, "s" * len(texts) or None, texts)
        message.header.flags |= MessageFlag.no_auto_start
        with self._calling:
            try:
                if self._socket is None:
                    self._connect(deadline)
                return _body(self._ask(message, deadline), service)
            except TimeoutError:
                self._drop()
                raise BusTimeout(f"{service.name} did not answer {method} within {timeout_s:g} s") from None
            except (OSError, AuthenticationError, RuntimeError, ValueError) as error:
                self._drop()
                raise BusError(f"cannot talk to the message bus at {self._address}: {error}{_hint(error)}") from error

    def close(self) -> None:
        """End a call that is under way in another thread, and the connection for good."""
        self.closed = True
        connection = self._socket
        if connection is not None:
            with suppress(OSError):  # not connected yet: `_receive` looks at _closed
                connection.shutdown(socket.SHUT_RDWR)
        with self._calling:
            self._drop()

    def _drop(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _connect(self, deadline: float) -> None:
        try:
            self._log_in(deadline)
        except TimeoutError:
            raise ConnectionError("it does not answer") from None

    def _log_in(self, deadline: float) -> None:
        self._parser = Parser()
        self._socket = connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(_seconds_left(deadline))
        connection.connect(get_bus(self._address))
        authentication = Authenticator()
        for line in authentication:
            self._send(line, deadline)
            authentication.feed(self._receive(deadline))
        self._send(BEGIN, deadline)
        self._ask(message_bus.Hello(), deadline)

    def _ask(self, message: Message, deadline: float) -> Message:
        serial = next(self._serials)
        self._send(message.serialise(serial=serial), deadline)
        while True:
            reply = self._parser.get_next_message()
            if reply is None:
                self._parser.add_data(self._receive(deadline))
            elif reply.header.fields.get(HeaderFields.reply_serial) == serial:
                return reply

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._socket
        self._socket.settimeout(_seconds_left(deadline))
        self._socket.sendall(data)

    def _receive(self, deadline: float) -> bytes:
        assert self._socket
        if self.closed:
            raise ConnectionError("this connection was closed")
        self._socket.settimeout(_seconds_left(deadline))
        data = self._socket.recv(4096)
        if not data:
            raise ConnectionError("the bus closed the connection")
        return data


def _body(reply: Message, service: Service) -> tuple[Any, ...]:
    if reply.header.message_type is not MessageType.error:
        return tuple(reply.body)
    name = reply.header.fields.get(HeaderFields.error_name)
    if name in _NOBODY:
        raise BusError(f"nobody on the message bus has the name {service.name}: start that service")
    raise BusError(f"{service.name}: {name}: {reply.body[0] if reply.body else 'no reason given'}")


def _hint(error: Exception) -> str:
    missing = isinstance(error, (FileNotFoundError, ConnectionRefusedError))
    return "; start dbus, or set DBUS_SYSTEM_BUS_ADDRESS if its socket is elsewhere" if missing else ""


def _seconds_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
