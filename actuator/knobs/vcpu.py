"""The vCPU affinity knob: on which host CPUs a vCPU may run (libvirt virDomainPinVcpuFlags)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from actuator.knobs.knob import Knob, KnobError, Live, Target, Unit, Value
from kvmhost import cpulist, processes, topology
from kvmhost.domains import Domain
from kvmhost.fs import HostError, HostFS
from kvmhost.virt import AFFECT_LIVE, VirtError, read_domains
from kvmhost.virtprocess import VirtProcess

_CALL_SECONDS = 5.0


def _pin_vcpu(conn: Any, uuid: str, vcpu: int, cpus: tuple[int, ...]) -> None:
    host_cpus = conn.getCPUMap()[0]
    cpumap = tuple(cpu in cpus for cpu in range(host_cpus))
    conn.lookupByUUIDString(uuid).pinVcpuFlags(vcpu, cpumap, AFFECT_LIVE)


class VcpuAffinity(Knob):
    """`vcpu.affinity` of each vCPU of each running guest, read from the kernel's own view of its thread."""

    name = "vcpu.affinity"
    unit = Unit.CPUS
    summary = "Host CPUs that the vCPU may run on, as a CPU list such as 0-3,8."
    keys = ("domain", "vcpu")

    def __init__(self, fs: HostFS, virt: VirtProcess) -> None:
        self._fs = fs
        self._virt = virt
        self._uuids: dict[Target, str] = {}

    def live(self) -> Mapping[Target, Live]:
        """Every vCPU of every running guest whose QEMU process is on this host."""
        try:
            domains = self._virt.call(read_domains, timeout_s=_CALL_SECONDS)
            found = dict(self._read(domains))
        except (VirtError, HostError) as error:
            raise KnobError(f"cannot read the vCPUs' affinity: {error}") from error
        self._uuids = {target: live.identity for target, live in found.items()}
        return found

    def _read(self, domains: tuple[Domain, ...]) -> Iterator[tuple[Target, Live]]:
        qemus = processes.qemu(self._fs)
        host = topology.read(self._fs)
        for domain in domains:
            qemu = qemus.get(domain.uuid)
            if qemu is None:
                continue
            refusal = None if domain.state == "running" else f"the guest is {domain.state}"
            for vcpu, tid in qemu.vcpus.items():
                cpus = processes.affinity(self._fs, qemu.pid, tid)
                if cpus is None:
                    continue  # the thread ended between the two reads
                yield (
                    (("domain", domain.name), ("vcpu", str(vcpu))),
                    Live(
                        value=cpulist.format(cpus),
                        cpus=host.online if host else cpus,
                        refusal=refusal,
                        identity=domain.uuid,
                    ),
                )

    def write(self, target: Target, value: Value) -> None:
        """Pin through libvirt, so that libvirt's own records stay true."""
        cpus = tuple(sorted(cpulist.parse(str(value))))
        vcpu = int(dict(target)["vcpu"])
        try:
            self._virt.call(_pin_vcpu, self._uuids[target], vcpu, cpus, timeout_s=_CALL_SECONDS)
        except KeyError:
            raise KnobError(f"the guest {target[0][1]} is gone") from None
        except VirtError as error:
            raise KnobError(f"cannot pin vCPU {vcpu} of {target[0][1]} to {value}: {error}") from error
