"""Who gets which scrape: collections are real and slow, since they wait for the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from exporter.pages import Pages
from exporter.table import Family
from kvmweb.negotiation import OPENMETRICS, TEXT
from kvmweb.page import MetricsRequest
from tests.programs import wait_until

OPEN = MetricsRequest(accept="application/openmetrics-text; version=1.0.0")


class Collections:
    """Numbers each collection, which ends when the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.within_seconds: list[float] = []
        self.may_end = threading.Semaphore(0)

    def __call__(self, within_seconds: float) -> Iterator[Family]:
        self.begun += 1
        self.within_seconds.append(within_seconds)
        number = self.begun
        self.may_end.acquire()
        yield Family("kvm_number", "gauge", "Its number.", f"kvm_number {number}")


def number_in(content: bytes) -> int:
    return int(content.rsplit(maxsplit=1)[1])


@pytest.fixture
def collections() -> Collections:
    return Collections()


def test_each_scrape_is_a_new_one(collections: Collections) -> None:
    pages = Pages(collections, deadline_seconds=60)
    assert pages.is_empty
    collections.may_end.release(2)
    assert [number_in(pages.render(MetricsRequest()).content) for _ in range(2)] == [1, 2]
    assert not pages.is_empty


def test_fifty_at_once_cost_two_collections(collections: Collections) -> None:
    pages = Pages(collections, deadline_seconds=60)
    with ThreadPoolExecutor(50) as scrapers:
        first = scrapers.submit(pages.render, MetricsRequest())
        wait_until(lambda: collections.begun == 1, "the first has begun")
        others = [scrapers.submit(pages.render, MetricsRequest()) for _ in range(49)]
        wait_until(lambda: scrapers._work_queue.qsize() == 0, "all have asked")
        collections.may_end.release(50)
        assert number_in(first.result().content) == 1
        found = [other.result() for other in others]
    assert {number_in(page.content) for page in found} <= {2, 3}  # one may have asked just as the second began
    assert collections.begun <= 3
    assert len({id(page) for page in found}) <= 2  # written, and compressed, once for all


def test_both_formats(collections: Collections) -> None:
    pages = Pages(collections, deadline_seconds=60)
    collections.may_end.release(2)
    text, openmetrics = pages.render(MetricsRequest()), pages.render(OPEN)
    assert (text.content_type, openmetrics.content_type) == (TEXT, OPENMETRICS)
    assert openmetrics.content == text.content.replace(b" 1\n", b" 2\n") + b"# EOF\n"


@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, 5.0), (1.0, 0.9), (60.0, 5.0), (0.005, 0.5)],
    ids=["nothing", "less than ours", "more than ours", "too little"],
)
def test_a_scrape_has_as_long_as_prometheus_waits(collections: Collections, asked: float | None, given: float) -> None:
    collections.may_end.release()
    Pages(collections, deadline_seconds=5).render(MetricsRequest(timeout_seconds=asked))
    assert collections.within_seconds == [pytest.approx(given, abs=0.05)]


def test_one_that_cannot_begin_in_time_says_so(collections: Collections) -> None:
    pages = Pages(collections, deadline_seconds=60)
    with ThreadPoolExecutor(1) as scraper:
        first = scraper.submit(pages.render, MetricsRequest())
        wait_until(lambda: collections.begun == 1, "the first has begun")
        with pytest.raises(TimeoutError, match="has not ended"):
            pages.render(MetricsRequest(timeout_seconds=0.5))
        collections.may_end.release()
        assert number_in(first.result().content) == 1


def test_a_collection_that_fails_fails_its_own_scrape() -> None:
    outcomes = iter([ValueError("a defect"), None])

    def collect(_: float) -> Iterator[Family]:
        if outcome := next(outcomes):
            raise outcome
        yield Family("kvm_number", "gauge", "Its number.", "kvm_number 7")

    pages = Pages(collect, deadline_seconds=60)
    with pytest.raises(ValueError, match="a defect"):
        pages.render(MetricsRequest())
    assert number_in(pages.render(MetricsRequest()).content) == 7
