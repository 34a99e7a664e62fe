"""Scrapes of a real server that behaves well, badly or not at all. Times are unix seconds."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from actuator import promql
from actuator.data import httpclient
from actuator.data.query import LocalQuery
from actuator.data.scrape import ScrapeError, Scraper
from actuator.data.store import Store
from actuator.promql.labels import Labels
from tests.target import OK, Target, after, hang, trickle

TIMEOUT_SECONDS = 0.3


@pytest.fixture
def target() -> Iterator[Target]:
    server = Target()
    yield server
    server.close()


@pytest.fixture
def store() -> Store:
    return Store(window_seconds=600)


def scraper(target: Target, store: Store) -> Scraper:
    return Scraper(f"http://{target.address}/metrics?x=1", store, timeout_seconds=TIMEOUT_SECONDS)


def values(store: Store, text: str, time: float) -> dict[Labels, float]:
    return {sample.labels: sample.value for sample in LocalQuery(store).instant(promql.compile(text), time)}


def test_samples_get_the_labels_of_the_target(target: Target, store: Store) -> None:
    target.answer = OK + b'# TYPE a gauge\na 1\nb{c="d",job="own"} 2 1000\n'
    result = scraper(target, store).scrape(100.0)
    assert (result.ok, result.samples, result.error) == (True, 2, None)
    assert 0 < result.duration_seconds < TIMEOUT_SECONDS
    ours = (("instance", target.address), ("job", "kvmtune"))
    assert values(store, '{__name__=~".+"}', 100.0) == {
        (("__name__", "a"), *ours): 1.0,
        (("__name__", "b"), ("c", "d"), ("exported_job", "own"), *ours): 2.0,
        (("__name__", "up"), *ours): 1.0,
        (("__name__", "scrape_duration_seconds"), *ours): result.duration_seconds,
    }


def test_the_request(target: Target, store: Store) -> None:
    scraper(target, store).scrape(100.0)
    head, *headers = target.request.decode().split("\r\n")
    assert head == "GET /metrics?x=1 HTTP/1.1"
    assert (
        "Accept: text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        in headers
    )
    assert f"Host: {target.address}" in headers


def test_vanished_series_end_at_once(target: Target, store: Store) -> None:
    scraped = scraper(target, store)
    target.answer = OK + b"a 1\nb 1\n"
    scraped.scrape(100.0)
    target.answer = OK + b"a 2\n"
    scraped.scrape(105.0)
    assert list(values(store, "a", 105.0).values()) == [2.0]
    assert values(store, "b", 105.0) == {}
    assert list(values(store, "b", 104.0).values()) == [1.0]
    target.answer = OK + b"a 3\nb 3\n"
    scraped.scrape(110.0)
    assert list(values(store, "b", 110.0).values()) == [3.0]


FAILURES: dict[str, tuple[bytes | Callable[[socket.socket], None], str]] = {
    "not found": (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered 404 Not Found"),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "answered 302 Found"),
    "malformed line": (OK + b"b 1\n?\n", "line 2: expected a metric name"),
    "cut off": (OK + b"b 1\nc 1", "cut off"),
    "shorter than its length": (b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nb 1\n", "ends 36 bytes early"),
    "chunks cut off": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nb 1\n\r\n", "not a valid HTTP answer"),
    "not UTF-8": (OK + b'b{c="\xff"} 1\n', "not UTF-8"),
    "not HTTP": (b"SSH-2.0-OpenSSH\r\n", "not a valid HTTP answer"),
    "empty answer": (b"", "is the exporter running?"),
    "series twice": (OK + b"b 1\nb 2\n", "line 2: b occurs twice"),
    "silent": (hang, "no complete answer in time"),
    "silent in the body": (after(OK + b"b 1\n", hang), "in time"),
    "trickling head": (trickle, "no complete answer in time"),
    "trickling header": (after(OK[:-2], trickle), "in time"),
    "trickling body": (after(OK, trickle), "in time"),
}  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_scrape_ends_all_series(target: Target, store: Store, failure: str) -> None:
    scraped = scraper(target, store)
    target.answer = OK + b"a 1\n"
    assert scraped.scrape(100.0).ok
    target.answer, reason = FAILURES[failure]
    result = scraped.scrape(105.0)
    assert not result.ok
    assert result.samples == 0
    assert result.error is not None
    assert result.error.startswith(f"http://{target.address}/metrics?x=1: ")
    assert reason in result.error
    assert result.duration_seconds < 1.5
    assert list(values(store, "up", 105.0).values()) == [0.0]
    assert values(store, '{__name__!~"up|scrape_.*", job="kvmtune"}', 105.0) == {}
    target.answer = OK + b"a 2\n"
    assert scraped.scrape(110.0).ok
    assert list(values(store, "a", 110.0).values()) == [2.0]


def test_nobody_listens(target: Target, store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
    result = Scraper(url, store, timeout_seconds=TIMEOUT_SECONDS).scrape(100.0)
    assert result.error == f"{url}: Connection refused; is the exporter running?"
    assert list(values(store, "up", 100.0).values()) == [0.0]


def test_all_addresses_of_a_host_have_one_deadline(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        with ExitStack() as waiting:
            for _ in range(3):  # more than it takes: who comes now gets no answer
                connection = waiting.enter_context(socket.socket())
                connection.setblocking(False)
                connection.connect_ex(address)
            resolved = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]
            monkeypatch.setattr(
                socket, "getaddrinfo", lambda host, *_, **__: resolved * (4 if host == "exporter" else 1)
            )
            result = Scraper(f"http://exporter:{address[1]}/", store, timeout_seconds=TIMEOUT_SECONDS).scrape(100.0)
    assert str(result.error).endswith("no complete answer in time")
    assert result.duration_seconds < 2 * TIMEOUT_SECONDS


def test_a_body_without_end_is_cut(target: Target, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpclient, "MAX_BODY_BYTES", 1000)
    target.answer = OK + b"a 1\n" * 1000
    result = scraper(target, store).scrape(100.0)
    assert result.error is not None
    assert "the body is larger than 1000 bytes" in result.error


def flood(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 65_536)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK + b"x" * (2**24 + 1), id="no newline"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\na 1\n", id="1 GB announced"),
        pytest.param(after(OK, flood), id="without end"),
        pytest.param(after(OK + b'a{b="', flood), id="one label without end"),
    ],
)
def test_a_body_that_is_too_large_is_not_read_to_its_end(
    target: Target, store: Store, answer: bytes | Callable[[socket.socket], None]
) -> None:
    target.answer = answer
    result = Scraper(f"http://{target.address}/metrics", store, timeout_seconds=60).scrape(100.0)
    assert result.error is not None
    assert "the body is larger than 16777216 bytes" in result.error
    assert result.duration_seconds < 10


def test_openmetrics(target: Target, store: Store) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\r\n"
    scraped = scraper(target, store)
    target.answer = head + b'# TYPE a counter\na_total 1 99.5 # {id="x"} 1\na_created 5e9\n# EOF\n'
    assert scraped.scrape(100.0).ok
    assert list(values(store, "a_total", 100.0).values()) == [1.0]
    assert list(values(store, "a_created", 100.0).values()) == [5e9]
    target.answer = head + b"a_total 2\n"
    assert "not # EOF: the body is cut off" in str(scraped.scrape(105.0).error)


def test_too_many_series_are_a_failed_scrape(target: Target) -> None:
    store = Store(window_seconds=600, max_series=4)
    scraped = scraper(target, store)
    target.answer = OK + b"a 1\nb 1\n"
    assert scraped.scrape(100.0).ok
    target.answer = OK + b"a 1\nb 1\nc 1\nd 1\n"
    result = scraped.scrape(105.0)
    assert result.error is not None
    assert "its limit of 4 series" in result.error
    assert list(values(store, "up", 105.0).values()) == [0.0]
    target.answer = OK + b"a 1\nb 1\n"
    assert scraped.scrape(110.0).ok


def test_a_target_that_explodes_at_once_leaves_room_for_up(target: Target) -> None:
    store = Store(window_seconds=600, max_series=4)
    target.answer = OK + b"a 1\nb 1\nc 1\nd 1\ne 1\n"
    assert not scraper(target, store).scrape(100.0).ok
    assert list(values(store, "up", 100.0).values()) == [0.0]


def test_a_target_that_explodes_leaves_no_room_behind(target: Target) -> None:
    store = Store(window_seconds=600, max_series=1000)
    scraped = scraper(target, store)
    small, exploded = OK + b"a 1\n", OK + b"".join(b'a{b="%d"} 1\n' % number for number in range(2000))
    for second in range(100, 200, 5):
        target.answer = exploded if second < 150 else small
        assert scraped.scrape(second).ok == (second >= 150)
    assert len(store) == 3
    assert store.nbytes < 20 * 100


def test_a_full_store_is_a_failed_scrape(target: Target) -> None:
    store = Store(window_seconds=600, max_series=0)
    target.answer = OK + b"a 1\n"
    result = scraper(target, store).scrape(100.0)
    assert result.error is not None
    assert 'no room for {__name__="up"' in result.error


def test_old_series_are_forgotten(target: Target, store: Store) -> None:
    scraped = scraper(target, store)
    target.answer = OK + b"a 1\nb 1\n"
    scraped.scrape(100.0)
    target.answer = OK + b"a 1\n"
    scraped.scrape(105.0)
    scraped.scrape(800.0)
    assert len(store) == 3  # a, up and scrape_duration_seconds
    assert list(values(store, "a", 800.0).values()) == [1.0]


def test_series_are_found_again_after_a_long_pause(target: Target, store: Store) -> None:
    scraped = scraper(target, store)
    target.answer = OK + b"a 1\n"
    scraped.scrape(100.0)
    store.expire(10_000.0)
    scraped.scrape(10_000.0)
    assert list(values(store, "a", 10_000.0).values()) == [1.0]


def test_nothing_is_left_running(target: Target, store: Store) -> None:
    before = threading.active_count()
    scraped = scraper(target, store)
    for second in range(20):
        scraped.scrape(float(second))
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("url", "instance"),
    [
        ("http://host/metrics", "host:80"),
        ("https://host/metrics", "host:443"),
        ("http://[::1]:9752/metrics", "[::1]:9752"),
        ("http://127.0.0.1:9752", "127.0.0.1:9752"),
    ],
)
def test_instance(url: str, instance: str, store: Store) -> None:
    Scraper(url, store, timeout_seconds=0.05).scrape(100.0)
    ((labels, _),) = values(store, "up", 100.0).items()
    assert dict(labels)["instance"] == instance


@pytest.mark.parametrize(
    "url", ["", "host:9752", "ftp://host/metrics", "http://", "http://host:99999/", "http://host:x/", "http://a..b/"]
)
def test_a_url_that_is_none(url: str, store: Store) -> None:
    with pytest.raises(ScrapeError, match=r"expected a URL such as http://127\.0\.0\.1:9752/metrics"):
        Scraper(url, store)


@pytest.mark.parametrize("url", ["http://host/größe", "http://host/a b", "http://host/?a=\x01"])
def test_a_url_that_is_not_encoded(url: str, store: Store) -> None:
    with pytest.raises(ScrapeError, match="in a URL a space is %20"):
        Scraper(url, store)
