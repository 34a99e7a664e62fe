"""The scrapes of a host as a server has them, asked of a real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from actuator.data.frame import Frame
from actuator.data.query import QueryError
from actuator.data.server import ServerQuery
from actuator.data.store import Store
from actuator.promql.labels import Labels, get, make
from actuator.replay.past import CHUNK_MS, Past, selectors_of
from actuator.replay.recording import RecordingError, Scrape
from actuator.rules import config
from tests import promserver

RULES = """
groups:
  - name: g
    rules:
      - record: host:ratio
        expr: kvm_memory_available_bytes / kvm_memory_total_bytes
      - tune: a
        because: "b"
        when: host:ratio < 0.2 and kvm_guest{domain=~"web-.*"} > 0 and server:record > 0
        set: {ksm.run: "kvm_ksm_run + 1"}
"""
START = 10_000.0


def series(name: str, instance: str = "h1", job: str = "kvm", **labels: str) -> Labels:
    return make({"__name__": name, "instance": instance, "job": job, **labels})


UP, RUN, TOTAL = series("up"), series("kvm_ksm_run"), series("kvm_memory_total_bytes")
WEB, DB = (series("kvm_guest", domain=domain) for domain in ("web-1", "db"))
RECORD, UNRELATED = make({"__name__": "server:record"}), series("kvm_unrelated")


@pytest.fixture
def server() -> Iterator[promserver.PromServer]:
    with promserver.serving(Store(100_000)) as server:
        yield server


def scraped(
    server: promserver.PromServer, scrapes: dict[float, dict[Labels, float]], frame: Frame | None = None
) -> None:
    """A target's scrapes, by the seconds since the start."""
    frame = frame or Frame()
    for time, values in scrapes.items():
        row = {server.store.series(labels, frame): value for labels, value in values.items()}
        server.store.append_row(frame, row, START + time)


def past(server: promserver.PromServer, seconds: float, instance: str = "") -> list[Scrape]:
    selectors = selectors_of(config.loads(RULES), ["kvm_ksm_run", "kvm_cpu_node_online"])
    with closing(ServerQuery(server.url)) as query:
        return list(Past(query, selectors, START, START + seconds, instance).scrapes())


def test_only_what_the_rules_need_is_asked_for(server: promserver.PromServer) -> None:
    scraped(server, {15.0: {UP: 1.0, RUN: 0.0, WEB: 1.0, DB: 1.0, UNRELATED: 1.0, series("host:ratio"): 1.0}})
    assert past(server, 60) == [Scrape(START + 15, {UP: 1.0, RUN: 0.0, WEB: 1.0})]
    assert [query.removesuffix("[60000ms]") for query in server.queries] == [
        '{__name__="kvm_memory_available_bytes"}',
        '{__name__="kvm_memory_total_bytes"}',
        '{__name__="kvm_guest", domain=~"web-.*"}',
        '{__name__="server:record"}',
        '{__name__="kvm_ksm_run"}',
        '{__name__="kvm_cpu_node_online"}',
        '{__name__="up"}',
    ]


def test_a_series_ends_with_the_scrape_that_lacks_it_and_a_scrape_fails_where_up_is_0(
    server: promserver.PromServer,
) -> None:
    scraped(
        server,
        {15.0: {UP: 1.0, RUN: 0.0, WEB: 1.0}, 30.25: {UP: 1.0, RUN: 1.0}, 45.0: {UP: 0.0}, 60.0: {UP: 1.0, RUN: 1.0}},
    )
    assert past(server, 60) == [
        Scrape(START + 15, {UP: 1.0, RUN: 0.0, WEB: 1.0}),
        Scrape(START + 30.25, {UP: 1.0, RUN: 1.0}),
        Scrape(START + 45, {UP: 0.0}, "this scrape failed (up is 0)"),
        Scrape(START + 60, {UP: 1.0, RUN: 1.0}),
    ]


