"""What a guest of the lab is made of, and the domain XML of that."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HUGEPAGES = "<hugepages/>"
SHARED_MEMORY = "<source type='memfd'/><access mode='shared'/>"

_DRIVERLESS = "kvmtune.without=virtio_balloon"  # on the kernel's command line, for guest-init


@dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """What a guest is made of. Fields that say "XML" are elements of libvirt's domain format, as they are."""

    name: str
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    about: str = ""  # XML: title, description, metadata
    memory_mib: int = 256
    current_mib: int | None = None  # what it starts with, if not with memory_mib
    memory_backing: str = ""  # XML: HUGEPAGES, SHARED_MEMORY
    share_pages: bool = True  # False: <nosharepages/>, KSM leaves it alone
    virtio_mem_mib: int = 0  # of a virtio-mem device, beside memory_mib; all of it is requested
    vcpus: int = 1
    pins: Mapping[int, str] = field(default_factory=dict)  # vCPU -> CPU list, as in cputune/vcpupin
    iothreads: int = 0
    other_pins: str = ""  # XML: emulatorpin, iothreadpin
    balloon: bool = True
    balloon_driver: bool = True  # False: the guest does not load it, and so never answers
    balloon_features: Mapping[str, str] = field(default_factory=dict)  # attributes of memballoon
    stats_period_seconds: int = 1
    devices: str = ""  # XML
    boots: bool = True  # False: neither kernel nor consoles; its BIOS finds nothing to boot, and halts

    def xml(self, directory: Path) -> str:
        """Domain XML; `directory` holds vmlinuz, initramfs, logs and console sockets as the daemon sees them."""
        return f"""
<domain type='qemu'>
  <name>{self.name}</name>
  <uuid>{self.uuid}</uuid>
  {self.about}
  {self._memory()}
  <memoryBacking>{self.memory_backing}{"" if self.share_pages else "<nosharepages/>"}</memoryBacking>
  <vcpu>{self.vcpus}</vcpu>
  <iothreads>{self.iothreads}</iothreads>
  <cputune>{self._pins()}</cputune>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    {self._kernel(directory) if self.boots else ""}
  </os>
  <features><acpi/></features>
  <devices>
    {self._consoles(directory) if self.boots else ""}
    {self._balloon()}
    {self._virtio_mem()}
    {self.devices}
  </devices>
</domain>
"""

    def _memory(self) -> str:
        if not self.virtio_mem_mib:
            current = self.current_mib or self.memory_mib
            return f"<memory unit='MiB'>{self.memory_mib}</memory><currentMemory unit='MiB'>{current}</currentMemory>"
        total_mib = self.memory_mib + self.virtio_mem_mib
        return f"""<maxMemory slots='1' unit='MiB'>{total_mib}</maxMemory>
  <memory unit='MiB'>{total_mib}</memory>
  <cpu><numa><cell id='0' cpus='0-{self.vcpus - 1}' memory='{self.memory_mib}' unit='MiB'/></numa></cpu>"""

    def _virtio_mem(self) -> str:
        if not self.virtio_mem_mib:
            return ""
        size = f"unit='MiB'>{self.virtio_mem_mib}"
        return f"""<memory model='virtio-mem'><target>
      <size {size}</size><node>0</node><block unit='MiB'>2</block><requested {size}</requested>
    </target></memory>"""

    def _pins(self) -> str:
        pins = (f"<vcpupin vcpu='{vcpu}' cpuset='{cpus}'/>" for vcpu, cpus in self.pins.items())
        return "".join(pins) + self.other_pins

    def _kernel(self, directory: Path) -> str:
        driverless = "" if self.balloon_driver else _DRIVERLESS
        return f"""<kernel>{directory}/guest/vmlinuz</kernel>
    <initrd>{directory}/guest/initramfs</initrd>
    <cmdline>console=ttyS0 quiet panic=1 mitigations=off {driverless}</cmdline>"""

    def _consoles(self, directory: Path) -> str:
        return f"""<serial type='file'><source path='{directory}/log/{self.name}.console'/></serial>
    <serial type='unix'><source mode='bind' path='{directory.parent}/console/{self.name}'/></serial>"""

    def _balloon(self) -> str:
        if not self.balloon:
            return "<memballoon model='none'/>"
        features = "".join(f" {name}='{value}'" for name, value in self.balloon_features.items())
        return f"<memballoon model='virtio'{features}><stats period='{self.stats_period_seconds}'/></memballoon>"


def usual(count: int, *, memory_mib: int = 256) -> list[GuestSpec]:
    """The usual guests: kvmtune-lab-1 and so on."""
    return [GuestSpec(name=f"kvmtune-lab-{number}", memory_mib=memory_mib) for number in range(1, count + 1)]


def small(count: int, prefix: str = "small") -> list[GuestSpec]:
    """Guests that cost little: 16 MiB, and nothing to run. Their balloons have no driver that answers."""
    return [GuestSpec(name=f"{prefix}-{number}", memory_mib=16, boots=False) for number in range(1, count + 1)]
