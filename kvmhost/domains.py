"""What libvirt says of a domain (a guest), as plain values (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Balloon:
    """The memory of one domain. A field is None when libvirt did not say, which never means zero.

    Source: the `balloon.*` keys of virConnectGetAllDomainStats. All but the first three come
    from the balloon driver in the guest, so they are as old as `last_update_seconds`.
    """

    read_seconds: float | None = None
    """Unix time at which libvirt was asked; None: never, or whoever asked did not say."""
    actual_bytes: int | None = None
    """What the balloon leaves to the guest now."""
    maximum_bytes: int | None = None
    unused_bytes: int | None = None
    """The guest's MemFree."""
    available_bytes: int | None = None
    """The guest's MemTotal: all that its kernel can use."""
    usable_bytes: int | None = None
    """The guest's MemAvailable: what it could give away without swapping."""
    disk_caches_bytes: int | None = None
    swap_in_bytes: int | None = None
    swap_out_bytes: int | None = None
    major_faults: int | None = None
    minor_faults: int | None = None
    hugetlb_pgalloc: int | None = None
    """Huge pages that the guest's kernel made for hugetlb pools of its own, and below, those that it could not."""
    hugetlb_pgfail: int | None = None
    last_update_seconds: int | None = None
    """Unix time of the guest's last answer; 0: it has never answered. None: it was not asked."""


@dataclass(frozen=True, kw_only=True)
class Vcpu:
    """One virtual CPU that is plugged in."""

    index: int
    configured_cpus: frozenset[int] | None = None
    """Host CPUs that it is pinned to; None if it is not pinned."""


@dataclass(frozen=True, kw_only=True)
class IOThread:
    """One of QEMU's threads that serve disks."""

    id: int
    configured_cpus: frozenset[int] | None = None
    """Host CPUs that it is pinned to; None if it is not pinned."""


@dataclass(frozen=True, kw_only=True)
class Hugepages:
    """Pages of one hugetlb pool that hold guest memory."""

    size_bytes: int | None = None
    """None: the host's default size."""
    cells: frozenset[int] | None = None
    """The guest's NUMA cells that they are for; None is all."""


@dataclass(frozen=True, kw_only=True)
class MemoryBacking:
    """What guest memory is made of on the host."""

    hugepages: tuple[Hugepages, ...] = ()
    source: str | None = None
    """`anonymous`, `file` or `memfd`; None: not said, which is anonymous."""
    access: str | None = None
    """`shared` with other processes (vhost-user, virtiofs) or `private`."""
    allocation: str | None = None
    """`immediate` or `ondemand`; None: not said, which is on demand."""
    nosharepages: bool = False
    """Whether KSM must leave it alone."""
    locked: bool = False
    """Whether it must not be swapped out."""

    @property
    def kind(self) -> str:
        """`hugepages`, `memfd`, `file` or `anonymous`: libvirt's choice (qemuBuildMemoryBackendProps)."""
        if self.hugepages:
            return "hugepages"
        if self.source == "memfd":
            return "memfd"
        return "file" if self.source == "file" or self.access else "anonymous"


@dataclass(frozen=True, kw_only=True)
class NumaPolicy:
    """Where on the host guest memory may be."""

    mode: str
    """`strict`, `preferred`, `interleave` or `restrictive`."""
    host_nodes: frozenset[int] | None = None
    """None: numad chooses (placement auto)."""
    cell: int | None = None
    """The guest's NUMA cell that it is for; None is all that have no policy of their own."""


@dataclass(frozen=True, kw_only=True)
class NumaCell:
    """One NUMA node that the guest sees."""

    id: int
    vcpus: frozenset[int] | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class MemoryDevice:
    """Memory beyond that of the start: a DIMM or the like, or a virtio-mem device, which can be resized."""

    name: str
    model: str
    """`dimm`, `nvdimm`, `virtio-pmem`, `virtio-mem`, `sgx-epc`."""
    size_bytes: int | None = None
    """All that it can offer to the guest."""
    requested_bytes: int | None = None
    """virtio-mem: how much of it the guest shall use."""
    current_bytes: int | None = None
    """virtio-mem: how much of it the guest does use."""


