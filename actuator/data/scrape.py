"""GET /metrics of a target into the store, with the ``up`` and staleness semantics of Prometheus."""

import http
import time
from dataclasses import dataclass
from urllib.parse import SplitResult

from actuator.data.exposition import ExpositionError, Parser
from actuator.data.frame import Frame
from actuator.data.httpclient import Answer, Client, HttpError, UnreachableError, parse_url
from actuator.data.httpconfig import PLAIN, HttpConfig
from actuator.data.store import Series, Store, StoreFullError
from actuator.promql.labels import NAME, Labels, make

_OPENMETRICS = "application/openmetrics-text"
_HEADERS = {
    "Accept": "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Connection": "close",
}


class ScrapeError(Exception):
    """The target gave no usable answer."""


@dataclass(frozen=True)
class ScrapeResult:
    """What a scrape came to; ``error`` says why it is not ``ok``."""

    ok: bool
    samples: int
    duration_seconds: float
    error: str | None = None


class Scraper:
    """Scrapes one target into a store.

    ``timeout_seconds`` bounds the whole scrape, also with a server that answers byte by byte.
    """

    def __init__(
        self,
        url: str,
        store: Store,
        job: str = "kvmtune",
        instance: str | None = None,
        timeout_seconds: float = 5.0,
        config: HttpConfig = PLAIN,
    ) -> None:
        """Raises ScrapeError for a URL that is not http:// or https:// with a host."""
        self._url = _checked(url)
        self._store = store
        self._target = {"job": job, "instance": instance or _host_and_port(self._url)}
        self._timeout_seconds = timeout_seconds
        self._client = Client(self._url, config)
        self._frame = Frame()
        self._parser: Parser[Series] = Parser(lambda labels: store.series(self._labelled(labels), self._frame))

    def scrape(self, now: float) -> ScrapeResult:
        """Store the target's samples at ``now`` (unix seconds). A failure is a result, not an exception.

        Series that the target no longer has end; all of them if the scrape fails.
        """
        started = time.monotonic()
        error = None
        up = duration = None
        row: dict[Series, float] = {}
        try:
            # First these two, so that a target that explodes leaves room for them.
            up, duration = self._own("up"), self._own("scrape_duration_seconds")
            row = self._values(started + self._timeout_seconds)
        except (ScrapeError, ExpositionError, StoreFullError) as problem:
            error = str(problem)
            self._parser.forget()
            self._store.expire(now)  # what the part that was read has made of new series
        samples, seconds = len(row), time.monotonic() - started
        if up and duration:
            row |= {up: float(error is None), duration: seconds}
        self._store.append_row(self._frame, row, now)
        self._store.expire(now)
        return ScrapeResult(
            error is None, samples, seconds, None if error is None else f"{self._url.geturl()}: {error}"
        )

    def _own(self, name: str) -> Series:
        """A series about the target, not from it."""
        return self._store.series(make({**self._target, NAME: name}), self._frame)

    def _values(self, deadline: float) -> dict[Series, float]:
        try:
            answer = self._answer(deadline)
            return self._parser.parse(answer.body.decode(), openmetrics=answer.content_type == _OPENMETRICS)
        except UnicodeDecodeError as error:
            raise ScrapeError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None

    def _answer(self, deadline: float) -> Answer:
        try:
            answer = self._client.get(_path(self._url), _HEADERS, deadline)
        except UnreachableError as error:
            raise ScrapeError(f"{error}; is the exporter running?") from None
        except HttpError as error:
            raise ScrapeError(str(error)) from None
        if answer.status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            raise ScrapeError(f"answered {answer.status} {answer.reason}; give a password with --scrape.config.file")
        if answer.status != http.HTTPStatus.OK:
            raise ScrapeError(f"answered {answer.status} {answer.reason}; is the path right?")
        return answer

    def _labelled(self, labels: Labels) -> Labels:
        """The labels with job and instance; the target's own labels of these names become exported_*."""
        own = {f"exported_{name}" if name in self._target else name: value for name, value in labels}
        return make({**own, **self._target})


def _checked(url: str) -> SplitResult:
    try:
        return parse_url(url, "http://127.0.0.1:9752/metrics")
    except ValueError as error:
        raise ScrapeError(str(error)) from None


def _host_and_port(url: SplitResult) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def _path(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")
