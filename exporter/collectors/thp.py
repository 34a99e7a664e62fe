"""Transparent huge pages: how the kernel is set to use them. What became of them is with the vmstat collector."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.scrape import Scrape
from exporter.table import Family, Row, counter, families, gauge, state_set
from kvmhost import thp
from kvmhost.fs import HostError
from kvmhost.thp import Khugepaged, ThpState

TABLE: tuple[Row[ThpState], ...] = (
    state_set(
        "kvm_thp_enabled",
        "1 for the mode in force: huge pages for all (always), who asks as QEMU does (madvise), or nobody (never).",
        "mode",
        lambda state: state.enabled,
    ),
    state_set(
        "kvm_thp_defrag",
        "1 for the mode in force when no huge page is free at a page fault: the task makes one and waits (always;"
        " madvise, if it asked), it is made in the background (defer), or not at all (never).",
        "mode",
        lambda state: state.defrag,
    ),
    state_set(
        "kvm_thp_shmem_enabled",
        "1 for the mode in force for shared memory, which guests with shared backing (memfd) have.",
        "mode",
        lambda state: state.shmem_enabled,
    ),
    gauge(
        "kvm_thp_use_zero_page",
        "1 if reads of untouched memory are served with one huge page of zeros.",
        lambda state: state.use_zero_page,
    ),
    gauge(
        "kvm_thp_shrink_underused",
        "1 if huge pages that are mostly zeros are split when memory is short (since kernel 6.12).",
        lambda state: state.shrink_underused,
    ),
    gauge(
        "kvm_thp_hpage_pmd_size_bytes",
        "Size of a transparent huge page: multiply the kernel's thp_ counts by it.",
        lambda state: state.hpage_pmd_size,
    ),
)

KHUGEPAGED_TABLE: tuple[Row[Khugepaged], ...] = (
    gauge(
        "kvm_thp_khugepaged_defrag",
        "1 if khugepaged may move other memory about to get a huge page.",
        lambda state: state.defrag,
    ),
    gauge(
        "kvm_thp_khugepaged_pages_to_scan",
        "Small pages that khugepaged looks at before each sleep.",
        lambda state: state.pages_to_scan,
    ),
    gauge(
        "kvm_thp_khugepaged_scan_sleep_seconds",
        "How long khugepaged sleeps between two batches of pages (kernel file scan_sleep_millisecs).",
        lambda state: _seconds(state.scan_sleep_millisecs),
    ),
    gauge(
        "kvm_thp_khugepaged_alloc_sleep_seconds",
        "How long khugepaged sleeps after it got no huge page (kernel file alloc_sleep_millisecs).",
        lambda state: _seconds(state.alloc_sleep_millisecs),
    ),
    gauge(
        "kvm_thp_khugepaged_max_ptes_none",
        "How many untouched small pages khugepaged fills with zeros to make up a huge page:"
        " a high number gives back to guests what their balloons took.",
        lambda state: state.max_ptes_none,
    ),
    gauge(
        "kvm_thp_khugepaged_max_ptes_swap",
        "How many small pages khugepaged reads back from swap to make up a huge page.",
        lambda state: state.max_ptes_swap,
    ),
    gauge(
        "kvm_thp_khugepaged_max_ptes_shared",
        "How many small pages that processes share khugepaged copies to make up a huge page.",
        lambda state: state.max_ptes_shared,
    ),
    counter(
        "kvm_thp_khugepaged_pages_collapsed_total",
        "Huge pages that khugepaged has made up of small ones.",
        lambda state: state.pages_collapsed,
    ),
    counter(
        "kvm_thp_khugepaged_full_scans_total",
        "Times that khugepaged went through all memory that may have huge pages.",
        lambda state: state.full_scans,
    ),
)


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """Settings of the kernel and of khugepaged."""
    state = thp.read(scrape.fs)
    if state:
        yield from families(TABLE, [((), state)])
        yield from families(KHUGEPAGED_TABLE, [((), state.khugepaged)])
        yield from state.faults


def _seconds(millisecs: int | None) -> float | None:
    return None if millisecs is None else millisecs / 1000
