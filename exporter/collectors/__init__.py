"""One module per area: a table of metrics over what `kvmhost` reads. A new area is a module and a line below."""

from __future__ import annotations

from exporter.collectors import cpu, domains, hugepages, ksm, memory, pressure, vcpus
from exporter.scrape import Collect


def all_collectors() -> dict[str, Collect]:
    """Every collector by its name, the value of the label `collector`. They may keep state: make them once."""
    return {
        "cpu": cpu.collect,
        "domains": domains.collect,
        "hugepages": hugepages.collect,
        "ksm": ksm.KsmCollector(),
        "memory": memory.collect,
        "pressure": pressure.collect,
        "vcpus": vcpus.collect,
    }
