"""4.6: paravirtual drivers. A guest with emulated devices, and the same guest with virtio."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import ExitStack

from actuator.promql.labels import get
from tests import alertrules
from tests.alertrules import Alert
from tests.lab.lab import Lab
from tests.lab.specs import GuestSpec

from .stage import Stage
from .story import Chapter, Unit, Watch

NAME = "tour-legacy"
ALERT = "KvmEmulatedDevices"
_UUID = str(uuid.uuid4())
_DISK = "tour.img"
_DISK_BYTES = 16 * 2**20


def show(stage: Stage, lab: Lab) -> Chapter:
    """One guest, started twice."""
    first = len(stage.steps)
    alert = next(alert for alert in alertrules.alerts() if alert.name == ALERT)
    about = f'{{domain="{NAME}"}}'
    watch = (
        Watch(what="emulated devices", expr=f"kvm_domain_emulated_devices{about}", unit=Unit.COUNT),
        Watch(what="disks and NICs are", expr=f'kvm_domain_device_info{{domain="{NAME}",class=~"disk|interface"}}',
              unit=Unit.WORD, label="model"),
        Watch(what=f"guests that {ALERT} names", expr=f"count({alert.expr}) or vector(0)", unit=Unit.COUNT,
              drawn=False),
    )  # fmt: skip
    disk = lab.directory / _DISK
    disk.touch()
    os.truncate(disk, _DISK_BYTES)

    with ExitStack() as guest:
        _steps(stage, lab, alert, watch, guest)
    return Chapter(
        number="4.6",
        title="Paravirtual drivers",
        steps=tuple(stage.steps[first:]),
        read_on=f"[the alert](alerts.md#{ALERT.lower()}), [metrics of devices](metrics.md#devices)",
    )


def _steps(stage: Stage, lab: Lab, alert: Alert, watch: Sequence[Watch], guest: ExitStack) -> None:
    about = f'{{domain="{NAME}"}}'
    with stage.step(
        "emulated devices, found",
        "A machine that was moved here as it was (P2V) often plays hardware: an IDE disk, an e1000 NIC. Each access "
        "leaves the guest, and QEMU acts as the device.",
        f"virsh dumpxml {NAME}   # bus='ide', model type='e1000'",
        watch=watch,
    ) as doing:
        guest.enter_context(lab.crowd([_guest("ide", "hda", "e1000")], paused=False))
        stage.wait_for(f"kvm_domain_emulated_devices{about} == 2", "the devices are found")
        stage.show(f"$ kvmtune-actuator query '{alert.expr}'\n{stage.query(alert.expr)}")
        for sample in stage.ask(watch[1].expr):
            labels = {name: get(sample.labels, name) for name in ("class", "device", "bus", "model")}
            stage.show(", ".join(f"{name} {value}" for name, value in labels.items() if value))
        doing.remarks.append(_told(alert.annotations["description"], NAME, "2"))

    with stage.step(
        "the same guest with virtio",
        "Linux guests bring the drivers along. A Windows guest gets them first, from virtio-win: with the disk on "
        "virtio and no driver for it, it would not boot. Then the domain is changed and started again.",
        f"virsh shutdown {NAME}; virsh edit {NAME}   # bus='virtio', model type='virtio'",
        f"virsh start {NAME}",
        watch=watch,
    ):
        guest.close()
        guest.enter_context(lab.crowd([_guest("virtio", "vda", "virtio")], paused=False))
        stage.wait_for(f"kvm_domain_emulated_devices{about} == 0", "no device is emulated")
        stage.show(f"$ kvmtune-actuator query '{alert.expr}'\n{stage.query(alert.expr)}")


def _guest(bus: str, target: str, model: str) -> GuestSpec:
    devices = (
        f"<disk type='file'><driver name='qemu' type='raw'/><source file='/run/lab/{_DISK}'/>"
        f"<target dev='{target}' bus='{bus}'/></disk><interface type='user'><model type='{model}'/></interface>"
    )
    return GuestSpec(name=NAME, uuid=_UUID, memory_mib=64, boots=False, devices=devices)


def _told(template: str, domain: str, value: str) -> str:
    """An annotation as an operator gets it."""
    told = template.replace("{{ $labels.domain }}", domain).replace("{{ $labels.instance }}", "this host")
    return " ".join(told.replace("{{ $value }}", value).split())
