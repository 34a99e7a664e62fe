"""What the tests of the web server share: a server, a client, and certificates."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kvmweb.arguments import WebFlags
from kvmweb.page import MetricsPage, MetricsRequest, Render
from kvmweb.server import Limits, serve
from kvmweb.site import Ready

PAGE = MetricsPage(content=b"kvm_ksm_run 1\n", content_type="text/plain")

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make certificates")


def one_page(_: MetricsRequest) -> MetricsPage:
    """A render that needs no time."""
    return PAGE


@contextmanager
def serving(
    render: Render = one_page,
    *,
    config: Path | None = None,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    ready: Ready = lambda: None,
    address: str = "127.0.0.1:0",
) -> Iterator[str]:
    """A server; its URL without the last slash."""
    flags = WebFlags(listen_addresses=(address,), config_file=config)
    with serve(flags, render, title="t", version="1", limits=limits, ready=ready) as (url,):
        yield url.rstrip("/")


def endpoint(url: str) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def connect(url: str, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """A client's connection; `context` for TLS."""
    host, port = endpoint(url)
    if url.startswith("https"):
        return http.client.HTTPSConnection(host, port, timeout=10, context=context)
    return http.client.HTTPConnection(host, port, timeout=10)


def request(
    connection: http.client.HTTPConnection, path: str = "/metrics", method: str = "GET", **headers: str
) -> Answer:
    """One request on a connection; `_` in the names of headers is `-`."""
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def ask(
    url: str, path: str = "/metrics", method: str = "GET", *, context: ssl.SSLContext | None = None, **headers: str
) -> Answer:
    """One request on a connection of its own."""
    connection = connect(url, context)
    try:
        return request(connection, path, method, **headers)
    finally:
        connection.close()


@dataclass(frozen=True)
class Certificate:
    cert: Path
    key: Path


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self.own = self._made(
            name, "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"
        )

    def issue(self, name: str, *alternative_names: str) -> Certificate:
        """A certificate; alternative names are written `DNS:localhost`, `IP:127.0.0.1`."""
        issuer = ("-CA", str(self.own.cert), "-CAkey", str(self.own.key))
        names = ("-addext", f"subjectAltName={','.join(alternative_names)}") if alternative_names else ()
        return self._made(name, *issuer, *names, "-addext", "basicConstraints=critical,CA:FALSE")

    def trust(self, client: Certificate | None = None) -> ssl.SSLContext:
        """How a client connects to who has a certificate of this authority."""
        context = ssl.create_default_context(cafile=self.own.cert)
        if client is not None:
            context.load_cert_chain(client.cert, client.key)
        return context

    def _made(self, name: str, *options: str) -> Certificate:
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={name}", "-keyout", made.key, "-out", made.cert, *options],
            check=True, capture_output=True,
        )  # fmt: skip
        made.key.chmod(0o600)
        return made
