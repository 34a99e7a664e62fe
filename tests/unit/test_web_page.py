"""The metrics page: what a scrape's headers ask for, and a page that many scrapes share."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kvmweb.negotiation import OPENMETRICS, accepts_gzip, wants_openmetrics
from kvmweb.page import MetricsPage, MetricsRequest, of_registry, request_of

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html, */*;q=0.8", False),
        (PROMETHEUS_3, True),
        (PROMETHEUS_2, True),
        ("application/openmetrics-text", True),
        ("APPLICATION/OpenMetrics-Text ; Version=1.0.0", True),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;version=2.0.0, application/openmetrics-text;version=0.0.1", True),
        ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.8", False),
        ("text/plain;version=0.0.4;q=0.8,application/openmetrics-text;q=0.9", True),
        ("text/plain;version=1.0.0,application/openmetrics-text;q=0.1", True),
        ("*/*,application/openmetrics-text", True),
        ("*/*,application/openmetrics-text;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0,*/*", False),
        ("application/openmetrics-text;q=nonsense", True),
        ("application/openmetrics-text;q=nan", True),
        ("application/vnd.google.protobuf;encoding=delimited,application/openmetrics-text;q=0.5", True),
        (",;=;,", False),
    ],
)
def test_the_format_that_a_scraper_likes_best(accept: str, is_openmetrics: bool) -> None:
    assert wants_openmetrics(accept) is is_openmetrics


@pytest.mark.parametrize(
    ("accept_encoding", "is_accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=0.001", True),
        ("*", True),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("gzip, *;q=0", True),
        ("identity", False),
        ("gzipped", False),
    ],
)
def test_whether_gzip_is_accepted(accept_encoding: str, is_accepted: bool) -> None:
    assert accepts_gzip(accept_encoding) is is_accepted


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("10", 10.0), ("0.5", 0.5),
        ("", None), ("0", None), ("-1", None), ("inf", None), ("nan", None), ("10s", None),
    ],
)  # fmt: skip
def test_the_time_that_a_scrape_has(header: str, seconds: float | None) -> None:
    asked = request_of({"x-prometheus-scrape-timeout-seconds": header, "accept": "a/b"})
    assert asked == MetricsRequest(accept="a/b", timeout_seconds=seconds)


def test_a_page_is_compressed_once_for_all_who_ask_at_once() -> None:
    page = MetricsPage(content=b"kvm_ksm_run 1\n" * 10_000, content_type="text/plain")
    together = threading.Barrier(50)

    def ask(_: int) -> bytes:
        together.wait()
        return page.gzipped()

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(ask, range(50)))
    assert len({id(result) for result in results}) == 1
    assert gzip.decompress(results[0]) == page.content


class Pages(Collector):
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("kvm_ksm_pages_sharing", "Pages saved.", value=42)


@pytest.mark.parametrize(
    ("accept", "content_type", "last_line"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", b"kvm_ksm_pages_sharing 42.0"),
        (
            "application/openmetrics-text;version=abc",
            "text/plain; version=0.0.4; charset=utf-8",
            b"kvm_ksm_pages_sharing 42.0",
        ),
        (PROMETHEUS_3, f"{OPENMETRICS}; escaping=underscores", b"# EOF"),
    ],
)
def test_pages_of_a_registry(accept: str, content_type: str, last_line: bytes) -> None:
    page = of_registry(Pages())(MetricsRequest(accept=accept))
    assert page.content.splitlines()[-1] == last_line
    assert page.content_type == content_type
