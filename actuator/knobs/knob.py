"""What a knob is: a named value of the host or of a guest that the actuator may read and set.

A knob is one class in one module of this package; `actuator.knobs.KNOBS` lists them.
"""

from __future__ import annotations

import errno
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from actuator.knobs.privilege import Privilege
from actuator.placement import HostCpus
from kvmhost import cpulist
from kvmhost.domains import DeclaredPolicy
from kvmhost.units import duration_seconds, format_bytes, size_bytes

Target = tuple[tuple[str, str], ...]
"""Whose value it is: `()` the host, `(("domain", "web-1"),)` a guest, plus `("vcpu", "0")` one of its vCPUs.

`(("node", "0"), ("size", "2MiB"))` is a pool of hugepages.
"""

HOST: Target = ()

Value = int | str
"""A number in the knob's unit, a CPU list in the kernel's format (`0-3,8`), or a word (`scan-time`)."""

_WORD = re.compile(r"[\w.+-]+(?: [\w.+-]+)*")


class KnobError(Exception):
    """A knob could not be read or written; says which, why and what to do."""


class Unit(Enum):
    """What a knob's value counts, and so how rule files write it and log lines show it."""

    COUNT = "count"
    SWITCH = "switch"
    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    BYTES = "bytes"
    CPUS = "CPU list"
    WORD = "word"

    def parse(self, text: str) -> Value:
        """The value that `text` in a YAML file means; `ValueError` when it is of another unit."""
        if self is Unit.CPUS:
            return cpulist.format(cpulist.parse(text))
        if self is Unit.WORD:
            return _word(text)
        if text.isascii() and text.isdigit():
            if self is Unit.BYTES:
                raise ValueError(f"{text!r} has no unit: write a size like 512MiB")
            return int(text)
        if self is Unit.BYTES:
            return size_bytes(text)
        if self is Unit.MILLISECONDS:
            return round(duration_seconds(text) * 1000)
        if self is Unit.SECONDS:
            return _whole_seconds(text)
        raise ValueError(f"{text!r} is not a plain whole number, and this knob is a {self.value}")

    def format(self, value: Value) -> str:
        """`value` for a person: `256 MiB`, `20ms`, `5s`, `0-3`, `1000`."""
        if self is Unit.BYTES and isinstance(value, int):
            return format_bytes(value)
        if self is Unit.MILLISECONDS:
            return f"{value}ms"
        if self is Unit.SECONDS:
            return f"{value}s"
        return str(value)


def _word(text: str) -> str:
    if _WORD.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a word: letters, digits and . _ + - are")
    return text


def _whole_seconds(text: str) -> int:
    seconds = duration_seconds(text)
    if seconds != int(seconds):
        raise ValueError(f"{text!r} is not a whole number of seconds")
    return int(seconds)


@dataclass(frozen=True, slots=True)
class Live:
    """A target's value as it is now, with what the host allows for it now.

    `low`, `high`: the hard limits of a number in the knob's unit, with why in `low_because`, `high_because`. `cpus`:
    the CPUs that a CPU list may name. `words`: the words that there are. `refusal`: why it must not be written at all
    now, or None. `identity`: whose value it is beyond the target's name, as the guest's uuid, so that a new guest of
    an old name is not taken for it. `declared`: what the guest's own metadata say of how it is to be treated.
    `trouble`: why a decrease that is on its way must be undone. `low_soon`: what `low` is taken to become, where it
    is at the present value only until more is known: plans go by that, so that no other target gives in its place.
    `run`: what is another when the guest was started anew, which brings its values back to those of its definition.
    """

    value: Value
    low: int | None = None
    high: int | None = None
    low_because: str = ""
    high_because: str = ""
    cpus: frozenset[int] | None = None
    words: tuple[str, ...] = ()
    refusal: str | None = None
    identity: str = ""
    declared: DeclaredPolicy = field(default_factory=DeclaredPolicy)
    trouble: str = ""
    low_soon: int | None = None
    run: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """Where the exporter shows a knob's value: in series of this name with the labels that select a target.

    `labels`: those that tell the knob's series from others of the name. `scale`: what one in the knob's unit is in the
    metric's. `word`: the label that holds the value, of the series that is 1; without, the value is the number.
    `empty`: the word that is shown as an empty label.
    `along`: metrics of the target that move by as much when its value does.
    """

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    scale: float = 1.0
    word: str = ""
    empty: str = ""
    along: tuple[str, ...] = ()

    @classmethod
    def of_file(cls, prefix: str, file: str, unit: Unit) -> Metric:
        """That of a number which the exporter names as the kernel does, but for times, which it shows in seconds."""
        if unit is Unit.MILLISECONDS:
            return cls(f"{prefix}{file.removesuffix('_millisecs')}_seconds", scale=0.001)
        return cls(f"{prefix}{file}{'_seconds' if unit is Unit.SECONDS else ''}")


