"""QEMU processes and their vCPU threads, from /proc alone: no libvirt, no privileges, fresh at each call."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from kvmhost import cpulist
from kvmhost.fs import HostError, HostFS

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SMBIOS_UUID = re.compile(r"^type=1,(?:.*,)?uuid=([^,]+)")
# libvirt starts QEMU with debug-threads=on, which names its threads (accel/kvm, accel/tcg).
_VCPU_COMM = re.compile(r"CPU ([0-9]{1,5})/(?:KVM|TCG)")
_IOTHREAD_COMM = re.compile(r"IO iothread([0-9]{1,5})")
# TCG with thread=single runs all vCPUs in turn on this one thread (tcg-accel-ops-rr.c).
_SHARED_VCPU_COMM = "ALL CPUs/TCG"
# Of -machine, or of a memory backend in JSON.
_NO_MERGE = re.compile(r'\bmem-merge=off\b|"merge": ?false\b')
_MOST_NAME_LETTERS = 255
_GUEST_NAME = re.compile(r"(?:guest=)?((?:[^,]|,,)+)")

# Fields count from 1 in proc(5), and `stat_fields` starts at the third, the state.
STAT_CPU = 39 - 3
"""Index in `stat_fields` of the CPU that the thread ran on last."""


class Identity(NamedTuple):
    """Whose process a QEMU is."""

    uuid: str
    name: str
    """The domain's, as libvirt gave it to QEMU (`-name guest=NAME`); the uuid if there is none."""
    share_pages: bool
    """False if its memory is not to be merged (`<nosharepages/>`)."""


@dataclass(frozen=True, kw_only=True)
class QemuProcess:
    """One running guest as the kernel sees it."""

    pid: int
    uuid: str
    name: str
    """The domain's name, as libvirt gave it to QEMU (`-name guest=NAME`); the uuid if there is none."""
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
    """All QEMU processes that were started with a uuid (libvirt and Proxmox VE always do), by that uuid.

    Left out are processes that end meanwhile or that a hidepid mount or a security module hides, and those that
    claim the same uuid: which of them is the guest cannot be told.
    """
    found = []
    for entry in fs.names("proc"):
        guest = identity(fs, int(entry)) if entry.isdecimal() else None
        process = _process(fs, int(entry), guest) if guest else None
        if process:
            found.append(process)
    claims = Counter(process.uuid for process in found)
    return {process.uuid: process for process in found if claims[process.uuid] == 1}


def identity(fs: HostFS, pid: int) -> Identity | None:
    """Whose process this is; None if it is no QEMU with a uuid, has ended, or cannot be read."""
    try:
        arguments = (fs.text(f"proc/{pid}/cmdline") or "").split("\0")
    except HostError:
        return None
    program = arguments[0].rpartition("/")[2]
    # A wrapper such as sudo carries the same arguments: only the emulator itself has the vCPU threads.
    if "qemu" not in program and "kvm" not in program:
        return None
    uuid = (_value_of(arguments, "-uuid") or _smbios_uuid(arguments)).lower()
    if not _UUID.fullmatch(uuid):
        return None
    return Identity(
        uuid=uuid, name=_guest_name(arguments) or uuid, share_pages=not _NO_MERGE.search(" ".join(arguments))
    )


def _smbios_uuid(arguments: Sequence[str]) -> str:
    """What Proxmox VE gives a guest in place of `-uuid`."""
    tables = (value for option, value in pairwise(arguments) if option == "-smbios")
    return next((found[1] for table in tables if (found := _SMBIOS_UUID.search(table))), "")


def iothreads(fs: HostFS, pid: int) -> dict[int, int]:
    """Thread id of each of QEMU's I/O threads, by libvirt's number of it; {} if the process has ended."""
    found = {}
    for tid in fs.names(f"proc/{pid}/task"):
        match = _IOTHREAD_COMM.fullmatch(comm(fs, f"proc/{pid}/task/{tid}") or "")
        if match:
            found[int(match[1])] = int(tid)
    return found


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
    return ThreadTimes(cpu_seconds=cpu_seconds, delay_seconds=delay_seconds, current_cpu=int(stat[STAT_CPU]))


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
    content = fs.content(f"{path}/schedstat")
    if content is None:
        return None
    try:
        return run_and_wait_seconds(content)
    except ValueError:
        raise fs.malformed(f"{path}/schedstat", "three whole numbers", content.decode("utf-8", "replace")) from None


def run_and_wait_seconds(content: bytes) -> tuple[float, float] | None:
    """What `schedstat` says of a file's content; `ValueError` if it is malformed."""
    run_ns, wait_ns, slices = map(_count, content.split())
    return (run_ns / 1e9, wait_ns / 1e9) if run_ns or wait_ns or slices else None


def _count(digits: bytes) -> int:
    if not digits.isdigit():
        raise ValueError(f"{digits!r} is not a count")
    return int(digits)


def comm(fs: HostFS, path: str) -> str | None:
    """The name of the process or thread directory `path`; None if it is gone or hidden."""
    try:
        text = fs.text(f"{path}/comm")
    except HostError:
        return None
    return None if text is None else text.strip()


def _value_of(arguments: list[str], option: str) -> str:
    """What follows `option` in a command line; empty if it is not there or the last one."""
    return arguments[arguments.index(option) + 1] if option in arguments[:-1] else ""


def _guest_name(arguments: list[str]) -> str:
    # `-name guest=NAME,debug-threads=on` or `-name NAME`; a comma in the name is doubled (util/qemu-option.c).
    match = _GUEST_NAME.match(_value_of(arguments, "-name"))
    # libvirt's names are file names, too. A longer one is nobody's guest, and would be in every series of it.
    return match[1].replace(",,", ",")[:_MOST_NAME_LETTERS] if match else ""


def _process(fs: HostFS, pid: int, guest: Identity) -> QemuProcess | None:
    try:
        stat = _stat(fs, f"proc/{pid}")
        tids = fs.names(f"proc/{pid}/task")
        vcpus = {vcpu: int(tid) for tid in tids for vcpu in vcpu_indexes(comm(fs, f"proc/{pid}/task/{tid}"))}
    except HostError:
        return None
    if stat is None:
        return None
    return QemuProcess(pid=pid, uuid=guest.uuid, name=guest.name, vcpus=vcpus, state=stat[0].decode())


def vcpu_indexes(name: str | None) -> tuple[int, ...]:
    """The vCPUs that a QEMU thread of this name runs: none, one, or with TCG the first of all that take turns."""
    if name == _SHARED_VCPU_COMM:
        return (0,)
    match = _VCPU_COMM.fullmatch(name or "")
    return (int(match[1]),) if match else ()


def stat_fields(content: bytes) -> list[bytes]:
    """The fields of a stat file from the state (field 3 of proc(5)) on. `ValueError` if there are too few."""
    # The name in parentheses may hold spaces and parentheses itself.
    fields = content[content.rfind(b")") + 1 :].split()
    if len(fields) < 42 - 2 or not fields[STAT_CPU].isdigit():
        raise ValueError("too few fields")
    return fields


def _stat(fs: HostFS, path: str) -> list[bytes] | None:
    content = fs.content(f"{path}/stat")
    if content is None:
        return None
    try:
        return stat_fields(content)
    except ValueError:
        raise fs.malformed(f"{path}/stat", "the fields of proc(5)", content.decode("utf-8", "replace")) from None
