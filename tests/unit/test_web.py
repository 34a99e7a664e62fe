"""The web server: what it answers, what it refuses, where it listens, and that it ends."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kvmweb import server
from kvmweb.address import Address, parse
from kvmweb.server import WebError, serve


class Pages(Collector):
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("kvm_ksm_pages_sharing", "Pages saved.", value=42)


class Broken(Collector):
    def collect(self) -> Iterator[Metric]:
        raise RuntimeError("a defect")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    links = (("https://example.org/docs?a=1&b=2", "documentation"),)
    with serve("127.0.0.1:0", Pages(), title="a <b> c", version="1.2.3", summary="It serves.", links=links) as url:
        yield url


def ask(
    url: str, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("accept", "content_type", "last_line"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", "kvm_ksm_pages_sharing 42.0"),
        ("text/html, */*", "text/plain; version=0.0.4; charset=utf-8", "kvm_ksm_pages_sharing 42.0"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8", "# EOF"),
    ],
)
def test_metrics_in_the_format_that_the_scraper_accepts(
    url: str, accept: str, content_type: str, last_line: str
) -> None:
    status, headers, body = ask(url, "/metrics", headers={"Accept": accept})
    assert (status, headers["Content-Type"]) == (200, content_type)
    assert body.splitlines()[-1] == last_line


def test_query_parameters_of_a_scrape_do_no_harm(url: str) -> None:
    assert ask(url, "/metrics?debug=1")[0] == 200


def test_scrapes_in_parallel(url: str) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda _: ask(url, "/metrics"), range(40))
    assert {(status, body.splitlines()[-1]) for status, _, body in answers} == {(200, "kvm_ksm_pages_sharing 42.0")}


def test_landing_page(url: str) -> None:
    status, headers, body = ask(url, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<h1>a &lt;b&gt; c <small>1.2.3</small></h1>" in body
    for link in ("/metrics", "/-/healthy", "https://example.org/docs?a=1&amp;b=2"):
        assert f'<a href="{link}">' in body


def test_healthy(url: str) -> None:
    status, _, body = ask(url, "/-/healthy")
    assert (status, body) == (200, "Healthy\n")


@pytest.mark.parametrize("path", ["/favicon.ico", "/metrics/", "/../etc/passwd", "/-/", "*"])
def test_other_paths_are_not_found(url: str, path: str) -> None:
    assert ask(url, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(url: str, method: str) -> None:
    status, headers, _ = ask(url, "/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_the_body(url: str) -> None:
    status, headers, body = ask(url, "/-/healthy", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "8", "")


def test_the_interpreter_is_not_told(url: str) -> None:
    assert ask(url, "/")[1]["Server"].strip() == "kvmtune"


def test_a_defect_while_collecting_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with serve("127.0.0.1:0", Broken(), title="t", version="1") as url:
        assert ask(url, "/metrics")[0] == 500
        assert ask(url, "/-/healthy")[0] == 200
    assert [record.message for record in caplog.records] == ["cannot collect metrics"]
    assert "a defect" in caplog.text


def test_requests_are_not_logged(url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    ask(url, "/metrics")
    assert (caplog.text, capfd.readouterr().err) == ("", "")


# Where it listens.


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9752", Address("127.0.0.1", 9752)),
        ("localhost:65535", Address("localhost", 65535)),
        ("[::1]:9752", Address("::1", 9752)),
        (":9752", Address("", 9752)),
        ("[::]:0", Address("::", 0)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not an address: write it like"),
        ("9752", "is not an address: write it like"),
        ("::1:9752", "is not an address: write it like"),
        ("[::1:9752", "is not an address: write it like"),
        ("localhost:", "has no valid port"),
        ("localhost:http", "has no valid port"),
        ("localhost:65536", "has no valid port"),
        ("localhost:-1", "has no valid port"),
        ("localhost:٣", "has no valid port"),
        ("a..b:9752", "has no valid host name"),
        (f"{'a' * 64}:9752", "has no valid host name"),
    ],
)
def test_what_is_not_an_address(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem), serve(text, Pages(), title="t", version="1"):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", ":0", "[::1]:0", "[::]:0"])
def test_the_url_leads_to_the_server(address: str) -> None:
    if "[" in address and not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6 on this host")
    with (
        serve(address, Pages(), title="t", version="1") as url,
        urllib.request.urlopen(f"{url}-/healthy", timeout=10) as answer,
    ):
        assert answer.read() == b"Healthy\n"


def test_all_addresses_include_those_of_ipv4() -> None:
    with serve(":0", Pages(), title="t", version="1") as url:
        port = url.rstrip("/").rpartition(":")[2]
        assert ask(f"127.0.0.1:{port}", "/-/healthy")[0] == 200


def test_a_port_in_use_is_an_error_with_the_next_step(url: str) -> None:
    address = url.removeprefix("http://").rstrip("/")
    port = address.rpartition(":")[2]
    next_step = rf"stop what uses it \(`ss -ltnp sport = :{port}`\) or choose another --web.listen-address"
    with (
        pytest.raises(WebError, match=f"cannot listen on {address}: Address already in use; {next_step}"),
        serve(address, Pages(), title="t", version="1"),
    ):
        pass


def test_an_address_of_another_machine_is_an_error() -> None:
    with (
        pytest.raises(WebError, match=r"cannot listen on 192.0.2.1:9752: .*; choose another"),
        serve("192.0.2.1:9752", Pages(), title="t", version="1"),
    ):
        pass


# Its end, and that of a client.


def test_it_ends_with_the_block_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with serve("127.0.0.1:0", Pages(), title="t", version="1") as url:
        pass
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        ask(url, "/")


def test_a_client_that_sends_too_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.1)
    with serve("127.0.0.1:0", Pages(), title="t", version="1") as url:
        host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"GET /metrics")
            assert client.recv(1) == b""
        assert ask(url, "/-/healthy")[0] == 200
