"""Host memory: the lines of /proc/meminfo that tell how a KVM host fares, and the page size."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.scrape import Scrape
from exporter.table import Family, Row, families, gauge
from kvmhost import headroom, memory
from kvmhost.fs import HostError
from kvmhost.memory import MemoryState

TABLE: tuple[Row[MemoryState], ...] = (
    gauge(
        "kvm_memory_total_bytes",
        "Memory that the kernel manages (MemTotal).",
        lambda state: state.total_bytes,
    ),
    gauge(
        "kvm_memory_free_bytes",
        "Memory that nothing uses at all (MemFree).",
        lambda state: state.free_bytes,
    ),
    gauge(
        "kvm_memory_available_bytes",
        "Memory that could be given out without swapping, by the kernel's estimate (MemAvailable).",
        lambda state: state.available_bytes,
    ),
    gauge(
        "kvm_memory_buffers_bytes",
        "Cached contents of block devices (Buffers).",
        lambda state: state.buffers_bytes,
    ),
    gauge(
        "kvm_memory_cached_bytes",
        "Cached contents of files, shared memory included (Cached).",
        lambda state: state.cached_bytes,
    ),
    gauge(
        "kvm_memory_anon_bytes",
        "Memory of processes that no file backs: most of a guest, unless it is on hugepages (AnonPages).",
        lambda state: state.anon_bytes,
    ),
    gauge(
        "kvm_memory_anon_huge_pages_bytes",
        "The part of anon that is in transparent huge pages (AnonHugePages).",
        lambda state: state.anon_huge_pages_bytes,
    ),
    gauge(
        "kvm_memory_shmem_bytes",
        "Shared memory and tmpfs: guests with shared backing are here (Shmem).",
        lambda state: state.shmem_bytes,
    ),
    gauge(
        "kvm_memory_mapped_bytes",
        "File contents that are mapped into processes (Mapped).",
        lambda state: state.mapped_bytes,
    ),
    gauge(
        "kvm_memory_mlocked_bytes",
        "Memory that may not be swapped: guests with locked memory are here (Mlocked).",
        lambda state: state.mlocked_bytes,
    ),
    gauge(
        "kvm_memory_dirty_bytes",
        "File contents that wait to be written to disk (Dirty).",
        lambda state: state.dirty_bytes,
    ),
    gauge(
        "kvm_memory_writeback_bytes",
        "File contents that are being written to disk (Writeback).",
        lambda state: state.writeback_bytes,
    ),
    gauge(
        "kvm_memory_slab_bytes",
        "Memory of the kernel's own objects (Slab).",
        lambda state: state.slab_bytes,
    ),
    gauge(
        "kvm_memory_slab_reclaimable_bytes",
        "The part of slab that shrinks when memory is short (SReclaimable).",
        lambda state: state.slab_reclaimable_bytes,
    ),
    gauge(
        "kvm_memory_kernel_stack_bytes",
        "Kernel stacks of all threads (KernelStack).",
        lambda state: state.kernel_stack_bytes,
    ),
    gauge(
        "kvm_memory_page_tables_bytes",
        "Page tables of all processes: they grow with guests that are not on huge pages (PageTables).",
        lambda state: state.page_tables_bytes,
    ),
    gauge(
        "kvm_memory_secondary_page_tables_bytes",
        "Page tables that KVM keeps for guests (SecPageTables, since kernel 6.1).",
        lambda state: state.secondary_page_tables_bytes,
    ),
    gauge(
        "kvm_memory_hugetlb_bytes",
        "Memory set aside in hugepage pools of all sizes, in use or not (Hugetlb).",
        lambda state: state.hugetlb_bytes,
    ),
    gauge(
        "kvm_memory_commit_limit_bytes",
        "How much may be promised to processes if vm.overcommit_memory is 2 (CommitLimit).",
        lambda state: state.commit_limit_bytes,
    ),
    gauge(
        "kvm_memory_committed_bytes",
        "Memory promised to processes, touched or not: it can exceed what there is (Committed_AS).",
        lambda state: state.committed_bytes,
    ),
    gauge(
        "kvm_memory_swap_total_bytes",
        "Size of all swap areas (SwapTotal).",
        lambda state: state.swap_total_bytes,
    ),
    gauge(
        "kvm_memory_swap_free_bytes",
        "Swap that is not in use (SwapFree).",
        lambda state: state.swap_free_bytes,
    ),
    gauge(
        "kvm_memory_swap_cached_bytes",
        "Memory that is both in swap and read back in (SwapCached).",
        lambda state: state.swap_cached_bytes,
    ),
    gauge(
        "kvm_memory_hardware_corrupted_bytes",
        "Memory that the kernel has retired because the hardware reported it as broken (HardwareCorrupted).",
        lambda state: state.hardware_corrupted_bytes,
    ),
)

PAGE_TABLE: tuple[Row[int | None], ...] = (
    gauge(
        "kvm_memory_page_size_bytes",
        "Size of an ordinary page: multiply the kernel's page counts, such as kvm_ksm_pages_sharing, by it.",
        lambda page_size_bytes: page_size_bytes,
    ),
)

HEADROOM_TABLE: tuple[Row[int | None], ...] = (
    gauge(
        "kvm_memory_headroom_bytes",
        "Memory that guests could still be given: available_bytes, and over all hugepage sizes free - reserved bytes,"
        " less kvm_ksm_reversal_risk_bytes. Below zero the host lives on merging.",
        lambda headroom_bytes: headroom_bytes,
    ),
)


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """Metrics of the host's memory."""
    page_size_bytes = None
    try:
        page_size_bytes = memory.page_size_bytes(scrape.fs)
    except HostError as fault:
        yield fault
    yield from families(PAGE_TABLE, [((), page_size_bytes)])
    state = memory.read(scrape.fs)
    if state is None:
        return
    yield from families(TABLE, [((), state)])
    yield from state.faults
    if state.available_bytes is not None and page_size_bytes is not None:
        free_bytes = headroom.headroom_bytes(scrape.fs, state.available_bytes, page_size_bytes)
        yield from families(HEADROOM_TABLE, [((), free_bytes)])