@dataclass(frozen=True, kw_only=True)
class BalloonDevice:
    """The device in the guest that gives memory back to the host and takes it again."""

    model: str
    """`virtio`, `virtio-transitional`, `virtio-non-transitional` or `xen`."""
    stats_period_seconds: int = 0
    """How often the guest's driver is asked for its statistics; 0 is never."""
    autodeflate: bool = False
    """Whether the balloon gives way before the guest's kernel runs out of memory."""
    free_page_reporting: bool = False
    """Whether the guest tells which of its pages are free, so that the host can have them at once."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device whose make decides how fast the guest is."""

    kind: str
    """`disk`, `lun`, `cdrom`, `floppy`, `interface`, `balloon` or `rng`."""
    name: str
    """The name within the guest of a disk (`vda`), libvirt's alias of another (`net0`)."""
    bus: str = ""
    model: str = ""
    """`virtio`, `virtio-scsi`, `e1000`, ...; the bus of a disk that has no model; `vfio` if it is the host's own."""

    @property
    def is_emulated(self) -> bool:
        """Whether QEMU plays a piece of hardware where a virtio device would do: a disk or a network interface."""
        on_data_path = self.kind in ("disk", "lun", "interface")
        return on_data_path and bool(self.model) and self.model != "vfio" and not self.model.startswith("virtio")


PinClass = Literal["shared", "exclusive", "isolated"]


@dataclass(frozen=True, kw_only=True)
class DeclaredPolicy:
    """What a domain's own metadata say of how it is to be treated; None is not said."""

    min_guarantee_bytes: int | None = None
    """What the balloon must always leave to the guest."""
    shares: int | None = None
    """Its weight when memory is divided among guests."""
    pin: PinClass | None = None
    """Whether its vCPUs share host CPUs with others, or have their own."""
    opt_out: bool = False
    """Whether nothing of the guest may be touched."""
    faults: tuple[str, ...] = ()
    """What is malformed: there is no telling what was meant, so the guest should be left alone."""


@dataclass(frozen=True, kw_only=True)
class DomainConfig:
    """How a domain is made, by its live XML (see `kvmhost.domainxml`). A field is None when the XML does not say."""

    name: str
    uuid: str
    virt_type: str
    """`kvm`, or `qemu` for software emulation."""
    title: str | None = None
    os: str | None = None
    """The guest's operating system as libosinfo names it, such as `http://debian.org/debian/12`."""
    machine: str | None = None
    """The machine type, such as `pc-q35-7.2`."""
    cpu_mode: str | None = None
    """`host-passthrough`, `maximum` or `custom`, which `host-model` becomes when the guest starts."""
    memory_bytes: int | None = None
    """All memory that the guest can have as it is now, memory devices included."""
    memory_max_bytes: int | None = None
    """What `memory_bytes` can become by plugging in memory devices."""
    memory_hard_limit_bytes: int | None = None
    """What the QEMU process as a whole may use."""
    memory_min_guarantee_bytes: int | None = None
    """What the balloon should never take, as oVirt says it in the domain's metadata."""
    policy: DeclaredPolicy = DeclaredPolicy()
    balloon_configured_bytes: int | None = None
    """What the balloon should leave to the guest by the domain's persistent XML; it may differ from what the balloon
    was last told, which neither libvirt nor QEMU tell. None for a domain that is not persistent or has memory devices.
    """
    memory_backing: MemoryBacking = MemoryBacking()
    memory_devices: tuple[MemoryDevice, ...] = ()
    numa_policies: tuple[NumaPolicy, ...] = ()
    numa_cells: tuple[NumaCell, ...] = ()
    vcpus: tuple[Vcpu, ...] = ()
    emulator_cpus: frozenset[int] | None = None
    """Host CPUs that QEMU's main and worker threads are pinned to; None if they are not pinned."""
    iothreads: tuple[IOThread, ...] = ()
    balloon_device: BalloonDevice | None = None
    devices: tuple[Device, ...] = ()
    host_devices: int = 0
    """Devices of the host that the guest has for itself (VFIO): they keep all of its memory in place."""
    guest_agent_connected: bool | None = None
    """None: there is no channel for the QEMU guest agent."""
    faults: tuple[str, ...] = ()
    """What is malformed in the XML; the field that it belongs to is as if it were not said."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One active domain: what it is, and what was last heard of it."""

    id: int
    state: str
    """libvirt's name: `running`, `paused`, `shutdown` (in progress), `crashed`, ..."""
    config: DomainConfig
    balloon: Balloon = Balloon()

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def uuid(self) -> str:
        return self.config.uuid
