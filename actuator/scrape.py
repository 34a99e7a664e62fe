"""GET /metrics of a target into the store, with the ``up`` and staleness semantics of Prometheus."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from actuator.exposition import ExpositionError, Parser
from actuator.promql.labels import NAME, Labels, make
from actuator.store import Series, Store, StoreFullError, milliseconds

ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
MAX_BODY_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


class ScrapeError(Exception):
    """The target gave no usable answer."""


@dataclass(frozen=True)
class ScrapeResult:
    """What a scrape came to; ``error`` says why it is not ``ok``."""

    ok: bool
    samples: int
    duration_seconds: float
    error: str | None = None


class Scraper:
    """Scrapes one target into a store.

    ``timeout_seconds`` bounds the whole scrape, also with a server that answers byte by byte.
    """

    def __init__(
        self,
        url: str,
        store: Store,
        job: str = "kvmtune",
        instance: str | None = None,
        timeout_seconds: float = 5.0,
    ) -> None:
        """Raises ScrapeError for a URL that is not http:// or https:// with a host."""
        self._url = _checked(url)
        self._store = store
        self._target = {"job": job, "instance": instance or _host_and_port(self._url)}
        self._timeout_seconds = timeout_seconds
        self._parser: Parser[Series] = Parser(lambda labels: store.series(self._labelled(labels)))
        self._live: set[Series] = set()

    def scrape(self, now: float) -> ScrapeResult:
        """Store the target's samples at ``now`` (unix seconds). A failure is a result, not an exception.

        Series that the target no longer has are marked stale; all of them if the scrape fails.
        """
        started = time.monotonic()
        error = None
        values: dict[Series, float] = {}
        try:
            values = self._values(started + self._timeout_seconds)
        except (ScrapeError, ExpositionError, StoreFullError) as problem:
            error = str(problem)
            self._parser.forget()
        duration = time.monotonic() - started
        self._keep(values, now)
        try:
            self._report(now, up=float(error is None), scrape_duration_seconds=duration)
        except StoreFullError as problem:
            error = error or str(problem)
        return ScrapeResult(
            error is None, len(values), duration, None if error is None else f"{self._url.geturl()}: {error}"
        )

    def _values(self, deadline: float) -> dict[Series, float]:
        try:
            body = _get(self._url, deadline).decode()
        except UnicodeDecodeError as error:
            raise ScrapeError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
        return self._parser.parse(body)

    def _keep(self, values: dict[Series, float], now: float) -> None:
        self._store.append_all(values, now)
        for vanished in self._live - values.keys():
            vanished.mark_stale(milliseconds(now))
        self._live = set(values)
        self._store.expire(now)

    def _report(self, now: float, **values: float) -> None:
        for name, value in values.items():
            self._store.append(make({**self._target, NAME: name}), now, value)

    def _labelled(self, labels: Labels) -> Labels:
        """The labels with job and instance; the target's own labels of these names become exported_*."""
        own = {f"exported_{name}" if name in self._target else name: value for name, value in labels}
        return make({**own, **self._target})


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ScrapeError(f"{url}: expected a URL such as http://127.0.0.1:9752/metrics")
    return parts


def _host_and_port(url: SplitResult) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def _get(url: SplitResult, deadline: float) -> bytes:
    """Body of the answer; ``deadline`` is in seconds of the monotonic clock. Raises ScrapeError."""
    try:
        body = _request(url, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= deadline or isinstance(error, TimeoutError):
            raise ScrapeError("no complete answer in time") from None
        if isinstance(error, OSError):
            raise ScrapeError(f"{error.strerror or error}; is the exporter running?") from None
        raise ScrapeError(f"not a valid HTTP answer: {error!r}") from None
    if time.monotonic() >= deadline:  # the end that the reader saw may be the one that we made
        raise ScrapeError("no complete answer in time")
    return body


def _request(url: SplitResult, deadline: float) -> bytes:
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=deadline - time.monotonic())
    with closing(connection):
        connection.connect()
        with _cut_off(connection.sock, deadline):
            connection.request("GET", _path(url), headers={"Accept": ACCEPT, "Connection": "close"})
            with connection.getresponse() as response:
                if response.status != http.client.OK:
                    raise ScrapeError(f"answered {response.status} {response.reason}; is the path right?")
                return _body(response)


@contextmanager
def _cut_off(sock: socket.socket, deadline: float) -> Iterator[None]:
    """Shut the connection down at the deadline: its own timeout starts anew with each byte that arrives."""

    def shut_down() -> None:
        with suppress(OSError):  # closed already
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(deadline - time.monotonic(), shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _body(response: http.client.HTTPResponse) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ScrapeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    if response.length:
        raise ScrapeError(f"the body ends {response.length} bytes early")
    return bytes(body)


def _path(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")
