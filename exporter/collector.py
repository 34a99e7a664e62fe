"""The wrapper around every collector: it isolates, times and counts, so none costs another or the scrape."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from exporter.scrape import Collect, Scrape
from exporter.table import Family, Row, counter, families, gauge
from kvmhost.bulkhead import Bulkhead
from kvmhost.fs import HostError

# A collector takes milliseconds. One that takes longer than this is left behind, and out, until it returns.
_STALL_SECONDS = 1.0

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Yield:
    """What one collector gave in one scrape."""

    families: tuple[Family, ...] = ()
    errors: tuple[str, ...] = ()
    duration_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """How one collector fared in one scrape."""

    success: bool
    duration_seconds: float | None
    failures: int
    """Scrapes with an error since start, this one included."""


_TABLE: tuple[Row[_Outcome], ...] = (
    gauge(
        "kvm_collector_success",
        "1 if this collector read all it found in this scrape, 0 if a file was unreadable or did not answer: the log"
        " says what. Whether libvirt answers is kvm_libvirt_up.",
        lambda outcome: outcome.success,
    ),
    gauge(
        "kvm_collector_duration_seconds",
        "Time that this collector took in this scrape; absent if it did not return.",
        lambda outcome: outcome.duration_seconds,
    ),
    counter(
        "kvm_collector_failures_total",
        "Scrapes in which this collector could not read something, since the exporter started.",
        lambda outcome: outcome.failures,
    ),
)

_STALLED = _Yield(errors=("does not return: its metrics are missing until it does",))
_SKIPPED = _Yield(errors=("had no time left in this scrape: what takes it all is named, too",))


class Collectors:
    """All collectors, by name, for one scrape at a time. `clock` gives monotonic seconds."""

    def __init__(self, collectors: Mapping[str, Collect], clock: Callable[[], float]) -> None:
        self._collectors = collectors
        self._clock = clock
        self._failures: Counter[str] = Counter()
        self._standing_errors: dict[str, tuple[str, ...]] = {}
        self._bulkhead: Bulkhead[str] = Bulkhead(
            "collectors", stall_seconds=_STALL_SECONDS, most_at_once=len(collectors) + 1
        )

    def collect(self, scrape: Scrape, *, within_seconds: float) -> Iterator[Family]:
        """The metrics of all, and how each fared; one that does not return in time is left out."""
        jobs = [(name, partial(self._run, collect, scrape)) for name, collect in self._collectors.items()]
        run = self._bulkhead.run(jobs, within_seconds=within_seconds)
        outcomes = []
        for name in self._collectors:
            found = run.results.get(name, _SKIPPED if name in run.skipped else _STALLED)
            yield from found.families
            outcomes.append(((name,), self._outcome(name, found)))
        yield from families(_TABLE, outcomes, labels=("collector",))

    def _run(self, collect: Collect, scrape: Scrape) -> _Yield:
        found, errors = [], []
        start = self._clock()
        try:
            for fact in collect(scrape):
                if isinstance(fact, HostError):
                    errors.append(str(fact))
                else:
                    found.append(fact)
        except HostError as error:
            errors.append(str(error))
        except Exception:  # noqa: BLE001 - a defect in one collector must not cost the others
            errors.append(traceback.format_exc().rstrip())
        # Guests share a fault when the right to read is missing.
        return _Yield(
            families=tuple(found),
            errors=tuple(dict.fromkeys(errors)),
            duration_seconds=self._clock() - start,
        )

    def _outcome(self, name: str, found: _Yield) -> _Outcome:
        """Counts a failed scrape, and logs what is new or over."""
        before = self._standing_errors.get(name, ())
        self._standing_errors[name] = found.errors
        self._failures[name] += bool(found.errors)
        for error in found.errors:
            if error not in before:
                _LOG.warning("collector %s: %s", name, error)
        if before and not found.errors:
            _LOG.info("collector %s: reads everything again", name)
        return _Outcome(
            success=not found.errors, duration_seconds=found.duration_seconds, failures=self._failures[name]
        )
