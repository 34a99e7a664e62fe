"""HTTP: heads of requests, and what is none."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kvmweb.messages import MOST_HEAD_BYTES, BadRequest, Response, parse


@pytest.mark.parametrize(
    ("line", "method", "path"),
    [
        (b"GET /metrics HTTP/1.1", "GET", "/metrics"),
        (b"HEAD / HTTP/1.0", "HEAD", "/"),
        (b"GET /metrics?a=b?c HTTP/1.1", "GET", "/metrics"),
        (b"GET http://host:9752/metrics?a HTTP/1.1", "GET", "/metrics"),
        (b"GET HTTPS://host HTTP/1.1", "GET", "/"),
        (b"OPTIONS * HTTP/1.1", "OPTIONS", "*"),
        (b"GET /\xff\x00 HTTP/1.9", "GET", "/\xff\x00"),
    ],
)
def test_request_lines(line: bytes, method: str, path: str) -> None:
    request = parse(line)
    assert (request.method, request.path) == (method, path)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET /metrics", 400),
        (b"GET  / HTTP/1.1", 400),
        (b" GET / HTTP/1.1", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/1.1\r\nno colon", 400),
        (b"GET / HTTP/1.1\r\nname : value", 400),
        (b"GET / HTTP/1.1\r\na: b\r\n folded", 400),
        (b"GET / HTTP/1.1\r\n: value", 400),
        (b"GET /" + b"a" * MOST_HEAD_BYTES, 431),
    ],
)
def test_what_is_no_request(head: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(head)
    assert caught.value.response.status == status


def test_headers_are_found_by_their_name_in_lower_case_and_the_first_counts() -> None:
    request = parse(b"GET / HTTP/1.1\r\nACCEPT:\t text/plain \r\nHost:\r\nAccept: text/html\nX: a:b")
    assert request.headers == {"accept": "text/plain", "host": "", "x": "a:b"}


@pytest.mark.parametrize(
    ("head", "stays_open"),
    [
        (b"GET / HTTP/1.1", True),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.1\r\nConnection: close", False),
        (b"GET / HTTP/1.1\r\nConnection: TE, Close", False),
        (b"GET / HTTP/1.1\r\nConnection: keep-alive", True),
        (b"GET / HTTP/1.1\r\nContent-Length: 0", True),
        (b"GET / HTTP/1.1\r\nContent-Length: 5", False),
        (b"GET / HTTP/1.1\r\nContent-Length: nonsense", False),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked", False),
    ],
)
def test_whether_another_request_may_follow(head: bytes, stays_open: bool) -> None:
    assert parse(head).stays_open is stays_open


def test_a_response() -> None:
    response = Response(status=HTTPStatus.OK, body=b"12345", headers=(("A", "b"),)).adding((("C", "d"),))
    assert response.head(date="now", stays_open=False).decode().split("\r\n") == [
        "HTTP/1.1 200 OK",
        "Server: kvmtune",
        "Date: now",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Length: 5",
        "A: b",
        "C: d",
        "Connection: close",
        "",
        "",
    ]


PIECES = some.sampled_from(
    [b"GET", b"HEAD", b" ", b"/metrics", b"/", b"HTTP/1.1", b"HTTP/", b"\r\n", b"\n", b"\r", b":", b"Accept", b"a",
     b"Content-Length", b"1", b"Authorization: Basic ", b"Accept-Encoding: gzip;q=", b"\x00", b"\xff", b",", b"=", b";"]
)  # fmt: skip


@given(some.binary() | some.lists(PIECES).map(b"".join))
def test_any_bytes_are_a_request_or_a_bad_one(head: bytes) -> None:
    try:
        request = parse(head)
    except BadRequest as error:
        assert error.response.status in (400, 431, 505)
    else:
        assert request.path
        assert all(name == name.lower() for name in request.headers)
