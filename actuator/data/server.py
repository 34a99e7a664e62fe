"""Queries to a Prometheus server, or one that speaks its HTTP API (Thanos, Mimir)."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTimeError
from dataclasses import dataclass, field
from urllib.parse import urlencode

from actuator.data.httpclient import Client, HttpError, UnreachableError, parse_url
from actuator.data.httpconfig import PLAIN, HttpConfig
from actuator.data.probes import Moment, Probe, Question, instances, probes
from actuator.data.promapi import ApiError, decode
from actuator.data.query import QueryError
from actuator.data.result import Result
from actuator.data.scrape import ScrapeResult
from actuator.data.store import milliseconds
from actuator.promql import Expr, Sample
from actuator.promql.nodes import Selector
from actuator.promql.presence import present
from actuator.promql.text import render
from kvmhost.units import format_seconds

EXAMPLE_URL = "http://prometheus:9090"
CONNECTIONS = 8
"""Queries at a time: a tick has some dozens, and servers evaluate 20 at a time (--query.max-concurrency)."""

_HEADERS = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


@dataclass
class _Tick:
    """What is asked for one time: each question once, and all of them answered by one deadline (monotonic)."""

    time_ms: int
    deadline: float
    answers: dict[Question, Future[Result]] = field(default_factory=dict)


class ServerQuery:
    """Asks a server, each tick's questions side by side. A server that hangs costs ``timeout_seconds`` a tick.

    ``max_age_seconds``: data whose newest sample is older are as good as none.
    """

    def __init__(
        self, url: str, config: HttpConfig = PLAIN, *, timeout_seconds: float = 5.0, max_age_seconds: float = 90.0
    ) -> None:
        """The URL may have a path, after which /api/v1/query follows, and a query string. ValueError if it is none."""
        self._url = parse_url(url, EXAMPLE_URL)
        self._target = f"{self._url.path.rstrip('/')}/api/v1/query{f'?{self._url.query}' if self._url.query else ''}"
        self._timeout_seconds = timeout_seconds
        self._max_age_seconds = max_age_seconds
        self._client = Client(self._url, config)
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="query")
        self._tick = _Tick(0, 0.0)

    def close(self) -> None:
        """Give up what is still asked."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def scrape(self, now: float) -> ScrapeResult:
        """Begin the tick of ``now`` (unix seconds): whether the server answers at all."""
        started = clock.monotonic()
        self._begin(milliseconds(now))
        error = None
        try:
            self._samples(Question("vector(1)", self._tick.time_ms))
        except QueryError as problem:
            error = str(problem)
        return ScrapeResult(error is None, 0, clock.monotonic() - started, error)

    def prepare(self, exprs: Iterable[Expr], time: float) -> None:
        """Ask all of this at once, so that it need not be waited for one by one."""
        for expr in exprs:
            self._ask(Question(expr.text, self._tick_of(time).time_ms))
            for probe in self._probes(expr, time):
                self._ask(probe.question)

    def instant(self, expr: Expr, time: float) -> tuple[Sample, ...]:
        self.prepare([expr], time)
        samples = self._samples(Question(expr.text, self._tick.time_ms))
        self._check_data(expr, time)
        return samples

    def present(self, expr: Expr, time: float) -> bool:
        self.prepare([expr], time)
        return present(expr.root, self._moment(time))

    def as_of(self, expr: Expr, time: float) -> float:
        ages = [probe.age_seconds(self._samples(probe.question)) for probe in self._probes(expr, time)]
        return time - max(ages, default=0.0)

    def result(self, text: str, time: float) -> Result:
        """The result of any expression, whatever its type; raises QueryError."""
        return self._result(Question(text, self._tick_of(time).time_ms))

    def _check_data(self, expr: Expr, time: float) -> None:
        """QueryError if data of the expression are too old, or of several hosts: rules act on one."""
        for probe in self._probes(expr, time):
            if not isinstance(probe.node, Selector):
                continue
            newest = self._samples(probe.question)
            name = render(probe.node, self._tick.time_ms)
            if len(newest) > 1:
                several = ", ".join(instances(newest)[:5])
                raise QueryError(f"{expr.text}: {name} is of {len(newest)} instances ({several}): select this host's")
            age = probe.age_seconds(newest)
            if age > self._max_age_seconds:
                limit = format_seconds(self._max_age_seconds)
                raise QueryError(f"{expr.text}: the newest sample of {name} is {age:.0f} s old, more than {limit}")

    def _probes(self, expr: Expr, time: float) -> list[Probe]:
        return list(probes(expr.root, self._moment(time)))

    def _moment(self, time: float) -> Moment:
        time_ms = self._tick_of(time).time_ms
        return Moment(time_ms, time_ms, self._samples)

    def _tick_of(self, time: float) -> _Tick:
        if milliseconds(time) != self._tick.time_ms:
            self._begin(milliseconds(time))
        return self._tick

    def _begin(self, time_ms: int) -> None:
        for waiting in self._tick.answers.values():
            waiting.cancel()
        self._tick = _Tick(time_ms, clock.monotonic() + self._timeout_seconds)

    def _samples(self, question: Question) -> tuple[Sample, ...]:
        try:
            return self._result(question).samples()
        except ValueError as error:
            raise QueryError(f"{question.text}: {error}") from error

    def _result(self, question: Question) -> Result:
        answer = self._ask(question)
        try:
            return answer.result(max(self._tick.deadline - clock.monotonic(), 0.0))
        except NotInTimeError:
            seconds = format_seconds(self._timeout_seconds)
            raise self._failed(question, f"no complete answer within {seconds} for this tick's queries") from None
        except UnicodeEncodeError:
            raise self._failed(question, "the expression is not valid Unicode") from None
        except UnreachableError as error:
            raise self._failed(question, f"{error}; is the server running?") from error
        except (HttpError, ApiError) as error:
            raise self._failed(question, str(error)) from error

    def _failed(self, question: Question, reason: str) -> QueryError:
        return QueryError(f"{self._url.scheme}://{self._url.netloc}: {question.text}: {reason}")

    def _ask(self, question: Question) -> Future[Result]:
        tick = self._tick
        if question not in tick.answers:
            tick.answers[question] = self._pool.submit(self._fetch, question, tick.deadline)
        return tick.answers[question]

    def _fetch(self, question: Question, deadline: float) -> Result:
        left_ms = (deadline - clock.monotonic()) * 1000
        if left_ms < 1:
            raise NotInTimeError
        form = {"query": question.text, "time": f"{question.time_ms / 1000:.3f}", "timeout": f"{left_ms:.0f}ms"}
        return decode(self._client.post(self._target, urlencode(form).encode(), _HEADERS, deadline))
