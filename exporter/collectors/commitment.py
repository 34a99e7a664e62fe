"""What is promised to all guests together, next to what the host has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.scrape import Scrape
from exporter.table import Family, Row, families, gauge
from kvmhost import memory, topology
from kvmhost.fs import HostError, HostFS


@dataclass(frozen=True, kw_only=True)
class _Commitment:
    memory_bytes: int | None
    memory_total_bytes: int | None
    vcpus: int
    cpus: int | None


TABLE: tuple[Row[_Commitment], ...] = (
    gauge(
        "kvm_memory_guest_committed_bytes",
        "Memory of all active domains with empty balloons: the sum of kvm_domain_memory_configured_bytes.",
        lambda commitment: commitment.memory_bytes,
    ),
    gauge(
        "kvm_memory_guest_overcommit_ratio",
        "Memory committed to guests per memory of the host; above 1 they cannot all have what they are promised.",
        lambda commitment: _ratio(commitment.memory_bytes, commitment.memory_total_bytes),
    ),
    gauge(
        "kvm_cpu_vcpus",
        "vCPUs of all active domains that are plugged in.",
        lambda commitment: commitment.vcpus,
    ),
    gauge(
        "kvm_cpu_vcpu_overcommit_ratio",
        "vCPUs of all active domains per online CPU of the host; above 1 they cannot all run at once.",
        lambda commitment: _ratio(commitment.vcpus, commitment.cpus),
    ),
)


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """Sums over all active domains; nothing without an answer of libvirt."""
    domains = scrape.libvirt.domains
    if domains is None or len(domains) < (scrape.libvirt.listed or 0):  # the configuration of some is not known yet
        return
    sizes = [domain.config.memory_bytes for domain in domains]
    known = [size for size in sizes if size is not None]
    commitment = _Commitment(
        memory_bytes=sum(known) if len(known) == len(sizes) else None,
        memory_total_bytes=_memory_total_bytes(scrape.fs),
        vcpus=sum(len(domain.config.vcpus) for domain in domains),
        cpus=_online_cpus(scrape.fs),
    )
    yield from families(TABLE, [((), commitment)])


def _ratio(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _memory_total_bytes(fs: HostFS) -> int | None:
    try:
        state = memory.read(fs)
    except HostError:  # the collector of memory names it
        return None
    return state.total_bytes if state else None


def _online_cpus(fs: HostFS) -> int | None:
    try:
        state = topology.read(fs)
    except HostError:  # the collector of cpu names it
        return None
    return len(state.online) if state else None
