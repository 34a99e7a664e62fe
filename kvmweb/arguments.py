"""The flags of the web server, and argument types that both programs use."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kvmweb.address import parse

T = TypeVar("T")

_DESCRIPTION = """\
As in Prometheus' own exporters. TLS, client certificates and passwords come
from one file, which is read again when it changes:

  basic_auth_users:
    prometheus: $2y$10$...   # htpasswd -nBC 10 prometheus

docs/web.md shows all of it.
"""


@dataclass(frozen=True, kw_only=True)
class WebFlags:
    """Where to serve, and how it is protected."""

    listen_addresses: tuple[str, ...] = ()
    systemd_socket: bool = False
    """Take the sockets that systemd has opened, not `listen_addresses`."""
    config_file: Path | None = None
    """In exporter-toolkit's format; None protects nothing."""


def add_web_flags(parser: argparse.ArgumentParser, default_address: str) -> None:
    """Have the parser know the web flags; the parsed options go to `web_flags`."""
    port = parse(default_address).port
    group = parser.add_argument_group("web server", _DESCRIPTION)
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--web.listen-address", dest="web_listen_addresses", action="append", type=checked(address), metavar="ADDRESS",
        help=f"where to serve, may be given several times; [::1]:{port} is IPv6, :{port} all addresses of this machine "
        f"(default: {default_address})",
    )  # fmt: skip
    where.add_argument(
        "--web.systemd-socket", dest="web_systemd_socket", action="store_true",
        help="serve on the sockets that systemd's socket unit has opened",
    )  # fmt: skip
    group.add_argument(
        "--web.config.file", dest="web_config_file", type=Path, metavar="FILE",
        help="TLS, client certificates, passwords, headers and rate limit (default: none, plain HTTP for everybody)",
    )  # fmt: skip
    parser.set_defaults(web_default_address=default_address)


def web_flags(options: argparse.Namespace) -> WebFlags:
    """The web flags of parsed options."""
    return WebFlags(
        listen_addresses=tuple(options.web_listen_addresses or (options.web_default_address,)),
        systemd_socket=options.web_systemd_socket,
        config_file=options.web_config_file,
    )


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse` for argparse, which of a ValueError would not show the text."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def address(text: str) -> str:
    """A listen address; ValueError if it is none."""
    parse(text)
    return text
