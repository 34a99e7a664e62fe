"""Kernel samepage merging of each guest: what it shares, and if nothing, why. Read every five seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.kept import Kept
from exporter.scrape import Scrape
from exporter.table import Family, Row, gauge, state_set
from kvmhost import ksm
from kvmhost.fs import HostError, HostFS
from kvmhost.guestdetails import Held, Merged

TABLE: tuple[Row[Merged], ...] = (
    gauge(
        "kvm_domain_ksm_merging_pages",
        "Pages of the guest that are merged with others (ksm_merging_pages).",
        lambda sample: sample.merging_pages,
    ),
    gauge(
        "kvm_domain_ksm_zero_pages",
        "Empty pages of the guest that are merged with the kernel's zero page, on top of merging_pages"
        " (ksm_zero_pages).",
        lambda sample: sample.zero_pages,
    ),
    gauge(
        "kvm_domain_ksm_rmap_items",
        "Pages of the guest that KSM keeps books on, at some 64 bytes each (ksm_rmap_items).",
        lambda sample: sample.rmap_items,
    ),
    gauge(
        "kvm_domain_ksm_process_profit_bytes",
        "Bytes that merging saves on this guest less the bytes for its books; below zero it costs more than it saves"
        " (ksm_process_profit).",
        lambda sample: sample.profit_bytes,
    ),
    gauge(
        "kvm_domain_ksm_mergeable",
        "1 if any memory of the guest is offered for merging (ksm_mergeable, since kernel 6.15).",
        lambda sample: None if sample.mergeable is None else int(sample.mergeable),
    ),
)

SHARING = "sharing"
NOSHAREPAGES = "nosharepages"
HUGEPAGES = "hugepages"
SHARED_MEMORY = "shared_memory"
HOST_OFF = "host_off"
NOT_YET_SCANNED = "not_yet_scanned"
NOTHING_EQUAL = "nothing_equal"
STATUSES = (SHARING, NOSHAREPAGES, HUGEPAGES, SHARED_MEMORY, HOST_OFF, NOT_YET_SCANNED, NOTHING_EQUAL)


@dataclass(frozen=True, slots=True)
class Merging:
    """What is known of a guest, and whether ksmd scans on its host (kernel file run is 1)."""

    share_pages: bool
    held: Held | None
    merged: Merged | None
    ksmd_scans: bool | None


def status(merging: Merging) -> str | None:
    """Whether the guest shares pages, else the reason, those of the guest itself first; None if it cannot be known."""
    held = merging.held
    ksm_stat = merging.merged
    if ksm_stat and (ksm_stat.merging_pages or ksm_stat.zero_pages):
        return SHARING
    if not merging.share_pages:
        return NOSHAREPAGES
    if held and held.hugetlb > held.anon:
        return HUGEPAGES
    if held and held.shmem > held.anon:
        return SHARED_MEMORY
    if ksm_stat is None or None in (ksm_stat.merging_pages, ksm_stat.rmap_items, merging.ksmd_scans):
        return None
    if not merging.ksmd_scans:
        return HOST_OFF
    return NOTHING_EQUAL if ksm_stat.rmap_items else NOT_YET_SCANNED


STATUS_TABLE: tuple[Row[str], ...] = (
    state_set(
        "kvm_domain_ksm_status",
        "Whether the guest shares pages with others, and if not, why: nosharepages in its configuration; backed by"
        " hugepages or by shared memory, which KSM cannot merge; host_off, ksmd does not scan (kernel file run);"
        " not_yet_scanned; nothing_equal, it was scanned and no page was found twice.",
        "status",
        lambda found: {each: each == found for each in STATUSES},
    ),
)

_LABELS = ("domain", "uuid")


class DomainKsmCollector:
    """Every guest on this host. Without the right to read ksm_stat, only the reasons that show without it."""

    def __init__(self) -> None:
        self._merged = Kept(TABLE, _LABELS)
        self._statuses = Kept(STATUS_TABLE, _LABELS)

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        ksmd_scans = _ksmd_scans(scrape.fs)
        merged, statuses = [], []
        for guest in scrape.guests.guests:
            details = scrape.guest_details.get(guest.uuid)
            if details is None:
                continue
            yield from details.ksm_faults
            labels = (guest.name, guest.uuid)
            if details.merged:
                merged.append((labels, details.merged))
            found = status(Merging(guest.share_pages, details.held, details.merged, ksmd_scans))
            if found:
                statuses.append((labels, found))
        yield from self._merged.families(merged)
        yield from self._statuses.families(statuses)


def _ksmd_scans(fs: HostFS) -> bool | None:
    try:
        return ksm.run(fs) == 1
    except HostError:  # the collector of ksm names it
        return None
