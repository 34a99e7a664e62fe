"""What was decided and when: a bounded journal on disk, for people and `kvmtune-actuator explain`.

One JSON object a line in `decisions.jsonl` of the state directory. It is not what `restore` goes by (that is the
ledger): nobody waits until it is on disk, and what cannot be written is lost.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from actuator.decision import Decision
from actuator.knobs import Target
from actuator.statefile import Tolerant

NAME = "decisions.jsonl"
MOST_BYTES = 4 * 2**20
"""A file that is larger is set aside, and the one that was set aside before is gone: twice this is kept at most."""

_LAST_SECOND = 253402300799  # of the year 9999, after which there are no dates


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What has kept a rule (or `scrape`, the data of all) from deciding since `time`; nothing: it works again."""

    time: float
    rule: str
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What befell the actuator as a whole. Time: unix seconds."""

    time: float
    what: Literal["started", "stopped", "reloaded", "paused", "resumed"]
    detail: str = ""


Entry = Decision | Faults | Event
_KINDS: Mapping[str, type[Entry]] = {"decision": Decision, "faults": Faults, "event": Event}
# Of the fields that are not text.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "time": (int, float),
    "before": (int, str, type(None)),
    "after": (int, str, type(None)),
    "value": (int, float, str, type(None)),
    "reason": (str, type(None)),
    "target": (list,),
    "faults": (list,),
}


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry, and whether it is of a dry run."""

    entry: Entry
    dry_run: bool


class History:
    """Writes the journal. A disk that is full or unwritable is told once in the log."""

    def __init__(self, directory: Path, *, dry_run: bool) -> None:
        self._path = directory / NAME
        self._dry_run = dry_run
        self._tolerant = Tolerant(self._path)

    def note(self, entry: Entry) -> None:
        """Write one line."""
        with self._tolerant.attempt():
            self._append(encode(Noted(entry, self._dry_run)))

    def _append(self, line: bytes) -> None:
        # The file is opened each time: two may write it (a dry run beside one that acts), and either may set it aside.
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(fd).st_size
            is_torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"  # by a crash or a full disk
            line = b"\n" + line if is_torn else line
            if os.write(fd, line) != len(line):
                raise OSError("the disk is full")
        finally:
            os.close(fd)
        if size + len(line) > MOST_BYTES:
            self._path.replace(_older(self._path))


def encode(noted: Noted) -> bytes:
    """An entry as its line."""
    kind = next(name for name, of_kind in _KINDS.items() if isinstance(noted.entry, of_kind))
    content = {"kind": kind, "dry_run": noted.dry_run, **as_json(noted.entry)}
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def as_json(entry: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON has them."""
    values = {field.name: getattr(entry, field.name) for field in fields(entry)}
    if isinstance(values.get("value"), float) and not math.isfinite(values["value"]):
        values["value"] = str(values["value"])  # JSON has no such numbers
    return values


def decode(line: bytes) -> Noted:
    """The entry of a line; `ValueError` if it is not one of ours."""
    data: Any = json.loads(line)
    kind = _KINDS.get(str(data.get("kind"))) if isinstance(data, dict) else None
    if kind is None or not isinstance(data.get("dry_run"), bool):
        raise ValueError("not an entry of the history")
    return Noted(_of_json(kind, data), data["dry_run"])


def decision(data: Mapping[str, Any]) -> Decision:
    """The decision of its fields in JSON; `ValueError` if it is none."""
    found = _of_json(Decision, data)
    assert isinstance(found, Decision)
    return found


def _of_json(kind: type[Entry], data: Mapping[str, Any]) -> Entry:
    values: dict[str, Any] = {}
    for name in (field.name for field in fields(kind)):
        value = data.get(name)
        if not isinstance(value, _TYPES.get(name, str)) or isinstance(value, bool):
            raise ValueError(f"{name} cannot be {value!r}")  # noqa: TRY004 (bad input, not a bad call)
        values[name] = _READ[name](value) if name in _READ else value
    return kind(**values)


def _time(value: float) -> float:
    if not 0 <= value <= _LAST_SECOND:
        raise ValueError(f"time cannot be {value!r}")
    return value


def target(pairs: list[Any]) -> Target:
    """The target of its pairs in JSON; `ValueError` if they are none."""
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"target cannot be {pairs!r}")
    return tuple((str(name), str(value)) for name, value in pairs)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "time": _time,
    "target": target,
    "value": lambda value: float(value) if isinstance(value, str) else value,
    "faults": lambda faults: tuple(map(str, faults)),
}


def read(directory: Path, newest_bytes: int = 2 * MOST_BYTES + 2**16) -> tuple[Noted, ...]:
    """What there is, newest last; of long files the newest part alone. Lines that are not ours are skipped.

    No file is an empty history; `OSError` if it cannot be read.
    """
    path = directory / NAME
    newest = _tail(path, newest_bytes)
    older = _tail(_older(path), newest_bytes - len(newest))
    return tuple(_entries(older + b"\n" + newest))


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _tail(path: Path, most_bytes: int) -> bytes:
    if most_bytes <= 0:
        return b""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - most_bytes, 0))
            return file.read(most_bytes)
    except FileNotFoundError:
        return b""


def _entries(data: bytes) -> Iterator[Noted]:
    for line in data.split(b"\n"):
        try:
            if line:
                yield decode(line)
        except (ValueError, RecursionError):  # torn by a crash or a full disk, or not ours
            continue
