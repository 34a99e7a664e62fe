"""What this host lacks, a line each with the way to get it: said at start-up, since absent metrics are silent."""

from __future__ import annotations

from collections.abc import Iterator

from kvmhost import hugepages, ksm, memory, pressure, processes, thp
from kvmhost.fs import HostError, HostFS


def missing(fs: HostFS) -> tuple[str, ...]:
    """The lines to show. Files that are there but unreadable are left to the collectors, which name them."""
    lines: list[str] = []
    for check in (_memory, _ksm, _pressure, _hugepages, _thp, _processes):
        try:
            lines.extend(check(fs))
        except HostError:
            continue
    return tuple(lines)


def _memory(fs: HostFS) -> Iterator[str]:
    if memory.read(fs) is None:
        yield f"no kvm_memory_*: there is no {fs.root / 'proc/meminfo'}; set --path.rootfs to the host's root"


def _ksm(fs: HostFS) -> Iterator[str]:
    if ksm.read(fs) is None:
        yield "no kvm_ksm_*: the kernel has no KSM; use one built with CONFIG_KSM=y"
    elif files := ", ".join(ksm.unknown_files(fs)):
        yield f"not published, since this version does not know them: {files} in /sys/kernel/mm/ksm"


def _pressure(fs: HostFS) -> Iterator[str]:
    if pressure.read(fs) is None:
        yield "no kvm_pressure_*: the kernel has no PSI; boot with psi=1 (4.20 or later, CONFIG_PSI=y)"


def _hugepages(fs: HostFS) -> Iterator[str]:
    if hugepages.read(fs) is None:
        yield "no kvm_hugepages_*: the kernel has no hugepages; use one built with CONFIG_HUGETLBFS=y"


def _thp(fs: HostFS) -> Iterator[str]:
    if thp.read(fs) is None:
        yield "no kvm_thp_*: the kernel has no transparent huge pages; use one with CONFIG_TRANSPARENT_HUGEPAGE=y"


def _processes(fs: HostFS) -> Iterator[str]:
    # Every host has a process 1, which belongs to root.
    if processes.comm(fs, "proc/1") is None:
        yield (
            f"no kvm_domain_vcpu_*, no kvm_tuner_active and no CPU time of ksmd: {fs.root / 'proc'} hides other users'"
            " processes; join the group of its mount option gid, or mount it without hidepid"
        )
