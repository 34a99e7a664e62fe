"""vCPUs: what the host's scheduler gives them, and where they may run, from /proc alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from exporter.kept import Kept
from exporter.scrape import Scrape
from exporter.table import Family, Row, counter, gauge, info
from kvmhost import cpulist
from kvmhost.domains import Domain
from kvmhost.fs import HostError
from kvmhost.guests import ThreadSample

TABLE: tuple[Row[ThreadSample], ...] = (
    counter(
        "kvm_domain_vcpu_cpu_seconds_total",
        "Time that the vCPU's thread ran on a CPU of the host.",
        lambda vcpu: vcpu.cpu_seconds,
    ),
    counter(
        "kvm_domain_vcpu_delay_seconds_total",
        "Time that the vCPU's thread could have run, but waited for a CPU of the host (steal time, in the guest).",
        lambda vcpu: vcpu.delay_seconds,
    ),
    counter(
        "kvm_domain_vcpu_wait_seconds_total",
        "Time that the vCPU's thread waited for a disk of the host or for swap;"
        " absent unless the kernel accounts for it (sysctl kernel.task_delayacct=1).",
        lambda vcpu: vcpu.block_io_seconds,
    ),
    gauge(
        "kvm_domain_vcpu_halted",
        "1 if the vCPU's thread sleeps: the guest has halted it for lack of work, or is paused.",
        lambda vcpu: int(vcpu.asleep),
    ),
    gauge(
        "kvm_domain_vcpu_current_cpu",
        "CPU of the host that the vCPU's thread ran on last.",
        lambda vcpu: vcpu.current_cpu,
    ),
)


class _Affinity(NamedTuple):
    """Where a vCPU may run."""

    is_known: bool
    """Whether libvirt tells of its configuration."""
    configured: frozenset[int] | None
    """The CPUs that this pins it to; None if it is not pinned."""
    effective: frozenset[int] | None
    """Those that the kernel lets it run on; None if that is not known."""


def _lists(vcpu: _Affinity) -> tuple[str, str] | None:
    if vcpu.effective is None or not vcpu.is_known:
        return None
    return cpulist.format(vcpu.configured or frozenset()), cpulist.format(vcpu.effective)


AFFINITY_TABLE: tuple[Row[_Affinity], ...] = (
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
        "The CPUs behind both numbers, as lists such as 0-3,8; configured is empty if the vCPU is not pinned, and the"
        " whole is absent while libvirt does not tell.",
        ("configured", "effective"),
        _lists,
    ),
)


class _Placement(NamedTuple):
    """All vCPUs of one guest, and the CPUs that the kernel lets its main thread run on."""

    vcpus: tuple[_Affinity, ...]
    emulator_cpus: frozenset[int] | None


def _mismatches(vcpus: Iterable[_Affinity]) -> int | None:
    if not all(vcpu.is_known and vcpu.effective is not None for vcpu in vcpus):
        return None
    return sum(vcpu.configured is not None and vcpu.configured != vcpu.effective for vcpu in vcpus)


DOMAIN_TABLE: tuple[Row[_Placement], ...] = (
    gauge(
        "kvm_domain_vcpu_affinity_mismatches",
        "vCPUs of the domain that may run on other CPUs than it is configured to: pinned by hand behind libvirt's back,"
        " or a CPU is offline; absent while libvirt does not tell how it is configured.",
        lambda domain: _mismatches(domain.vcpus),
    ),
    gauge(
        "kvm_domain_emulator_affinity_effective_cpus",
        "Number of CPUs that the kernel lets QEMU's main thread run on.",
        lambda domain: None if domain.emulator_cpus is None else len(domain.emulator_cpus),
    ),
)


class _Iothread(NamedTuple):
    thread: ThreadSample
    cpus: frozenset[int] | None


IOTHREAD_TABLE: tuple[Row[_Iothread], ...] = (
    counter(
        "kvm_domain_iothread_cpu_seconds_total",
        "Time that this I/O thread of QEMU ran on a CPU of the host.",
        lambda iothread: iothread.thread.cpu_seconds,
    ),
    gauge(
        "kvm_domain_iothread_affinity_effective_cpus",
        "Number of CPUs that the kernel lets this I/O thread of QEMU run on.",
        lambda iothread: None if iothread.cpus is None else len(iothread.cpus),
    ),
)


_LABELS = ("domain", "uuid")


class VcpusCollector:
    """Every vCPU and I/O thread of every guest on this host, whether libvirt answers or not."""

    def __init__(self) -> None:
        self._threads = Kept(TABLE, (*_LABELS, "vcpu"))
        self._affinities = Kept(AFFINITY_TABLE, (*_LABELS, "vcpu"))
        self._placements = Kept(DOMAIN_TABLE, _LABELS)
        self._iothreads = Kept(IOTHREAD_TABLE, (*_LABELS, "iothread"))

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        threads, affinities, placements, iothreads = [], [], [], []
        for guest in scrape.guests.guests:
            labels = (guest.name, guest.uuid)
            details = scrape.guest_details.get(guest.uuid)
            cpus = details.thread_cpus if details else {}
            configured = _configured(scrape.domains.get(guest.uuid))
            own = []
            for index, thread in guest.vcpus.items():
                affinity = _Affinity(configured is not None, (configured or {}).get(index), cpus.get(thread.tid))
                own.append(affinity)
                threads.append(((*labels, str(index)), thread))
                affinities.append(((*labels, str(index)), affinity))
            placements.append((labels, _Placement(tuple(own), details.emulator_cpus if details else None)))
            iothreads += [
                ((*labels, name.removeprefix("iothread")), _Iothread(thread, cpus.get(thread.tid)))
                for name, thread in guest.iothreads.items()
            ]
        yield from self._threads.families(threads)
        yield from self._affinities.families(affinities)
        yield from self._placements.families(placements)
        yield from self._iothreads.families(iothreads)


def _configured(domain: Domain | None) -> dict[int, frozenset[int] | None] | None:
    return {vcpu.index: vcpu.configured_cpus for vcpu in domain.config.vcpus} if domain else None
