"""Balloons: what each guest has, uses and should have, how old that knowledge is, and which drivers do not answer."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import dashboard
from grafana.panels import GOOD_BAD, Column, above, below, graph, grid, number

NO_BALLOON = "None of the guests chosen has a balloon (memballoon model='virtio'), or libvirt is not read."
NO_REPORT = (
    "No balloon driver reports: set <stats period='5'/> in the guests' memballoon, or the knob balloon.stats_period."
)
CHOSEN = '{domain=~"$domain"}'
USABLE = "kvm_domain_balloon_usable_bytes{0} / kvm_domain_balloon_available_bytes{0}"
LENT = "kvm_domain_balloon_maximum_bytes - kvm_domain_balloon_actual_bytes"


def made() -> Dashboard:
    return dashboard(
        "balloon",
        "Balloons",
        "What each guest has, uses and should have; how old that knowledge is; which balloon drivers do not answer. "
        "Marks: decisions of the actuator on knobs balloon.*.",
        {
            "Now": [
                number(
                    "Lent to the hosts",
                    f"sum({LENT})",
                    says="Memory that balloons take from guests. Much of it while the hosts have memory to spare: give "
                    "it back (rule balloon_share).",
                    empty=NO_BALLOON,
                    unit="bytes",
                ),
                number(
                    "Could be lent",
                    "sum(kvm_domain_balloon_usable_bytes)",
                    says="Memory that guests could give away without swapping, by their own word. Leave them some.",
                    empty=NO_REPORT,
                    unit="bytes",
                ),
                number(
                    "Least usable in a guest",
                    f"min({USABLE.format('')})",
                    says="Share of its memory that the tightest guest has left. Below 8 % the autopilot deflates "
                    "its balloon; below 5 % it swaps or kills soon.",
                    empty=NO_REPORT,
                    unit="percentunit",
                    steps=below(0.05, 0.15),
                ),
                number(
                    "Drivers that do not answer",
                    "sum(kvm_domain_balloon_driver_answering == bool 0)",
                    says="Guests whose balloon driver is not loaded, has no statistics, or hangs. The actuator does "
                    "not touch them: load virtio_balloon in the guest (virtio-win on Windows).",
                    empty=NO_REPORT,
                    steps=above(1),
                ),
                number(
                    "Oldest report",
                    "max(kvm_domain_balloon_stats_age_seconds)",
                    says="How long ago the slowest balloon driver answered. Far above the period: that guest hangs, or "
                    "its driver does.",
                    empty=NO_REPORT,
                    unit="s",
                    steps=above(30, 120),
                ),
                number(
                    "Not read",
                    "sum(kvm_libvirt_domains_unread)",
                    says="Guests whose balloon was not read when it should have been; the reasons are below. Any for "
                    "long: see the guest's QEMU and libvirtd's log.",
                    empty="libvirt is not read on these hosts: see kvm_libvirt_up.",
                    steps=above(1),
                ),
            ],
            "What guests have and use": [
                graph(
                    "Actual: what the balloon leaves",
                    {"{{instance}} {{domain}}": f"topk(15, kvm_domain_balloon_actual_bytes{CHOSEN})"},
                    says="The 15 largest of the guests chosen. A guest that does not go where the marks say has a "
                    "driver that is slow, or memory in use.",
                    empty=NO_BALLOON,
                    unit="bytes",
                ),
                graph(
                    "Used: the working set",
                    {"{{instance}} {{domain}}": f"topk(15, kvm_domain_memory_used_bytes{CHOSEN})"},
                    says="Available less usable, by the guest's own word. Close to actual: this guest needs more.",
                    empty=NO_REPORT,
                    unit="bytes",
                ),
                graph(
                    "Lent by each guest",
                    {
                        "{{instance}} {{domain}}": f"topk(15, kvm_domain_balloon_maximum_bytes{CHOSEN} "
                        f"- kvm_domain_balloon_actual_bytes{CHOSEN})"
                    },
                    says="Maximum less actual. The same guests all the time: give them less memory in their "
                    "configuration.",
                    empty=NO_BALLOON,
                    unit="bytes",
                ),
                graph(
                    "Usable share of each guest",
                    {"{{instance}} {{domain}}": f"bottomk(15, {USABLE.format(CHOSEN)})"},
                    says="The 15 tightest. Below 15 % a guest gets memory back; below 5 % it swaps or kills soon: let "
                    "its balloon go, also by hand (virsh setmem).",
                    empty=NO_REPORT,
                    unit="percentunit",
                    steps=below(0.05, 0.15),
                ),
                grid(
                    "Guests",
                    {"instance": "Host", "domain": "Guest"},
                    {
                        "Maximum": _of_guest("kvm_domain_balloon_maximum_bytes"),
                        "Actual": _of_guest("kvm_domain_balloon_actual_bytes"),
                        "Configured target": _of_guest("kvm_domain_balloon_configured_bytes"),
                        "Used": _of_guest("kvm_domain_memory_used_bytes"),
                        "Usable": _of_guest("kvm_domain_balloon_usable_bytes"),
                        "Guaranteed": _of_guest("kvm_domain_memory_min_guarantee_bytes"),
                        "Answers": Column(
                            "max by (instance, domain) (kvm_domain_balloon_driver_answering)", words=GOOD_BAD
                        ),
                        "Report": Column(
                            "max by (instance, domain) (kvm_domain_balloon_stats_age_seconds)", "s", above(30, 120)
                        ),
                    },
                    says="Configured target is currentMemory of the persistent configuration: a target that was set "
                    "for the running guest only is told by nobody. Empty: not known, or not configured. Actual far "
                    "from a target: see Answers and Report.",
                    empty=NO_BALLOON,
                    sort="Actual",
                ),
            ],
            "How old it is, and who does not answer": [
                graph(
                    "Age of the drivers' reports",
                    {"{{instance}} {{domain}}": f"topk(15, kvm_domain_balloon_stats_age_seconds{CHOSEN})"},
                    says="How long ago each driver answered; rules that ask for fresh data leave a guest alone above "
                    "their limit. Rising steadily: the driver or the guest hangs.",
                    empty=NO_REPORT,
                    unit="s",
                    steps=above(30, 120),
                ),
                graph(
                    "Age of what libvirt said",
                    {"{{instance}} {{domain}}": f"topk(15, kvm_domain_balloon_data_age_seconds{CHOSEN})"},
                    says="How long ago libvirt was asked for each guest. Rising for all: libvirtd hangs. Rising for "
                    "one: its QEMU does.",
                    empty=NO_BALLOON,
                    unit="s",
                    steps=above(30, 120),
                ),
                grid(
                    "Balloons that were not read",
                    {"instance": "Host", "domain": "Guest", "reason": "Reason"},
                    {"Guests": Column("sum by (instance, domain, reason) (kvm_domain_balloon_unread_info)")},
                    says="stopped and uninterruptible: see the QEMU process; timed_out and limit: QEMU's monitor "
                    "hangs; busy: wait for the other job; failed: the exporter's log has libvirt's words.",
                    empty="Every balloon is read.",
                    sort="Guests",
                    width=12,
                ),
                graph(
                    "Guests that swap",
                    {
                        "{{instance}} {{domain}}": "topk(15, rate(kvm_domain_balloon_swap_in_bytes_total"
                        f"{CHOSEN}[$__rate_interval]))"
                    },
                    says="What guests read back from their own swap. A ballooned guest that swaps has lent too much: "
                    "raise its floor (min_guarantee).",
                    empty=NO_REPORT,
                    unit="Bps",
                    steps=above(2**20, 32 * 2**20),
                ),
            ],
        },
        knobs="balloon[.].+",
        guests=True,
    )


def _of_guest(expr: str) -> Column:
    return Column(f"sum by (instance, domain) ({expr}{CHOSEN})", "bytes")
