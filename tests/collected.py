"""One collector, run on a host of a test."""

from __future__ import annotations

from pathlib import Path

from exporter.scrape import Collect, Scrape
from exporter.table import Family
from kvmhost import guestdetails
from kvmhost.domains import Balloon, Domain, DomainConfig, Vcpu
from kvmhost.fs import HostError, HostFS
from kvmhost.guests import Guests
from kvmhost.libvirt.snapshot import Snapshot
from tests.lines import samples_of

NOW = 1000.0
UUID = "6e6b96b7-657c-4836-b247-3cf002cf2ebc"


def domain(state: str = "running", balloon: Balloon | None = None, vcpus: tuple[Vcpu, ...] = ()) -> Domain:
    config = DomainConfig(name="web", uuid=UUID, virt_type="kvm", vcpus=vcpus)
    return Domain(id=1, state=state, config=config, balloon=balloon or Balloon())


def collected(
    collect: Collect, *found: Domain, root: Path = Path("/nonexistent")
) -> tuple[dict[str, float], list[str]]:
    """The samples as `name{other labels}`, without the labels of the domain, and the errors."""
    libvirt = Snapshot(up=True, read_seconds=NOW, domains=found)
    fs = HostFS(root)
    guests = Guests(fs).sample(NOW, within_seconds=60)
    details = guestdetails.GuestDetailsReader(fs).read(guests.guests)
    scrape = Scrape(fs=fs, now=NOW, libvirt=libvirt, guests=guests, guest_details=details)
    shown: list[Family] = []
    errors: list[str] = [str(fault) for one in scrape.guests.guests for fault in one.faults]
    for fact in collect(scrape):
        if isinstance(fact, HostError):
            errors.append(str(fact))
        else:
            shown.append(fact)
    return samples_of(shown, without=("domain", "uuid")), errors
