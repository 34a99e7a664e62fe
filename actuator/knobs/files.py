"""Knobs that are a file of /proc or /sys: a number, or words with the chosen one in brackets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

from actuator.knobs import write
from actuator.knobs.knob import HOST, Knob, KnobError, Live, Metric, Target, Unit, Value
from actuator.knobs.privilege import SYS_FILE
from actuator.knobs.write import Write
from kvmhost.fs import HostError, HostFS


class FileKnob(Knob):
    """One file, and so one value, of the host."""

    file: ClassVar[str]
    privilege = SYS_FILE

    def __init__(self, fs: HostFS) -> None:
        self._fs = fs

    def live(self) -> Mapping[Target, Live]:
        """The host's value; no target at all on a kernel without that file."""
        try:
            live = self._read()
            return {} if live is None else {HOST: self.narrow(live)}
        except HostError as error:
            raise KnobError(str(error)) from error

    def _read(self) -> Live | None:
        """One whole number."""
        value = self._fs.integer(self.file)
        return None if value is None else Live(value=value, low=self.lowest, high=self.highest)

    def narrow(self, live: Live) -> Live:
        """`live` with what the rest of the host allows now; `HostError`."""
        return live

    def glance(self, target: Target) -> Value | None:
        """What the file says."""
        try:
            live = self._read()
        except HostError as error:
            raise KnobError(str(error)) from error
        return None if live is None else live.value

    def write(self, target: Target, value: Value) -> None:
        """One write(2) of the value."""
        self._put(self._write(value))

    def _put(self, wanted: Write) -> None:
        try:
            write.put(*wanted)
        except OSError as error:
            raise KnobError(write.explained(wanted, error.errno or 0, self.causes())) from error

    def _write(self, value: Value) -> Write:
        return Write(self._fs.root / self.file, f"{value}\n")


class WordKnob(FileKnob):
    """A file such as `[none] scan-time`. The kernel has the last word on which words there are."""

    unit = Unit.WORD

    def _read(self) -> Live | None:
        choices = self._fs.choices(self.file)
        chosen = [word for word, is_chosen in choices.items() if is_chosen]
        return Live(value=chosen[0], words=tuple(choices)) if chosen else None


def number(
    name: str,
    file: str,
    summary: str,
    lowest: int,
    highest: int,
    *,
    metric: Metric,
    unit: Unit = Unit.COUNT,
    base: type[FileKnob] = FileKnob,
    narrow: Callable[[HostFS, Live], Live] | None = None,
    advice: Mapping[int, str] | None = None,
) -> type[FileKnob]:
    """The class of a knob that differs from others of its kind in a row of a table only.

    `narrow`: what the rest of the host allows now.
    """
    about = {
        "name": name,
        "file": file,
        "summary": summary,
        "lowest": lowest,
        "highest": highest,
        "unit": unit,
        "metric": metric,
        "advice": {**base.advice, **(advice or {})},
        "__doc__": summary,
    }
    if narrow is not None:
        about["narrow"] = lambda self, live: narrow(self._fs, live)
    return type(name, (base,), about)


def word(
    name: str, file: str, summary: str, words: tuple[str, ...], *, metric: Metric, base: type[WordKnob] = WordKnob
) -> type[FileKnob]:
    """As `number`, for words: those that kernels are known to have."""
    about = {"name": name, "file": file, "summary": summary, "words": words, "metric": metric, "__doc__": summary}
    return type(name, (base,), about)


def refused(live: Live, why: str) -> Live:
    """`live`, not to be written because of `why`."""
    return replace(live, refusal=why)
