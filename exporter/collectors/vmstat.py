"""What the kernel's memory management has done: swapping, reclaim, compaction, NUMA, transparent huge pages.

Each name is that of a line in /proc/vmstat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.scrape import Scrape
from exporter.table import Family, Row, counter, families
from kvmhost import vmstat
from kvmhost.fs import HostError

# By the kernel's name of each event.
_MEANINGS = {
    "pswpin": "Pages read back from swap: whoever needed them, often a guest, waited for the disk.",
    "pswpout": "Pages written to swap.",
    "swap_ra": "Pages read from swap in advance, next to one that was needed: vm.page-cluster says how many.",
    "swap_ra_hit": "Pages read from swap in advance that were needed in the end: few of swap_ra means wasted reads.",
    "zswpin": "Pages taken back from the compressed swap cache in memory (zswap).",
    "zswpout": "Pages put into the compressed swap cache in memory (zswap).",
    "pgmajfault": "Page faults that had to wait for a disk, be it for swap or for a file.",
    "oom_kill": "Processes killed for lack of memory, on the host or in a cgroup; a QEMU process is often the largest.",
    "allocstall": "Times that a task, such as a vCPU, had to free memory itself before it got any, in all zones.",
    "pgscan_kswapd": "Pages that kswapd looked at to free memory in the background.",
    "pgscan_direct": "Pages that tasks in need of memory looked at themselves, waiting meanwhile.",
    "pgsteal_kswapd": "Pages that kswapd freed; few of pgscan_kswapd means that little can be freed.",
    "pgsteal_direct": "Pages that tasks in need of memory freed themselves.",
    "pgscan_direct_throttle": "Times that a task in need of memory was made to wait for kswapd.",
    "workingset_refault_anon": "Pages that came back from swap after they were taken away for lack of memory.",
    "workingset_refault_file": "Pages of files that were read again after they were dropped for lack of memory.",
    "compact_stall": "Times that a task had to move other memory about itself to get a huge page, waiting meanwhile.",
    "compact_success": "Times that such a stall gave the huge page.",
    "compact_fail": "Times that such a stall was in vain: memory is too fragmented or too full.",
    "compact_daemon_wake": "Times that kcompactd set out to defragment memory in the background.",
    "htlb_buddy_alloc_success": "Hugepages that a pool gained from ordinary memory.",
    "htlb_buddy_alloc_fail": "Hugepages that a pool should have gained, for which there was no memory in one piece.",
    "cow_ksm": "Merged pages that were written to and so copied: what KSM gains and loses again.",
    "ksm_swpin_copy": "Merged pages that were copied when they came back from swap.",
    "numa_hit": "Allocations that got memory of the NUMA node that was wanted.",
    "numa_miss": "Allocations that got memory of another NUMA node than was wanted, since that one was short.",
    "numa_local": "Allocations that got memory of the NUMA node on which the task ran.",
    "numa_other": "Allocations that got memory of another NUMA node than the one on which the task ran: slower.",
    "numa_pte_updates": "Pages marked by automatic NUMA balancing to see who uses them: its cost.",
    "numa_hint_faults": "Faults on pages so marked.",
    "numa_hint_faults_local": "Faults on pages so marked that were on the task's own node already.",
    "numa_pages_migrated": "Pages that automatic NUMA balancing moved to the node of their user.",
    "balloon_inflate": "Pages that this host gave to a balloon of its own: it is a guest itself, and is made smaller.",
    "balloon_deflate": "Pages that this host got back from a balloon of its own.",
    "thp_fault_alloc": "Huge pages given at a page fault.",
    "thp_fault_fallback": "Page faults that should have got a huge page and got small ones.",
    "thp_collapse_alloc": "Huge pages that khugepaged took to put small pages together.",
    "thp_collapse_alloc_failed": "Times that khugepaged found pages to put together and got no huge page for them.",
    "thp_file_alloc": "Huge pages given to files and shared memory, such as a guest's with shared backing.",
    "thp_file_fallback": "Times that files and shared memory should have got a huge page and got small ones.",
    "thp_split_page": "Huge pages split into small ones, as KSM does when it merges a part, or reclaim.",
    "thp_split_page_failed": "Huge pages that could not be split, as when a device has pinned them.",
    "thp_deferred_split_page": "Huge pages found partly unused, as when a balloon took some: split if memory is short.",
    "thp_underused_split_page": "Huge pages that were mostly zeros, so split to free these.",
    "thp_split_pmd": "Mappings of huge pages that were split, the pages themselves often not.",
    "thp_zero_page_alloc": "Times that the huge page of zeros was made; it is shared by all who only read.",
    "thp_swpout": "Huge pages swapped out in one piece.",
    "thp_swpout_fallback": "Huge pages split before they were swapped out.",
}


def _row(name: str, meaning: str) -> Row[Mapping[str, int]]:
    metric = f"kvm_{name}_total" if name.startswith("thp_") else f"kvm_vmstat_{name}_total"
    return counter(metric, meaning, lambda counts: counts.get(name))


TABLE = tuple(_row(name, meaning) for name, meaning in _MEANINGS.items())


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """Metrics of the events that this kernel counts, in one read."""
    state = vmstat.read(scrape.fs, _MEANINGS)
    if state:
        yield from families(TABLE, [((), state.counts)])
        yield from state.faults
