"""The knobs: the only code that writes to the host. A new knob is a class and a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actuator.knobs.balloon import BalloonTarget
from actuator.knobs.knob import HOST, Knob, KnobError, Live, Target, Unit, Value, label
from actuator.knobs.ksm import PagesToScan, Run, SleepMillisecs
from actuator.knobs.vcpu import VcpuAffinity
from kvmhost.fs import HostFS
from kvmhost.virtprocess import VirtProcess

__all__ = ["HOST", "KNOBS", "Knob", "KnobError", "Live", "Target", "Unit", "Value", "connect", "label"]

KNOBS: Mapping[str, type[Knob]] = {
    knob.name: knob for knob in (Run, PagesToScan, SleepMillisecs, BalloonTarget, VcpuAffinity)
}


def connect(fs: HostFS, virt: VirtProcess, clock: Callable[[], float]) -> Mapping[str, Knob]:
    """The knobs of this host, by name. `clock` gives unix seconds."""
    knobs: tuple[Knob, ...] = (
        Run(fs),
        PagesToScan(fs),
        SleepMillisecs(fs),
        BalloonTarget(virt, clock),
        VcpuAffinity(fs, virt),
    )
    return {knob.name: knob for knob in knobs}
