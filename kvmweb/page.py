"""The metrics page: what a scrape asks for, and what it gets."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from kvmweb.negotiation import OPENMETRICS, TEXT, wants_openmetrics

try:
    from isal.igzip import compress  # a fifth of the time, for a tenth fewer bytes
except ImportError:  # a processor that it is not made for
    from gzip import compress  # type: ignore[assignment]

_GZIP_LEVEL = 1  # metrics are so repetitive that more costs several times the CPU for a tenth fewer bytes


@dataclass(frozen=True, kw_only=True)
class MetricsRequest:
    """What the headers of a scrape say."""

    accept: str = ""
    """The Accept header."""
    timeout_seconds: float | None = None
    """After how long the scraper gives up; None if it does not say so."""


@dataclass(frozen=True, kw_only=True)
class MetricsPage:
    """What a scrape gets. One page can answer several scrapes at once."""

    content: bytes
    content_type: str
    _compressed: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def gzipped(self) -> bytes:
        """The content, compressed once for all who ask."""
        with self._lock:
            if not self._compressed:
                self._compressed.append(compress(self.content, _GZIP_LEVEL, mtime=0))
            return self._compressed[0]


Render = Callable[[MetricsRequest], MetricsPage]
"""Makes the page, within the time that the request gives, or raises `TimeoutError` that says why not.

Called in several threads at once when scrapes overlap.
"""


def request_of(headers: Mapping[str, str]) -> MetricsRequest:
    """What the headers, by name in lower case, ask for; a timeout that is no positive number is ignored."""
    try:
        seconds = float(headers.get("x-prometheus-scrape-timeout-seconds", ""))
    except ValueError:
        seconds = math.nan
    return MetricsRequest(
        accept=headers.get("accept", ""),
        timeout_seconds=seconds if 0 < seconds < math.inf else None,
    )


def of_registry(registry: Collector) -> Render:
    """Pages of what prometheus_client collects, anew for each scrape."""

    def render(request: MetricsRequest) -> MetricsPage:
        # Not the header itself: prometheus_client fails on a version that is not a number.
        encode, content_type = choose_encoder(OPENMETRICS if wants_openmetrics(request.accept) else TEXT)
        return MetricsPage(content=encode(registry), content_type=content_type)

    return render
