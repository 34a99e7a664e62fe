"""Queries to a real HTTP server that has Prometheus' API, behaves well, badly or not at all. Times are unix seconds."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actuator import promql
from actuator.data import httpconfigfile
from actuator.data.query import QueryError
from actuator.data.server import CONNECTIONS, ServerQuery
from actuator.data.store import Store
from actuator.promql.labels import make
from tests import promserver
from tests.promserver import PromServer
from tests.target import OK, Target, after, hang, trickle

NOW = 1_700_000_000.25
TIMEOUT_SECONDS = 0.3


@pytest.fixture
def server() -> Iterator[PromServer]:
    """Two hosts that are scraped every 15 s, the last time 5 s ago; `only` is a metric of one."""
    store = Store(window_seconds=600)
    for age in range(65, 0, -15):
        for instance in ("a:9752", "b:9752"):
            store.append(make({"__name__": "x", "instance": instance}), NOW - age, 1.0)
        store.append(make({"__name__": "only", "instance": "a:9752", "domain": "d"}), NOW - age, age)
    store.append(make({"__name__": "old", "instance": "a:9752"}), NOW - 100, 1.0)
    with promserver.serving(store) as serving:
        yield serving


@pytest.fixture
def query(server: PromServer) -> Iterator[ServerQuery]:
    with closing(ServerQuery(server.url)) as query:
        yield query


def test_what_is_sent(server: PromServer) -> None:
    text = "  sum by (instance)(\n only{domain='d'} ) > 1e0 # as it stands\n"
    with closing(ServerQuery(f"{server.url}/prometheus/?extra_label=instance%3Da")) as query:
        assert [sample.value for sample in query.instant(promql.compile(text), NOW)] == [5.0]
    assert {request.path for request in server.requests} == {"/prometheus/api/v1/query?extra_label=instance%3Da"}
    (sent,) = (request for request in server.requests if request.form["query"] == text)
    assert sent.form["time"] == "1700000000.250"
    assert 4000 < int(sent.form["timeout"].removesuffix("ms")) <= 5000
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_headers_and_passwords(server: PromServer, tmp_path: Path) -> None:
    (tmp_path / "http.yml").write_text(
        "basic_auth: {username: kvm, password_file: pw}\nhttp_headers: {X-Scope-OrgID: {values: [tenant-1]}}\n"
    )
    (tmp_path / "pw").write_text("s3cret\n")
    with closing(ServerQuery(server.url, httpconfigfile.load(tmp_path / "http.yml"))) as query:
        query.scrape(NOW)
        (tmp_path / "pw").write_text("changed\n")
        query.scrape(NOW)
    first, second = (request.headers for request in server.requests)
    assert first["Authorization"] == "Basic a3ZtOnMzY3JldA=="
    assert second["Authorization"] == "Basic a3ZtOmNoYW5nZWQ="
    assert first["X-Scope-OrgID"] == "tenant-1"


def test_a_tick_asks_each_question_once_and_reuses_its_connections(server: PromServer, query: ServerQuery) -> None:
    exprs = [promql.compile(text) for text in ("only > 1", "only > 2", "rate(only[1m]) > 0", "only > 1")]
    assert query.scrape(NOW).ok
    query.prepare(exprs, NOW)
    for expr in exprs:
        query.instant(expr, NOW)
        query.present(expr, NOW)
        query.as_of(expr, NOW)
    assert sorted(server.queries) == sorted([
        "vector(1)", "only > 1", "only > 2", "rate(only[1m]) > 0", 'count(rate({__name__="only"}[60000ms]) <= Inf)',
        'max by (instance) (timestamp({__name__="only"}) and {__name__="only"} <= Inf)',
    ])  # fmt: skip
    for tick in range(1, 5):
        query.instant(exprs[0], NOW + tick)
    assert len({request.client for request in server.requests}) <= CONNECTIONS


@pytest.mark.parametrize(
    ("text", "as_of"),
    [
        ("only", NOW - 5),
        ("only offset 10s", NOW - 10),  # 20 s old where 10 s are asked for
        ("only @ 1 or only", NOW - 5),
        ("max_over_time((only > 0)[30s:10s] offset 5s)", NOW),
        ("only > on(instance) old", NOW - 100),
        ("time()", NOW),
        ("absent(missing)", NOW),
    ],
)
def test_as_of(query: ServerQuery, text: str, as_of: float) -> None:
    assert query.as_of(promql.compile_for_server(text), NOW) == pytest.approx(as_of, abs=0.01)


def test_rules_are_about_one_host(query: ServerQuery) -> None:
    expected = r'max\(x\): {__name__="x"} is of 2 instances \(a:9752, b:9752\): select this host\'s'
    with pytest.raises(QueryError, match=expected):
        query.instant(promql.compile("max(x)"), NOW)
    with pytest.raises(QueryError, match="is of 2 instances"):
        query.instant(promql.compile("absent(x)"), NOW)
    assert len(query.instant(promql.compile("max(x{instance='a:9752'})"), NOW)) == 1


def test_old_data_are_as_good_as_none(query: ServerQuery) -> None:
    with pytest.raises(QueryError, match=r'the newest sample of {__name__="old"} is 100 s old, more than 1m30s'):
        query.instant(promql.compile("old"), NOW)


def test_a_partial_answer_is_none(server: PromServer, query: ServerQuery) -> None:
    vector = {"resultType": "vector", "result": []}
    server.envelopes["only > 9"] = {"status": "success", "data": vector, "warnings": ["1 of 2 stores is down"]}
    with pytest.raises(QueryError, match="only > 9: the answer may be partial: 1 of 2 stores is down"):
        query.instant(promql.compile("only > 9"), NOW)
    assert query.instant(promql.compile("only > 99"), NOW) == ()


def test_what_only_a_server_can_evaluate_is_sent(server: PromServer, query: ServerQuery) -> None:
    text = "limit_ratio(0.5, histogram_avg(info(only, {__name__='target_info'})))"
    server.envelopes[text] = {"status": "success", "data": {"resultType": "scalar", "result": [1, "7"]}}
    expr = promql.compile_for_server(text)
    assert [sample.value for sample in query.instant(expr, NOW)] == [7.0]
    assert query.present(expr, NOW)
    assert (
        'max by (instance) (timestamp({__name__="target_info"}) and {__name__="target_info"} <= Inf)'
        not in server.queries
    )


def test_what_cannot_even_be_read_is_refused_with_the_way_around() -> None:
    with pytest.raises(promql.PromqlError, match="or make it a recording rule of the server"):
        promql.compile_for_server("rate(x[5m] anchored)")


def test_any_result_for_a_person(query: ServerQuery) -> None:
    assert query.result("only[20s]", NOW).value_type == "matrix"
    assert query.result("'text'", NOW).text == "text"
    with pytest.raises(QueryError, match="not valid Unicode"):
        query.result("'\udcff'", NOW)


@pytest.mark.parametrize("url", ["", "prometheus:9090", "ftp://host", "http://user:pw@host:9090"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected a URL such as http://prometheus:9090|put it into a file"):
        ServerQuery(url)


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.close()


def body(content: bytes, head: bytes = b"HTTP/1.1 200 OK\r\n") -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(content) + content


FAULTS: dict[str, tuple[bytes | Callable[[socket.socket], None], str]] = {
    "silent": (hang, "no complete answer"),
    "trickling head": (trickle, "no complete answer"),
    "trickling body": (after(OK, trickle), "no complete answer"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "the body ends 98 bytes early"),
    "not HTTP": (b"SSH-2.0-OpenSSH\r\n", "not a valid HTTP answer"),
    "hung up": (b"", "is the server running?"),
    "login page": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "the answer (text/html) is not one"),
    "redirect": (b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://else:1/\r\n\r\n", "redirects to http://else:1/"),
    "bad gateway": (body(b"upstream is down", b"HTTP/1.1 502 Bad Gateway\r\n"), "502 Bad Gateway; upstream is down"),
    "huge": (OK + b" " * (17 * 1024 * 1024), "the body is larger than 16777216 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_costs_one_tick_and_says_why(target: Target, fault: str) -> None:
    target.answer, why = FAULTS[fault]
    timeout = 5.0 if fault == "huge" else TIMEOUT_SECONDS
    with closing(ServerQuery(f"http://{target.address}", timeout_seconds=timeout)) as query:
        started = time.monotonic()
        result = query.scrape(NOW)
        assert time.monotonic() - started < timeout + 3
        assert not result.ok
        assert result.error is not None
        assert result.error.startswith(f"http://{target.address}: vector(1): ")
        assert why in result.error
        target.answer = body(
            json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}).encode()
        )
        assert query.scrape(NOW + 1).ok


def test_many_queries_to_a_server_that_hangs_have_one_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:  # connects, and never accepts
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        before = threading.active_count()
        with closing(ServerQuery(url, timeout_seconds=TIMEOUT_SECONDS)) as query:
            exprs = [promql.compile(f"x{number}") for number in range(3 * CONNECTIONS)]
            started = time.monotonic()
            query.prepare(exprs, NOW)
            for expr in exprs:
                with pytest.raises(QueryError, match=r"no complete answer (within 300ms|in time)"):
                    query.instant(expr, NOW)
            assert time.monotonic() - started < 2 * TIMEOUT_SECONDS + 3  # one after another they take 7 s
            assert threading.active_count() <= before + CONNECTIONS + 1


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with closing(ServerQuery(url)) as query:
        assert query.scrape(NOW).error == f"{url}: vector(1): Connection refused; is the server running?"


def test_a_connection_that_the_server_has_closed_meanwhile_is_made_again(target: Target) -> None:
    target.answer = body(b'{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}')  # and hangs up
    with closing(ServerQuery(f"http://{target.address}")) as query:
        assert query.scrape(NOW).ok
        assert query.scrape(NOW + 1).ok
