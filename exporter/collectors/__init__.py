"""One module per area: a table of metrics over what `kvmhost` reads. A new area is a module and a line below."""

from __future__ import annotations

from exporter.collectors import (
    balloon,
    commitment,
    cpu,
    devices,
    domain_ksm,
    domain_numa,
    domains,
    hugepages,
    ksm,
    libvirt,
    memory,
    numa,
    pins,
    pressure,
    processes,
    sysctl,
    thp,
    tuning,
    vcpus,
    vmstat,
)
from exporter.scrape import Collect


def all_collectors() -> dict[str, Collect]:
    """Every collector by its name, the value of the label `collector`. They may keep state: make them once."""
    return {
        "balloon": balloon.BalloonCollector(),
        "commitment": commitment.collect,
        "cpu": cpu.CpuCollector(),
        "devices": devices.DevicesCollector(),
        "domain_ksm": domain_ksm.DomainKsmCollector(),
        "domain_numa": domain_numa.DomainNumaCollector(),
        "domains": domains.DomainsCollector(),
        "hugepages": hugepages.collect,
        "ksm": ksm.KsmCollector(),
        "libvirt": libvirt.collect,
        "memory": memory.collect,
        "numa": numa.collect,
        "pins": pins.PinsCollector(),
        "pressure": pressure.collect,
        "processes": processes.ProcessesCollector(),
        "sysctl": sysctl.collect,
        "thp": thp.collect,
        "tuning": tuning.collect,
        "vcpus": vcpus.VcpusCollector(),
        "vmstat": vmstat.collect,
    }


def descriptions() -> dict[str, str]:
    """What each collector is about: the first sentence of its module."""
    modules = globals()
    return {name: modules[name].__doc__.split(". ")[0].split("\n\n")[0].rstrip(".") for name in all_collectors()}
