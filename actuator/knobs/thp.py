"""Knobs of transparent huge pages: /sys/kernel/mm/transparent_hugepage (mm/huge_memory.c, mm/khugepaged.c)."""

from __future__ import annotations

import os
from dataclasses import replace

from actuator.knobs.files import FileKnob, WordKnob, number, word
from actuator.knobs.knob import KnobError, Live, Metric, Target, Unit, Value
from actuator.knobs.privilege import SYSCTL
from actuator.knobs.write import Write
from kvmhost import memory
from kvmhost.fs import HostError, HostFS

DIRECTORY = "sys/kernel/mm/transparent_hugepage"
MIN_FREE = "proc/sys/vm/min_free_kbytes"
_DAY_MS = 86_400_000


class Enabled(WordKnob):
    """The kernel then sets vm.min_free_kbytes anew (set_recommended_min_free_kbytes): it is put back at once.

    So who may not write that, may not write this.
    """

    name = "thp.enabled"
    summary = "Which memory gets transparent huge pages: all, what asks for it by madvise (as QEMU does), none."
    file = f"{DIRECTORY}/enabled"
    words = ("always", "madvise", "never")
    metric = Metric("kvm_thp_enabled", word="mode")
    privilege = SYSCTL

    def write(self, target: Target, value: Value) -> None:
        """One write(2), and a second one if that moved what the kernel keeps free."""
        try:
            before = self._fs.integer(MIN_FREE)
            if before is not None and not os.access(self._fs.root / MIN_FREE, os.W_OK, effective_ids=True):
                raise KnobError(f"cannot put back {self._fs.root / MIN_FREE} after it: {self.privilege.fix}")
            super().write(target, value)
            if before is not None and self._fs.integer(MIN_FREE) != before:
                self._put(Write(self._fs.root / MIN_FREE, f"{before}\n"))
        except HostError as error:
            raise KnobError(str(error)) from error


def _below_huge_page(fs: HostFS, live: Live) -> Live:
    """A huge page less one (HPAGE_PMD_NR - 1): 511 with pages of 4 KiB, 8191 with 64 KiB."""
    huge, small = fs.integer(f"{DIRECTORY}/hpage_pmd_size"), memory.page_size_bytes(fs)
    return replace(live, high=huge // small - 1, high_because="small pages of a huge one") if huge and small else live


def _khugepaged(name: str, summary: str, lowest: int, highest: int, unit: Unit = Unit.COUNT) -> type[FileKnob]:
    narrow = _below_huge_page if name.startswith("max_ptes_") else None
    file = f"{DIRECTORY}/khugepaged/{name}"
    metric = Metric.of_file("kvm_thp_khugepaged_", name, unit)
    return number(f"khugepaged.{name}", file, summary, lowest, highest, metric=metric, unit=unit, narrow=narrow)


KNOBS: tuple[type[FileKnob], ...] = (
    Enabled,
    word(
        "thp.defrag",
        f"{DIRECTORY}/defrag",
        "Who makes room for a huge page at once and so may stall, and who leaves it to the kernel's threads (defer).",
        ("always", "defer", "defer+madvise", "madvise", "never"),
        metric=Metric("kvm_thp_defrag", word="mode"),
    ),
    _khugepaged("defrag", "Whether khugepaged may move and reclaim memory for a huge page.", 0, 1, Unit.SWITCH),
    _khugepaged("pages_to_scan", "Small pages that khugepaged looks at each time it wakes up.", 1, 10_000_000),
    _khugepaged("scan_sleep_millisecs", "Its sleep between two scans.", 0, _DAY_MS, Unit.MILLISECONDS),
    _khugepaged("alloc_sleep_millisecs", "Its sleep after it got no huge page.", 0, _DAY_MS, Unit.MILLISECONDS),
    _khugepaged("max_ptes_none", "Most unused small pages in a huge one: more costs memory.", 0, 8191),
    _khugepaged("max_ptes_swap", "Most small pages that it brings back from swap for a huge one.", 0, 8191),
    _khugepaged("max_ptes_shared", "Most small pages of a huge one that processes share.", 0, 8191),
)
