"""QEMU processes and their vCPU threads, from /proc alone: no libvirt, no privileges, fresh at each call."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from kvmhost import cpulist
from kvmhost.fs import HostError, HostFS

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# libvirt starts QEMU with debug-threads=on, which names its threads (accel/kvm, accel/tcg).
_VCPU_COMM = re.compile(r"CPU ([0-9]{1,5})/(?:KVM|TCG)")
# TCG with thread=single runs all vCPUs in turn on this one thread (tcg-accel-ops-rr.c).
_SHARED_VCPU_COMM = "ALL CPUs/TCG"


@dataclass(frozen=True, kw_only=True)
class QemuProcess:
    """One running guest as the kernel sees it."""

    pid: int
    uuid: str
    vcpus: Mapping[int, int]
    """Thread id of each vCPU, by vCPU index."""
    state: str
    """One letter of proc(5): R running, S sleeping, D in uninterruptible wait, T stopped."""


@dataclass(frozen=True, kw_only=True)
class ThreadTimes:
    """What the scheduler has given a thread since it started, and where it ran last."""

    cpu_seconds: float
    delay_seconds: float
    """Time that it was runnable but waited for a CPU."""
    current_cpu: int


def qemu(fs: HostFS) -> dict[str, QemuProcess]:
    """All QEMU processes that were started with `-uuid` (libvirt always does), by that uuid.

    Left out are processes that end meanwhile or that a hidepid mount or a security module hides, and those that
    claim the same uuid: which of them is the guest cannot be told.
    """
    found = []
    for name in fs.names("proc"):
        uuid = _uuid_of(fs, name) if name.isdecimal() else None
        process = _process(fs, int(name), uuid) if uuid else None
        if process:
            found.append(process)
    claims = Counter(process.uuid for process in found)
    return {process.uuid: process for process in found if claims[process.uuid] == 1}


def thread_times(fs: HostFS, pid: int, tid: int) -> ThreadTimes | None:
    """Scheduler times of a thread, from its schedstat and stat; None if it is gone or the kernel keeps none.

    `HostError` if either file is malformed.
    """
    path = f"proc/{pid}/task/{tid}"
    times = schedstat(fs, path)
    stat = _stat(fs, path)
    if times is None or stat is None:
        return None
    cpu_seconds, delay_seconds = times
    # Fields count from 1 in proc(5); `stat` starts at the third, the state: the CPU is field 39.
    return ThreadTimes(cpu_seconds=cpu_seconds, delay_seconds=delay_seconds, current_cpu=int(stat[39 - 3]))


def affinity(fs: HostFS, pid: int, tid: int) -> frozenset[int] | None:
    """The CPUs a thread may run on, its cgroup's cpuset applied; None if the thread is gone."""
    path = f"proc/{pid}/task/{tid}/status"
    text = fs.text(path)
    if text is None:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "Cpus_allowed_list":
            try:
                return cpulist.parse(value)
            except ValueError as error:
                raise fs.malformed(path, "a CPU list in Cpus_allowed_list", value) from error
    raise fs.malformed(path, "a line Cpus_allowed_list", text)


def schedstat(fs: HostFS, path: str) -> tuple[float, float] | None:
    """Seconds on a CPU and seconds waiting for one, of the process or thread directory `path`.

    Source: `proc_pid_schedstat` (fs/proc/base.c), in nanoseconds: CPU time, run-queue delay, time slices.
    None if the thread is gone, or if the kernel does not account for it (it then prints `0 0 0`).
    """
    text = fs.text(f"{path}/schedstat")
    if text is None:
        return None
    fields = text.split()
    if len(fields) != 3 or not all(field.isdecimal() for field in fields):
        raise fs.malformed(f"{path}/schedstat", "three whole numbers", text)
    if not any(map(int, fields)):
        return None
    return int(fields[0]) / 1e9, int(fields[1]) / 1e9


def comm(fs: HostFS, path: str) -> str | None:
    """The name of the process or thread directory `path`; None if it is gone or hidden."""
    try:
        text = fs.text(f"{path}/comm")
    except HostError:
        return None
    return None if text is None else text.strip()


def _uuid_of(fs: HostFS, pid: str) -> str | None:
    try:
        arguments = (fs.text(f"proc/{pid}/cmdline") or "").split("\0")
    except HostError:
        return None
    program = arguments[0].rpartition("/")[2]
    # A wrapper such as sudo carries the same arguments: only the emulator itself has the vCPU threads.
    if ("qemu" not in program and "kvm" not in program) or "-uuid" not in arguments[:-1]:
        return None
    uuid = arguments[arguments.index("-uuid") + 1].lower()
    return uuid if _UUID.fullmatch(uuid) else None


def _process(fs: HostFS, pid: int, uuid: str) -> QemuProcess | None:
    try:
        stat = _stat(fs, f"proc/{pid}")
        tids = fs.names(f"proc/{pid}/task")
        vcpus = {vcpu: int(tid) for tid in tids for vcpu in _vcpu_indexes(fs, pid, tid)}
    except HostError:
        return None
    return QemuProcess(pid=pid, uuid=uuid, vcpus=vcpus, state=stat[0]) if stat else None


def _vcpu_indexes(fs: HostFS, pid: int, tid: str) -> tuple[int, ...]:
    name = comm(fs, f"proc/{pid}/task/{tid}")
    if name == _SHARED_VCPU_COMM:
        return (0,)
    match = _VCPU_COMM.fullmatch(name or "")
    return (int(match[1]),) if match else ()


def _stat(fs: HostFS, path: str) -> list[str] | None:
    """The fields of a stat file from the state (field 3 of proc(5)) on; None if process or thread is gone."""
    text = fs.text(f"{path}/stat")
    if text is None:
        return None
    # The name in parentheses may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    if len(fields) < 39 - 2 or not fields[39 - 3].isdecimal():
        raise fs.malformed(f"{path}/stat", "the fields of proc(5)", text)
    return fields
