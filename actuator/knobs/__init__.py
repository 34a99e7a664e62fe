"""The knobs: the only code that writes to the host. A new knob is a class, or a row of a table, and a row here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from actuator.knobs import ksm, sysctl, thp
from actuator.knobs.balloon import BalloonStatsPeriod, BalloonTarget
from actuator.knobs.files import FileKnob
from actuator.knobs.hugepages import HugepagesPool
from actuator.knobs.knob import HOST, Knob, KnobError, Live, Metric, Target, Unit, Value, label
from actuator.knobs.ksm import MaxPageSharing, MergeAcrossNodes, Run
from actuator.knobs.libvirt import Libvirt
from actuator.knobs.nextboot import DomainHugepages, SharePages
from actuator.knobs.pins import EmulatorAffinity, IOThreadAffinity
from actuator.knobs.tuned import TunedProfile
from actuator.knobs.vcpu import VcpuAffinity
from actuator.knobs.write import Disposable
from kvmhost.dbus import Bus, system_bus
from kvmhost.fs import HostFS

__all__ = [
    "HOST",
    "KNOBS",
    "Knob",
    "KnobError",
    "Libvirt",
    "Live",
    "Metric",
    "Target",
    "Unit",
    "Value",
    "connect",
    "label",
]

_FILES: tuple[type[FileKnob], ...] = (*ksm.PLAIN, *thp.KNOBS, *sysctl.KNOBS)

_ALL: tuple[type[Knob], ...] = (
    Run,
    MergeAcrossNodes,
    MaxPageSharing,
    *_FILES,
    HugepagesPool,
    BalloonTarget,
    BalloonStatsPeriod,
    SharePages,
    DomainHugepages,
    VcpuAffinity,
    EmulatorAffinity,
    IOThreadAffinity,
    TunedProfile,
)

KNOBS: Mapping[str, type[Knob]] = {knob.name: knob for knob in _ALL}


def connect(fs: HostFS, libvirt: Libvirt, clock: Callable[[], float], bus: Bus | None = None) -> Mapping[str, Knob]:
    """The knobs of this host, by name. `clock` gives unix seconds; `bus` is the system's message bus by default."""
    unmerging = Disposable()
    knobs: tuple[Knob, ...] = (
        Run(fs, unmerging),
        MergeAcrossNodes(fs, unmerging),
        MaxPageSharing(fs, unmerging),
        *(knob(fs) for knob in _FILES),
        HugepagesPool(fs),
        BalloonTarget(libvirt, clock),
        BalloonStatsPeriod(libvirt),
        SharePages(fs, libvirt),
        DomainHugepages(fs, libvirt),
        VcpuAffinity(fs, libvirt),
        EmulatorAffinity(fs, libvirt),
        IOThreadAffinity(fs, libvirt),
        TunedProfile(fs, bus or Bus(system_bus(os.environ, fs.root))),
    )
    return {knob.name: knob for knob in knobs}
