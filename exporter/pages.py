"""One page for all who ask at the same time: a scrape is made for one, and given to those who came before it began."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from exporter import page
from exporter.table import Family
from kvmweb.negotiation import OPENMETRICS, TEXT, wants_openmetrics
from kvmweb.page import MetricsPage, MetricsRequest

# What the answer still needs on its way, of the time that Prometheus waits.
_MARGIN_RATIO = 0.1
# Who waits less is answered too late: others share the page, and must not get half of one.
_SHORTEST_SECONDS = 0.5


class Pages:
    """Answers requests for /metrics, in any number of threads.

    No request gets a page that was begun before it came, so parallel scrapes cost two collections at most, whatever
    their number; none waits longer than for these.
    """

    def __init__(self, collect: Callable[[float], Iterable[Family]], *, deadline_seconds: float) -> None:
        """`collect` makes a new scrape within so many seconds, `deadline_seconds` at most."""
        self._collect = collect
        self._deadline_seconds = deadline_seconds
        self._turn = threading.Lock()
        self._begun = 0
        self._newest: _Scraped | None = None

    def render(self, request: MetricsRequest) -> MetricsPage:
        """The page of a scrape that began after this call. `TimeoutError` if none could begin in time."""
        seconds = self._seconds(request)
        deadline = time.monotonic() + seconds
        number = self._begun
        if not self._turn.acquire(timeout=seconds):
            raise TimeoutError(f"the scrape before this one has not ended within {seconds:g} s")
        try:
            scraped = self._newest
            if scraped is None or scraped.number <= number:
                self._begun += 1
                families = list(self._collect(deadline - time.monotonic()))
                scraped = self._newest = _Scraped(self._begun, families)
        finally:
            self._turn.release()
        return scraped.page(openmetrics=wants_openmetrics(request.accept))

    @property
    def is_empty(self) -> bool:
        """Whether no scrape was made yet."""
        return self._newest is None

    def _seconds(self, request: MetricsRequest) -> float:
        asked = request.timeout_seconds
        if asked is None:
            return self._deadline_seconds
        return min(max(asked * (1 - _MARGIN_RATIO), _SHORTEST_SECONDS), self._deadline_seconds)


class _Scraped:
    """The families of one scrape, written once in each format that is asked for."""

    def __init__(self, number: int, families: list[Family]) -> None:
        self.number = number
        self._families = families
        self._pages: dict[bool, MetricsPage] = {}
        self._turn = threading.Lock()

    def page(self, *, openmetrics: bool) -> MetricsPage:
        with self._turn:
            if openmetrics not in self._pages:
                self._pages[openmetrics] = (
                    MetricsPage(content=page.openmetrics(self._families), content_type=OPENMETRICS)
                    if openmetrics
                    else MetricsPage(content=page.text(self._families), content_type=TEXT)
                )
            return self._pages[openmetrics]
