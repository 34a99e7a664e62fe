"""HTTP/1.1 as far as a scrape needs it: heads of requests to values, and responses to bytes (pure).

RFC 9110 and 9112. Bodies of requests are not read: nobody who may ask here sends one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

PLAIN_TEXT = "text/plain; charset=utf-8"

MOST_HEAD_BYTES = 16384
"""What the request line and the headers may take; Prometheus sends less than 1 KiB."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for a name
_REQUEST_LINE = re.compile(rf"({_TOKEN}) (\S+) HTTP/([0-9])\.([0-9])")
_NAME = re.compile(_TOKEN)
_ABSOLUTE = re.compile(r"https?://[^/?]*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Response:
    """A whole answer. The connection adds Date, Server, Content-Length and Connection."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN_TEXT
    headers: tuple[tuple[str, str], ...] = ()

    def adding(self, headers: tuple[tuple[str, str], ...]) -> Response:
        """The same with more headers."""
        return replace(self, headers=self.headers + headers) if headers else self

    def head(self, *, date: str, stays_open: bool) -> bytes:
        """The status line and all headers, up to the body."""
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "Server: kvmtune",
            f"Date: {date}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        if not stays_open:
            lines.append("Connection: close")
        return "\r\n".join((*lines, "", "")).encode("latin-1", "replace")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The head of a request."""

    method: str
    path: str
    """Without the query."""
    headers: Mapping[str, str]
    """By name in lower case; of a header that is given twice, the first."""
    stays_open: bool
    """Whether another request may follow on this connection."""


class BadRequest(Exception):  # noqa: N818 - HTTP's own name of it
    """What came is not a request that can be answered; `response` says why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.response = Response(status=status, body=f"{why}\n".encode())


def parse(head: bytes) -> Request:
    """The request of all bytes before its empty line; `BadRequest` if it is none."""
    if len(head) > MOST_HEAD_BYTES:
        why = f"Request line and headers are longer than {MOST_HEAD_BYTES} bytes"
        raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, why)
    first, *lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise BadRequest(HTTPStatus.BAD_REQUEST, "Not a request: expected a line like GET /metrics HTTP/1.1")
    method, target, major, minor = match.groups()
    if major != "1":
        raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "Only HTTP/1.1 and HTTP/1.0 are spoken here")
    headers = _headers(lines)
    # What follows such a head is its body, and must never be taken for the next request.
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    asks_to_close = "close" in re.split(r"[,\s]+", headers.get("connection", "").lower())
    return Request(
        method=method,
        path=_ABSOLUTE.sub("", target, count=1).partition("?")[0] or "/",
        headers=headers,
        stays_open=minor != "0" and not has_body and not asks_to_close,
    )


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or _NAME.fullmatch(name) is None:
            raise BadRequest(HTTPStatus.BAD_REQUEST, "Not a header: expected a line like Accept: text/plain")
        headers.setdefault(name.lower(), value.strip(" \t"))
    return headers
