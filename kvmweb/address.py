"""Addresses to listen on, as Prometheus' own programs write them: `127.0.0.1:9752`, `[::1]:9752`, `:9752`."""

from __future__ import annotations

import socket
from typing import NamedTuple


class Address(NamedTuple):
    """A host name or literal address, "" for all addresses of this machine, and a TCP port, 0 for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def local(self) -> Address:
        """The address to connect to from this machine."""
        return Address("localhost" if self.host in _ALL else self.host, self.port)

    def resolve(self) -> tuple[socket.AddressFamily, str]:
        """Address family and numeric address to bind to; `OSError` if the name is unknown. May ask DNS."""
        if not self.host:
            return (socket.AF_INET6, "::") if socket.has_dualstack_ipv6() else (socket.AF_INET, "")
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        # A name such as localhost can have several, and then IPv4 is what clients try most often.
        family, _, _, _, sockaddr = min(found, key=lambda one: one[0] != socket.AF_INET)
        return family, str(sockaddr[0])


_ALL = ("", "::", "0.0.0.0")  # noqa: S104 - compared with, not bound to


def parse(text: str) -> Address:
    """`ValueError` says what is wrong if the text is not `HOST:PORT`, with an IPv6 address in brackets."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is not an address: write it like 127.0.0.1:9752, [::1]:9752 or :9752")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{text!r} has no valid port: write a number up to 65535 after the last colon")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{text!r} has no valid host name: each part of it has 1 to 63 characters") from None
    return Address(host[1:-1] if bracketed else host, int(port))
