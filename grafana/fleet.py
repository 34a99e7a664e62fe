"""Fleet: which hosts are under pressure, what is left on each, and who is in trouble."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import dashboard
from grafana.panels import PLAIN, Column, Steps, above, below, graph, grid, number
from grafana.queries import by_host

# As host:memory_available:ratio in rules/autopilot.yml.
AVAILABLE = "kvm_memory_available_bytes / (kvm_memory_total_bytes - kvm_memory_hugetlb_bytes)"
MEMORY_WAITS = 'rate(kvm_pressure_some_seconds_total{resource="memory"}[$__rate_interval])'
VCPU_WAITS = "rate(kvm_domain_vcpu_delay_seconds_total[$__rate_interval])"
NO_EXPORTER = "No exporter is scraped for these hosts: see `up` in Prometheus."

# What is wrong, and which series say so.
TROUBLES = {
    "memory is short: under 10 % available": f"{AVAILABLE} < 0.1",
    "lives on merging: no headroom if pages come apart": "kvm_memory_headroom_bytes < 0",
    "work waits for memory over 10 % of the time": f"{MEMORY_WAITS} > 0.1",
    "vCPUs wait for a CPU over 20 % of the time": f"{VCPU_WAITS} > 0.2",
    "guests are partly swapped out": "kvm_domain_memory_swap_bytes > 0",
    "QEMU processes stand still": "kvm_domain_process_stopped == 1",
    "balloon drivers do not answer": "kvm_domain_balloon_driver_answering == 0",
    "KSM costs more memory than it saves": "kvm_ksm_run == 1 and kvm_ksm_general_profit_bytes < 0",
    "vCPUs run elsewhere than they are pinned": "kvm_domain_vcpu_affinity_mismatches > 0",
    "vCPUs are pinned onto each other": "kvm_domain_vcpu_pin_overlaps > 0",
    "guests have emulated disks or network cards": "kvm_domain_emulated_devices > 0",
    "another tuner is at work": "kvm_tuner_active == 1",
    "tuned's profile was changed by hand": "kvm_tuned_profile_verified == 0",
    "libvirt does not answer": "kvm_libvirt_up == 0",
    "a collector cannot read its data": "kvm_collector_success == 0",
    "the actuator gets no data": "kvmtune_actuator_scrape_success == 0",
    "the actuator stands still": "time() - kvmtune_actuator_last_tick_timestamp_seconds > 60",
    "rules of the actuator cannot decide": "kvmtune_actuator_rule_faulty == 1",
    "targets are quarantined": "kvmtune_actuator_quarantined_targets > 0",
    "someone else sets what the actuator has set": "kvmtune_actuator_drifted_targets > 0",
}


def troubled() -> str:
    """Series with the labels host and trouble: how often it is there, as of how many guests."""
    named = (f'label_replace({expr}, "trouble", "{what}", "", "")' for what, expr in TROUBLES.items())
    return f"count by (host, trouble) ({by_host(' or '.join(named))})"


def made() -> Dashboard:
    return dashboard(
        "fleet",
        "Fleet",
        "Where to look first: pressure, headroom, overcommit and savings of all hosts, and who is in trouble.",
        {
            "All hosts": [
                number(
                    "Hosts",
                    "count(kvm_memory_total_bytes)",
                    says="Hosts whose exporter is scraped. Fewer than you have: see the targets page of Prometheus.",
                    empty=NO_EXPORTER,
                    steps=below(1),
                ),
                number(
                    "Guests",
                    "sum(kvm_host_guests)",
                    says="QEMU processes with a guest, whether libvirt knows them or not.",
                    empty=NO_EXPORTER,
                ),
                number(
                    "Least available memory",
                    f"min({AVAILABLE})",
                    says="Of the host that has least, outside of hugepage pools. Below 15 % the autopilot swaps less, "
                    "below 12 % it shrinks idle guests. Below 10 %: move guests away.",
                    empty=NO_EXPORTER,
                    unit="percentunit",
                    steps=below(0.1, 0.2),
                ),
                number(
                    "Least headroom",
                    "min(kvm_memory_headroom_bytes / kvm_memory_total_bytes)",
                    says="What guests could still be given on the tightest host, if all merged pages came apart at "
                    "once. Below zero that host lives on merging: start no more guests there.",
                    empty=NO_EXPORTER,
                    unit="percentunit",
                    steps=below(0, 0.1),
                ),
                number(
                    "Highest memory overcommit",
                    "max(kvm_memory_guest_overcommit_ratio)",
                    says="Memory promised to guests per memory of the host, on the host that promises most. Above 1 "
                    "not all guests can have what they are promised: watch pressure and swap there.",
                    empty="libvirt is not read on these hosts: see kvm_libvirt_up.",
                    unit="percentunit",
                    steps=above(1, 1.5),
                ),
                number(
                    "Saved by KSM",
                    "sum(kvm_ksm_saved_bytes)",
                    says="Memory of all hosts that merging equal pages saves. Zero while KSM does not run.",
                    empty="No kernel here has KSM (CONFIG_KSM).",
                    unit="bytes",
                ),
            ],
            "Who is in trouble": [
                grid(
                    "In trouble",
                    {"host": "Host", "trouble": "Trouble"},
                    {"Count": Column(troubled(), steps=above(1))},
                    says="What asks for action now, by host; the count is that of guests, vCPUs, collectors or rules. "
                    "Look at the dashboard of the subject, with this host chosen.",
                    empty="Nobody is in trouble.",
                    sort="Count",
                ),
                grid(
                    "Each host",
                    {"host": "Host"},
                    {
                        "Available": _column(AVAILABLE, "percentunit", below(0.1, 0.2)),
                        "Headroom": _column("kvm_memory_headroom_bytes", "bytes", below(0, 2**30)),
                        "Memory promised": _column("kvm_memory_guest_overcommit_ratio", "percentunit", above(1, 1.5)),
                        "vCPUs promised": _column("kvm_cpu_vcpu_overcommit_ratio", "percentunit", above(3, 6)),
                        "Waits for memory": _column(MEMORY_WAITS, "percentunit", above(0.01, 0.1)),
                        "A vCPU waits": _column(VCPU_WAITS, "percentunit", above(0.05, 0.2)),
                        "Saved by KSM": _column("kvm_ksm_saved_bytes", "bytes"),
                        "Swapped out": _column(
                            "kvm_memory_swap_total_bytes - kvm_memory_swap_free_bytes", "bytes", above(2**20, 2**30)
                        ),
                        "Guests": _column("kvm_host_guests"),
                    },
                    says="Each host now. Sort by a column to find the worst; red asks for a look at its own dashboard.",
                    empty=NO_EXPORTER,
                    sort="Waits for memory",
                ),
            ],
            "Over time": [
                graph(
                    "Waits for memory",
                    {"{{instance}}": MEMORY_WAITS},
                    says="Share of time in which some work waited for memory (PSI). Above 1 % guests feel it; above "
                    "10 % move guests away, or let rules merge and balloon.",
                    empty="These kernels have no pressure stall information (boot with psi=1).",
                    unit="percentunit",
                    steps=above(0.01, 0.1),
                ),
                graph(
                    "Headroom",
                    {"{{instance}}": "kvm_memory_headroom_bytes"},
                    says="What guests could still be given if all merged pages came apart. Falling to zero: start no "
                    "more guests there.",
                    empty=NO_EXPORTER,
                    unit="bytes",
                    steps=below(0, 2**30),
                ),
                graph(
                    "Memory promised to guests, per memory of the host",
                    {"{{instance}}": "kvm_memory_guest_overcommit_ratio"},
                    says="Above 100 % the host counts on guests not using what they have. Fine while nothing waits "
                    "for memory; else move guests away.",
                    empty="libvirt is not read on these hosts: see kvm_libvirt_up.",
                    unit="percentunit",
                    steps=above(1, 1.5),
                ),
                graph(
                    "Saved by KSM on each host",
                    {"{{instance}}": "kvm_ksm_saved_bytes"},
                    says="A sudden fall means that pages came apart: memory is then needed at once. See the KSM "
                    "dashboard for what it costs.",
                    empty="No kernel here has KSM (CONFIG_KSM).",
                    unit="bytes",
                ),
            ],
        },
    )


def _column(expr: str, unit: str = "short", steps: Steps = PLAIN) -> Column:
    return Column(f"max by (host) ({by_host(expr)})", unit, steps)
