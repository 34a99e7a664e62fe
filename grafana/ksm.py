"""KSM: what merging saves against what it costs, who shares and why not, and how fast it scans."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import dashboard
from grafana.panels import PLAIN, YES_NO, Column, Words, above, below, graph, grid, number

NO_KSM = "No kernel here has KSM (CONFIG_KSM)."
NO_GUESTS = "None of the guests chosen runs, or this user may not read their ksm_stat: see docs/exporter.md."
CPU = "rate(kvm_ksm_ksmd_cpu_seconds_total[$__rate_interval])"
RUN = {0: ("stopped", "text"), 1: ("runs", "green"), 2: ("unmerging", "red")}
STATUS = 'kvm_domain_ksm_status{domain=~"$domain"} == 1'


def made() -> Dashboard:
    return dashboard(
        "ksm",
        "KSM",
        "What merging equal pages saves, what CPU time it costs, and which guests share. Marks: decisions of the "
        "actuator on knobs ksm.*.",
        {
            "Now": [
                number(
                    "KSM",
                    "max(kvm_ksm_run)",
                    says="What ksmd does (the highest of the hosts). Unmerging takes as much memory as is saved: do it "
                    "only with headroom.",
                    empty=NO_KSM,
                    words=RUN,
                ),
                number(
                    "Saved",
                    "sum(kvm_ksm_saved_bytes)",
                    says="Memory that merging saves. Zero although KSM runs: see per guest below why.",
                    empty=NO_KSM,
                    unit="bytes",
                ),
                number(
                    "Profit",
                    "sum(kvm_ksm_general_profit_bytes)",
                    says="Saved less the memory of its books. Below zero it costs more than it saves: stop KSM, or "
                    "keep guests with nothing in common out (nosharepages).",
                    empty="These kernels do not tell the profit (before 6.4).",
                    unit="bytes",
                    steps=below(0),
                ),
                number(
                    "CPU of ksmd",
                    f"max({CPU})",
                    says="Share of one CPU, on the host where it is highest. Above 50 % for long with little gained: "
                    "fewer pages_to_scan or longer sleeps.",
                    empty="The exporter does not find ksmd: no KSM here, or /proc is not the host's.",
                    unit="percentunit",
                    steps=above(0.3, 0.6),
                ),
                number(
                    "Left if pages come apart",
                    "min(kvm_memory_headroom_bytes)",
                    says="Headroom: memory that would still be there if guests wrote to all merged pages. Below zero "
                    "the host would swap or kill: move guests away.",
                    empty=NO_KSM,
                    unit="bytes",
                    steps=below(0, 2**30),
                ),
                number(
                    "A full scan takes",
                    "max(1 / (rate(kvm_ksm_full_scans_total[1h]) > 0))",
                    says="Time for one pass over all mergeable memory, over the last hour; a page needs two to be "
                    "merged. Above half an hour it misses what is short-lived: scan faster.",
                    empty="No full scan has ended within an hour: KSM is stopped, or scans slowly.",
                    unit="s",
                    steps=above(600, 1800),
                ),
            ],
            "What it saves, what it costs": [
                graph(
                    "Saved and spent",
                    {
                        "{{instance}} saved": "kvm_ksm_saved_bytes",
                        "{{instance}} its books": "kvm_ksm_metadata_bytes",
                        "{{instance}} profit": "kvm_ksm_general_profit_bytes",
                    },
                    says="Books grow with all memory that is scanned, merged or not. Books near what is saved: keep "
                    "guests that share nothing out.",
                    empty=NO_KSM,
                    unit="bytes",
                ),
                graph(
                    "CPU time spent",
                    {"{{instance}}": CPU},
                    says="Share of one CPU. Compare with what is saved at the same time: CPU time without more saved "
                    "is wasted.",
                    empty="The exporter does not find ksmd.",
                    unit="percentunit",
                    steps=above(0.3, 0.6),
                ),
                graph(
                    "Saved per CPU",
                    {"{{instance}}": f"kvm_ksm_general_profit_bytes / ({CPU} > 0.001)"},
                    says="Profit per CPU that ksmd keeps busy: the price of that memory. Falling while little is "
                    "saved: scan slower; merged pages stay merged.",
                    empty="ksmd uses no CPU now: what is merged stays so at no cost.",
                    unit="bytes",
                    steps=below(0),
                ),
                graph(
                    "Merged pages that came apart",
                    {"{{instance}}": "rate(kvm_vmstat_cow_ksm_total[$__rate_interval])"},
                    says="Writes to merged pages, each of which is copied. As many as are merged: these pages are not "
                    "worth merging; let smart_scan skip them.",
                    empty="These kernels do not count it (before 5.19).",
                    unit="cps",
                ),
            ],
            "How fast it scans": [
                graph(
                    "Scan rate, set and done",
                    {
                        "{{instance}} set": "kvm_ksm_pages_to_scan / (kvm_ksm_sleep_seconds > 0)",
                        "{{instance}} done": "rate(kvm_ksm_pages_scanned_total[$__rate_interval])",
                        "{{instance}} spared by smart_scan": "rate(kvm_ksm_pages_skipped_total[$__rate_interval])",
                    },
                    says="Pages a second by pages_to_scan and sleep, and what ksmd does. Done far below set: ksmd has "
                    "no CPU left, or is stopped. The marks are decisions of the actuator.",
                    empty=NO_KSM,
                    unit="cps",
                ),
                graph(
                    "Pages by what KSM knows of them",
                    {
                        "saved": "sum(kvm_ksm_pages_sharing)",
                        "kept as the copy": "sum(kvm_ksm_pages_shared)",
                        "zero pages": "sum(kvm_ksm_zero_pages)",
                        "unique": "sum(kvm_ksm_pages_unshared)",
                        "change too fast": "sum(kvm_ksm_pages_volatile)",
                    },
                    says="Mostly unique: these guests have little in common. Mostly too fast: they are too busy, or "
                    "were not scanned twice yet.",
                    empty=NO_KSM,
                    stacked=True,
                ),
                grid(
                    "How it is set",
                    {"instance": "Host"},
                    {
                        "State": _of_host("kvm_ksm_run", words=RUN),
                        "Pages to scan": _of_host("kvm_ksm_pages_to_scan"),
                        "Sleep": _of_host("kvm_ksm_sleep_seconds", "s"),
                        "Skips (smart_scan)": _of_host("kvm_ksm_smart_scan", words=YES_NO),
                        "Across nodes": _of_host("kvm_ksm_merge_across_nodes", words=YES_NO),
                        "Zero pages": _of_host("kvm_ksm_use_zero_pages", words=YES_NO),
                        "Advisor": _of_host('kvm_ksm_advisor_mode{mode="scan-time"}', words=YES_NO),
                    },
                    says="With the advisor on, pages_to_scan is read-only and rules that set it are refused: set "
                    "ksm.advisor_mode to none, or let it do the work. Across nodes on a host with several: merged "
                    "pages may be far from their guest.",
                    empty=NO_KSM,
                    sort="Pages to scan",
                ),
            ],
            "Who shares, and why not": [
                grid(
                    "Guests",
                    {"instance": "Host", "domain": "Guest", "status": "Status"},
                    {
                        "Merged": _with_status(
                            "kvm_domain_ksm_merging_pages * on (instance) group_left () kvm_memory_page_size_bytes"
                        ),
                        "Zero pages": _with_status(
                            "kvm_domain_ksm_zero_pages * on (instance) group_left () kvm_memory_page_size_bytes"
                        ),
                        "Books": _with_status("kvm_domain_ksm_rmap_items * 64"),
                        "Profit": _with_status("kvm_domain_ksm_process_profit_bytes", negative_is_bad=True),
                    },
                    says="Status says why a guest shares nothing: nosharepages, hugepages and shared_memory are how it "
                    "is configured; host_off and not_yet_scanned pass; nothing_equal for long with a negative profit: "
                    "keep it out with nosharepages.",
                    empty=NO_GUESTS,
                    sort="Merged",
                ),
                graph(
                    "Profit of the guests that gain most",
                    {"{{instance}} {{domain}}": 'topk(15, kvm_domain_ksm_process_profit_bytes{domain=~"$domain"})'},
                    says="What merging saves on each guest less its books. A guest that falls has changed its memory.",
                    empty=NO_GUESTS,
                    unit="bytes",
                    steps=below(0),
                ),
                graph(
                    "Guests by status",
                    {"{{status}}": "sum by (status) (kvm_domain_ksm_status)"},
                    says="How many guests share, and for what reason the others do not. Many nothing_equal: KSM is not "
                    "worth its CPU time here.",
                    empty=NO_GUESTS,
                    stacked=True,
                ),
            ],
        },
        knobs="ksm[.].+",
        guests=True,
    )


def _of_host(expr: str, unit: str = "short", words: Words | None = None) -> Column:
    return Column(f"max by (instance) ({expr})", unit, words=words)


def _with_status(expr: str, *, negative_is_bad: bool = False) -> Column:
    """`expr` of each guest, with the status of its sharing."""
    joined = f"max by (instance, domain, status) (({STATUS}) * on (instance, uuid) group_left () ({expr}))"
    return Column(joined, "bytes", below(0) if negative_is_bad else PLAIN)
