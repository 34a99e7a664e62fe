"""What a knob is: a named value of the host or of a guest that the actuator may read and set.

A knob is one class in one module of this package; `actuator.knobs.KNOBS` lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from kvmhost import cpulist
from kvmhost.units import duration_seconds, format_bytes, size_bytes

Target = tuple[tuple[str, str], ...]
"""Whose value it is: `()` the host, `(("domain", "web-1"),)` a guest, plus `("vcpu", "0")` one of its vCPUs."""

HOST: Target = ()

Value = int | str
"""A number in the knob's unit, or a CPU list in the kernel's format (`0-3,8`)."""


class KnobError(Exception):
    """A knob could not be read or written; says which, why and what to do."""


class Unit(Enum):
    """What a knob's value counts, and so how rule files write it and log lines show it."""

    COUNT = "count"
    SWITCH = "switch"
    MILLISECONDS = "milliseconds"
    BYTES = "bytes"
    CPUS = "CPU list"

    def parse(self, text: str) -> Value:
        """The value that `text` in a YAML file means; `ValueError` when it is of another unit."""
        if self is Unit.CPUS:
            return cpulist.format(cpulist.parse(text))
        if text.isascii() and text.isdigit():
            if self is Unit.BYTES:
                raise ValueError(f"{text!r} has no unit: write a size like 512MiB")
            return int(text)
        if self is Unit.BYTES:
            return size_bytes(text)
        if self is Unit.MILLISECONDS:
            return round(duration_seconds(text) * 1000)
        raise ValueError(f"{text!r} is not a plain whole number, and this knob is a {self.value}")

    def format(self, value: Value) -> str:
        """`value` for a person: `256 MiB`, `20ms`, `0-3`, `1000`."""
        if self is Unit.BYTES and isinstance(value, int):
            return format_bytes(value)
        if self is Unit.MILLISECONDS:
            return f"{value}ms"
        return str(value)


@dataclass(frozen=True, slots=True)
class Live:
    """A target's value as it is now, with what the host allows for it now.

    `low`, `high`: the hard limits of a number in the knob's unit, with why in `low_because`. `cpus`: the CPUs
    that a CPU list may name. `refusal`: why it must not
    be written at all now, or None. `identity`: the guest's uuid, so that a new guest of an old name is
    not taken for it.
    """

    value: Value
    low: int | None = None
    high: int | None = None
    low_because: str = ""
    cpus: frozenset[int] | None = None
    refusal: str | None = None
    identity: str = ""


class Knob(ABC):
    """One knob. Class attributes say what it is; methods do its I/O and raise `KnobError`."""

    name: ClassVar[str]
    unit: ClassVar[Unit]
    summary: ClassVar[str]
    keys: ClassVar[tuple[str, ...]] = ()
    quantum: ClassVar[int] = 1
    settle_seconds: ClassVar[float] = 0.0

    @abstractmethod
    def live(self) -> Mapping[Target, Live]:
        """Every target that exists now. An empty mapping means that there is none."""

    @abstractmethod
    def write(self, target: Target, value: Value) -> None:
        """Set the target's value. It may take `settle_seconds` until `live` shows it."""

    def is_ours(self, live: Value, written: tuple[Value, ...]) -> bool:
        """Whether `live` can be the result of our own writes: `written` are the values we know of."""
        return live in written


def label(target: Target) -> str:
    """`host`, `web-1` or `web-1/vcpu 0`."""
    if not target:
        return "host"
    domain, *rest = target
    return "/".join([domain[1], *(f"{key} {value}" for key, value in rest)])
