"""Domains (guests) as libvirt knows them: what they are, their state, and what memory they were given."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.kept import Kept
from exporter.scrape import Scrape
from exporter.table import Family, Labels, Row, gauge, info, state_set
from kvmhost import cpulist
from kvmhost.domains import DomainConfig, MemoryDevice
from kvmhost.fs import HostError
from kvmhost.units import format_bytes
from kvmhost.virt import STATES


def _info(config: DomainConfig) -> Labels:
    backing = config.memory_backing
    return (
        config.title or "",
        config.os or "",
        config.virt_type,
        config.machine or "",
        config.cpu_mode or "",
        backing.kind,
        _hugepage_sizes(config),
        backing.access or "",
        backing.allocation or "",
        _yes(backing.nosharepages),
        _yes(backing.locked),
        *_numa(config),
    )


def _hugepage_sizes(config: DomainConfig) -> str:
    sizes = sorted({pages.size_bytes or 0 for pages in config.memory_backing.hugepages})
    return ",".join(format_bytes(size).replace(" ", "") if size else "default" for size in sizes)


def _numa(config: DomainConfig) -> tuple[str, str]:
    modes = sorted({policy.mode for policy in config.numa_policies})
    nodes = [policy.host_nodes for policy in config.numa_policies if policy.host_nodes is not None]
    return ",".join(modes), cpulist.format(frozenset[int]().union(*nodes))


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


CONFIG_TABLE: tuple[Row[DomainConfig], ...] = (
    info(
        "kvm_domain_info",
        "An active domain, in words: its title, its operating system by libosinfo, how it is virtualised (kvm, or qemu"
        " for emulation), and what its memory is made of and where on the host it may be.",
        (
            "title",
            "os",
            "virt_type",
            "machine",
            "cpu_mode",
            "memory_backing",
            "hugepage_size",
            "memory_access",
            "memory_allocation",
            "nosharepages",
            "memory_locked",
            "numa_mode",
            "numa_nodes",
        ),
        _info,
    ),
    gauge(
        "kvm_domain_memory_configured_bytes",
        "All memory that the guest can have as it is now, memory devices included (XML element memory).",
        lambda config: config.memory_bytes,
    ),
    gauge(
        "kvm_domain_memory_configured_max_bytes",
        "What memory_configured can become by plugging in memory devices (maxMemory); absent if none can be.",
        lambda config: config.memory_max_bytes,
    ),
    gauge(
        "kvm_domain_memory_hard_limit_bytes",
        "Memory at which the kernel kills the domain's QEMU process (memtune hard_limit); absent if there is no limit.",
        lambda config: config.memory_hard_limit_bytes,
    ),
)

STATE_TABLE: tuple[Row[str], ...] = (
    state_set(
        "kvm_domain_state",
        "State of the domain: 1 for the one that it is in.",
        "state",
        lambda current: {state: state == current for state in STATES},
    ),
)

VIRTIO_MEM_TABLE: tuple[Row[MemoryDevice], ...] = (
    gauge(
        "kvm_domain_virtio_mem_size_bytes",
        "Most memory that this virtio-mem device can give to the guest.",
        lambda device: device.size_bytes,
    ),
    gauge(
        "kvm_domain_virtio_mem_requested_bytes",
        "Memory that the guest shall take of this virtio-mem device.",
        lambda device: device.requested_bytes,
    ),
    gauge(
        "kvm_domain_virtio_mem_current_bytes",
        "Memory that the guest does take of this virtio-mem device; if it is not what is requested, the guest is busy"
        " with it or cannot give it back.",
        lambda device: device.current_bytes,
    ),
)


_LABELS = ("domain", "uuid")


class DomainsCollector:
    """Every active domain of the newest answer of libvirt."""

    def __init__(self) -> None:
        self._configs = Kept(CONFIG_TABLE, _LABELS)
        self._states = Kept(STATE_TABLE, _LABELS)
        self._virtio_mems = Kept(VIRTIO_MEM_TABLE, (*_LABELS, "device"))

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        guests = [((domain.name, domain.uuid), domain) for domain in scrape.libvirt.domains or ()]
        yield from self._configs.families((labels, domain.config) for labels, domain in guests)
        yield from self._states.families((labels, domain.state) for labels, domain in guests)
        yield from self._virtio_mems.families(
            ((*labels, device.name), device)
            for labels, domain in guests
            for device in domain.config.memory_devices
            if device.model == "virtio-mem"
        )
        for (name, _), domain in guests:
            for fault in domain.config.faults:
                yield HostError(f"XML of the domain {name}", fault, f"look at it with virsh dumpxml {name}")
