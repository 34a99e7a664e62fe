"""What is shown of how domains are made, in the odd cases. The ordinary ones are in the golden pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.collectors import commitment
from exporter.collectors.devices import DevicesCollector
from exporter.collectors.domains import DomainsCollector
from exporter.collectors.pins import PinsCollector, overlaps
from exporter.scrape import Scrape
from kvmhost.domains import (
    Device,
    Domain,
    DomainConfig,
    Hugepages,
    IOThread,
    MemoryBacking,
    MemoryDevice,
    NumaPolicy,
    Vcpu,
)
from kvmhost.fs import HostFS
from kvmhost.guests import GuestsSample
from kvmhost.libvirt.snapshot import Snapshot
from tests.collected import NOW, UUID, collected
from tests.host import made_of

BARE = DomainConfig(name="web", uuid=UUID, virt_type="kvm")


def domain(config: DomainConfig) -> Domain:
    return Domain(id=1, state="running", config=config)


def info_of(config: DomainConfig) -> str:
    samples, _ = collected(DomainsCollector(), domain(config))
    (name,) = (name for name in samples if name.startswith("kvm_domain_info"))
    return name.removeprefix("kvm_domain_info")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BARE, "{,,kvm,,,anonymous,,,,no,no,,}"),
        (
            replace(
                BARE,
                memory_backing=MemoryBacking(
                    hugepages=(Hugepages(size_bytes=2**30), Hugepages(size_bytes=2**21), Hugepages(size_bytes=2**30)),
                ),
            ),
            "{,,kvm,,,hugepages,2MiB,1GiB,,,no,no,,}",
        ),
        (
            replace(BARE, memory_backing=MemoryBacking(hugepages=(Hugepages(),))),
            "{,,kvm,,,hugepages,default,,,no,no,,}",
        ),
        (
            replace(
                BARE,
                numa_policies=(
                    NumaPolicy(mode="strict", host_nodes=frozenset({0, 1})),
                    NumaPolicy(mode="preferred", host_nodes=frozenset({2}), cell=1),
                ),
            ),
            "{,,kvm,,,anonymous,,,,no,no,preferred,strict,0-2}",
        ),
        (
            replace(BARE, numa_policies=(NumaPolicy(mode="strict"),)),  # numad chooses
            "{,,kvm,,,anonymous,,,,no,no,strict,}",
        ),
    ],
)
def test_words_about_a_domain(config: DomainConfig, words: str) -> None:
    assert info_of(config) == words


def test_only_virtio_mem_can_be_resized() -> None:
    devices = (
        MemoryDevice(name="dimm0", model="dimm", size_bytes=1),
        MemoryDevice(name="virtiomem0", model="virtio-mem", size_bytes=4, requested_bytes=3, current_bytes=2),
    )
    samples, _ = collected(DomainsCollector(), domain(replace(BARE, memory_devices=devices)))
    assert {name: value for name, value in samples.items() if "virtio_mem" in name} == {
        "kvm_domain_virtio_mem_size_bytes{virtiomem0}": 4,
        "kvm_domain_virtio_mem_requested_bytes{virtiomem0}": 3,
        "kvm_domain_virtio_mem_current_bytes{virtiomem0}": 2,
    }


def test_what_is_malformed_in_the_xml_is_named_with_the_next_step() -> None:
    _, errors = collected(DomainsCollector(), domain(replace(BARE, faults=("vcpu: expected a whole number",))))
    assert errors == ["XML of the domain web: vcpu: expected a whole number; look at it with virsh dumpxml web"]


def test_a_domain_without_devices() -> None:
    samples, _ = collected(DevicesCollector(), domain(BARE))
    assert samples == {"kvm_domain_emulated_devices": 0, "kvm_domain_host_devices": 0}


def test_cdroms_and_devices_of_the_host_are_not_emulated_ones() -> None:
    devices = (
        Device(kind="disk", name="vda", bus="virtio", model="virtio"),
        Device(kind="disk", name="sda", bus="sata", model="sata"),
        Device(kind="cdrom", name="sdb", bus="sata", model="sata"),
        Device(kind="interface", name="net0", bus="pci", model="vfio"),
        Device(kind="interface", name="net1", bus="pci", model="e1000"),
    )
    samples, _ = collected(DevicesCollector(), domain(replace(BARE, devices=devices, guest_agent_connected=False)))
    assert samples == {
        "kvm_domain_device_info{disk,vda,virtio,virtio}": 1,
        "kvm_domain_device_info{disk,sda,sata,sata}": 1,
        "kvm_domain_device_info{cdrom,sdb,sata,sata}": 1,
        "kvm_domain_device_info{interface,net0,pci,vfio}": 1,
        "kvm_domain_device_info{interface,net1,pci,e1000}": 1,
        "kvm_domain_emulated_devices": 2,
        "kvm_domain_host_devices": 0,
        "kvm_domain_guest_agent_connected": 0,
    }


def test_threads_that_are_not_pinned_are_not_shown() -> None:
    threads = (IOThread(id=1), IOThread(id=2, configured_cpus=frozenset({0, 1})))
    samples, _ = collected(PinsCollector(), domain(replace(BARE, iothreads=threads)))
    assert samples == {"kvm_domain_iothread_affinity_configured_cpus{2}": 2}
    samples, _ = collected(PinsCollector(), domain(replace(BARE, emulator_cpus=frozenset({7}))))
    assert samples == {"kvm_domain_emulator_affinity_configured_cpus": 1}


@pytest.mark.parametrize(
    ("pins", "found"),
    [
        ({"a": ["0", "1"], "b": ["2"]}, {"a": 0, "b": 0}),
        ({"a": ["0", "0"], "b": ["1"]}, {"a": 2, "b": 0}),
        ({"a": ["0", "1"], "b": ["1", "1"]}, {"a": 1, "b": 2}),
        ({"a": ["0"], "b": ["01"]}, {"a": 0}),  # b is not pinned to one CPU alone
        ({"a": [""], "b": []}, {}),
    ],
)
def test_vcpus_that_share_the_only_cpu_they_may_use(pins: dict[str, list[str]], found: dict[str, int]) -> None:
    domains = [
        domain(
            DomainConfig(
                name=name,
                uuid=name,
                virt_type="kvm",
                vcpus=tuple(
                    Vcpu(index=index, configured_cpus=frozenset(map(int, cpus)) or None)
                    for index, cpus in enumerate(own)
                ),
            )
        )
        for name, own in pins.items()
    ]
    assert overlaps(domains) == found


HOST = {"proc/meminfo": "MemTotal: 4 kB\n", "sys/devices/system/cpu/online": "0-3\n"}
TWO_VCPUS = (Vcpu(index=0), Vcpu(index=1))


def committed(fs: HostFS, *domains: Domain) -> dict[str, float]:
    samples, errors = collected(commitment.collect, *domains, root=fs.root)
    assert errors == []
    return samples


def test_what_is_promised_to_guests(tmp_path: Path) -> None:
    config = replace(BARE, memory_bytes=3072, vcpus=TWO_VCPUS)
    assert committed(made_of(tmp_path, HOST), *[domain(replace(config, uuid=uuid)) for uuid in "abc"]) == {
        "kvm_memory_guest_committed_bytes": 9216,
        "kvm_memory_guest_overcommit_ratio": 2.25,
        "kvm_cpu_vcpus": 6,
        "kvm_cpu_vcpu_overcommit_ratio": 1.5,
    }


def test_a_host_without_guests_has_promised_nothing(tmp_path: Path) -> None:
    assert set(committed(made_of(tmp_path, HOST)).values()) == {0}


def test_a_sum_that_lacks_a_part_is_not_shown(tmp_path: Path) -> None:
    known = domain(replace(BARE, memory_bytes=1024))
    unknown = domain(replace(BARE, uuid="b"))
    shown = committed(made_of(tmp_path, HOST), known, unknown)
    assert shown == {"kvm_cpu_vcpus": 0, "kvm_cpu_vcpu_overcommit_ratio": 0}


@pytest.mark.parametrize("content", ["", "broken\n"])
def test_ratios_need_what_the_host_has(tmp_path: Path, content: str) -> None:
    fs = made_of(tmp_path, dict.fromkeys(HOST, content) if content else {})
    shown = committed(fs, domain(replace(BARE, memory_bytes=1024, vcpus=TWO_VCPUS)))
    assert shown == {"kvm_memory_guest_committed_bytes": 1024, "kvm_cpu_vcpus": 2}


def test_without_an_answer_of_libvirt_nothing_is_promised_and_nothing_is_zero() -> None:
    scrape = Scrape(fs=HostFS("/nonexistent"), now=NOW, libvirt=Snapshot(up=False), guests=GuestsSample())
    assert list(commitment.collect(scrape)) == []
