"""What clients may cost: time, connections, bytes. None of them takes the server from the others."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from kvmweb.messages import MOST_HEAD_BYTES
from kvmweb.page import MetricsPage, MetricsRequest
from kvmweb.server import Limits
from tests.programs import wait_until
from tests.web import PAGE, ask, connect, endpoint, request, serving

SHORT = Limits(request_seconds=0.2)
GET = b"GET /metrics HTTP/1.1\r\n\r\n"
HUGE = MetricsPage(content=b"x" * 50_000_000, content_type="text/plain")


def dial(url: str, *, receive_bytes: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(10)
    client.connect(endpoint(url))
    return client


def client_threads() -> int:
    return sum(thread.name == "web client" for thread in threading.enumerate())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("start", [b"", b"GET /metrics", b"GET /metrics HTTP/1.1\r\nA: b\r\n"])
def test_a_client_that_does_not_finish_its_request_is_cut_off(start: bytes) -> None:
    with serving(limits=SHORT) as url, dial(url) as client:
        client.sendall(start)
        assert client.recv(1) == b""


def test_the_time_for_a_request_does_not_start_anew_with_each_byte() -> None:
    with serving(limits=Limits(request_seconds=0.3)) as url, dial(url) as client:
        client.settimeout(0.02)
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < started + 10:
                client.send(b"a")
                try:
                    if client.recv(1) == b"":
                        raise ConnectionResetError
                except TimeoutError:
                    pass
        assert time.monotonic() < started + 5


def test_a_second_request_has_its_own_time() -> None:
    with serving(limits=Limits(request_seconds=0.5)) as url, dial(url) as client:
        client.sendall(GET + b"GET /met")
        assert client.makefile("rb").read().endswith(PAGE.content)


def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    with serving(lambda _: HUGE, limits=SHORT) as url, dial(url, receive_bytes=4096) as client:
        client.sendall(GET)
        wait_until(lambda: client_threads() == 1, "it is served")
        wait_until(lambda: client_threads() == 0, "it is cut off")
        assert ask(url, "/-/healthy").status == 200


def test_who_has_closed_its_side_gets_the_whole_answer() -> None:
    page = MetricsPage(content=b"x" * 400_000, content_type="text/plain")  # more than the kernel keeps
    with serving(lambda _: page) as url, dial(url, receive_bytes=4096) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert client.makefile("rb").read().endswith(page.content)


def test_an_idle_connection_is_closed() -> None:
    with serving(limits=Limits(idle_seconds=0.1)) as url:
        connection = connect(url)
        assert request(connection).status == 200
        assert connection.sock
        assert connection.sock.recv(1) == b""
        connection.close()


def test_collecting_may_take_longer_than_a_client() -> None:
    enough = threading.Event()

    def render(_: MetricsRequest) -> MetricsPage:
        enough.wait(0.8)
        return PAGE

    with serving(render, limits=Limits(request_seconds=0.5)) as url:
        assert ask(url).status == 200


@pytest.mark.parametrize(
    "head", [b"GET /" + b"a" * MOST_HEAD_BYTES, GET[:-2] + b"A: b\r\n" * MOST_HEAD_BYTES], ids=["path", "headers"]
)
def test_a_head_that_is_too_long_is_answered_and_not_kept(head: bytes) -> None:
    with serving() as url, dial(url) as client:
        client.sendall(head)
        assert client.makefile("rb").readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


def test_requests_may_come_together_or_in_pieces() -> None:
    with serving() as url, dial(url) as client:
        client.sendall(GET + GET + GET[:7])
        client.sendall(GET[7:-1])
        client.sendall(GET[-1:] + b"GET /-/healthy HTTP/1.0\n\n")
        assert client.makefile("rb").read().count(b"HTTP/1.1 200 OK") == 4


# More clients than places.

FEW = Limits(connections=4)


def test_when_all_places_are_taken_the_one_that_keeps_us_waiting_longest_makes_room() -> None:
    with serving(limits=FEW) as url, ExitStack() as clients:
        held = [clients.enter_context(dial(url)) for _ in range(4)]
        wait_until(lambda: client_threads() == 4, "all places are taken")
        assert ask(url).status == 200
        assert held[0].recv(1) == b""
        for client in held[1:]:
            client.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.1 200 OK"


def test_a_scrape_under_way_is_not_cut_off_for_others() -> None:
    begun, enough = threading.Semaphore(0), threading.Event()

    def render(_: MetricsRequest) -> MetricsPage:
        begun.release()
        enough.wait(10)
        return PAGE

    with serving(render, limits=FEW) as url, ExitStack() as clients:
        scrapes = [clients.enter_context(dial(url)) for _ in range(4)]
        for client in scrapes:
            client.sendall(GET)
            begun.acquire()
        waiting = clients.enter_context(dial(url))
        waiting.sendall(b"GET /-/healthy HTTP/1.1\r\n\r\n")
        enough.set()
        for client in (*scrapes, waiting):
            assert client.recv(15) == b"HTTP/1.1 200 OK"


def test_hundreds_of_slow_readers_leave_the_server_to_others() -> None:
    limits = Limits(connections=32)
    with serving(lambda _: HUGE, limits=limits) as url:
        assert ask(url, "/-/healthy").status == 200
        wait_until(lambda: client_threads() == 0, "its place is free again")
        before = descriptors()
        with ExitStack() as clients:
            for _ in range(300):
                clients.enter_context(dial(url, receive_bytes=4096)).sendall(GET)
            assert client_threads() <= 32
            assert ask(url, "/-/healthy").status == 200
        wait_until(lambda: client_threads() == 0, "their places are free again")
        assert descriptors() == before


def test_a_client_that_is_gone_at_once_is_nobodys_error(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as url:
        for _ in range(20):
            client = dial(url)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset at close
            client.close()
        assert ask(url).status == 200
    assert caplog.text == ""


def test_it_ends_also_when_a_scrape_hangs() -> None:
    enough = threading.Event()

    def render(_: MetricsRequest) -> MetricsPage:
        enough.wait(30)
        return PAGE

    started = time.monotonic()
    with serving(render) as url, dial(url) as client:
        client.sendall(GET)
        wait_until(lambda: client_threads() == 1, "it is served")
    assert time.monotonic() - started < 10
    enough.set()
    wait_until(lambda: client_threads() == 0, "it has ended")


# Whatever comes.


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(limits=Limits(request_seconds=2, connections=16)) as url:
        yield url


PIECES = some.sampled_from(
    [GET, b"HEAD / HTTP/1.1\r\n", b"GET", b" ", b"/metrics", b"HTTP/1.1", b"\r\n", b"\n", b"\r", b":", b"\x00", b"\xff",
     b"Host: a\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n",
     b"Accept-Encoding: gzip\r\n", b"Accept: */*;q=", b"Connection: close\r\n", b"\x16\x03\x01", b"a" * 9000]
)  # fmt: skip


@given(
    data=some.binary() | some.lists(PIECES).map(b"".join),
    cut=some.floats(0, 1),
    reads=some.booleans(),
)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_end_the_server_or_are_logged(
    url: str, caplog: pytest.LogCaptureFixture, data: bytes, cut: float, reads: bool
) -> None:
    where = int(len(data) * cut)
    with dial(url) as client, suppress(ConnectionError):  # the server may have had enough
        client.sendall(data[:where])
        client.sendall(data[where:])
        if reads:
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
    assert ask(url, "/-/healthy").body == b"Healthy\n"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
