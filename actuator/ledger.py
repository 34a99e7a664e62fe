"""The ledger: each write's intent before it and its outcome after it, on disk.

One JSON object a line, appended and fsynced, so that what was changed can be put back after a crash at any
point, and read by a person with `tail`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from actuator.knobs import Target, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Goes before a write: `before` is what was there, `after` what we are about to write. Time: unix seconds."""

    id: int
    time: float
    knob: str
    target: Target
    identity: str
    before: Value
    after: Value
    rule: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Follows the intent of the same `id`. `value`: what was read back; None when the write failed."""

    id: int
    time: float
    result: Literal["ok", "partial", "failed"]
    value: Value | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """From here on the target's value is not ours to put back: `reason` is restored, drifted or gone."""

    time: float
    knob: str
    target: Target
    reason: str


Record = Intent | Outcome | Released
# Of the fields that are not text.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "id": (int,),
    "time": (int, float),
    "before": (int, str),
    "after": (int, str),
    "value": (int, str, type(None)),
    "target": (list,),
}
_KINDS: Mapping[str, type[Record]] = {"intent": Intent, "outcome": Outcome, "released": Released}


@dataclass(frozen=True, slots=True)
class Owned:
    """A target that we changed: `original` was there before our first write.

    `written`: every value that it may hold by our doing; more than one while a write is under way, fell
    short or failed, since a failed write may still have had its effect.
    """

    knob: str
    target: Target
    identity: str
    original: Value
    written: tuple[Value, ...]
    last: Intent


Owning = Mapping[tuple[str, Target], Owned]


def owned(records: Iterable[Record]) -> Owning:
    """What we changed and have not released, in the order of the first changes (pure)."""
    found: dict[tuple[str, Target], Owned] = {}
    for record in records:
        _fold(found, record)
    return found


def _fold(found: dict[tuple[str, Target], Owned], record: Record) -> None:
    match record:
        case Intent():
            key = (record.knob, record.target)
            written: tuple[Value, ...] = (record.before, record.after)
            known = found.get(key)
            if known is None or known.identity != record.identity:
                found[key] = Owned(*key, record.identity, record.before, written, record)
            else:
                found[key] = replace(known, written=written, last=record)
        case Outcome(value=value) if value is not None:
            for key, mine in found.items():
                if mine.last.id == record.id:
                    written = (value,) if record.result == "ok" else (value, mine.last.after)
                    found[key] = replace(mine, written=written)
        case Released():
            found.pop((record.knob, record.target), None)


class LedgerError(Exception):
    """The ledger cannot be read or written; says why and what to do."""


class Ledger:
    """The ledger file of a state directory, locked: one actuator a host.

    `damaged`: the lines that are not ours or were torn by a crash, as (line number, reason); they are kept
    in the file and skipped.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "ledger.jsonl"
        self.damaged: list[tuple[int, str]] = []
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._fd = _open(self.path)
        except OSError as error:
            raise LedgerError(
                f"cannot open {self.path}: {error.strerror}; run as root or choose another --state-dir"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise LedgerError(f"another kvmtune-actuator is at work ({self.path} is locked): stop it first") from None
        self._owned: dict[tuple[str, Target], Owned] = {}
        self._last_id = 0
        self._read()

    def _read(self) -> None:
        data = self.path.read_bytes()
        for number, line in enumerate(data.split(b"\n"), start=1):
            try:
                if line:
                    self._take(decode(line))
            except (ValueError, RecursionError) as error:
                self.damaged.append((number, str(error)))
        if data and not data.endswith(b"\n"):
            with contextlib.suppress(OSError):
                os.write(self._fd, b"\n")  # end a torn line, so that the next record stands alone

    def _take(self, record: Record) -> None:
        _fold(self._owned, record)
        if isinstance(record, Intent):
            self._last_id = max(self._last_id, record.id)

    def append(self, record: Record) -> None:
        """Write one record and wait until it is on disk; `LedgerError` if it is not."""
        line = encode(record)
        end = os.fstat(self._fd).st_size
        try:
            _write_all(self._fd, line)
            os.fsync(self._fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, end)  # no half a record may stand before the next one
            raise LedgerError(f"cannot write {self.path}: {error.strerror}") from error
        self._take(record)

    @property
    def next_id(self) -> int:
        """An id that no intent has yet."""
        return self._last_id + 1

    @property
    def owned(self) -> Owning:
        """What we changed and have not released, in the order of the first changes."""
        return dict(self._owned)

    def close(self) -> None:
        """Close the file and so release the lock."""
        os.close(self._fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.EROFS and path.exists():
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough to restore by
        raise


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def encode(record: Record) -> bytes:
    """The record as its line."""
    kind = next(name for name, of_kind in _KINDS.items() if isinstance(record, of_kind))
    return json.dumps({"kind": kind, **asdict(record)}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Record:
    """The record of a line; `ValueError` if it is not one of ours."""
    data: Any = json.loads(line)
    kind = _KINDS.get(str(data.pop("kind", ""))) if isinstance(data, dict) else None
    if kind is None:
        raise ValueError("not a record of the ledger")
    if set(data) != {field.name for field in fields(kind)}:
        raise ValueError(f"a record of kind {kind.__name__.lower()} with other fields")
    for name, value in data.items():
        if not isinstance(value, _TYPES.get(name, str)) or isinstance(value, bool):
            raise ValueError(f"{name} cannot be {value!r}")  # noqa: TRY004 (bad input, not a bad call)
    if "target" in data:
        data["target"] = _target(data["target"])
    return kind(**data)


def _target(pairs: list[Any]) -> Target:
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"target cannot be {pairs!r}")
    return tuple((str(name), str(value)) for name, value in pairs)
