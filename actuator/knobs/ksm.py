"""KSM knobs: files of /sys/kernel/mm/ksm (Documentation/admin-guide/mm/ksm.rst, mm/ksm.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

from actuator.knobs.files import FileKnob, WordKnob, number, refused
from actuator.knobs.knob import KnobError, Live, Metric, Target, Unit, Value
from actuator.knobs.reserve import unmerge_shortage
from actuator.knobs.write import Disposable, Write
from kvmhost import tuned
from kvmhost.fs import HostError, HostFS

DIRECTORY = "sys/kernel/mm/ksm"
_RUN = f"{DIRECTORY}/run"
_ADVISOR = f"{DIRECTORY}/advisor_mode"
_PAGES_TO_SCAN = f"{DIRECTORY}/pages_to_scan"

UNMERGE = 2
# What the kernel sets pages_to_scan to when its advisor is switched off (DEFAULT_PAGES_TO_SCAN).
_PAGES_TO_SCAN_AFTER_ADVISOR = 100
_MOST_PAGES = 1_000_000


class Run(FileKnob):
    """Refused while someone's unmerging goes on, and while tuned has masked KSM.

    2 needs as much available memory as all merged pages take, and 5 % of the host's beyond. It is written by a process
    of its own, which the kernel makes the first victim of the OOM killer; should it be that, KSM is left at 0.
    """

    name = "ksm.run"
    unit = Unit.SWITCH
    summary = "Whether ksmd scans: 0 stops and keeps merged pages, 1 scans, 2 stops and undoes all merging."
    file, lowest, highest = _RUN, 0, UNMERGE
    metric = Metric("kvm_ksm_run")
    advice: ClassVar[Mapping[int, str]] = {
        errno.ENOMEM: "there is not enough memory to undo merging: KSM has stopped, free some first"
    }

    def __init__(self, fs: HostFS, disposable: Disposable) -> None:
        super().__init__(fs)
        self._disposable = disposable

    def narrow(self, live: Live) -> Live:
        """2 is a value only if memory for it is there. Someone's unmerging is not ours to end."""
        if tuned.ksm_masked(self._fs):
            return refused(live, "a profile of tuned has switched KSM off (/var/lib/tuned/ksm-masked): choose another")
        shared = self._fs.integer(f"{DIRECTORY}/pages_shared")
        if live.value == UNMERGE and shared:
            return refused(live, f"it is 2 and {shared} pages are still shared: someone unmerges all pages")
        shortage = unmerge_shortage(self._fs)
        return replace(live, high=1, high_because=shortage) if shortage and live.value != UNMERGE else live

    def write(self, target: Target, value: Value) -> None:
        """One write(2), of 2 in a process of its own. It reads 2 at once, while the kernel may still unmerge."""
        if value != UNMERGE:
            super().write(target, value)
            return
        try:
            shortage = unmerge_shortage(self._fs)
        except HostError as error:
            raise KnobError(str(error)) from error
        if shortage:
            raise KnobError(f"cannot write 2 to {self._fs.root / self.file}: {shortage}")
        if problem := self._disposable.make([self._write(value)], [], self.causes()):
            raise KnobError(problem)

    @property
    def is_busy(self) -> bool:
        """The process that unmerges is at work."""
        return self._disposable.is_active

    def is_ours(self, live: Value, written: tuple[Value, ...]) -> bool:
        """While we unmerge the kernel may stop KSM, for want of memory."""
        return live in written or (live == 0 and UNMERGE in written and len(written) > 1)


class WantsNothingShared(FileKnob):
    """The kernel takes it (EBUSY) only while no page is shared.

    While some are, all are unmerged first: 2 is written to `run`, then the value, then `run` as it was, by a process of
    its own. That needs memory as `ksm.run` 2 does; without, the knob is refused.
    """

    settle_seconds = 60.0
    advice: ClassVar[Mapping[int, str]] = {
        errno.EBUSY: "pages are shared: they must be unmerged first, by 2 in run, and were merged again meanwhile",
        errno.ENOMEM: "there is not enough memory to undo merging: KSM has stopped, free some first",
    }

    def __init__(self, fs: HostFS, disposable: Disposable) -> None:
        super().__init__(fs)
        self._disposable = disposable

    def narrow(self, live: Live) -> Live:
        """Unmerging everything must not exhaust memory."""
        shortage = unmerge_shortage(self._fs) if self._shared() else ""
        return refused(live, f"pages are shared, and must be unmerged first: {shortage}") if shortage else live

    def on_the_way(self, value: Value) -> Mapping[str, Value]:
        """While pages are shared, they are unmerged."""
        try:
            needs_it = self._shared() and self._fs.integer(self.file) != value
        except HostError:
            return {}  # the write will tell
        return {Run.name: UNMERGE} if needs_it else {}

    def write(self, target: Target, value: Value) -> None:
        """One write(2), or the way through while pages are shared."""
        try:
            if self._fs.integer(self.file) == value and not self._disposable.is_active:
                return  # not worth to unmerge for
            run, shared = self._fs.integer(_RUN), self._shared()
            shortage = unmerge_shortage(self._fs) if shared else ""
        except HostError as error:
            raise KnobError(str(error)) from error
        if not shared or run is None:
            super().write(target, value)
            return
        if shortage:
            raise KnobError(f"cannot write {value} to {self._fs.root / self.file}: {shortage}")
        path = self._fs.root / _RUN
        problem = self._disposable.make(
            [Write(path, f"{UNMERGE}\n"), self._write(value)], [Write(path, f"{run}\n")], self.causes()
        )
        if problem:
            raise KnobError(problem)

    def _shared(self) -> int:
        return self._fs.integer(f"{DIRECTORY}/pages_shared") or 0


