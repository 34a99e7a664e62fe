"""One scrape from its sources to its metrics: guests, collectors, and what the exporter says of itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector

from exporter.collector import Collectors
from exporter.scrape import Collect, Scrape
from exporter.table import Family, Row, families, info
from kvmhost.fs import HostError
from kvmhost.guests import Guests, GuestsSample

_BUILD_TABLE: tuple[Row[str], ...] = (
    info(
        "kvm_exporter_build_info",
        "The version of this exporter.",
        ("version",),
        lambda version: (version,),
    ),
)


class Exporter:
    """Everything that /metrics shows. For one scrape at a time: `exporter.pages` sees to that."""

    def __init__(
        self,
        guests: Guests,
        begin: Callable[[float, GuestsSample], Scrape],
        collectors: Mapping[str, Collect],
        version: str,
    ) -> None:
        """`begin` gives the sources of a scrape for its unix time and the guests found then, without waiting."""
        self._guests = guests
        self._begin = begin
        self._collectors = Collectors(collectors, time.monotonic)
        self._version = version
        self._process = ProcessCollector(registry=CollectorRegistry())

    def families(self, now: float, *, within_seconds: float) -> Iterator[Family]:
        """The metrics of a scrape at unix time `now`: what answers in time."""
        began = time.monotonic()
        try:
            guests = self._guests.sample(now, within_seconds=within_seconds)
        except HostError as fault:  # /proc itself cannot be listed
            guests = GuestsSample(faults=(fault,))
        scrape = self._begin(now, guests)
        yield from self._collectors.collect(scrape, within_seconds=within_seconds - (time.monotonic() - began))
        yield from families(_BUILD_TABLE, [((), self._version)])
        for metric in self._process.collect():
            (sample,) = metric.samples
            yield Family(sample.name, metric.type, metric.documentation, f"{sample.name} {sample.value:.15g}")
