"""A domain's live XML, as libvirt formats it, into a `DomainConfig` (pure).

Format: https://libvirt.org/formatdomain.html, as virDomainDefFormat writes it (src/conf/domain_conf.c): sizes are
in KiB, and lists of CPUs and nodes have no exceptions (`^3`). What is unknown here is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from kvmhost import cpulist, domainpolicy
from kvmhost.domains import (
    BalloonDevice,
    Device,
    DomainConfig,
    Hugepages,
    IOThread,
    MemoryBacking,
    MemoryDevice,
    NumaCell,
    NumaPolicy,
    Vcpu,
)

_LIBOSINFO = "{http://libosinfo.org/xmlns/libvirt/domain/1.0}"
_OVIRT = "{http://ovirt.org/vm/1.0}"
_POLICY = f"metadata/{{{domainpolicy.NAMESPACE}}}policy"
_GUEST_AGENT = "org.qemu.guest_agent.0"

_NUMBER = re.compile(r"[0-9]{1,16}")
# No hypervisor has as many threads of a kind (KVM_MAX_VCPUS is 4096): more is damage, and would cost memory here.
_MOST_THREADS = 8192


class DomainXMLError(ValueError):
    """Text that is not the XML of a domain: malformed as a whole, or without the domain's name and uuid."""


def parse(xml: str, persistent_xml: str | None = None) -> DomainConfig:
    """What the live XML of an active domain says of how it is made, and what its persistent XML would have.

    A malformed value costs its own field, and is in `faults`. `DomainXMLError` if there is no telling whose it is.
    """
    root = _root(xml)
    name, uuid = root.findtext("name"), root.findtext("uuid")
    if root.tag != "domain" or not name or not uuid:
        raise DomainXMLError("not the XML of a domain: a <domain> with <name> and <uuid> is expected")
    values = _Values()
    default_cpus = values.members(_attribute(root, "vcpu", "cpuset"), "vcpu cpuset")
    return DomainConfig(
        name=name,
        uuid=uuid,
        virt_type=root.get("type", ""),
        title=root.findtext("title") or None,
        os=_attribute(root, f"metadata/{_LIBOSINFO}libosinfo/{_LIBOSINFO}os", "id"),
        machine=_attribute(root, "os/type", "machine"),
        cpu_mode=_attribute(root, "cpu", "mode"),
        memory_bytes=values.size_bytes(root.find("memory")),
        memory_max_bytes=values.size_bytes(root.find("maxMemory")),
        memory_hard_limit_bytes=values.size_bytes(root.find("memtune/hard_limit")),
        memory_min_guarantee_bytes=_min_guarantee_bytes(root, values),
        policy=domainpolicy.parse(root.findall(_POLICY)),
        balloon_configured_bytes=_configured_bytes(root, persistent_xml, values),
        memory_backing=_memory_backing(root, values),
        memory_devices=tuple(_memory_devices(root, values)),
        numa_policies=tuple(_numa_policies(root, values)),
        numa_cells=tuple(_numa_cells(root, values)),
        vcpus=tuple(_vcpus(root, default_cpus, values)),
        emulator_cpus=_emulator_cpus(root, values) or default_cpus,
        iothreads=tuple(_iothreads(root, default_cpus, values)),
        balloon_device=_balloon_device(root, values),
        devices=tuple({(device.kind, device.name): device for device in _devices(root)}.values()),
        host_devices=_host_devices(root),
        guest_agent_connected=_guest_agent_connected(root),
        faults=tuple(values.faults),
    )


def _root(xml: str) -> Element:
    try:
        return ElementTree.fromstring(xml)  # noqa: S314 - written by libvirtd, which we trust with far more
    except (ElementTree.ParseError, ValueError) as error:
        raise DomainXMLError(f"not well-formed XML: {error}") from error


