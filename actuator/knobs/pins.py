"""Affinity of QEMU's threads: what is common to all kinds, and those beside the vCPUs (emulator, I/O threads)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from actuator.knobs.knob import HOST, Knob, KnobError, Live, Target, Unit, Value, label
from actuator.knobs.libvirt import Libvirt, untouchable
from actuator.knobs.privilege import PINS
from kvmhost import cpulist, processes, topology
from kvmhost.domains import Domain
from kvmhost.fs import HostError, HostFS
from kvmhost.processes import QemuProcess
from kvmhost.virt import AFFECT_LIVE, ERR_SYSTEM, VirtError, free_domain


def cpumap(conn: Any, cpus: tuple[int, ...]) -> tuple[bool, ...]:
    """The CPUs as libvirt takes them: of each of the host, whether it is among them."""
    return tuple(cpu in cpus for cpu in range(conn.getCPUMap()[0]))


class ThreadAffinity(Knob):
    """CPUs that are offline are refused; libvirt refuses those outside the guest's control group."""

    unit = Unit.CPUS
    privilege = PINS

    def __init__(self, fs: HostFS, libvirt: Libvirt) -> None:
        self._fs = fs
        self._libvirt = libvirt
        self._uuids: dict[Target, str] = {}
        self._threads: dict[Target, tuple[int, int]] = {}

    @staticmethod
    @abstractmethod
    def pin(conn: Any, uuid: str, cpus: tuple[int, ...], thread: int) -> None:
        """Have libvirt do it, in its process; `thread` is the target's number beyond its domain, or 0."""

    @abstractmethod
    def threads(self, qemu: QemuProcess) -> Mapping[Target, int]:
        """The thread ids of a QEMU process that the knob is about, by what a target has beyond its domain."""

    def live(self) -> Mapping[Target, Live]:
        """Every such thread of every active guest whose QEMU process is on this host, as the kernel sees it."""
        try:
            found = dict(self._read(self._libvirt.domains(), self._libvirt.hanging()))
        except HostError as error:
            raise KnobError(f"cannot read {self.name}: {error}") from error
        self._uuids = {target: live.identity for target, live in found.items()}
        return found

    def _read(self, domains: tuple[Domain, ...], hanging: Mapping[str, str]) -> Iterator[tuple[Target, Live]]:
        qemus = processes.qemu(self._fs)
        host = topology.read(self._fs)
        for domain in domains:
            qemu = qemus.get(domain.uuid)
            if qemu is None:
                continue
            for rest, tid in self.threads(qemu).items():
                cpus = processes.affinity(self._fs, qemu.pid, tid)
                if cpus is None:
                    continue  # the thread ended between the two reads
                target = (("domain", domain.name), *rest)
                self._threads[target] = (qemu.pid, tid)
                yield (
                    target,
                    Live(
                        value=cpulist.format(cpus),
                        cpus=host.online if host else cpus,
                        refusal=untouchable(domain, hanging),
                        identity=domain.uuid,
                        declared=domain.config.policy,
                        run=str(domain.id),
                    ),
                )

    def doubt(self, target: Target) -> str | None:
        """Its guest may be one that hangs."""
        return self._libvirt.doubt(target)

    def glance(self, target: Target) -> Value | None:
        """As the kernel sees it."""
        cpus = processes.affinity(self._fs, *self._threads[target]) if target in self._threads else None
        return None if cpus is None else cpulist.format(cpus)

    def write(self, target: Target, value: Value) -> None:
        """Pin through libvirt, so that libvirt's own records stay true."""
        cpus = tuple(sorted(cpulist.parse(str(value))))
        thread = int(target[1][1]) if target[1:] else 0
        try:
            self._libvirt.change(self.pin, self._uuids[target], cpus, thread)
        except KeyError:
            raise KnobError(f"{label(target)} is gone") from None
        except VirtError as error:
            hint = "; is a CPU outside of the guest's control group (cpuset)?" if error.code == ERR_SYSTEM else ""
            raise KnobError(f"cannot pin {label(target)} to {value}: {self.privilege.refused(error)}{hint}") from error


class EmulatorAffinity(ThreadAffinity):
    """Read from QEMU's main thread; libvirt pins all threads that are neither a vCPU's nor an I/O thread."""

    name = "emulator.affinity"
    summary = "Host CPUs that QEMU's own threads may run on, as a CPU list such as 0-3,8."
    keys = ("domain",)

    @staticmethod
    def pin(conn: Any, uuid: str, cpus: tuple[int, ...], thread: int) -> None:
        """virDomainPinEmulator."""
        free_domain(conn, uuid).pinEmulator(cpumap(conn, cpus), AFFECT_LIVE)

    def threads(self, qemu: QemuProcess) -> Mapping[Target, int]:
        """The main thread."""
        return {HOST: qemu.pid}


class IOThreadAffinity(ThreadAffinity):
    __doc__ = ThreadAffinity.__doc__
    name = "iothread.affinity"
    summary = "Host CPUs that an I/O thread of the guest may run on, as a CPU list such as 0-3,8."
    keys = ("domain", "iothread")

    @staticmethod
    def pin(conn: Any, uuid: str, cpus: tuple[int, ...], thread: int) -> None:
        """virDomainPinIOThread."""
        free_domain(conn, uuid).pinIOThread(thread, cpumap(conn, cpus), AFFECT_LIVE)

    def threads(self, qemu: QemuProcess) -> Mapping[Target, int]:
        """Each I/O thread by its number."""
        return {(("iothread", str(number)),): tid for number, tid in processes.iothreads(self._fs, qemu.pid).items()}
