"""Balloons of the guests: how they are made, by their XML, and what was last heard of them, with its age."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from exporter.kept import Kept
from exporter.scrape import Scrape
from exporter.table import Family, Row, counter, gauge
from kvmhost.domains import Balloon, BalloonDevice, Domain, DomainConfig
from kvmhost.fs import HostError

# QEMU asks the driver again a period after its answer, and cuts the time of it to whole seconds: of three answers
# that are due, one at least has come. Ten seconds, since a guest that is busy may be late for a period of one.
_PATIENCE_PERIODS = 3
_PATIENCE_MIN_SECONDS = 10


def driver_answering(domain: Domain) -> bool | None:
    """Whether the guest's balloon driver was answering when it was last looked at.

    None if there is no telling: it is not asked, the guest does not run, or its QEMU did not say.
    """
    device, balloon = domain.config.balloon_device, domain.balloon
    if device is None or not device.stats_period_seconds or domain.state != "running":
        return None
    if balloon.read_seconds is None or balloon.last_update_seconds is None:
        return None
    patience_seconds = max(_PATIENCE_PERIODS * device.stats_period_seconds, _PATIENCE_MIN_SECONDS)
    return balloon.read_seconds - balloon.last_update_seconds <= patience_seconds


def _used_bytes(balloon: Balloon) -> int | None:
    available, usable = balloon.available_bytes, balloon.usable_bytes
    return None if available is None or usable is None else available - usable


TABLE: tuple[Row[Balloon], ...] = (
    gauge(
        "kvm_domain_balloon_actual_bytes",
        "Memory that the balloon leaves to the guest now, with what memory devices add to it.",
        lambda balloon: balloon.actual_bytes,
    ),
    gauge(
        "kvm_domain_balloon_maximum_bytes",
        "Memory of the guest with an empty balloon and all of its memory devices.",
        lambda balloon: balloon.maximum_bytes,
    ),
    gauge(
        "kvm_domain_balloon_unused_bytes",
        "Memory that the guest has no use for at all (its MemFree).",
        lambda balloon: balloon.unused_bytes,
    ),
    gauge(
        "kvm_domain_balloon_available_bytes",
        "All memory that the guest's kernel manages (its MemTotal).",
        lambda balloon: balloon.available_bytes,
    ),
    gauge(
        "kvm_domain_balloon_usable_bytes",
        "Memory that the guest could give away without swapping (its MemAvailable).",
        lambda balloon: balloon.usable_bytes,
    ),
    gauge(
        "kvm_domain_balloon_disk_caches_bytes",
        "Memory that the guest uses for disk caches, and could reclaim.",
        lambda balloon: balloon.disk_caches_bytes,
    ),
    counter(
        "kvm_domain_balloon_swap_in_bytes_total",
        "Memory that the guest read back from its own swap.",
        lambda balloon: balloon.swap_in_bytes,
    ),
    counter(
        "kvm_domain_balloon_swap_out_bytes_total",
        "Memory that the guest wrote to its own swap.",
        lambda balloon: balloon.swap_out_bytes,
    ),
    counter(
        "kvm_domain_balloon_major_faults_total",
        "Page faults in the guest that needed its disk.",
        lambda balloon: balloon.major_faults,
    ),
    counter(
        "kvm_domain_balloon_minor_faults_total",
        "Page faults in the guest that did not need its disk.",
        lambda balloon: balloon.minor_faults,
    ),
    counter(
        "kvm_domain_balloon_hugetlb_pgalloc_total",
        "Huge pages that the guest's kernel made for its own hugetlb pools (hugetlb_pgalloc).",
        lambda balloon: balloon.hugetlb_pgalloc,
    ),
    counter(
        "kvm_domain_balloon_hugetlb_pgfail_total",
        "Huge pages that the guest's kernel could not make for its own hugetlb pools (hugetlb_pgfail).",
        lambda balloon: balloon.hugetlb_pgfail,
    ),
    gauge(
        "kvm_domain_memory_used_bytes",
        "The guest's working set: available minus usable.",
        _used_bytes,
    ),
)


class _Answer(NamedTuple):
    """How fresh a balloon's numbers are; the ages are None for what has never been."""

    stats_age_seconds: float | None
    data_age_seconds: float | None
    driver_answering: bool | None


