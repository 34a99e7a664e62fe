"""The wrapper around every collector: it isolates, times and counts, so none costs another or the scrape."""

from __future__ import annotations

import logging
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter.scrape import Collect, Scrape
from exporter.table import Row, counter, families, gauge
from kvmhost.fs import HostError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """How one collector fared in one scrape."""

    metrics: tuple[Metric, ...]
    errors: tuple[str, ...]
    duration_seconds: float
    failures: int
    """Scrapes with an error since start, this one included."""


_TABLE: tuple[Row[_Outcome], ...] = (
    gauge(
        "kvm_collector_success",
        "1 if this collector read all it found in this scrape, 0 if something was unreadable: see the log.",
        lambda outcome: float(not outcome.errors),
    ),
    gauge(
        "kvm_collector_duration_seconds",
        "Time that this collector took in this scrape.",
        lambda outcome: outcome.duration_seconds,
    ),
    counter(
        "kvm_collector_failures_total",
        "Scrapes in which this collector could not read something, since the exporter started.",
        lambda outcome: float(outcome.failures),
    ),
)


class Collectors(Collector):
    """All collectors, by name, as one that prometheus_client can render. Scrapes may overlap in threads.

    `begin` gives the sources of a new scrape, `clock` monotonic seconds.
    """

    def __init__(
        self, collectors: Mapping[str, Collect], begin: Callable[[], Scrape], clock: Callable[[], float]
    ) -> None:
        self._collectors = collectors
        self._begin = begin
        self._clock = clock
        self._history = threading.Lock()
        self._failures: Counter[str] = Counter()
        self._standing_errors: dict[str, tuple[str, ...]] = {}

    def collect(self) -> Iterator[Metric]:
        scrape = self._begin()
        outcomes = {name: self._run(name, collect, scrape) for name, collect in self._collectors.items()}
        for outcome in outcomes.values():
            yield from outcome.metrics
        yield from families(_TABLE, (((name,), outcome) for name, outcome in outcomes.items()), labels=("collector",))

    def _run(self, name: str, collect: Collect, scrape: Scrape) -> _Outcome:
        metrics, errors = [], []
        start = self._clock()
        try:
            for fact in collect(scrape):
                if isinstance(fact, HostError):
                    errors.append(str(fact))
                else:
                    metrics.append(fact)
        except HostError as error:
            errors.append(str(error))
        except Exception:  # noqa: BLE001 - a defect in one collector must not cost the others
            errors.append(traceback.format_exc().rstrip())
        duration_seconds = self._clock() - start
        return _Outcome(
            metrics=tuple(metrics),
            errors=tuple(errors),
            duration_seconds=duration_seconds,
            failures=self._record(name, tuple(errors)),
        )

    def _record(self, name: str, errors: tuple[str, ...]) -> int:
        """Counts a failed scrape and logs what is new or over; the failures so far."""
        with self._history:
            before = self._standing_errors.get(name, ())
            self._standing_errors[name] = errors
            self._failures[name] += bool(errors)
            failures = self._failures[name]
        for error in errors:
            if error not in before:
                _LOG.warning("collector %s: %s", name, error)
        if before and not errors:
            _LOG.info("collector %s: reads everything again", name)
        return failures
