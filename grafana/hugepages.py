"""Hugepage pools by size and node, and transparent huge pages: who gets them, and what making them costs."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import dashboard
from grafana.panels import Column, above, graph, grid, number

NO_POOL = "These kernels have no hugetlb pages."
NO_NODES = "These kernels do not tell of pools by node."
NO_THP = "These kernels have no transparent huge pages."
NO_EXPORTER = "No exporter is scraped for these hosts."
RATE = "rate({}[$__rate_interval])"
UNUSED = "kvm_hugepages_free_bytes - kvm_hugepages_reserved_bytes"
GIVEN, NOT_GIVEN = RATE.format("kvm_thp_fault_alloc_total"), RATE.format("kvm_thp_fault_fallback_total")
COVERED = "kvm_memory_anon_huge_pages_bytes / (kvm_memory_anon_bytes > 0)"


def made() -> Dashboard:
    return dashboard(
        "hugepages",
        "Hugepages and THP",
        "Hugepage pools by size and node, and transparent huge pages. Marks: decisions of the actuator on knobs "
        "hugepages.*, thp.* and khugepaged.*.",
        {
            "Now": [
                number(
                    "In pools",
                    "sum(kvm_hugepages_total_bytes)",
                    says="Memory in all pools. Nothing but guests on hugepages can use it.",
                    empty=NO_POOL,
                    unit="bytes",
                ),
                number(
                    "Free for a new guest",
                    f"sum({UNUSED})",
                    says="Free and not promised. Much of it for long: shrink the pool; none: the next guest on "
                    "hugepages does not start.",
                    empty=NO_POOL,
                    unit="bytes",
                ),
                number(
                    "Idle share of the pools",
                    f"sum({UNUSED}) / (sum(kvm_hugepages_total_bytes) > 0)",
                    says="Idle memory in pools is lost to everybody else. Above half for long: shrink the pool.",
                    empty="All pools are empty: no memory is set aside.",
                    unit="percentunit",
                    steps=above(0.25, 0.5),
                ),
                number(
                    "Pages that a pool did not get",
                    "sum(increase(kvm_vmstat_htlb_buddy_alloc_fail_total[1h]))",
                    says="Within an hour: memory was too fragmented, or too full, to grow a pool. Reserve pages at "
                    "boot, or compact memory first.",
                    empty="These kernels do not count it.",
                    steps=above(1),
                ),
                number(
                    "Covered by THP",
                    f"min({COVERED})",
                    says="Share of processes' memory on transparent huge pages, on the host with least. Low with "
                    "thp.enabled always or madvise: memory is fragmented, or KSM has split pages.",
                    empty=NO_THP,
                    unit="percentunit",
                ),
                number(
                    "THP faults in vain",
                    f"max({NOT_GIVEN} / ({GIVEN} + {NOT_GIVEN} > 0))",
                    says="Share of page faults that should have got a huge page and did not. Above half: memory is "
                    "fragmented; see compaction below.",
                    empty="No page fault has asked for a huge page lately.",
                    unit="percentunit",
                    steps=above(0.2, 0.5),
                ),
            ],
            "Pools": [
                graph(
                    "Pools by size",
                    {
                        "{{size}} in use": "sum by (size) (kvm_hugepages_total_bytes - kvm_hugepages_free_bytes)",
                        "{{size}} promised": "sum by (size) (kvm_hugepages_reserved_bytes)",
                        "{{size}} idle": f"sum by (size) ({UNUSED})",
                    },
                    says="Idle memory for long: shrink that pool (knob hugepages.pool). Nothing idle: guests on "
                    "hugepages cannot start.",
                    empty=NO_POOL,
                    unit="bytes",
                    stacked=True,
                    width=8,
                ),
                graph(
                    "Free by node",
                    {"{{instance}} node {{node}} {{size}}": "kvm_hugepages_node_free_bytes"},
                    says="A guest that is bound to one node needs its pages there: move pages from a node with many "
                    "free to one with none.",
                    empty=NO_NODES,
                    unit="bytes",
                    width=8,
                ),
                graph(
                    "Growing the pools",
                    {
                        "{{instance}} got": RATE.format("kvm_vmstat_htlb_buddy_alloc_success_total"),
                        "{{instance}} did not get": RATE.format("kvm_vmstat_htlb_buddy_alloc_fail_total"),
                    },
                    says="Pages that pools gained from ordinary memory, and should have gained. Failures: fragmented "
                    "memory; reserve at boot.",
                    empty="These kernels do not count it.",
                    unit="cps",
                    width=8,
                ),
                grid(
                    "Pools by node",
                    {"instance": "Host", "node": "Node", "size": "Size"},
                    {
                        "Pool": Column("sum by (instance, node, size) (kvm_hugepages_node_total_bytes)", "bytes"),
                        "Free": Column("sum by (instance, node, size) (kvm_hugepages_node_free_bytes)", "bytes"),
                        "Beyond the set size": Column(
                            "sum by (instance, node, size) (kvm_hugepages_node_surplus_bytes)", "bytes", above(1)
                        ),
                    },
                    says="Pages beyond the set size come and go on demand, if there is memory in one piece: do not "
                    "count on them, set the pool larger.",
                    empty=NO_NODES,
                    sort="Pool",
                ),
            ],
            "Transparent huge pages": [
                graph(
                    "Memory on transparent huge pages",
                    {"{{instance}}": "kvm_memory_anon_huge_pages_bytes"},
                    says="Falls when KSM merges, balloons grow or pages are swapped, each of which splits huge pages: "
                    "guests then run a little slower.",
                    empty=NO_THP,
                    unit="bytes",
                ),
                graph(
                    "Guests on transparent huge pages",
                    {"{{instance}} {{domain}}": 'topk(15, kvm_domain_memory_anon_huge_pages_bytes{domain=~"$domain"})'},
                    says="A guest with little of it was started on fragmented memory: khugepaged catches up if it may "
                    "(khugepaged.pages_to_scan).",
                    empty="Known only of guests with a control group of their own (libvirt with systemd, cgroup v2).",
                    unit="bytes",
                ),
                graph(
                    "Huge pages given and not given",
                    {
                        "{{instance}} given": GIVEN,
                        "{{instance}} not given": NOT_GIVEN,
                        "{{instance}} made by khugepaged": RATE.format("kvm_thp_collapse_alloc_total"),
                    },
                    says="Mostly not given: no free memory in one piece. Let compaction run in the background "
                    "(sysctl vm.compaction_proactiveness).",
                    empty=NO_EXPORTER,
                    unit="cps",
                ),
                graph(
                    "Huge pages split",
                    {
                        "{{instance}} split": RATE.format("kvm_thp_split_page_total"),
                        "{{instance}} found partly unused": RATE.format("kvm_thp_deferred_split_page_total"),
                    },
                    says="KSM and balloons split huge pages. Much of it for little gain: stop KSM for these guests, "
                    "or give balloons whole huge pages (free page reporting).",
                    empty=NO_EXPORTER,
                    unit="cps",
                ),
                graph(
                    "Stalls for compaction",
                    {
                        "{{instance}} stalls": RATE.format("kvm_vmstat_compact_stall_total"),
                        "{{instance}} in vain": RATE.format("kvm_vmstat_compact_fail_total"),
                    },
                    says="Tasks, vCPUs among them, that had to move memory about to get a huge page. Many: set "
                    "thp.defrag to defer or madvise.",
                    empty=NO_EXPORTER,
                    unit="cps",
                    steps=above(10, 100),
                ),
                grid(
                    "How the kernel is set",
                    {"instance": "Host", "setting": "Setting", "mode": "Mode"},
                    {"In force": Column(f"{_mode('enabled')} or {_mode('defrag')} or {_mode('shmem_enabled')}")},
                    says="For guests: enabled madvise or always, since QEMU asks for huge pages; defrag not always, "
                    "or page faults wait for compaction. Knobs thp.enabled and thp.defrag.",
                    empty=NO_THP,
                    sort="In force",
                    width=12,
                ),
            ],
        },
        knobs="(hugepages|thp|khugepaged)[.].+|domain.hugepages",
        guests=True,
    )


def _mode(setting: str) -> str:
    return f'sum by (instance, setting, mode) (label_replace(kvm_thp_{setting} == 1, "setting", "{setting}", "", ""))'
