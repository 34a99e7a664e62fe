"""Kernel samepage merging: every file of /sys/kernel/mm/ksm, and what ksmd costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.scrape import Scrape
from exporter.table import Family, Row, counter, families, gauge, state_set
from kvmhost import ksm, memory
from kvmhost.fs import HostError, HostFS
from kvmhost.ksm import KsmState


@dataclass(frozen=True, kw_only=True)
class _Savings:
    saved_bytes: int
    metadata_bytes: int | None


TABLE: tuple[Row[KsmState], ...] = (
    gauge(
        "kvm_ksm_run",
        "What ksmd does: 0 nothing, 1 scan and merge, 2 undo all merging (kernel file run).",
        lambda state: state.run,
    ),
    gauge(
        "kvm_ksm_pages_to_scan",
        "Pages that ksmd looks at before each sleep; the kernel's advisor sets it while it is on.",
        lambda state: state.pages_to_scan,
    ),
    gauge(
        "kvm_ksm_sleep_seconds",
        "How long ksmd sleeps between two batches of pages (kernel file sleep_millisecs).",
        lambda state: _divided(state.sleep_millisecs, 1000),
    ),
    gauge(
        "kvm_ksm_merge_across_nodes",
        "1 if pages of different NUMA nodes may be merged, 0 if only those of the same node.",
        lambda state: state.merge_across_nodes,
    ),
    gauge(
        "kvm_ksm_max_page_sharing",
        "How many pages may share one copy before ksmd makes another.",
        lambda state: state.max_page_sharing,
    ),
    gauge(
        "kvm_ksm_use_zero_pages",
        "1 if empty pages are merged with the kernel's zero page, 0 if they are treated like any other.",
        lambda state: state.use_zero_pages,
    ),
    gauge(
        "kvm_ksm_smart_scan",
        "1 if ksmd skips pages that it repeatedly failed to merge, 0 if it scans all each time.",
        lambda state: state.smart_scan,
    ),
    gauge(
        "kvm_ksm_stable_node_chains_prune_seconds",
        "How often ksmd cleans up copies that reached max_page_sharing"
        " (kernel file stable_node_chains_prune_millisecs).",
        lambda state: _divided(state.stable_node_chains_prune_millisecs, 1000),
    ),
    gauge(
        "kvm_ksm_advisor_max_cpu_ratio",
        "Most of one CPU that the advisor lets ksmd use (kernel file advisor_max_cpu, in percent).",
        lambda state: _divided(state.advisor_max_cpu, 100),
    ),
    gauge(
        "kvm_ksm_advisor_min_pages_to_scan",
        "Lowest pages_to_scan that the advisor chooses.",
        lambda state: state.advisor_min_pages_to_scan,
    ),
    gauge(
        "kvm_ksm_advisor_max_pages_to_scan",
        "Highest pages_to_scan that the advisor chooses.",
        lambda state: state.advisor_max_pages_to_scan,
    ),
    gauge(
        "kvm_ksm_advisor_target_scan_time_seconds",
        "How long a full scan of all mergeable memory should take under the advisor.",
        lambda state: state.advisor_target_scan_time,
    ),
    state_set(
        "kvm_ksm_advisor_mode",
        "1 for the kernel advisor's mode that is in force; in any but none, pages_to_scan is read-only.",
        "mode",
        lambda state: {mode: mode == state.advisor_mode for mode in state.advisor_modes},
    ),
    gauge(
        "kvm_ksm_pages_shared",
        "Pages kept as the one copy of merged ones.",
        lambda state: state.pages_shared,
    ),
    gauge(
        "kvm_ksm_pages_sharing",
        "Pages saved: how many more would be in use without merging.",
        lambda state: state.pages_sharing,
    ),
    gauge(
        "kvm_ksm_pages_unshared",
        "Pages that were unique at the last scan, so scanning them again gains nothing yet.",
        lambda state: state.pages_unshared,
    ),
    gauge(
        "kvm_ksm_pages_volatile",
        "Pages that change too fast to be merged.",
        lambda state: state.pages_volatile,
    ),
    gauge(
        "kvm_ksm_zero_pages",
        "Empty pages merged with the kernel's zero page, saved on top of pages_sharing (kernel file ksm_zero_pages).",
        lambda state: state.ksm_zero_pages,
    ),
    gauge(
        "kvm_ksm_general_profit_bytes",
        "Bytes saved less the bytes of metadata that KSM needs, kvm_ksm_saved_bytes - kvm_ksm_metadata_bytes;"
        " below zero it costs more than it saves.",
        lambda state: state.general_profit,
    ),
    counter(
        "kvm_ksm_pages_scanned_total",
        "Pages that ksmd has looked at.",
        lambda state: state.pages_scanned,
    ),
    counter(
        "kvm_ksm_pages_skipped_total",
        "Pages that smart_scan has spared ksmd.",
        lambda state: state.pages_skipped,
    ),
    counter(
        "kvm_ksm_full_scans_total",
        "Times that ksmd went through all mergeable memory, since merging was last undone;"
        " merging a page takes two at least. Seconds per full scan: 1 / rate(kvm_ksm_full_scans_total[1h]).",
        lambda state: state.full_scans,
    ),
    gauge(
        "kvm_ksm_stable_node_chains",
        "Pages with so many sharers that they have several copies: see max_page_sharing.",
        lambda state: state.stable_node_chains,
    ),
    gauge(
        "kvm_ksm_stable_node_dups",
        "Copies of pages that have several.",
        lambda state: state.stable_node_dups,
    ),
)

SAVINGS_TABLE: tuple[Row[_Savings], ...] = (
    gauge(
        "kvm_ksm_saved_bytes",
        "Memory that merging saves: (pages_sharing + ksm_zero_pages) * page size."
        " Before kernel 6.6 merged empty pages are not counted.",
        lambda savings: savings.saved_bytes,
    ),
    gauge(
        "kvm_ksm_reversal_risk_bytes",
        "Memory that it would take if all merged pages came apart, as when guests write to them or run is set to 2:"
        " the same bytes as saved, seen as a debt.",
        lambda savings: savings.saved_bytes,
    ),
    gauge(
        "kvm_ksm_metadata_bytes",
        "Memory that KSM needs to remember pages, merged or not (rmap items): saved - general_profit;"
        " a little off while ksmd merges.",
        lambda savings: savings.metadata_bytes,
    ),
)

KSMD_TABLE: tuple[Row[float | None], ...] = (
    counter(
        "kvm_ksm_ksmd_cpu_seconds_total",
        "CPU time that the scanning thread ksmd has used: the price of merging (/proc/PID/schedstat).",
        lambda cpu_seconds: cpu_seconds,
    ),
)


class KsmCollector:
    """Remembers the pid of ksmd: it takes a walk through /proc to find, and stays until the next boot."""

    def __init__(self) -> None:
        self._ksmd_pid: int | None = None

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        state = ksm.read(scrape.fs)
        if state is None:
            return
        yield from families(TABLE, [((), state)])
        yield from state.faults
        try:
            yield from families(SAVINGS_TABLE, [((), savings) for savings in _savings(scrape.fs, state)])
        except HostError as fault:
            yield fault
        if self._ksmd_pid is None:
            self._ksmd_pid = ksm.ksmd_pid(scrape.fs)
        if self._ksmd_pid is not None:
            yield from families(KSMD_TABLE, [((), ksm.ksmd_cpu_seconds(scrape.fs, self._ksmd_pid))])


def _savings(fs: HostFS, state: KsmState) -> Iterator[_Savings]:
    page_size_bytes = memory.page_size_bytes(fs)
    if page_size_bytes is not None and state.saved_pages is not None:
        yield _Savings(
            saved_bytes=state.saved_pages * page_size_bytes,
            metadata_bytes=ksm.metadata_bytes(state, page_size_bytes),
        )


def _divided(number: int | None, divisor: int) -> float | None:
    return None if number is None else number / divisor
