"""Host memory: where every byte is, who waits for it, and what is swapped."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.fleet import AVAILABLE, NO_EXPORTER
from grafana.layout import dashboard
from grafana.panels import Column, above, below, graph, grid, number

NO_GUESTS = "No guest runs on these hosts."

# Resident memory of guests counts a merged page once for each guest that has it; the host has it once.
GUESTS = """
    sum(kvm_domain_memory_rss_anon_bytes + kvm_domain_memory_rss_shmem_bytes)
    - (sum(kvm_ksm_pages_sharing * kvm_memory_page_size_bytes) or vector(0))
"""
KERNEL = """
    sum(kvm_memory_slab_bytes + kvm_memory_kernel_stack_bytes + kvm_memory_page_tables_bytes)
    + (sum(kvm_memory_secondary_page_tables_bytes) or vector(0))
"""
CACHE = "sum(kvm_memory_cached_bytes + kvm_memory_buffers_bytes - kvm_memory_shmem_bytes)"
PROCESSES = "sum(kvm_memory_anon_bytes + kvm_memory_shmem_bytes)"
BYTES = {
    "Guests": f"clamp_min({GUESTS}, 0)",
    "Hugepages in use": "sum(kvm_hugepages_total_bytes - kvm_hugepages_free_bytes)",
    "Hugepages idle": "sum(kvm_hugepages_free_bytes)",
    "Other processes": f"clamp_min({PROCESSES} - ({GUESTS} or vector(0)), 0)",
    "Cache": CACHE,
    "Kernel": KERNEL,
    "Free": "sum(kvm_memory_free_bytes)",
    "Not accounted for": f"""
        clamp_min(sum(kvm_memory_total_bytes - kvm_memory_free_bytes - kvm_memory_hugetlb_bytes)
        - ({PROCESSES}) - ({CACHE}) - ({KERNEL}), 0)
    """,
    "Saved by KSM": "-sum(kvm_ksm_saved_bytes)",
}
WAITS = 'rate(kvm_pressure_{}_seconds_total{{resource!="cpu"}}[$__rate_interval])'
PAGES = "rate({}[$__rate_interval]) * on (instance) kvm_memory_page_size_bytes"


def made() -> Dashboard:
    return dashboard(
        "memory",
        "Host memory",
        "Where every byte is, who waits for memory, and what is swapped. With several hosts, bytes are added up.",
        {
            "Now": [
                number(
                    "Available",
                    f"min({AVAILABLE})",
                    says="Share of memory outside of hugepage pools that could be given out without swapping. Below "
                    "10 %: shrink balloons, start KSM, or move guests away.",
                    empty=NO_EXPORTER,
                    unit="percentunit",
                    steps=below(0.1, 0.2),
                ),
                number(
                    "Headroom",
                    "min(kvm_memory_headroom_bytes)",
                    says="What guests could still be given if all merged pages came apart. Below zero the host lives "
                    "on merging: start no more guests, and do not undo merging.",
                    empty=NO_EXPORTER,
                    unit="bytes",
                    steps=below(0, 2**30),
                ),
                number(
                    "Promised to guests",
                    "max(kvm_memory_guest_overcommit_ratio)",
                    says="Memory of all guests with empty balloons, per memory of the host. Above 100 % it counts on "
                    "guests not using theirs.",
                    empty="libvirt is not read on these hosts: see kvm_libvirt_up.",
                    unit="percentunit",
                    steps=above(1, 1.5),
                ),
                number(
                    "Idle hugepages",
                    "sum(kvm_hugepages_free_bytes - kvm_hugepages_reserved_bytes)",
                    says="Memory in hugepage pools that neither a guest nor anything else can use now. Much of it: "
                    "shrink the pool.",
                    empty="These kernels have no hugetlb pages.",
                    unit="bytes",
                    steps=above(2**30, 8 * 2**30),
                ),
                number(
                    "Swap in use",
                    "sum(kvm_memory_swap_total_bytes - kvm_memory_swap_free_bytes)",
                    says="Old swap is harmless; see below whether pages come back from it.",
                    empty=NO_EXPORTER,
                    unit="bytes",
                    steps=above(2**30),
                ),
                number(
                    "Killed for lack of memory",
                    "sum(increase(kvm_vmstat_oom_kill_total[1h]))",
                    says="Processes that the kernel killed within an hour; a QEMU process is often the largest. Any: "
                    "see the kernel log for which, and promise guests less.",
                    empty=NO_EXPORTER,
                    steps=above(1),
                ),
            ],
            "Where every byte is": [
                graph(
                    "Memory of the hosts",
                    BYTES,
                    says="Adds up to the memory that the kernel manages. Below zero: what KSM saves, and what would "
                    "be needed on top if its pages came apart. Guests on hugepages are with the hugepages. Hugepages "
                    "idle for long: shrink the pool. Little free and little cache: memory is short.",
                    empty=NO_EXPORTER,
                    unit="bytes",
                    stacked=True,
                    width=24,
                ),
                grid(
                    "Guests",
                    {"instance": "Host", "domain": "Guest"},
                    {
                        "Configured": _of_guest("kvm_domain_memory_configured_bytes", "bytes"),
                        "Resident": _of_guest("kvm_domain_memory_rss_bytes", "bytes"),
                        "On hugepages": _of_guest("kvm_domain_memory_hugetlb_bytes", "bytes"),
                        "Merged": _of_guest(
                            "kvm_domain_ksm_merging_pages * on (instance) group_left () kvm_memory_page_size_bytes",
                            "bytes",
                        ),
                        "Locked": _of_guest("kvm_domain_memory_locked_bytes", "bytes"),
                        "Swapped out": Column(
                            "sum by (instance, domain) (kvm_domain_memory_swap_bytes)", "bytes", above(1, 2**27)
                        ),
                    },
                    says="What each guest takes of its host. A guest that is swapped out does not know why it is "
                    "slow: free memory, then its pages come back as they are needed.",
                    empty=NO_GUESTS,
                    sort="Resident",
                ),
            ],
            "Who waits": [
                graph(
                    "Pressure: some work waits",
                    {"{{instance}} {{resource}}": WAITS.format("some")},
                    says="Share of time in which at least one task waited for memory or I/O. Memory above 10 %: free "
                    "some, or move guests away. For the CPU see CPU placement.",
                    empty="These kernels have no pressure stall information (boot with psi=1).",
                    unit="percentunit",
                    steps=above(0.1, 0.5),
                ),
                graph(
                    "Pressure: all work waits",
                    {"{{instance}} {{resource}}": WAITS.format("full")},
                    says="Share of time in which nothing was done, since all that could have run waited. Any memory "
                    "here is lost work: free some at once.",
                    empty="These kernels have no pressure stall information (boot with psi=1).",
                    unit="percentunit",
                    steps=above(0.01, 0.1),
                ),
                graph(
                    "Swapping",
                    {
                        "{{instance}} read back": PAGES.format("kvm_vmstat_pswpin_total"),
                        "{{instance}} written": PAGES.format("kvm_vmstat_pswpout_total"),
                    },
                    says="Someone waits for each page that is read back. Steady reading back: memory is too short; "
                    "writing alone is harmless.",
                    empty=NO_EXPORTER,
                    unit="Bps",
                    steps=above(2**20, 32 * 2**20),
                ),
                graph(
                    "Reclaim by who needs memory",
                    {
                        "{{instance}} freed by tasks": PAGES.format("kvm_vmstat_pgsteal_direct_total"),
                        "{{instance}} freed by kswapd": PAGES.format("kvm_vmstat_pgsteal_kswapd_total"),
                    },
                    says="kswapd frees memory in the background; tasks that must free it themselves, vCPUs among "
                    "them, stall. Much of that: raise vm.min_free_kbytes or free memory.",
                    empty=NO_EXPORTER,
                    unit="Bps",
                ),
            ],
        },
    )


def _of_guest(expr: str, unit: str) -> Column:
    return Column(f"sum by (instance, domain) ({expr})", unit)
