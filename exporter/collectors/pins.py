"""Pins of the guests' threads by their configuration, and where they get in each other's way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from exporter.kept import Kept
from exporter.scrape import Scrape
from exporter.table import Family, Row, families, gauge, numbers
from kvmhost.domains import Domain, DomainConfig
from kvmhost.fs import HostError

TABLE: tuple[Row[DomainConfig], ...] = (
    gauge(
        "kvm_domain_emulator_affinity_configured_cpus",
        "Number of CPUs that QEMU's other threads are pinned to in the domain's configuration; absent if not pinned.",
        lambda config: None if config.emulator_cpus is None else len(config.emulator_cpus),
    ),
    numbers(
        "kvm_domain_iothread_affinity_configured_cpus",
        "Number of CPUs that this I/O thread is pinned to in the domain's configuration; absent if it is not pinned.",
        ("iothread",),
        lambda config: [
            ((str(thread.id),), len(thread.configured_cpus))
            for thread in config.iothreads
            if thread.configured_cpus is not None
        ],
    ),
)

OVERLAP_TABLE: tuple[Row[int], ...] = (
    gauge(
        "kvm_domain_vcpu_pin_overlaps",
        "vCPUs of this domain that are pinned to one CPU alone, while another vCPU of any domain is pinned to it alone,"
        " too; absent for a domain without vCPUs that are pinned to one CPU.",
        lambda overlaps: overlaps,
    ),
)


def overlaps(domains: Sequence[Domain]) -> Mapping[str, int]:
    """By uuid, how many vCPUs share the only CPU that they are pinned to with another that is pinned to it alone."""
    cpus = {domain.uuid: _only_cpus(domain.config) for domain in domains}
    pinned = Counter(cpu for own in cpus.values() for cpu in own)
    return {uuid: sum(pinned[cpu] > 1 for cpu in own) for uuid, own in cpus.items() if own}


def _only_cpus(config: DomainConfig) -> list[int]:
    pins = (vcpu.configured_cpus for vcpu in config.vcpus)
    return [cpu for cpus in pins if cpus and len(cpus) == 1 for cpu in cpus]


_LABELS = ("domain", "uuid")


class PinsCollector:
    """The configured pins of every active domain."""

    def __init__(self) -> None:
        self._configs = Kept(TABLE, _LABELS)

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        domains = scrape.libvirt.domains or ()
        yield from self._configs.families(((domain.name, domain.uuid), domain.config) for domain in domains)
        found = overlaps(domains)
        subjects = [((domain.name, domain.uuid), found[domain.uuid]) for domain in domains if domain.uuid in found]
        yield from families(OVERLAP_TABLE, subjects, _LABELS)