class MergeAcrossNodes(WantsNothingShared):
    __doc__ = WantsNothingShared.__doc__
    name = "ksm.merge_across_nodes"
    unit = Unit.SWITCH
    summary = "Whether pages of different NUMA nodes are merged: 1 saves more, 0 keeps memory local."
    file, lowest, highest = f"{DIRECTORY}/merge_across_nodes", 0, 1
    metric = Metric("kvm_ksm_merge_across_nodes")


class MaxPageSharing(WantsNothingShared):
    __doc__ = WantsNothingShared.__doc__
    name = "ksm.max_page_sharing"
    unit = Unit.COUNT
    summary = "How many pages may share one: more saves memory, fewer bound the time that the kernel walks them."
    file, lowest, highest = f"{DIRECTORY}/max_page_sharing", 2, _MOST_PAGES
    metric = Metric("kvm_ksm_max_page_sharing")


class PagesToScan(FileKnob):
    """Refused while the kernel's advisor is on (Linux 6.8 and later), which then sets it itself."""

    name = "ksm.pages_to_scan"
    unit = Unit.COUNT
    summary = "Pages that ksmd scans each time it wakes up."
    file, lowest, highest = _PAGES_TO_SCAN, 1, _MOST_PAGES
    metric = Metric("kvm_ksm_pages_to_scan")
    advice: ClassVar[Mapping[int, str]] = {errno.EINVAL: "the KSM advisor is on: write none to advisor_mode first"}

    def narrow(self, live: Live) -> Live:
        """What the advisor sets is not the value that we or others once wrote, and has an identity of its own."""
        mode = advisor_mode(self._fs)
        if mode in (None, "none"):
            return live
        why = f"the kernel's KSM advisor sets it (advisor_mode is {mode}): set ksm.advisor_mode to none first"
        return replace(live, refusal=why, identity="the advisor")


class AdvisorMode(WordKnob):
    """Switched on only while pages_to_scan is 100: the kernel sets it to that when the advisor is switched off again.

    So that restoring brings back both: once a rule has set `ksm.pages_to_scan` to 100, its old value is in the ledger.
    """

    name = "ksm.advisor_mode"
    summary = "Who sets pages_to_scan: `none` the actuator, `scan-time` the kernel, for a full scan in a set time."
    file = _ADVISOR
    words = ("none", "scan-time")
    metric = Metric("kvm_ksm_advisor_mode", word="mode")

    def narrow(self, live: Live) -> Live:
        """Refused while the way back would lose a value."""
        pages = self._fs.integer(_PAGES_TO_SCAN)
        if live.value != "none" or pages in (None, _PAGES_TO_SCAN_AFTER_ADVISOR):
            return live
        return refused(
            live,
            f"pages_to_scan is {pages}, and would be {_PAGES_TO_SCAN_AFTER_ADVISOR} when the advisor is switched off "
            f"again: set ksm.pages_to_scan to {_PAGES_TO_SCAN_AFTER_ADVISOR} first",
        )


def _ksm(
    name: str,
    summary: str,
    lowest: int,
    highest: int,
    unit: Unit = Unit.COUNT,
    *,
    metric: Metric | None = None,
    narrow: Callable[[HostFS, Live], Live] | None = None,
) -> type[FileKnob]:
    return number(
        f"ksm.{name}",
        f"{DIRECTORY}/{name}",
        summary,
        lowest,
        highest,
        metric=metric or Metric.of_file("kvm_ksm_", name, unit),
        unit=unit,
        narrow=narrow,
    )


def _below_maximum(fs: HostFS, live: Live) -> Live:
    return replace(
        live, high=fs.integer(f"{DIRECTORY}/advisor_max_pages_to_scan"), high_because="the advisor's maximum"
    )


def _above_minimum(fs: HostFS, live: Live) -> Live:
    return replace(live, low=fs.integer(f"{DIRECTORY}/advisor_min_pages_to_scan"), low_because="the advisor's minimum")


PLAIN: tuple[type[FileKnob], ...] = (
    PagesToScan,
    _ksm("sleep_millisecs", "How long ksmd sleeps between two scans.", 1, 60_000, Unit.MILLISECONDS),
    _ksm("use_zero_pages", "Whether empty pages are merged with the kernel's own zero page.", 0, 1, Unit.SWITCH),
    _ksm("smart_scan", "Whether pages that could not be merged before are skipped for a while.", 0, 1, Unit.SWITCH),
    AdvisorMode,
    _ksm(
        "advisor_max_cpu",
        "Percent of one CPU that the advisor lets ksmd take.",
        1,
        100,
        metric=Metric("kvm_ksm_advisor_max_cpu_ratio", scale=0.01),
    ),
    _ksm(
        "advisor_min_pages_to_scan",
        "Fewest pages that the advisor has ksmd scan at a time; not above its maximum.",
        1,
        _MOST_PAGES,
        narrow=_below_maximum,
    ),
    _ksm(
        "advisor_max_pages_to_scan",
        "Most pages that the advisor has ksmd scan at a time; not below its minimum.",
        1,
        _MOST_PAGES,
        narrow=_above_minimum,
    ),
    _ksm("advisor_target_scan_time", "Time in which the advisor aims at a full scan.", 1, 86_400, Unit.SECONDS),
)
"""Those that need nothing but their file."""


def advisor_mode(fs: HostFS) -> str | None:
    """The mode in force; None on kernels without advisor."""
    return next((mode for mode, is_chosen in fs.choices(_ADVISOR).items() if is_chosen), None)
