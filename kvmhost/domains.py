"""What libvirt says of a domain (a guest), as plain values (pure)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Balloon:
    """The memory of one domain. A field is None when libvirt did not say, which never means zero.

    Source: the `balloon.*` keys of virConnectGetAllDomainStats. All but the first two and `rss_bytes` come
    from the balloon driver in the guest, so they are as old as `last_update_seconds`.
    """

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
    rss_bytes: int | None = None
    """Host memory that the QEMU process holds."""
    swap_in_bytes: int | None = None
    swap_out_bytes: int | None = None
    major_faults: int | None = None
    minor_faults: int | None = None
    last_update_seconds: int | None = None
    """Unix time of the guest's last answer."""
    stats_period_seconds: int | None = None
    """How often the guest is asked; 0 is never, None is a domain without a balloon device."""


@dataclass(frozen=True, kw_only=True)
class Vcpu:
    """One virtual CPU that is plugged in."""

    index: int
    state: str | None = None
    """`running`, `blocked` or `offline`."""
    configured_cpus: frozenset[int] | None = None
    """Host CPUs that it is pinned to; None if it is not pinned."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One active domain."""

    name: str
    uuid: str
    id: int
    state: str
    """libvirt's name: `running`, `paused`, `shutdown` (in progress), `crashed`, ..."""
    virt_type: str
    """`kvm`, or `qemu` for software emulation."""
    machine: str | None = None
    """The machine type, such as `pc-q35-7.2`."""
    balloon: Balloon = Balloon()
    vcpus: tuple[Vcpu, ...] = ()
