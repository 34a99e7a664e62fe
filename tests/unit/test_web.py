"""The web server: what it answers, what it refuses, and that it ends."""

from __future__ import annotations

import gzip
import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvmweb.arguments import WebFlags
from kvmweb.page import MetricsPage, MetricsRequest
from kvmweb.server import serve
from tests.web import PAGE, ask, connect, request, serving


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.mark.parametrize("path", ["/metrics", "/metrics?debug=1", "http://example.org/metrics"])
def test_metrics(url: str, path: str) -> None:
    answer = ask(url, path)
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "text/plain", PAGE.content)


def test_metrics_are_compressed_for_who_accepts_it(url: str) -> None:
    answer = ask(url, accept_encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.body) == PAGE.content


@pytest.mark.parametrize("accept_encoding", ["identity", "gzip;q=0", "deflate, br"])
def test_metrics_are_not_compressed_for_others(url: str, accept_encoding: str) -> None:
    answer = ask(url, accept_encoding=accept_encoding)
    assert answer.headers["Content-Encoding"] is None
    assert answer.body == PAGE.content


@pytest.mark.parametrize("accept_encoding", ["identity", "gzip"])
def test_caches_are_told_what_the_metrics_depend_on(url: str, accept_encoding: str) -> None:
    assert ask(url, accept_encoding=accept_encoding).headers["Vary"] == "Accept, Accept-Encoding"


def test_what_a_scrape_asks_for_reaches_the_program() -> None:
    asked: list[MetricsRequest] = []

    def render(request: MetricsRequest) -> MetricsPage:
        asked.append(request)
        return PAGE

    with serving(render) as url:
        ask(url, accept="text/plain", x_prometheus_scrape_timeout_seconds="1.5")
    assert asked == [MetricsRequest(accept="text/plain", timeout_seconds=1.5)]


def test_landing_page() -> None:
    flags = WebFlags(listen_addresses=("127.0.0.1:0",))
    links = (("https://example.org/docs?a=1&b=2", "documentation"),)
    with serve(flags, lambda _: PAGE, title="a <b> c", version="1.2.3", summary="It serves.", links=links) as (url,):
        answer = ask(url, "/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = answer.body.decode()
    assert "<h1>a &lt;b&gt; c <small>1.2.3</small></h1>" in page
    assert re.findall(r'<a href="(.*)">', page) == [
        "/metrics", "/-/healthy", "/-/ready", "https://example.org/docs?a=1&amp;b=2",
    ]  # fmt: skip


def test_healthy(url: str) -> None:
    answer = ask(url, "/-/healthy")
    assert (answer.status, answer.body) == (200, b"Healthy\n")


def test_ready_says_what_the_program_waits_for() -> None:
    waits_for: list[str | None] = ["libvirt has not answered yet"]
    with serving(ready=lambda: waits_for[-1]) as url:
        answer = ask(url, "/-/ready")
        assert (answer.status, answer.body) == (503, b"Not ready: libvirt has not answered yet\n")
        waits_for.append(None)
        answer = ask(url, "/-/ready")
        assert (answer.status, answer.body) == (200, b"Ready\n")


@pytest.mark.parametrize("path", ["/favicon.ico", "/metrics/", "//metrics", "/../etc/passwd", "/-/", "*"])
def test_other_paths_are_not_found(url: str, path: str) -> None:
    assert ask(url, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(url: str, method: str) -> None:
    answer = ask(url, method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready", "/absent"])
def test_head_is_get_without_the_body(url: str, path: str) -> None:
    head, get = ask(url, path, "HEAD"), ask(url, path)
    del head.headers["Date"], get.headers["Date"]
    assert (head.status, head.headers.items(), head.body) == (get.status, get.headers.items(), b"")


def test_the_server_does_not_tell_what_it_is_made_of(url: str) -> None:
    assert ask(url).headers["Server"] == "kvmtune"


def test_a_connection_serves_many_requests(url: str) -> None:
    connection = connect(url)
    connection.connect()
    sock = connection.sock
    for path, method, status in (("/metrics", "GET", 200), ("/absent", "HEAD", 404), ("/metrics", "GET", 200)):
        assert request(connection, path, method).status == status
    assert connection.sock is sock
    connection.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_body_is_never_taken_for_the_next_request(url: str, method: str) -> None:
    connection = connect(url)
    connection.request(method, "/-/healthy", body=b"GET /metrics HTTP/1.1\r\n\r\n")
    response = connection.getresponse()
    response.read()
    assert response.headers["Connection"] == "close"
    connection.close()


def test_a_defect_while_collecting_is_answered_and_logged_when_it_comes_and_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    outcomes = iter([ValueError("a defect"), ValueError("a defect"), PAGE, PAGE])

    def render(_: MetricsRequest) -> MetricsPage:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with serving(render) as url:
        assert [ask(url).status for _ in range(4)] == [500, 500, 200, 200]
        assert ask(url, "/-/healthy").status == 200
    assert [record.message for record in caplog.records] == [
        "cannot collect metrics, scrapes are answered with status 500",
        "metrics can be collected again",
    ]
    assert "a defect" in caplog.text


def test_a_scrape_that_cannot_be_made_in_time_is_told_why() -> None:
    def render(_: MetricsRequest) -> MetricsPage:
        raise TimeoutError("the scrape before this one has not ended")

    with serving(render) as url:
        answer = ask(url)
    assert (answer.status, answer.body) == (503, b"Cannot collect metrics: the scrape before this one has not ended\n")


def test_requests_are_not_logged(url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    ask(url)
    assert (caplog.text, capfd.readouterr().err) == ("", "")


def test_parallel_scrapes_share_the_compressed_page() -> None:
    page = MetricsPage(content=b"kvm_ksm_run 1\n" * 100_000, content_type="text/plain")
    with serving(lambda _: page) as url, ThreadPoolExecutor(50) as pool:
        bodies = {answer.body for answer in pool.map(lambda _: ask(url, accept_encoding="gzip"), range(50))}
    assert [gzip.decompress(body) for body in bodies] == [page.content]


def test_it_ends_with_the_block_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with serving() as url:
        connection = connect(url)
        assert request(connection).status == 200
    assert threading.active_count() <= before
    with pytest.raises(ConnectionRefusedError):
        ask(url)
    connection.close()
