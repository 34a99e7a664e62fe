"""Domains (guests) as libvirt reports them: state and balloon, with the age of what is reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric

from exporter.scrape import Scrape, Snapshot
from exporter.table import Row, counter, families, gauge, info, state_set
from kvmhost.domains import Balloon, Domain
from kvmhost.fs import HostError
from kvmhost.virt import STATES


@dataclass(frozen=True)
class _Guest:
    domain: Domain
    now: float

    @property
    def balloon(self) -> Balloon:
        return self.domain.balloon


def _stats_age_seconds(guest: _Guest) -> float | None:
    updated = guest.balloon.last_update_seconds
    # libvirt cuts the time to whole seconds, and the clock may have been set back since.
    return None if updated is None else max(guest.now - updated, 0.0)


def _used_bytes(guest: _Guest) -> int | None:
    available, usable = guest.balloon.available_bytes, guest.balloon.usable_bytes
    return None if available is None or usable is None else available - usable


TABLE: tuple[Row[_Guest], ...] = (
    info(
        "kvm_domain_info",
        "An active domain: how it is virtualised (kvm, or qemu for emulation) and its machine type.",
        ("virt_type", "machine"),
        lambda guest: (guest.domain.virt_type, guest.domain.machine or ""),
    ),
    state_set(
        "kvm_domain_state",
        "State of the domain: 1 for the one that it is in.",
        "state",
        lambda guest: {state: state == guest.domain.state for state in STATES},
    ),
    gauge(
        "kvm_domain_balloon_actual_bytes",
        "Memory that the balloon leaves to the guest now.",
        lambda guest: guest.balloon.actual_bytes,
    ),
    gauge(
        "kvm_domain_balloon_maximum_bytes",
        "Memory of the guest with an empty balloon.",
        lambda guest: guest.balloon.maximum_bytes,
    ),
    gauge(
        "kvm_domain_balloon_unused_bytes",
        "Memory that the guest has no use for at all (its MemFree).",
        lambda guest: guest.balloon.unused_bytes,
    ),
    gauge(
        "kvm_domain_balloon_available_bytes",
        "All memory that the guest's kernel manages (its MemTotal).",
        lambda guest: guest.balloon.available_bytes,
    ),
    gauge(
        "kvm_domain_balloon_usable_bytes",
        "Memory that the guest could give away without swapping (its MemAvailable).",
        lambda guest: guest.balloon.usable_bytes,
    ),
    gauge(
        "kvm_domain_balloon_disk_caches_bytes",
        "Memory that the guest uses for disk caches, and could reclaim.",
        lambda guest: guest.balloon.disk_caches_bytes,
    ),
    gauge(
        "kvm_domain_balloon_rss_bytes",
        "Host memory that the domain's QEMU process holds, pages shared with others included.",
        lambda guest: guest.balloon.rss_bytes,
    ),
    counter(
        "kvm_domain_balloon_swap_in_bytes_total",
        "Memory that the guest read back from its own swap.",
        lambda guest: guest.balloon.swap_in_bytes,
    ),
    counter(
        "kvm_domain_balloon_swap_out_bytes_total",
        "Memory that the guest wrote to its own swap.",
        lambda guest: guest.balloon.swap_out_bytes,
    ),
    counter(
        "kvm_domain_balloon_major_faults_total",
        "Page faults in the guest that needed its disk.",
        lambda guest: guest.balloon.major_faults,
    ),
    counter(
        "kvm_domain_balloon_minor_faults_total",
        "Page faults in the guest that did not need its disk.",
        lambda guest: guest.balloon.minor_faults,
    ),
    gauge(
        "kvm_domain_balloon_stats_age_seconds",
        "How long ago the balloon driver in the guest last answered; absent if it never has.",
        _stats_age_seconds,
    ),
    gauge(
        "kvm_domain_balloon_stats_period_seconds",
        "How often libvirt asks the balloon driver in the guest; 0 is never.",
        lambda guest: guest.balloon.stats_period_seconds,
    ),
    gauge(
        "kvm_domain_memory_used_bytes",
        "The guest's working set: available minus usable.",
        _used_bytes,
    ),
)


def _data_age_seconds(scrape: Scrape) -> float | None:
    read = scrape.libvirt.read_seconds
    return None if read is None else max(scrape.now - read, 0.0)


LIBVIRT_TABLE: tuple[Row[Scrape], ...] = (
    gauge(
        "kvm_libvirt_up",
        "1 if the latest attempt to read the domains from libvirt worked.",
        lambda scrape: scrape.libvirt.up,
    ),
    gauge(
        "kvm_libvirt_data_age_seconds",
        "How long ago libvirt last answered; the data of domains is withheld when it is too old.",
        _data_age_seconds,
    ),
)


def collect(scrape: Scrape) -> Iterator[Metric | HostError]:
    """Every active domain of the newest snapshot, and how it came about."""
    yield from families(LIBVIRT_TABLE, [((), scrape)])
    guests = [((domain.name, domain.uuid), _Guest(domain, scrape.now)) for domain in _domains(scrape.libvirt)]
    yield from families(TABLE, guests, labels=("domain", "uuid"))


def _domains(snapshot: Snapshot) -> tuple[Domain, ...]:
    return snapshot.domains or ()
