"""4.5: CPU affinity. Two guests that take from each other, and the same two, each on a CPU of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from actuator.promql.labels import get
from tests.lab.guests import Guest
from tests.lab.lab import Lab

from .stage import RATE_SECONDS, RATE_WINDOW, Stage
from .story import Chapter, Unit, Watch


def show(stage: Stage, lab: Lab, pair: Sequence[Guest]) -> Chapter:
    """`pair` are guests of one vCPU each."""
    first = len(stage.steps)
    if {0, 1} <= os.sched_getaffinity(0):
        _pin(stage, lab, pair)
    else:
        with stage.step("left out", "To pin guests apart takes CPU 0 and CPU 1, and this machine lacks one of them."):
            pass
    return Chapter(
        number="4.5",
        title="CPU affinity",
        steps=tuple(stage.steps[first:]),
        read_on="[vCPUs, pinning and NUMA](concepts.md#vcpus-pinning-and-numa)",
    )


def _pin(stage: Stage, lab: Lab, pair: Sequence[Guest]) -> None:
    watch = tuple(each for guest in pair for each in _watch(guest.name))
    for guest in pair:
        guest.command("busy")
    with stage.step(
        "two busy guests on one CPU",
        "By default a vCPU is a thread that runs wherever the scheduler likes. Here someone has pinned both to CPU 0: "
        "one waits while the other runs, and the scheduler may not help.",
        "ps -eLo pid,tid,psr,comm | grep 'CPU 0/'",
        "virsh vcpupin tour-1 0 0; virsh vcpupin tour-2 0 0",
        watch=watch,
        over_seconds=RATE_SECONDS,
    ):
        _show_threads(stage)
        for guest in pair:
            lab.virsh("vcpupin", guest.name, "0", "0")
        _wait_for(stage, {guest.name: "0" for guest in pair})
        _show_threads(stage)

    with stage.step(
        "pinned apart",
        "Two rules pin tour-1 to CPU 1 and tour-2 to CPU 0: neither takes from the other any more.",
        "virsh vcpupin tour-1 0 1; virsh vcpupin tour-2 0 0",
        watch=watch,
        over_seconds=RATE_SECONDS,
    ):
        stage.rule("vcpus.yml")
        _wait_for(stage, {pair[0].name: "1", pair[1].name: "0"})
        _show_threads(stage)
    stage.stop()
    for guest in pair:
        guest.command("idle")


def _watch(guest: str) -> tuple[Watch, ...]:
    about = f'{{domain="{guest}"}}'
    return (
        Watch(what=f"{guest} may run on CPUs", expr=f"kvm_domain_vcpu_affinity_info{about}", unit=Unit.WORD,
              label="effective"),
        Watch(what=f"{guest} waits for a CPU", expr=f"rate(kvm_domain_vcpu_delay_seconds_total{about}[{RATE_WINDOW}])",
              unit=Unit.RATIO),
        Watch(what=f"{guest} runs", expr=f"rate(kvm_domain_vcpu_cpu_seconds_total{about}[{RATE_WINDOW}])", unit=Unit.RATIO),
    )  # fmt: skip


def _wait_for(stage: Stage, cpus: dict[str, str]) -> None:
    for guest, effective in cpus.items():
        pinned = f'kvm_domain_vcpu_affinity_info{{domain="{guest}",effective="{effective}"}}'
        stage.wait_for(pinned, f"{guest} may run on CPU {effective} only")


def _show_threads(stage: Stage) -> None:
    """Each vCPU, where it may run, and where it did so last."""
    allowed = {
        (get(sample.labels, "domain"), get(sample.labels, "vcpu")): get(sample.labels, "effective")
        for sample in stage.ask("kvm_domain_vcpu_affinity_info")
    }
    lines = ["domain   vCPU  may run on  ran last on"]
    for sample in sorted(stage.ask("kvm_domain_vcpu_current_cpu")):
        domain, vcpu = get(sample.labels, "domain"), get(sample.labels, "vcpu")
        lines.append(f"{domain:8} {vcpu:4}  {allowed.get((domain, vcpu), '–'):10}  {sample.value:.0f}")
    stage.show("\n".join(lines))
