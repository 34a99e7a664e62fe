"""HTTP to one origin: connections that are kept, answers that are bounded in size, one deadline for each request.

http.client's own timeout starts anew with each byte that arrives. Here every send and receive of a request ends by its
deadline, so that a peer that answers byte by byte is cut off without a thread to watch it.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import SplitResult, urlsplit

from actuator.data.httpconfig import HttpConfig, HttpConfigError
from actuator.data.printable import printable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BODY_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
# What a peer does to a connection that it has closed while nothing was asked.
_CLOSED_MEANWHILE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class HttpError(Exception):
    """There is no usable answer."""


class UnreachableError(HttpError):
    """Nobody was there to answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``content_type`` is without parameters; it and ``location`` are empty if there is no such header."""

    status: int
    reason: str
    content_type: str
    location: str
    body: bytes


def parse_url(text: str, example: str) -> SplitResult:
    """The parts of an http:// or https:// URL; ValueError says what is wrong with it and shows the example."""
    try:
        url = urlsplit(text)
        is_url = url.port != 0 and url.scheme in ("http", "https") and bool((url.hostname or "").encode("idna"))
    except ValueError:
        is_url = False
    if not is_url:
        raise ValueError(f"{text}: expected a URL such as {example}")
    sent = url.path + url.query
    if not (sent.isascii() and sent.isprintable()) or " " in sent:
        raise ValueError(f"{text!r}: in a URL a space is %20, and what is not ASCII is like %C3%A9, too")
    if url.username is not None:
        raise ValueError("all users of this host can see a password in a URL: put it into a file, as basic_auth")
    return url


class Client:
    """Asks the origin of ``url``; only its scheme, host and port count. Threads may share it."""

    def __init__(self, url: SplitResult, config: HttpConfig) -> None:
        self._url = url
        self._config = config
        self._idle: deque[_Connection] = deque()
        self._closed = False

    def get(self, target: str, headers: Mapping[str, str], deadline: float) -> Answer:
        """GET of a path with its query; ``deadline`` in seconds of the monotonic clock. Raises HttpError."""
        return self._request("GET", target, None, headers, deadline)

    def post(self, target: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Answer:
        """POST, which may be sent twice: only for requests that change nothing. Raises HttpError."""
        return self._request("POST", target, body, headers, deadline)

    def close(self) -> None:
        """Close the connections that are kept, and keep none any more."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _request(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> Answer:
        try:
            return self._answer(method, target, body, {**headers, **self._config.request_headers()}, deadline)
        except HttpConfigError as error:
            raise HttpError(str(error)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline or isinstance(error, TimeoutError):
                raise HttpError("no complete answer in time") from None
            if isinstance(error, ssl.SSLError):
                raise HttpError(_explain(error)) from None
            if isinstance(error, OSError):
                raise UnreachableError(error.strerror or str(error)) from None
            raise HttpError(f"not a valid HTTP answer: {error!r}") from None

    def _answer(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> Answer:
        kept = self._kept()
        if kept is not None:
            with suppress(*_CLOSED_MEANWHILE):
                return self._exchange(kept, method, target, body, headers, deadline)
        return self._exchange(self._connection(deadline), method, target, body, headers, deadline)

    def _kept(self) -> _Connection | None:
        with suppress(IndexError):  # no look before: another thread may take the last one
            return self._idle.pop()
        return None

    def _connection(self, deadline: float) -> _Connection:
        context = self._config.tls.context() if self._url.scheme == "https" else None
        return _Connection(self._url, context, self._config.tls.server_name, deadline)

    def _exchange(
        self,
        connection: _Connection,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
    ) -> Answer:
        connection.deadline = deadline
        try:
            connection.request(method, target, body, headers)
            with connection.getresponse() as response:
                answer = Answer(
                    status=response.status,
                    reason=printable(response.reason),
                    content_type=response.headers.get_content_type() if "Content-Type" in response.headers else "",
                    location=printable(response.headers.get("Location", "")),
                    body=_body(response),
                )
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._idle.append(connection)
            if self._closed:  # meanwhile
                self.close()
        return answer


def _body(response: http.client.HTTPResponse) -> bytes:
    body = bytearray()
    if (response.length or 0) > MAX_BODY_BYTES:
        raise HttpError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HttpError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    if response.length:
        raise HttpError(f"the body ends {response.length} bytes early")
    return bytes(body)


def _explain(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}; is tls_config's ca_file or server_name right?"
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS there: write http://, or the port that does"
    if "CERTIFICATE" in (error.reason or ""):  # an alert: TLSV13_ALERT_CERTIFICATE_REQUIRED
        return f"it refuses our certificate ({error.reason}): give it one with tls_config's cert_file and key_file"
    return f"no TLS connection: {error.reason or error}"


class _Connection(http.client.HTTPConnection):
    """A connection whose every send and receive ends by ``deadline`` (monotonic seconds), which may be set anew."""

    def __init__(
        self, url: SplitResult, context: ssl.SSLContext | None, server_name: str | None, deadline: float
    ) -> None:
        # Also what decides whether the Host header names the port.
        self.default_port = 80 if context is None else 443
        assert url.hostname is not None
        super().__init__(url.hostname, url.port)
        self.deadline = deadline
        self._context = context
        self._server_name = server_name or url.hostname

    def connect(self) -> None:
        sock = self._reach()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock.settimeout(self.seconds_left())
                sock = self._context.wrap_socket(sock, server_hostname=self._server_name)
        except BaseException:
            sock.close()
            raise
        self.sock = cast(socket.socket, _Timed(sock, self))

    def _reach(self) -> socket.socket:
        """A connection to the first address of the host that answers; each may take its share of the time."""
        addresses = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        problem = OSError("no address")
        for left, (*_, (host, *_)) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                return socket.create_connection((str(host), self.port), self.seconds_left() / left)
            except OSError as error:
                problem = error
        raise problem

    def seconds_left(self) -> float:
        """Raises TimeoutError at the deadline."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Timed:
    """What http.client uses of a socket, by the deadline of its connection."""

    def __init__(self, sock: socket.socket, connection: _Connection) -> None:
        self._sock = sock
        self._connection = connection

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._connection.seconds_left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._connection))

    def close(self) -> None:
        self._sock.close()


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, connection: _Connection) -> None:
        self._sock = sock
        self._connection = connection
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open until the answer is read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        self._sock.settimeout(self._connection.seconds_left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