def test_what_is_not_of_the_scrape_counts_for_five_minutes_also_over_chunks(server: promserver.PromServer) -> None:
    seconds = CHUNK_MS // 1000 + 400
    scraped(server, {float(at): {UP: 1.0, RUN: 0.0} for at in range(30, seconds, 30)})
    scraped(server, {at: {RECORD: at} for at in (25.0, 61.0, CHUNK_MS / 1000 - 1)})
    found = {scrape.time - START: scrape.values.get(RECORD) for scrape in past(server, seconds)}
    assert len(found) == seconds // 30
    assert (found[30.0], found[60.0], found[90.0], found[330.0], found[390.0]) == (25.0, 25.0, 61.0, 61.0, None)
    assert (found[600.0], found[870.0], found[900.0]) == (599.0, 599.0, None)


def test_each_sample_counts_once_though_a_range_had_two_ends_before_prometheus_3(server: promserver.PromServer) -> None:
    boundary = CHUNK_MS / 1000
    scraped(server, {boundary: {UP: 1.0, RUN: 1.0}, boundary + 15: {UP: 1.0}})
    for labels, values in ((RUN, ("9", "2")), (UP, ("1", "1"))):
        both_ends = [[START + boundary + 15 * number, value] for number, value in enumerate(values)]
        matrix = {"resultType": "matrix", "result": [{"metric": dict(labels), "values": both_ends}]}
        query = f'{{__name__="{get(labels, "__name__")}"}}[60000ms]'
        server.envelopes[query] = {"status": "success", "data": matrix}
    assert [scrape.values[RUN] for scrape in past(server, boundary + 60)] == [1.0, 2.0]


def test_without_up_the_times_are_those_of_the_samples(server: promserver.PromServer) -> None:
    scraped(server, {15.0: {RUN: 0.0}, 30.0: {RUN: 1.0}})
    scraped(server, {20.0: {RECORD: 1.0}})
    assert past(server, 60) == [Scrape(START + 15, {RUN: 0.0}), Scrape(START + 30, {RUN: 1.0, RECORD: 1.0})]


def test_of_several_hosts_one_must_be_chosen(server: promserver.PromServer) -> None:
    scraped(server, {15.0: {UP: 1.0, RUN: 0.0}})
    scraped(server, {16.0: {series("up", "h2"): 1.0, series("kvm_ksm_run", "h2"): 7.0}})
    scraped(server, {14.0: {RECORD: 3.0}})
    with pytest.raises(RecordingError, match=r"^the server has data of 2 hosts: choose one by --instance: h1, h2$"):
        past(server, 60)
    (scrape,) = past(server, 60, "h2")
    assert (scrape.time, scrape.values[series("kvm_ksm_run", "h2")], scrape.values[RECORD]) == (START + 16, 7.0, 3.0)
    assert RUN not in scrape.values


def test_another_exporter_of_the_host_adds_its_series(server: promserver.PromServer) -> None:
    """The times are those of the exporter that has most of them."""
    scraped(server, {15.0: {UP: 1.0, RUN: 0.0, TOTAL: 1.0}, 30.0: {UP: 1.0, RUN: 0.0, TOTAL: 1.0}})
    other = series("kvm_memory_available_bytes", job="node")
    scraped(server, {17.0: {series("up", job="node"): 1.0, other: 5.0}})
    assert past(server, 60) == [
        Scrape(START + 15, {UP: 1.0, RUN: 0.0, TOTAL: 1.0}),
        Scrape(START + 30, {UP: 1.0, RUN: 0.0, TOTAL: 1.0, other: 5.0}),
    ]


def test_what_is_too_much_for_one_answer_is_asked_for_in_halves(server: promserver.PromServer) -> None:
    scraped(server, {float(at): {UP: 1.0, RUN: float(at)} for at in range(15, 601, 15)})
    too_much = {"status": "error", "errorType": "execution", "error": "query processing would load too many samples"}
    server.envelopes = {f'{{__name__="kvm_ksm_run"}}[{size}ms]': too_much for size in (600_000, 300_000)}
    assert [scrape.values[RUN] for scrape in past(server, 600)] == [float(at) for at in range(15, 601, 15)]
    server.envelopes = {f'{{__name__="kvm_ksm_run"}}[{CHUNK_MS // 2**halves}ms]': too_much for halves in range(9)}
    with pytest.raises(QueryError, match="would load too many samples"):
        past(server, 600)


def test_nothing_there(server: promserver.PromServer) -> None:
    with pytest.raises(RecordingError, match="the server has nothing of these rules' metrics in that time"):
        past(server, 60)