ANSWER_TABLE: tuple[Row[_Answer], ...] = (
    gauge(
        "kvm_domain_balloon_stats_age_seconds",
        "How long ago the balloon driver in the guest last answered; absent if it never has.",
        lambda answer: answer.stats_age_seconds,
    ),
    gauge(
        "kvm_domain_balloon_data_age_seconds",
        "How long ago libvirt was last asked for those of this guest's kvm_domain_balloon_* that change.",
        lambda answer: answer.data_age_seconds,
    ),
    gauge(
        "kvm_domain_balloon_driver_answering",
        "1 if the balloon driver in the guest had answered within three periods (10 s at least) when libvirt was last"
        " asked, 0 if not: it is not loaded, has no statistics, or hangs. Absent if it is not asked (the period is 0)"
        " or the guest does not run.",
        lambda answer: answer.driver_answering,
    ),
)

DEVICE_TABLE: tuple[Row[BalloonDevice], ...] = (
    gauge(
        "kvm_domain_balloon_stats_period_seconds",
        "How often libvirt asks the balloon driver in the guest; 0 is never.",
        lambda device: device.stats_period_seconds,
    ),
    gauge(
        "kvm_domain_balloon_autodeflate",
        "1 if the balloon gives memory back before the guest's kernel kills a program for lack of it"
        " (attribute autodeflate).",
        lambda device: int(device.autodeflate),
    ),
    gauge(
        "kvm_domain_balloon_free_page_reporting",
        "1 if the guest tells which pages it does not use, so that the host gets them back without the balloon"
        " (attribute freePageReporting).",
        lambda device: int(device.free_page_reporting),
    ),
)

CONFIG_TABLE: tuple[Row[DomainConfig], ...] = (
    gauge(
        "kvm_domain_balloon_configured_bytes",
        "What the balloon should leave to the guest by the domain's persistent configuration (currentMemory)."
        " A target that was set for the running guest only is not here: neither libvirt nor QEMU tell it.",
        lambda config: config.balloon_configured_bytes,
    ),
    gauge(
        "kvm_domain_memory_min_guarantee_bytes",
        "What the balloon should never take from the guest, by its configuration (oVirt's minGuaranteedMemoryMb).",
        lambda config: config.memory_min_guarantee_bytes,
    ),
)

_LABELS = ("domain", "uuid")


class BalloonCollector:
    """Every balloon of the newest answer of libvirt."""

    def __init__(self) -> None:
        self._balloons = Kept(TABLE, _LABELS)
        self._answers = Kept(ANSWER_TABLE, _LABELS)
        self._devices = Kept(DEVICE_TABLE, _LABELS)
        self._configs = Kept(CONFIG_TABLE, _LABELS)

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        guests = [((domain.name, domain.uuid), domain) for domain in scrape.libvirt.domains or ()]
        yield from self._balloons.families((labels, domain.balloon) for labels, domain in guests)
        yield from self._answers.families((labels, _answer(domain, scrape.now)) for labels, domain in guests)
        devices = [(labels, domain.config.balloon_device) for labels, domain in guests]
        yield from self._devices.families((labels, device) for labels, device in devices if device)
        yield from self._configs.families((labels, domain.config) for labels, domain in guests)


def _answer(domain: Domain, now: float) -> _Answer:
    return _Answer(
        stats_age_seconds=_age_seconds(domain.balloon.last_update_seconds, now),
        data_age_seconds=_age_seconds(domain.balloon.read_seconds, now),
        driver_answering=driver_answering(domain),
    )


def _age_seconds(seconds: float | None, now: float) -> float | None:
    # libvirt cuts the guest's time to whole seconds, and the clock may have been set back since.
    return max(now - seconds, 0.0) if seconds else None
