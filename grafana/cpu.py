"""CPU placement: who waits for a CPU, where vCPUs are pinned and run, and whose memory is on another node."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import dashboard
from grafana.panels import PLAIN, Column, above, graph, grid, number

CHOSEN = '{domain=~"$domain"}'
NO_GUESTS = "None of the guests chosen runs."
NO_LIBVIRT = "libvirt is not read on these hosts: see kvm_libvirt_up."
NO_NUMA = (
    "Nothing to place on a host with one NUMA node; else known only of guests with a control group of their own "
    "(libvirt with systemd)."
)
QEMU, VCPUS = (
    f"sum by (instance, domain) (rate(kvm_domain_{whose}_cpu_seconds_total{CHOSEN}[$__rate_interval]))"
    for whose in ("process", "vcpu")
)
BUSY = "kvm_domain_vcpu_current_cpu unless on (instance, uuid, vcpu) kvm_domain_vcpu_halted == 1"
DELAY = f"rate(kvm_domain_vcpu_delay_seconds_total{CHOSEN}[$__rate_interval])"


def made() -> Dashboard:
    return dashboard(
        "cpu",
        "CPU placement",
        "Who waits for a CPU, where vCPUs are pinned and run, and whose memory is far away. Marks: decisions of the "
        "actuator on affinities.",
        {
            "Now": [
                number(
                    "vCPUs per CPU",
                    "max(kvm_cpu_vcpu_overcommit_ratio)",
                    says="vCPUs of running guests per online CPU, on the host that has most. High is fine while vCPUs "
                    "do not wait; else move guests.",
                    empty=NO_LIBVIRT,
                    steps=above(3, 6),
                ),
                number(
                    "Longest waiting vCPU",
                    f"max({DELAY})",
                    says="Share of time in which it could have run and did not (steal time in the guest). Above 20 % "
                    "the autopilot moves it; else spread or migrate guests.",
                    empty=NO_GUESTS,
                    unit="percentunit",
                    steps=above(0.05, 0.2),
                ),
                number(
                    "Pinned onto each other",
                    "sum(kvm_domain_vcpu_pin_overlaps)",
                    says="vCPUs that are pinned to one CPU alone which another vCPU has alone, too. Change one of the "
                    "pins.",
                    empty="No vCPU is pinned to one CPU alone.",
                    steps=above(1),
                ),
                number(
                    "Not where they are pinned",
                    "sum(kvm_domain_vcpu_affinity_mismatches)",
                    says="vCPUs that may run elsewhere than libvirt believes: someone used taskset, or a CPU is "
                    "offline. Pin again (virsh vcpupin).",
                    empty=NO_LIBVIRT,
                    steps=above(1),
                ),
                number(
                    "Far memory",
                    "sum(kvm_domain_numa_remote_memory_bytes)",
                    says="Guests' memory on nodes on which none of their vCPUs ran. Much of it: place by numa, or "
                    "migrate the memory.",
                    empty="One NUMA node, or no control groups by guest.",
                    unit="bytes",
                    steps=above(2**30, 8 * 2**30),
                ),
                number(
                    "Emulated devices",
                    "sum(kvm_domain_emulated_devices)",
                    says="Disks and network cards that QEMU plays in software, which costs CPU time. Install virtio "
                    "drivers in the guest and change the model.",
                    empty=NO_LIBVIRT,
                    steps=above(1),
                ),
            ],
            "Who waits": [
                graph(
                    "Delay of the vCPUs that wait most",
                    {"{{instance}} {{domain}}/{{vcpu}}": f"topk(15, {DELAY})"},
                    says="Share of time in which a vCPU could have run but waited for a CPU. A few vCPUs: pins "
                    "collide, see below. All: the host is full, move guests away.",
                    empty=NO_GUESTS,
                    unit="percentunit",
                    steps=above(0.05, 0.2),
                ),
                graph(
                    "Load of the busiest vCPUs",
                    {
                        "{{instance}} {{domain}}/{{vcpu}}": "topk(15, rate(kvm_domain_vcpu_cpu_seconds_total"
                        f"{CHOSEN}[$__rate_interval]))"
                    },
                    says="Share of a CPU that each vCPU uses. At 100 % without delay the guest needs more vCPUs; with "
                    "delay, the host more CPUs.",
                    empty=NO_GUESTS,
                    unit="percentunit",
                ),
                graph(
                    "QEMU beside the vCPUs",
                    {"{{instance}} {{domain}}": f"topk(15, clamp_min({QEMU} - {VCPUS}, 0))"},
                    says="CPU time of QEMU's other threads: emulation and I/O. Much of it: use virtio instead of "
                    "emulated devices, and I/O threads.",
                    empty=NO_GUESTS,
                    unit="percentunit",
                    steps=above(0.5, 1),
                ),
                graph(
                    "Work that waits for a CPU",
                    {"{{instance}}": 'rate(kvm_pressure_some_seconds_total{resource="cpu"}[$__rate_interval])'},
                    says="Share of time in which some task of the host waited for a CPU, vCPUs or not. High with low "
                    "delay of vCPUs: it is the host's own work.",
                    empty="These kernels have no pressure stall information (boot with psi=1).",
                    unit="percentunit",
                    steps=above(0.2, 0.5),
                ),
            ],
            "Pins": [
                grid(
                    "vCPUs",
                    {
                        "instance": "Host",
                        "domain": "Guest",
                        "vcpu": "vCPU",
                        "configured": "Configured",
                        "effective": "In force",
                    },
                    {
                        "Runs on": _of_vcpu("kvm_domain_vcpu_current_cpu"),
                        "Delay": _of_vcpu(
                            "rate(kvm_domain_vcpu_delay_seconds_total[$__rate_interval])", "percentunit", 0.05, 0.2
                        ),
                        "Load": _of_vcpu("rate(kvm_domain_vcpu_cpu_seconds_total[$__rate_interval])", "percentunit"),
                    },
                    says="Configured is empty for a vCPU that is not pinned. In force differs: a CPU is offline, or "
                    "someone used taskset; pin again (virsh vcpupin).",
                    empty=NO_LIBVIRT,
                    sort="Delay",
                ),
                graph(
                    "Pins that overlap or have drifted",
                    {
                        "{{instance}} {{domain}} overlaps": f"kvm_domain_vcpu_pin_overlaps{CHOSEN} > 0",
                        "{{instance}} {{domain}} elsewhere": f"kvm_domain_vcpu_affinity_mismatches{CHOSEN} > 0",
                    },
                    says="vCPUs by guest that share a CPU that both have alone, or that may run elsewhere than "
                    "configured. Change the pins, or pin again.",
                    empty="No pin overlaps, and every vCPU is where it is pinned.",
                    steps=above(1),
                ),
                graph(
                    "vCPUs by CPU",
                    {"{{instance}} CPU {{cpu}}": f'count_values by (instance) ("cpu", {BUSY})'},
                    says="How many busy vCPUs ran last on each CPU. Several on one while others have none: pins keep "
                    "them together; spread them.",
                    empty="No vCPU is busy: all are halted.",
                    steps=above(2, 4),
                ),
            ],
            "NUMA": [
                graph(
                    "Far memory of the guests that have most",
                    {"{{instance}} {{domain}}": f"topk(15, kvm_domain_numa_remote_memory_bytes{CHOSEN})"},
                    says="Memory on nodes on which none of the guest's vCPUs ran last: each access crosses nodes. "
                    "Place its vCPUs by numa, or bind it to a node that has room.",
                    empty=NO_NUMA,
                    unit="bytes",
                    steps=above(2**30, 8 * 2**30),
                ),
                graph(
                    "Memory given from the wrong node",
                    {"{{instance}}": "rate(kvm_vmstat_numa_miss_total[$__rate_interval])"},
                    says="Pages a second that came from another node than was wanted, since that one was short. Free "
                    "memory there: see Memory by node.",
                    empty="These kernels do not count by NUMA node.",
                    unit="cps",
                    steps=above(1000),
                ),
                graph(
                    "Free memory by node",
                    {"{{instance}} node {{node}}": "kvm_numa_node_memory_free_bytes"},
                    says="One node empty and another not: guests on the empty one get far memory. Move one of them.",
                    empty="These kernels do not count by NUMA node.",
                    unit="bytes",
                ),
                graph(
                    "Guests' memory by node",
                    {"{{instance}} {{domain}} node {{node}}": f"topk(20, kvm_domain_numa_memory_bytes{CHOSEN})"},
                    says="A guest that fits on one node should be on one: set numatune, or place by numa.",
                    empty=NO_NUMA,
                    unit="bytes",
                ),
            ],
        },
        knobs="(vcpu|emulator|iothread)[.]affinity",
        guests=True,
    )


def _of_vcpu(expr: str, unit: str = "short", *limits: float) -> Column:
    """`expr` of each vCPU, with its pins."""
    info = f"kvm_domain_vcpu_affinity_info{CHOSEN} * on (instance, uuid, vcpu) group_left () ({expr})"
    steps = above(*limits) if limits else PLAIN
    return Column(f"max by (instance, domain, vcpu, configured, effective) ({info})", unit, steps)