class Knob(ABC):
    """One knob. Class attributes say what it is; methods do its I/O and raise `KnobError`.

    `keys`: the labels of each of its targets, in their order. `lowest`, `highest`, `words`: what no host goes beyond,
    as far as that is known without one; `Live` may be narrower.
    `metric`: where the exporter shows the value, if it does. `privilege`: what a write takes. `advice`: by errno, why
    the kernel refuses a write, and the next step.
    `can_persist`: a boot can set it.
    `takes_back`: a decrease that is not there after `settle_seconds` ends where it is, since the target would go on.
    """

    name: ClassVar[str]
    unit: ClassVar[Unit]
    summary: ClassVar[str]
    keys: ClassVar[tuple[str, ...]] = ()
    lowest: ClassVar[int | None] = None
    highest: ClassVar[int | None] = None
    words: ClassVar[tuple[str, ...]] = ()
    metric: ClassVar[Metric | None] = None
    privilege: ClassVar[Privilege]
    advice: ClassVar[Mapping[int, str]] = {}
    quantum: ClassVar[int] = 1
    settle_seconds: ClassVar[float] = 0.0
    can_persist: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    @classmethod
    def causes(cls) -> Mapping[int, str]:
        """`advice`, and for a user that may not write what would let it."""
        return {errno.EACCES: cls.privilege.fix, **cls.advice}

    @abstractmethod
    def live(self) -> Mapping[Target, Live]:
        """Every target that exists now. An empty mapping means that there is none."""

    @abstractmethod
    def write(self, target: Target, value: Value) -> None:
        """Set the target's value. It may take `settle_seconds` until `live` shows it."""

    def doubt(self, target: Target) -> str | None:
        """Why a target that `live` does not show may be there all the same, or one that it refuses hangs; else None."""
        return None

    def glance(self, target: Target) -> Value | None:
        """The target's value at this very moment, right before a write; None where that is not cheap to know."""
        return None

    def host_cpus(self) -> HostCpus:
        """The CPUs among which its targets can be placed."""
        raise KnobError(f"{self.name} places nothing on CPUs")

    def setting(self, target: Target) -> str:
        """What sets it at a boot: the name of a sysctl, or the path of a file of /sys."""
        raise KnobError(f"no boot sets {self.name}")

    def on_the_way(self, value: Value) -> Mapping[str, Value]:
        """Other knobs of the host that a write of `value` would set on its way and put back, and to what."""
        return {}

    @property
    def is_busy(self) -> bool:
        """A write of ours that may set it on its way is still being made."""
        return False

    def is_ours(self, live: Value, written: tuple[Value, ...]) -> bool:
        """Whether `live` can be the result of our own writes: `written` are the values we know of."""
        return live in written

    def remark(self, target: Target) -> str:
        """What there is to say of our last write to `target` beyond its value, for the ledger; mostly nothing."""
        return ""


def label(target: Target) -> str:
    """`host`, `web-1`, `web-1/vcpu 0` or `node 0/size 2MiB`."""
    parts = (value if key == "domain" else f"{key} {value}" for key, value in target)
    return "/".join(parts) or "host"