class _Values:
    """Reads values that have a form. One that is absent or malformed is None, and the latter is among the faults."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def number(self, text: str | None, what: str) -> int | None:
        if text is None:
            return None
        if _NUMBER.fullmatch(text.strip()):
            return int(text)
        self.malformed(what, "a whole number", text)
        return None

    def size_bytes(self, element: Element | None) -> int | None:
        if element is None:
            return None
        if element.get("unit", "KiB") != "KiB":
            self.malformed(element.tag, "a size in KiB", element.get("unit", ""))
            return None
        kib = self.number(element.text or "", element.tag)
        return None if kib is None else kib * 1024

    def members(self, text: str | None, what: str) -> frozenset[int] | None:
        """The members of a list of CPUs or nodes."""
        try:
            return cpulist.parse(text) if text else None
        except ValueError:
            self.malformed(what, "a list such as 0-3,8", text or "")
            return None

    def threads(self, text: str | None, what: str) -> int:
        """How many threads there are of a kind."""
        count = self.number(text, what) or 0
        if count <= _MOST_THREADS:
            return count
        self.malformed(what, f"at most {_MOST_THREADS}", str(count))
        return 0

    def malformed(self, what: str, expected: str, found: str) -> None:
        self.faults.append(f"{what}: expected {expected}, found {found.strip()[:60]!r}")


def _attribute(root: Element, path: str, name: str) -> str | None:
    element = root.find(path)
    return None if element is None else element.get(name) or None


def _min_guarantee_bytes(root: Element, values: _Values) -> int | None:
    # libvirt's own memtune/min_guarantee is refused for QEMU (qemuValidateDomainDef), so oVirt has one.
    mib = values.number(root.findtext(f"metadata/{_OVIRT}vm/{{*}}minGuaranteedMemoryMb"), "minGuaranteedMemoryMb")
    return None if mib is None else mib * 2**20


def _configured_bytes(root: Element, persistent_xml: str | None, values: _Values) -> int | None:
    # libvirt adds what memory devices give to the current memory, and those may be plugged in and resized live.
    if persistent_xml is None or root.find("devices/memory") is not None:
        return None
    try:
        return values.size_bytes(_root(persistent_xml).find("currentMemory"))
    except DomainXMLError as error:
        values.malformed("persistent XML", "XML", str(error))
        return None


def _memory_backing(root: Element, values: _Values) -> MemoryBacking:
    backing = root.find("memoryBacking")
    access = _attribute(root, "cpu/numa/cell[@memAccess]", "memAccess")
    if backing is None:
        return MemoryBacking(access=access)
    return MemoryBacking(
        hugepages=tuple(_hugepages(backing, values)),
        source=_attribute(backing, "source", "type"),
        access=_attribute(backing, "access", "mode") or access,
        allocation=_attribute(backing, "allocation", "mode"),
        nosharepages=backing.find("nosharepages") is not None,
        locked=backing.find("locked") is not None,
    )


def _hugepages(backing: Element, values: _Values) -> Iterator[Hugepages]:
    pages = backing.findall("hugepages/page")
    for page in pages:
        kib = values.number(page.get("size"), "hugepages/page size")
        yield Hugepages(
            size_bytes=kib * 1024 if kib else None,
            cells=values.members(page.get("nodeset"), "hugepages/page nodeset"),
        )
    if not pages and backing.find("hugepages") is not None:
        yield Hugepages()


def _memory_devices(root: Element, values: _Values) -> Iterator[MemoryDevice]:
    found = {_alias(device) or f"memory{index}": device for index, device in enumerate(root.iterfind("devices/memory"))}
    for name, device in found.items():
        yield MemoryDevice(
            name=name,
            model=device.get("model", ""),
            size_bytes=values.size_bytes(device.find("target/size")),
            requested_bytes=values.size_bytes(device.find("target/requested")),
            current_bytes=values.size_bytes(device.find("target/current")),
        )


def _numa_policies(root: Element, values: _Values) -> Iterator[NumaPolicy]:
    for policy in (*root.iterfind("numatune/memory"), *root.iterfind("numatune/memnode")):
        cell = values.number(policy.get("cellid"), "memnode cellid")
        if policy.tag == "memory" or cell is not None:
            nodes = values.members(policy.get("nodeset"), f"numatune/{policy.tag} nodeset")
            yield NumaPolicy(mode=policy.get("mode", "strict"), host_nodes=nodes, cell=cell)


def _numa_cells(root: Element, values: _Values) -> Iterator[NumaCell]:
    for cell in root.iterfind("cpu/numa/cell"):
        number = values.number(cell.get("id"), "cell id")
        kib = values.number(cell.get("memory"), "cell memory")
        if number is not None:
            yield NumaCell(
                id=number,
                vcpus=values.members(cell.get("cpus"), "cell cpus"),
                memory_bytes=None if kib is None else kib * 1024,
            )


def _vcpus(root: Element, default: frozenset[int] | None, values: _Values) -> Iterator[Vcpu]:
    vcpu = root.find("vcpu")
    if vcpu is None:
        return
    pins = _pins(root, "vcpupin", "vcpu", values)
    # The list of single vCPUs is there only if they can be plugged in any order.
    plugged = [values.number(one.get("id"), "vcpu id") for one in root.iterfind("vcpus/vcpu[@enabled='yes']")]
    for index in dict.fromkeys(plugged) or range(values.threads(vcpu.get("current") or vcpu.text, "vcpu")):
        if index is not None:
            yield Vcpu(index=index, configured_cpus=pins.get(index) or default)


def _emulator_cpus(root: Element, values: _Values) -> frozenset[int] | None:
    return values.members(_attribute(root, "cputune/emulatorpin", "cpuset"), "emulatorpin cpuset")


def _iothreads(root: Element, default: frozenset[int] | None, values: _Values) -> Iterator[IOThread]:
    pins = _pins(root, "iothreadpin", "iothread", values)
    # Without a list, they are numbered from 1.
    listed = [values.number(one.get("id"), "iothread id") for one in root.iterfind("iothreadids/iothread")]
    for number in dict.fromkeys(listed) or range(1, 1 + values.threads(root.findtext("iothreads"), "iothreads")):
        if number is not None:
            yield IOThread(id=number, configured_cpus=pins.get(number) or default)


def _pins(root: Element, tag: str, thread: str, values: _Values) -> dict[int | None, frozenset[int] | None]:
    return {
        values.number(pin.get(thread), f"{tag} {thread}"): values.members(pin.get("cpuset"), f"{tag} cpuset")
        for pin in root.iterfind(f"cputune/{tag}")
    }


def _balloon_device(root: Element, values: _Values) -> BalloonDevice | None:
    device = root.find("devices/memballoon")
    if device is None or device.get("model") == "none":
        return None
    return BalloonDevice(
        model=device.get("model", ""),
        stats_period_seconds=values.number(_attribute(device, "stats", "period"), "memballoon stats period") or 0,
        autodeflate=device.get("autodeflate") == "on",
        free_page_reporting=device.get("freePageReporting") == "on",
    )


def _devices(root: Element) -> Iterator[Device]:
    devices = root.find("devices")
    if devices is None:
        return
    scsi = {one.get("index"): one.get("model", "") for one in devices.iterfind("controller[@type='scsi']")}
    for index, disk in enumerate(devices.iterfind("disk")):
        yield _disk(disk, index, scsi)
    for index, interface in enumerate(devices.iterfind("interface")):
        model = "vfio" if interface.get("type") == "hostdev" else _attribute(interface, "model", "type")
        yield _other("interface", interface, f"net{index}", model)
    for index, balloon in enumerate(devices.iterfind("memballoon")):
        if balloon.get("model") != "none":
            yield _other("balloon", balloon, f"balloon{index}", balloon.get("model"))
    for index, rng in enumerate(devices.iterfind("rng")):
        yield _other("rng", rng, f"rng{index}", rng.get("model"))


def _disk(disk: Element, index: int, scsi: dict[str | None, str]) -> Device:
    bus = _attribute(disk, "target", "bus") or ""
    own = disk.get("model") or bus
    # Of a SCSI disk, the guest drives the controller.
    model = scsi.get(_attribute(disk, "address", "controller"), "") if bus == "scsi" else own
    name = _attribute(disk, "target", "dev") or _alias(disk) or f"disk{index}"
    return Device(kind=disk.get("device", "disk"), name=name, bus=bus, model=model)


def _other(kind: str, device: Element, name: str, model: str | None) -> Device:
    bus = _attribute(device, "address", "type") or ""
    return Device(kind=kind, name=_alias(device) or name, bus=bus, model=model or "")


def _host_devices(root: Element) -> int:
    by_vfio = [one for one in root.iterfind("devices/hostdev") if one.get("type") in ("pci", "mdev")]
    return len(by_vfio) + len(root.findall("devices/interface[@type='hostdev']"))


def _guest_agent_connected(root: Element) -> bool | None:
    state = _attribute(root, f"devices/channel/target[@name='{_GUEST_AGENT}']", "state")
    return None if state is None else state == "connected"


def _alias(device: Element) -> str | None:
    return _attribute(device, "alias", "name")
