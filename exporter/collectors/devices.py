"""Devices of the guests: which are virtio and which are emulated, and whether the guest agent is there."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.kept import Kept
from exporter.scrape import Scrape
from exporter.table import Family, Row, gauge, numbers
from kvmhost.domains import DomainConfig
from kvmhost.fs import HostError

TABLE: tuple[Row[DomainConfig], ...] = (
    numbers(
        "kvm_domain_device_info",
        "A disk, lun, cdrom, floppy, network interface, balloon or random number generator of the guest. The model"
        " begins with virtio if it is paravirtual, is vfio for a network interface of the host itself, and else names"
        " the hardware that QEMU plays; of a SCSI disk it is the controller's, of another the bus.",
        ("class", "device", "bus", "model"),
        lambda config: [((device.kind, device.name, device.bus, device.model), 1) for device in config.devices],
    ),
    gauge(
        "kvm_domain_emulated_devices",
        "Disks and network interfaces of the guest that are neither virtio nor the host's own, and so slow; without"
        " cdroms and floppies.",
        lambda config: sum(device.is_emulated for device in config.devices),
    ),
    gauge(
        "kvm_domain_host_devices",
        "Devices of the host that the guest has for itself (VFIO: PCI and mediated ones): they keep all of its memory"
        " in place, so that neither balloon nor KSM can get at it.",
        lambda config: config.host_devices,
    ),
    gauge(
        "kvm_domain_guest_agent_connected",
        "1 if the QEMU guest agent has opened its channel, 0 if not; absent if there is no such channel.",
        lambda config: None if config.guest_agent_connected is None else int(config.guest_agent_connected),
    ),
)


class DevicesCollector:
    """The devices of every active domain."""

    def __init__(self) -> None:
        self._configs = Kept(TABLE, ("domain", "uuid"))

    def __call__(self, scrape: Scrape) -> Iterator[Family | HostError]:
        domains = scrape.libvirt.domains or ()
        yield from self._configs.families(((domain.name, domain.uuid), domain.config) for domain in domains)
