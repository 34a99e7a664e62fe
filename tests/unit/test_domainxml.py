"""What a domain's XML says: tables of snippets, as libvirt formats them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmhost import domainxml
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
from kvmhost.domainxml import DomainXMLError
from tests.golden import HOSTS

UUID = "6e6b96b7-657c-4836-b247-3cf002cf2ebc"
BARE = DomainConfig(name="web", uuid=UUID, virt_type="kvm")
MIB = 2**20


def xml(content: str = "") -> str:
    return f"<domain type='kvm' id='3'><name>web</name><uuid>{UUID}</uuid>{content}</domain>"


def parsed(content: str) -> DomainConfig:
    return domainxml.parse(xml(content))


def devices(content: str) -> DomainConfig:
    return parsed(f"<devices>{content}</devices>")


OVIRT = "<metadata><ovirt-vm:vm xmlns:ovirt-vm='http://ovirt.org/vm/1.0'>{}</ovirt-vm:vm></metadata>"
LIBOSINFO = (
    "<metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>{}"
    "</libosinfo:libosinfo></metadata>"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", {}),
        ("<title>Shop, front end</title>", {"title": "Shop, front end"}),
        ("<title/>", {}),
        (LIBOSINFO.format("<libosinfo:os id='http://debian.org/debian/12'/>"), {"os": "http://debian.org/debian/12"}),
        (LIBOSINFO.format(""), {}),
        ("<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>", {"machine": "pc-q35-7.2"}),
        ("<cpu mode='host-passthrough' check='none'/>", {"cpu_mode": "host-passthrough"}),
        ("<cpu><topology sockets='2'/></cpu>", {}),
        ("<memory unit='KiB'>1024</memory>", {"memory_bytes": MIB}),
        ("<memory>1024</memory>", {"memory_bytes": MIB}),
        ("<maxMemory slots='4' unit='KiB'>4096</maxMemory>", {"memory_max_bytes": 4 * MIB}),
        ("<memtune><hard_limit unit='KiB'>2048</hard_limit></memtune>", {"memory_hard_limit_bytes": 2 * MIB}),
        (
            OVIRT.format("<ovirt-vm:minGuaranteedMemoryMb type='int'>512</ovirt-vm:minGuaranteedMemoryMb>"),
            {"memory_min_guarantee_bytes": 512 * MIB},
        ),
        (
            OVIRT.format("<minGuaranteedMemoryMb type='int'>512</minGuaranteedMemoryMb>"),
            {"memory_min_guarantee_bytes": 512 * MIB},
        ),
        (OVIRT.format(""), {}),
        ("<unheard-of><memory>1</memory></unheard-of>", {}),
    ],
)
def test_words_and_sizes(content: str, said: dict[str, object]) -> None:
    assert parsed(content) == replace(BARE, **said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "backing", "kind"),
    [
        ("", MemoryBacking(), "anonymous"),
        ("<hugepages/>", MemoryBacking(hugepages=(Hugepages(),)), "hugepages"),
        (
            "<hugepages><page size='1048576' unit='KiB' nodeset='0-1'/><page size='2048' unit='KiB'/></hugepages>",
            MemoryBacking(
                hugepages=(
                    Hugepages(size_bytes=2**30, cells=frozenset({0, 1})),
                    Hugepages(size_bytes=2 * MIB),
                )
            ),
            "hugepages",
        ),
        (
            "<hugepages/><source type='memfd'/>",
            MemoryBacking(hugepages=(Hugepages(),), source="memfd"),
            "hugepages",
        ),
        (
            "<source type='memfd'/><access mode='shared'/>",
            MemoryBacking(source="memfd", access="shared"),
            "memfd",
        ),
        ("<source type='file'/>", MemoryBacking(source="file"), "file"),
        ("<source type='anonymous'/>", MemoryBacking(source="anonymous"), "anonymous"),
        ("<access mode='private'/>", MemoryBacking(access="private"), "file"),  # as QEMU is started then
        ("<nosharepages/><locked/>", MemoryBacking(nosharepages=True, locked=True), "anonymous"),
        ("<allocation mode='immediate' threads='8'/>", MemoryBacking(allocation="immediate"), "anonymous"),
    ],
)
def test_memory_backing(content: str, backing: MemoryBacking, kind: str) -> None:
    assert parsed(f"<memoryBacking>{content}</memoryBacking>").memory_backing == backing
    assert backing.kind == kind


@pytest.mark.parametrize("own", ["", "<memoryBacking/>"])
def test_memory_is_shared_if_a_numa_cell_says_so(own: str) -> None:
    cells = "<cpu><numa><cell id='0' cpus='0' memory='1024' unit='KiB' memAccess='shared'/></numa></cpu>"
    assert parsed(own + cells).memory_backing == MemoryBacking(access="shared")


def test_numa() -> None:
    config = parsed("""
        <numatune>
          <memory mode='strict' nodeset='0-1'/>
          <memnode cellid='1' mode='preferred' nodeset='1'/>
        </numatune>
        <cpu>
          <numa>
            <cell id='0' cpus='0-1' memory='2048' unit='KiB'/>
            <cell id='1' memory='1024' unit='KiB'/>
          </numa>
        </cpu>""")
    assert config.numa_policies == (
        NumaPolicy(mode="strict", host_nodes=frozenset({0, 1})),
        NumaPolicy(mode="preferred", host_nodes=frozenset({1}), cell=1),
    )
    assert config.numa_cells == (
        NumaCell(id=0, vcpus=frozenset({0, 1}), memory_bytes=2 * MIB),
        NumaCell(id=1, memory_bytes=MIB),
    )


def test_numad_chooses_the_nodes() -> None:
    (policy,) = parsed("<numatune><memory mode='strict' placement='auto'/></numatune>").numa_policies
    assert policy == NumaPolicy(mode="strict", host_nodes=None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<vcpu>2</vcpu>", {0: None, 1: None}),
        ("<vcpu current='1'>4</vcpu>", {0: None}),
        ("<vcpu cpuset='4-5'>2</vcpu>", {0: {4, 5}, 1: {4, 5}}),
        (
            "<vcpu cpuset='4-5'>2</vcpu><cputune><vcpupin vcpu='0' cpuset='7'/></cputune>",
            {0: {7}, 1: {4, 5}},
        ),
        (
            "<vcpu current='2'>3</vcpu>"
            "<vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='no'/><vcpu id='2' enabled='yes'/></vcpus>"
            "<cputune><vcpupin vcpu='1' cpuset='1'/><vcpupin vcpu='2' cpuset='2'/></cputune>",
            {0: None, 2: {2}},
        ),
        ("", {}),
    ],
    ids=["all", "some plugged in", "cpuset of all", "pin before cpuset", "plugged in out of order", "none"],
)
def test_vcpus_and_their_pins(content: str, expected: dict[int, set[int] | None]) -> None:
    assert {one.index: one.configured_cpus for one in parsed(content).vcpus} == expected


@pytest.mark.parametrize(
    ("content", "emulator", "iothreads"),
    [
        ("", None, {}),
        ("<iothreads>2</iothreads>", None, {1: None, 2: None}),
        (
            "<iothreads>2</iothreads><iothreadids><iothread id='3'/><iothread id='7'/></iothreadids>"
            "<cputune><emulatorpin cpuset='0'/><iothreadpin iothread='7' cpuset='1-2'/></cputune>",
            {0},
            {3: None, 7: {1, 2}},
        ),
        (
            "<vcpu cpuset='4-5'>1</vcpu><iothreads>1</iothreads>",
            {4, 5},
            {1: {4, 5}},
        ),
    ],
    ids=["none", "not pinned", "numbered and pinned", "cpuset of all"],
)
def test_pins_of_other_threads(content: str, emulator: set[int] | None, iothreads: dict[int, set[int] | None]) -> None:
    config = parsed(content)
    assert config.emulator_cpus == emulator
    assert {one.id: one.configured_cpus for one in config.iothreads} == iothreads


@pytest.mark.parametrize(
    ("content", "device"),
    [
        ("", None),
        ("<memballoon model='none'/>", None),
        ("<memballoon model='virtio'/>", BalloonDevice(model="virtio")),
        (
            "<memballoon model='virtio'><stats period='5'/></memballoon>",
            BalloonDevice(model="virtio", stats_period_seconds=5),
        ),
        (
            "<memballoon model='virtio-transitional' autodeflate='on' freePageReporting='on'/>",
            BalloonDevice(model="virtio-transitional", autodeflate=True, free_page_reporting=True),
        ),
        (
            "<memballoon model='virtio' autodeflate='off' freePageReporting='off'/>",
            BalloonDevice(model="virtio"),
        ),
    ],
)
def test_balloon_device(content: str, device: BalloonDevice | None) -> None:
    assert devices(content).balloon_device == device


def test_memory_devices() -> None:
    assert devices("""
        <memory model='virtio-mem'>
          <target>
            <size unit='KiB'>262144</size>
            <node>0</node>
            <block unit='KiB'>2048</block>
            <requested unit='KiB'>131072</requested>
            <current unit='KiB'>65536</current>
          </target>
          <alias name='virtiomem0'/>
        </memory>
        <memory model='dimm'><target><size unit='KiB'>131072</size><node>0</node></target></memory>
    """).memory_devices == (
        MemoryDevice(
            name="virtiomem0",
            model="virtio-mem",
            size_bytes=256 * MIB,
            requested_bytes=128 * MIB,
            current_bytes=64 * MIB,
        ),
        MemoryDevice(name="memory1", model="dimm", size_bytes=128 * MIB),
    )


@pytest.mark.parametrize(
    ("content", "device", "emulated"),
    [
        (
            "<disk type='file' device='disk'><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk>",
            Device(kind="disk", name="vda", bus="virtio", model="virtio"),
            False,
        ),
        (
            "<disk device='disk' model='virtio-transitional'><target dev='vda' bus='virtio'/></disk>",
            Device(kind="disk", name="vda", bus="virtio", model="virtio-transitional"),
            False,
        ),
        (
            "<disk device='disk'><target dev='sda' bus='sata'/></disk>",
            Device(kind="disk", name="sda", bus="sata", model="sata"),
            True,
        ),
        (
            "<disk device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>",
            Device(kind="cdrom", name="sdb", bus="sata", model="sata"),
            False,
        ),
        (
            "<controller type='scsi' index='0' model='lsilogic'/><controller type='scsi' index='1' model='virtio-scsi'/>"
            "<disk device='lun'><target dev='sdc' bus='scsi'/><address type='drive' controller='1'/></disk>",
            Device(kind="lun", name="sdc", bus="scsi", model="virtio-scsi"),
            False,
        ),
        (
            "<controller type='scsi' index='0' model='lsilogic'/>"
            "<disk device='disk'><target dev='sdc' bus='scsi'/><address type='drive' controller='0'/></disk>",
            Device(kind="disk", name="sdc", bus="scsi", model="lsilogic"),
            True,
        ),
        (
            "<disk device='disk'><target dev='sdc' bus='scsi'/></disk>",
            Device(kind="disk", name="sdc", bus="scsi", model=""),
            False,  # nobody knows
        ),
        (
            "<interface type='bridge'><mac address='52:54:00:36:3c:4d'/><model type='virtio'/><alias name='net0'/>"
            "<address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/></interface>",
            Device(kind="interface", name="net0", bus="pci", model="virtio"),
            False,
        ),
        (
            "<interface type='user'><model type='e1000'/></interface>",
            Device(kind="interface", name="net0", bus="", model="e1000"),
            True,
        ),
        (
            "<interface type='hostdev'><alias name='hostdev0'/></interface>",
            Device(kind="interface", name="hostdev0", bus="", model="vfio"),
            False,
        ),
        ("<interface type='user'/>", Device(kind="interface", name="net0", bus="", model=""), False),
        (
            "<memballoon model='virtio'><alias name='balloon0'/><address type='ccw'/></memballoon>",
            Device(kind="balloon", name="balloon0", bus="ccw", model="virtio"),
            False,
        ),
        (
            "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
            Device(kind="rng", name="rng0", bus="", model="virtio"),
            False,
        ),
    ],
)
def test_devices(content: str, device: Device, emulated: bool) -> None:
    assert devices(content).devices == (device,)
    assert device.is_emulated == emulated


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("", 0),
        ("<hostdev mode='subsystem' type='pci' managed='yes'/><hostdev mode='subsystem' type='mdev'/>", 2),
        ("<interface type='hostdev'/>", 1),
        ("<hostdev mode='subsystem' type='usb'/>", 0),  # not through VFIO
    ],
)
def test_host_devices(content: str, count: int) -> None:
    assert devices(content).host_devices == count


@pytest.mark.parametrize(
    ("content", "connected"),
    [
        ("", None),
        (
            "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>",
            True,
        ),
        (
            "<channel type='unix'><target type='virtio' name='com.redhat.spice.0' state='connected'/></channel>"
            "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='disconnected'/></channel>",
            False,
        ),
        ("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>", None),
    ],
)
def test_guest_agent(content: str, connected: bool | None) -> None:
    assert devices(content).guest_agent_connected is connected


CURRENT = xml("<currentMemory unit='KiB'>1024</currentMemory>")


@pytest.mark.parametrize(
    ("live", "persistent", "configured_bytes"),
    [
        (xml("<currentMemory unit='KiB'>2048</currentMemory>"), CURRENT, MIB),
        (CURRENT, None, None),
        (xml("<devices><memory model='dimm'/></devices>"), CURRENT, None),
    ],
    ids=["persistent", "transient", "with memory devices, which count differently in both"],
)
def test_the_balloon_of_the_persistent_configuration(
    live: str, persistent: str | None, configured_bytes: int | None
) -> None:
    assert domainxml.parse(live, persistent).balloon_configured_bytes == configured_bytes


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("<memory unit='KiB'>lots</memory>", "memory: expected a whole number, found 'lots'"),
        ("<memory unit='GiB'>1</memory>", "memory: expected a size in KiB, found 'GiB'"),
        ("<memory/>", "memory: expected a whole number, found ''"),
        ("<memory>" + 30 * "9" + "</memory>", "memory: expected a whole number, found '" + 30 * "9" + "'"),
        ("<vcpu>-1</vcpu>", "vcpu: expected a whole number, found '-1'"),
        ("<vcpu>100000</vcpu>", "vcpu: expected at most 8192, found '100000'"),
        ("<cputune><emulatorpin cpuset='3-1'/></cputune>", "emulatorpin cpuset: expected a list such as 0-3,8, found '3-1'"),
        ("<numatune><memnode cellid='x' mode='strict'/></numatune>", "memnode cellid: expected a whole number, found 'x'"),
        ("<iothreads>x</iothreads>", "iothreads: expected a whole number, found 'x'"),
        ("<cpu><numa><cell id='x'/></numa></cpu>", "cell id: expected a whole number, found 'x'"),
    ],
)  # fmt: skip
def test_a_malformed_value_costs_its_own_field_and_is_named(content: str, fault: str) -> None:
    assert parsed(content) == replace(BARE, faults=(fault,))


def test_a_malformed_pin_leaves_the_vcpu() -> None:
    config = parsed("<vcpu>1</vcpu><cputune><vcpupin vcpu='0' cpuset='all'/></cputune>")
    assert config.vcpus == (Vcpu(index=0),)
    assert config.faults == ("vcpupin cpuset: expected a list such as 0-3,8, found 'all'",)


def test_an_iothread_without_a_number_is_left_out() -> None:
    config = parsed("<iothreads>2</iothreads><iothreadids><iothread id='x'/><iothread id='2'/></iothreadids>")
    assert config.iothreads == (IOThread(id=2),)


def test_a_malformed_persistent_xml_costs_what_it_says() -> None:
    config = domainxml.parse(xml(), "<domain>")
    assert config.balloon_configured_bytes is None
    assert config.faults[0].startswith("persistent XML: expected XML, found ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not well-formed XML: no element found"),
        ("not XML", "not well-formed XML: syntax error"),
        ("<domain>", "not well-formed XML: no element found"),
        ("<domain>\0</domain>", "not well-formed XML: "),
        ("<domain>\ud800</domain>", "not well-formed XML: "),
        (f"<network><name>web</name><uuid>{UUID}</uuid></network>", "not the XML of a domain"),
        (f"<domain><uuid>{UUID}</uuid></domain>", "not the XML of a domain"),
        ("<domain><name>web</name></domain>", "not the XML of a domain"),
    ],
)
def test_what_is_not_the_xml_of_a_domain(text: str, message: str) -> None:
    with pytest.raises(DomainXMLError, match=message):
        domainxml.parse(text)


def test_entities_do_not_explode() -> None:
    laughs = "".join(f"<!ENTITY l{n} '{10 * f'&l{n - 1};'}'>" for n in range(1, 10))
    with pytest.raises(DomainXMLError):
        domainxml.parse(f"<!DOCTYPE d [<!ENTITY l0 'ha'>{laughs}]>{xml('<title>&l9;</title>')}")


TAGS = [
    "memory", "maxMemory", "memtune", "hard_limit", "memoryBacking", "hugepages", "page", "source", "access",
    "metadata", "numatune", "memnode", "cpu", "numa", "cell", "vcpu", "vcpus", "cputune", "vcpupin",
    "emulatorpin", "iothreads", "iothreadids", "iothread", "iothreadpin", "os", "type", "devices", "disk",
    "target", "alias", "address", "controller", "interface", "model", "memballoon", "stats", "rng", "hostdev",
    "channel", "size", "requested", "current",
]  # fmt: skip
ATTRIBUTES = [
    "id", "unit", "type", "model", "mode", "nodeset", "cellid", "cpus", "cpuset", "vcpu", "current", "enabled",
    "index", "controller", "size", "period", "dev", "bus", "name", "device", "state", "memory", "memAccess",
    "iothread",
]  # fmt: skip
VALUES = st.sampled_from(["", "0", "yes", "x", "0-3", "3-1", "99999999999999999999", "scsi", "KiB", "-1", " 7 ", "٣"])
VALUES |= st.text(st.characters(exclude_categories=["C"]), max_size=5)
ELEMENTS = st.recursive(
    VALUES.map(lambda text: text.replace("&", "").replace("<", "").replace("]]>", "")),
    lambda inner: st.builds(
        lambda tag, attributes, content: "<{0}{1}>{2}</{0}>".format(
            tag, "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items()), "".join(content)
        ),
        st.sampled_from(TAGS),
        st.dictionaries(st.sampled_from(ATTRIBUTES), VALUES, max_size=3),
        st.lists(inner, max_size=4),
    ),
    max_leaves=20,
)


@given(st.lists(ELEMENTS, max_size=6))
def test_no_domain_is_refused_for_what_is_in_it(content: list[str]) -> None:
    config = parsed("".join(content))
    assert (config.name, config.uuid) == ("web", UUID)
    for names in (
        [(device.kind, device.name) for device in config.devices],
        [device.name for device in config.memory_devices],
        [vcpu.index for vcpu in config.vcpus],
        [thread.id for thread in config.iothreads],
    ):
        assert len(set(names)) == len(names)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with suppress(DomainXMLError):
        domainxml.parse(text)
    with suppress(DomainXMLError):
        domainxml.parse(xml(text))


REAL = [path.read_text() for host in HOSTS for path in sorted((host / "libvirt").glob("*.xml"))]


@given(st.data())
def test_no_damage_to_real_xml_raises_anything_else(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(REAL))
    first, last = sorted(data.draw(st.tuples(*2 * [st.integers(0, len(text))])))
    with suppress(DomainXMLError):
        domainxml.parse(text[:first] + data.draw(st.text(max_size=3)) + text[last:])
