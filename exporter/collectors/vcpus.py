"""vCPUs: what the host's scheduler gives them, and where they may run. Fresh at each scrape, from /proc alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric

from exporter.scrape import Scrape
from exporter.table import Row, counter, families, gauge, info
from kvmhost import cpulist, processes
from kvmhost.domains import Domain
from kvmhost.fs import HostError, HostFS
from kvmhost.processes import QemuProcess, ThreadTimes


@dataclass(frozen=True, kw_only=True)
class _VcpuThread:
    """A vCPU's thread on the host. Both sets of CPUs are None when unknown, or not configured."""

    times: ThreadTimes | None
    configured: frozenset[int] | None
    effective: frozenset[int] | None


def _affinity(vcpu: _VcpuThread) -> tuple[str, str] | None:
    if vcpu.effective is None:
        return None
    configured = "" if vcpu.configured is None else cpulist.format(vcpu.configured)
    return configured, cpulist.format(vcpu.effective)


TABLE: tuple[Row[_VcpuThread], ...] = (
    counter(
        "kvm_domain_vcpu_cpu_seconds_total",
        "Time that the vCPU's thread ran on a CPU of the host.",
        lambda vcpu: None if vcpu.times is None else vcpu.times.cpu_seconds,
    ),
    counter(
        "kvm_domain_vcpu_delay_seconds_total",
        "Time that the vCPU's thread could have run, but waited for a CPU of the host (steal time, in the guest).",
        lambda vcpu: None if vcpu.times is None else vcpu.times.delay_seconds,
    ),
    gauge(
        "kvm_domain_vcpu_current_cpu",
        "CPU of the host that the vCPU's thread ran on last.",
        lambda vcpu: None if vcpu.times is None else vcpu.times.current_cpu,
    ),
    gauge(
        "kvm_domain_vcpu_affinity_configured_cpus",
        "Number of CPUs that the vCPU is pinned to in the domain's configuration; absent if it is not pinned.",
        lambda vcpu: None if vcpu.configured is None else len(vcpu.configured),
    ),
    gauge(
        "kvm_domain_vcpu_affinity_effective_cpus",
        "Number of CPUs that the kernel lets the vCPU's thread run on.",
        lambda vcpu: None if vcpu.effective is None else len(vcpu.effective),
    ),
    info(
        "kvm_domain_vcpu_affinity_info",
        "The CPUs behind both numbers, as lists such as 0-3,8; configured is empty if the vCPU is not pinned.",
        ("configured", "effective"),
        _affinity,
    ),
)


def collect(scrape: Scrape) -> Iterator[Metric | HostError]:
    """Every vCPU of every domain that libvirt named and that has a QEMU process on this host."""
    domains = scrape.libvirt.domains or ()
    qemus = processes.qemu(scrape.fs) if domains else {}
    found = []
    for domain in domains:
        qemu = qemus.get(domain.uuid)
        if qemu is None:
            continue
        for index, tid in sorted(qemu.vcpus.items()):
            try:
                found.append(((domain.name, domain.uuid, str(index)), _read(scrape.fs, domain, qemu, index, tid)))
            except HostError as error:
                yield error
    yield from families(TABLE, found, labels=("domain", "uuid", "vcpu"))


def _read(fs: HostFS, domain: Domain, qemu: QemuProcess, index: int, tid: int) -> _VcpuThread:
    configured = {vcpu.index: vcpu.configured_cpus for vcpu in domain.vcpus}
    return _VcpuThread(
        times=processes.thread_times(fs, qemu.pid, tid),
        configured=configured.get(index),
        effective=processes.affinity(fs, qemu.pid, tid),
    )
