"""All that /metrics shows: the host's metrics, and those of the exporter about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter.collector import Collectors
from exporter.collectors import all_collectors
from exporter.scrape import Scrape
from exporter.table import Row, families, info

_BUILD_TABLE: tuple[Row[str], ...] = (
    info(
        "kvm_exporter_build_info",
        "The version of this exporter.",
        ("version",),
        lambda version: (version,),
    ),
)


class _Build(Collector):
    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[Metric]:
        return families(_BUILD_TABLE, [((), self._version)])


def registry(begin: Callable[[], Scrape], clock: Callable[[], float], version: str) -> CollectorRegistry:
    """What to serve. `begin` gives the sources of a new scrape, `clock` monotonic seconds."""
    everything = CollectorRegistry()
    everything.register(Collectors(all_collectors(), begin, clock))
    everything.register(_Build(version))
    ProcessCollector(registry=everything)
    return everything
