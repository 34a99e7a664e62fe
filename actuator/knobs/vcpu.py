"""The vCPU affinity knob: on which host CPUs a vCPU may run (libvirt virDomainPinVcpuFlags)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actuator.knobs.knob import KnobError, Metric, Target
from actuator.knobs.pins import ThreadAffinity, cpumap
from actuator.placement import HostCpus
from kvmhost import cgroups, topology
from kvmhost.fs import HostError
from kvmhost.processes import QemuProcess
from kvmhost.virt import AFFECT_LIVE, free_domain


class VcpuAffinity(ThreadAffinity):
    __doc__ = ThreadAffinity.__doc__
    name = "vcpu.affinity"
    summary = "Host CPUs that the vCPU may run on, as a CPU list such as 0-3,8."
    keys = ("domain", "vcpu")
    metric = Metric("kvm_domain_vcpu_affinity_info", word="effective")

    @staticmethod
    def pin(conn: Any, uuid: str, cpus: tuple[int, ...], thread: int) -> None:
        """virDomainPinVcpuFlags."""
        free_domain(conn, uuid).pinVcpuFlags(thread, cpumap(conn, cpus), AFFECT_LIVE)

    def threads(self, qemu: QemuProcess) -> Mapping[Target, int]:
        """Each vCPU by its number."""
        return {(("vcpu", str(vcpu)),): tid for vcpu, tid in qemu.vcpus.items()}

    def host_cpus(self) -> HostCpus:
        """The host's online CPUs. Costs a file for each core."""
        try:
            host = topology.read(self._fs)
            if host is None:
                raise KnobError("cannot place vCPUs: the kernel does not list the host's CPUs")
            return HostCpus(
                cores=tuple(core & host.online for core in topology.cores(self._fs, host.online)),
                nodes=host.nodes,
                isolated=host.isolated or frozenset(),
                allowed=cgroups.cpus_of_guests(self._fs),
            )
        except HostError as error:
            raise KnobError(f"cannot read the host's CPUs: {error}") from error
