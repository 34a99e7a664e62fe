"""The sockets to listen on: those of addresses, or those that systemd passes."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, MutableMapping, Sequence

from kvmweb.address import Address, parse

_BACKLOG = 128

_FIRST_PASSED = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""
_PASSED = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class WebError(Exception):
    """The server cannot listen: where, why, and the next step."""


def bound(addresses: Sequence[str]) -> list[socket.socket]:
    """A listening socket for each address, or, with `WebError`, for none.

    `ValueError` for an address that `kvmweb.address.parse` refuses.
    """
    sockets: list[socket.socket] = []
    try:
        for address in map(parse, addresses):
            sockets.append(_bound(address))  # noqa: PERF401 - those before one that fails are to be closed
    except BaseException:
        closed(sockets)
        raise
    return sockets


def passed(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that systemd has opened for this process; `WebError` if there are none.

    As sd_listen_fds(3) does, it takes the variables out of the environment, which is then no child's.
    """
    count, process, _ = (environment.pop(name, "") for name in _PASSED)
    if process != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        raise WebError(
            "systemd passes no sockets to this process; start the socket unit and not the service "
            "(`systemctl start NAME.socket`), or leave out --web.systemd-socket"
        )
    descriptors = range(_FIRST_PASSED, _FIRST_PASSED + int(count))
    sockets: list[socket.socket] = []
    try:
        for descriptor in descriptors:
            sockets.append(_passed(descriptor))  # noqa: PERF401 - as above
    except BaseException:
        closed(sockets)
        raise
    return sockets


def closed(sockets: Iterable[socket.socket]) -> None:
    """Close them all."""
    for one in sockets:
        one.close()


def url(listener: socket.socket, scheme: str) -> str:
    """Where a client on this machine reaches its landing page; for a local socket, as nginx writes such URLs."""
    if listener.family == socket.AF_UNIX:
        return f"{scheme}://unix:{listener.getsockname()}:/"
    host, port, *_ = listener.getsockname()
    return f"{scheme}://{Address(host, port).local()}/"


def _bound(address: Address) -> socket.socket:
    try:
        family, host = address.resolve()
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((host, address.port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise WebError(f"cannot listen on {address}: {error.strerror}; {_next_step(address, error)}") from error
    return listener


def _next_step(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"stop what uses it (`ss -ltnp sport = :{address.port}`) or choose another --web.listen-address"
    return "choose another --web.listen-address"


def _passed(descriptor: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=descriptor)
        is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise WebError(f"descriptor {descriptor} from systemd is no socket: {error.strerror}") from error
    if listener.type != socket.SOCK_STREAM or not is_listening:
        listener.close()
        raise WebError(
            f"descriptor {descriptor} from systemd is no socket that connections can be accepted from; "
            "write ListenStream= in the socket unit, and not Accept=yes"
        )
    listener.set_inheritable(False)
    return listener
