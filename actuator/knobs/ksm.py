"""KSM knobs: files of /sys/kernel/mm/ksm (Documentation/admin-guide/mm/ksm.rst)."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import ClassVar

from actuator.knobs.knob import HOST, Knob, KnobError, Live, Target, Unit, Value
from kvmhost.fs import HostError, HostFS

DIRECTORY = "sys/kernel/mm/ksm"

_ADVICE = {
    errno.EACCES: "run as root, or grant write access to the file",
    errno.EPERM: "run as root, or grant write access to the file",
    errno.EROFS: "/sys is mounted read-only here (a container?): run on the host",
    errno.EINVAL: "the kernel refuses this value now; is the KSM advisor on (advisor_mode)?",
}


class KsmKnob(Knob):
    """One integer file of /sys/kernel/mm/ksm."""

    file: ClassVar[str]
    low: ClassVar[int]
    high: ClassVar[int]

    def __init__(self, fs: HostFS) -> None:
        self._fs = fs

    def live(self) -> Mapping[Target, Live]:
        """The host's value; no target at all on a kernel without KSM."""
        try:
            value = self._fs.integer(f"{DIRECTORY}/{self.file}")
            refusal = self.refusal()
        except HostError as error:
            raise KnobError(str(error)) from error
        if value is None:
            return {}
        return {HOST: Live(value=value, low=self.low, high=self.high, refusal=refusal)}

    def refusal(self) -> str | None:
        """Why the kernel would refuse a write now."""
        return None

    def write(self, target: Target, value: Value) -> None:
        """One write(2) of the decimal value."""
        path = self._fs.root / DIRECTORY / self.file
        try:
            path.write_text(f"{value}\n")
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "see dmesg")
            raise KnobError(f"cannot write {value} to {path}: {error.strerror}; {advice}") from error


class Run(KsmKnob):
    """`run`. The value 2 (stop and unmerge) can exhaust memory, so it is outside the limits."""

    name = "ksm.run"
    unit = Unit.SWITCH
    summary = "Whether ksmd scans: 0 stops and keeps merged pages, 1 scans."
    file, low, high = "run", 0, 1

    def refusal(self) -> str | None:
        """With 2, someone has asked for everything to be unmerged: that is not ours to end, nor to bring back."""
        text = self._fs.text(f"{DIRECTORY}/run")
        return "it is 2: someone unmerges all pages" if text is not None and text.strip() == "2" else None


class PagesToScan(KsmKnob):
    """`pages_to_scan`. The kernel sets it itself while its advisor is on, and then refuses writes."""

    name = "ksm.pages_to_scan"
    unit = Unit.COUNT
    summary = "Pages that ksmd scans each time it wakes up."
    file, low, high = "pages_to_scan", 1, 1_000_000

    def refusal(self) -> str | None:
        """The advisor owns the file unless `advisor_mode` says `[none]` (Linux 6.8 and later)."""
        mode = self._fs.text(f"{DIRECTORY}/advisor_mode")
        if mode is None or "[none]" in mode:
            return None
        return f"the kernel's KSM advisor sets it (advisor_mode is {mode.strip()}): write none there first"


class SleepMillisecs(KsmKnob):
    """`sleep_millisecs`."""

    name = "ksm.sleep_millisecs"
    unit = Unit.MILLISECONDS
    summary = "How long ksmd sleeps between two scans."
    file, low, high = "sleep_millisecs", 1, 60_000
