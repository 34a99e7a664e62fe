"""NUMA placement of each guest: where its memory lies, and whether its vCPUs run there; transparent huge pages.

Known of guests that have a control group of their own (from libvirt with systemd), which is read in the background
every five seconds. On a host with one node there is no placement to tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from exporter.kept import Kept
from exporter.scrape import Scrape
from exporter.table import Family, Row, gauge
from kvmhost import topology
from kvmhost.fs import HostError
from kvmhost.guestdetails import GuestDetails


@dataclass(frozen=True, slots=True)
class _Placement:
    memory: Mapping[int, int]
    """Bytes on each node."""
    vcpus: Mapping[int, int]
    """vCPUs that ran last on each node."""


@dataclass(frozen=True, slots=True)
class _OnNode:
    memory_bytes: int
    vcpus: int


NODE_TABLE: tuple[Row[_OnNode], ...] = (
    gauge(
        "kvm_domain_numa_memory_bytes",
        "Memory of the guest on this NUMA node of the host.",
        lambda part: part.memory_bytes,
    ),
    gauge(
        "kvm_domain_numa_vcpus",
        "vCPUs of the guest that ran last on a CPU of this NUMA node.",
        lambda part: part.vcpus,
    ),
)

TABLE: tuple[Row[_Placement], ...] = (
    gauge(
        "kvm_domain_numa_remote_memory_bytes",
        "Memory of the guest on NUMA nodes on which none of its vCPUs ran last: each access to it crosses nodes.",
        lambda placement: sum(size for node, size in placement.memory.items() if not placement.vcpus.get(node)),
    ),
)

THP_TABLE: tuple[Row[int], ...] = (
    gauge(
        "kvm_domain_memory_anon_huge_pages_bytes",
        "Memory of the guest on transparent huge pages (anon_thp of its control group).",
        lambda size: size,
    ),
)

_LABELS = ("domain", "uuid")


class DomainNumaCollector:
    """Guests whose memory by node is known."""

    def __init__(self) -> None:
        self._parts = Kept(NODE_TABLE, (*_LABELS, "node"))
        self._placements = Kept(TABLE, _LABELS)
        self._on_thp = Kept(THP_TABLE, _LABELS)

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        host = topology.read(scrape.fs)
        nodes = host.nodes if host and len(host.nodes) > 1 else {}
        node_of = {cpu: node for node, cpus in nodes.items() for cpu in cpus}
        parts, placements, on_thp = [], [], []
        for guest in scrape.guests.guests:
            labels = (guest.name, guest.uuid)
            details = scrape.guest_details.get(guest.uuid)
            counted = details.counted if details else None
            if details is None or counted is None:
                continue
            if nodes and guest.vcpus and not _is_on_hugepages(details):
                ran_on = (vcpu.current_cpu for vcpu in guest.vcpus.values())
                vcpus = Counter(node_of[cpu] for cpu in ran_on if cpu in node_of)
                placements.append((labels, _Placement(counted.node_bytes, vcpus)))
                parts += [
                    ((*labels, str(node)), _OnNode(size, vcpus[node])) for node, size in counted.node_bytes.items()
                ]
            if counted.anon_thp_bytes is not None:
                on_thp.append((labels, counted.anon_thp_bytes))
        yield from self._parts.families(parts)
        yield from self._placements.families(placements)
        yield from self._on_thp.families(on_thp)


def _is_on_hugepages(details: GuestDetails) -> bool:
    """Control groups do not count pages of the pools."""
    return details.held is not None and details.held.hugetlb > details.held.anon
