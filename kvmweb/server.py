"""A small HTTP server in a thread: `/metrics`, a landing page, `/-/healthy`, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from kvmweb import landing
from kvmweb.address import Address, parse

REQUEST_SECONDS = 10.0
"""What a request may take from connecting to the last byte: a slow client costs one thread for that long."""

_TEXT = "text/plain; charset=utf-8"

_LOG = logging.getLogger(__name__)


class WebError(Exception):
    """The server cannot listen: where, why, and the next step."""


@contextlib.contextmanager
def serve(
    address: str,
    metrics: Collector,
    *,
    title: str,
    version: str,
    summary: str = "",
    links: tuple[tuple[str, str], ...] = (),
) -> Iterator[str]:
    """Serve inside the `with` block, which gets the URL of the landing page, as seen from this machine.

    `metrics` is collected anew at each scrape, in several threads at once when scrapes overlap. The landing page
    shows title, version, summary and, beyond its own pages, `links` as `(url, meaning)`. Raises `ValueError` for an
    address that `kvmweb.address.parse` refuses, and `WebError` if it cannot be listened on.
    """
    listen = parse(address)
    page = landing.html(title=title, version=version, summary=summary, links=links)
    try:
        server = _Server(listen, metrics, page)
    except OSError as error:
        raise WebError(f"cannot listen on {listen}: {error.strerror}; {_next_step(listen, error)}") from error
    # The interval is how long the end of the block may have to wait.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="web", daemon=True)
    thread.start()
    try:
        yield f"http://{listen.local(server.server_port)}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _next_step(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"stop what uses it (`ss -ltnp sport = :{address.port}`) or choose another --web.listen-address"
    return "choose another --web.listen-address"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: Address, metrics: Collector, page: bytes) -> None:
        self.metrics = metrics
        self.page = page
        self.address_family, host = address.resolve()
        super().__init__((host, address.port), _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # HTTPServer's own would look up the name of the address, which takes a minute on a host with broken DNS.
        TCPServer.server_bind(self)
        self.server_port = self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # that would be a client that went away, or was cut off
            _LOG.error("request from %s failed", client_address, exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "kvmtune"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        # A timeout of the socket would not do: it starts anew with each byte that a slow client sends.
        self._deadline = threading.Timer(REQUEST_SECONDS, self._cut_off)
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        self._deadline.cancel()
        super().finish()

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._metrics()
            case "/":
                self._answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
            case "/-/healthy":
                self._answer(HTTPStatus.OK, b"Healthy\n")
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"Not found: try /metrics\n")

    do_HEAD = do_GET  # noqa: N815 - the names that http.server calls

    def _refuse(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, b"Use GET or HEAD\n")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815 - as above

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Nothing: a line for each scrape would drown all others."""

    def _metrics(self) -> None:
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        try:
            body = encode(self.server.metrics)
        except Exception as error:  # noqa: BLE001 - the scraper must get an answer, and the log the cause
            _LOG.error("cannot collect metrics", exc_info=error)
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"Cannot collect metrics: the log says why\n")
        else:
            self._answer(HTTPStatus.OK, body, content_type)

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _cut_off(self) -> None:
        with contextlib.suppress(OSError):  # it may end by itself just now
            self.connection.shutdown(socket.SHUT_RDWR)
