"""The QEMU process of each guest: what it takes of the host, from /proc alone; memory by kind every five seconds."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.kept import Kept
from exporter.scrape import Scrape
from exporter.table import Family, Row, counter, families, gauge
from kvmhost import memory, processes
from kvmhost.fs import HostError
from kvmhost.guestdetails import Held
from kvmhost.guests import GuestSample, GuestsSample

TABLE: tuple[Row[GuestSample], ...] = (
    gauge(
        "kvm_domain_process_pid",
        "Process ID of the guest's QEMU on this host.",
        lambda guest: guest.pid,
    ),
    gauge(
        "kvm_domain_process_stopped",
        "1 if QEMU is stopped (T) or in an uninterruptible wait (D): the guest stands still, and libvirt's calls to it"
        " would hang.",
        lambda guest: int(guest.state in "TtD"),
    ),
    counter(
        "kvm_domain_process_cpu_seconds_total",
        "CPU time of all threads of the guest's QEMU: its vCPUs, and what emulating its devices takes.",
        lambda guest: guest.cpu_seconds,
    ),
    counter(
        "kvm_domain_process_minor_faults_total",
        "Page faults of QEMU that needed no disk of the host: memory that the guest touched for the first time,"
        " or that KSM had merged.",
        lambda guest: guest.minor_faults,
    ),
    counter(
        "kvm_domain_process_major_faults_total",
        "Page faults of QEMU that needed a disk of the host: memory of the guest came back from swap.",
        lambda guest: guest.major_faults,
    ),
    gauge(
        "kvm_domain_memory_virtual_bytes",
        "Address space of QEMU, touched or not: the guest's memory, and some for QEMU itself (VmSize).",
        lambda guest: guest.virtual_bytes,
    ),
)

MEMORY_TABLE: tuple[Row[Held], ...] = (
    gauge(
        "kvm_domain_memory_rss_anon_bytes",
        "The part of rss that no file backs: most of a guest (RssAnon).",
        lambda held: held.anon,
    ),
    gauge(
        "kvm_domain_memory_rss_shmem_bytes",
        "The part of rss that is shared memory: of a guest with memfd backing, KSM cannot merge it (RssShmem).",
        lambda held: held.shmem,
    ),
    gauge(
        "kvm_domain_memory_hugetlb_bytes",
        "Pages of the hugepage pools that QEMU holds (HugetlbPages).",
        lambda held: held.hugetlb,
    ),
    gauge(
        "kvm_domain_memory_swap_bytes",
        "Memory of QEMU that the host has swapped out: the guest does not know why it is slow (VmSwap).",
        lambda held: held.swap,
    ),
    gauge(
        "kvm_domain_memory_locked_bytes",
        "Memory of QEMU that the host may not swap out (VmLck).",
        lambda held: held.locked,
    ),
)

RSS_TABLE: tuple[Row[int], ...] = (
    gauge(
        "kvm_domain_memory_rss_bytes",
        "Host memory that QEMU holds now, pages shared with others included, those of hugepage pools not.",
        lambda size: size,
    ),
)

HOST_TABLE: tuple[Row[GuestsSample], ...] = (
    gauge(
        "kvm_host_guests",
        "QEMU processes with a guest on this host, whether libvirt knows them or not.",
        lambda sample: len(sample.guests),
    ),
    gauge(
        "kvm_host_guests_stalled",
        "Guests that are left out of all kvm_domain_* from /proc, since the kernel does not answer for their process.",
        lambda sample: len(sample.stalled),
    ),
)


_LABELS = ("domain", "uuid")


class ProcessesCollector:
    """Every guest on this host, whether libvirt answers or not."""

    def __init__(self) -> None:
        self._guests = Kept(TABLE, _LABELS)
        self._memories = Kept(MEMORY_TABLE, _LABELS)
        self._sizes = Kept(RSS_TABLE, _LABELS)

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        guests = [((guest.name, guest.uuid), guest) for guest in scrape.guests.guests]
        memories = [
            (labels, scrape.guest_details[guest.uuid]) for labels, guest in guests if guest.uuid in scrape.guest_details
        ]
        if processes.comm(scrape.fs, "proc/1") is not None:  # else /proc hides the processes of others
            yield from families(HOST_TABLE, [((), scrape.guests)])
        yield from self._guests.families(guests)
        yield from self._memories.families((labels, one.held) for labels, one in memories if one.held)
        yield from scrape.guests.faults
        for _, guest in guests:
            yield from guest.faults
        for _, one in memories:
            yield from one.faults
        for name in scrape.guests.stalled:
            yield HostError(
                scrape.fs.root / "proc",
                f"the files of the guest {name} do not answer",
                "look at its QEMU's state with ps",
            )
        page_bytes = memory.page_size_bytes(scrape.fs)
        if page_bytes is not None:
            yield from self._sizes.families((labels, guest.rss_pages * page_bytes) for labels, guest in guests)
