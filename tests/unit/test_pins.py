"""Affinity of QEMU's own threads and the statistics period, on libvirt's test driver with a QEMU process of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actuator import knobs
from actuator.knobs import Knob, KnobError, Libvirt, Target, Value
from kvmhost import processes
from tests.host import made_of
from tests.programs import wait_until
from tests.unit.test_virt import needs_libvirt

UUID = "5b0f3c52-7a52-4b7c-9d0e-6f1f1f8f0a01"
XML = f"""\
<domain type='test'>
  <name>web</name>
  <uuid>{UUID}</uuid>
  <memory unit='KiB'>1048576</memory>
  <vcpu>1</vcpu>
  <iothreads>2</iothreads>
  <os><type arch='x86_64'>hvm</type></os>
  <devices><memballoon model='virtio'><stats period='5'/></memballoon></devices>
</domain>"""
# The test driver's host has eight CPUs, these among them.
AFFINITY = {100: "0-7", 101: "0-7", 102: "4", 103: "5-6"}
COMMS = {100: "qemu-system-x86", 101: "CPU 0/KVM", 102: "IO iothread1", 103: "IO iothread2"}
WEB: Target = (("domain", "web"),)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[dict[str, Knob]]:
    """The knobs of a host with one guest, which has two I/O threads."""
    files = {"proc/100/cmdline": f"/usr/bin/qemu-system-x86_64\0-uuid\0{UUID}\0", "node.xml": f"<node>{XML}</node>"}
    for tid, comm in COMMS.items():
        thread = f"proc/100/task/{tid}"
        files |= {f"{thread}/comm": f"{comm}\n", f"{thread}/status": f"Name:\tx\nCpus_allowed_list:\t{AFFINITY[tid]}\n"}
    files["proc/100/stat"] = "100 (qemu) S" + " 0" * 50
    files["sys/devices/system/cpu/online"] = "0-7\n"
    fs = made_of(tmp_path, files)
    with Libvirt(
        f"test://{tmp_path}/node.xml", tmp_path, lambda: 0.0, readonly=False, interval_seconds=0.05
    ) as libvirt:
        wait_until(libvirt.is_complete, "its guest is known")
        yield dict(knobs.connect(fs, libvirt, lambda: 0.0))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("emulator.affinity", {WEB: "0-7"}),
        ("iothread.affinity", {(*WEB, ("iothread", "1")): "4", (*WEB, ("iothread", "2")): "5-6"}),
        ("balloon.stats_period", {WEB: 5}),
    ],
)
@needs_libvirt
def test_targets_and_values(host: dict[str, Knob], name: str, found: dict[Target, Value]) -> None:
    live = host[name].live()
    assert {target: state.value for target, state in live.items()} == found
    assert {state.identity for state in live.values()} == {UUID}


@pytest.mark.parametrize(
    ("name", "target", "value"),
    [
        ("emulator.affinity", WEB, "0-1"),
        ("iothread.affinity", (*WEB, ("iothread", "2")), "3"),
        ("balloon.stats_period", WEB, 2),
    ],
)
@needs_libvirt
def test_libvirt_takes_what_is_written(host: dict[str, Knob], name: str, target: Target, value: Value) -> None:
    host[name].live()
    host[name].write(target, value)


@pytest.mark.parametrize(
    ("name", "target", "value", "says"),
    [
        ("iothread.affinity", (*WEB, ("iothread", "9")), "3", "web/iothread 9 is gone"),
        ("emulator.affinity", (("domain", "db"),), "3", "db is gone"),
        ("balloon.stats_period", (("domain", "db"),), 3, "the guest db is gone"),
    ],
)
@needs_libvirt
def test_what_is_gone(host: dict[str, Knob], name: str, target: Target, value: Value, says: str) -> None:
    host[name].live()
    with pytest.raises(KnobError, match=says):
        host[name].write(target, value)


def test_iothreads_of_a_process_that_has_ended(tmp_path: Path) -> None:
    assert processes.iothreads(made_of(tmp_path, {}), 100) == {}
