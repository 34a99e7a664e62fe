"""The records of the ledger, and each as its line of JSON (pure). Times are unix seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, TypeVar

from actuator.knobs import Target, Value

Key = tuple[str, Target]
"""A knob's name and whose value it is."""


def is_of_guest(target: Target) -> bool:
    """Whether it is a guest, or something of one, and not the host."""
    return "domain" in dict(target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Goes before a write: `before` is what was there, `after` what we are about to write.

    `trial`: the digest of the rule if the write must prove itself by its `verify`. `setting`: what is to be set at the
    next boot, too (`vm.swappiness`, or a file of /sys), if the rule asks for that. `is_detour`: it is the write of
    another knob that sets this one on its way, and then puts `before` back.
    """

    id: int
    time: float
    knob: str
    target: Target
    identity: str
    before: Value
    after: Value
    rule: str
    because: str
    trial: str = ""
    setting: str = ""
    is_detour: bool = False


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
    """From here on the target's value is not ours to put back: `reason` is restored, drifted or gone.

    `until`: how long we keep our hands off it; 0 not at all.
    """

    time: float
    knob: str
    target: Target
    reason: str
    until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A write of a rule at `time` is on trial; or it has failed, and then the rule is in quarantine for the target.

    `digest`: of the rule as it was. `before`: what was there before the write. `verdict`: why it failed, or nothing.
    """

    time: float
    rule: str
    digest: str
    knob: str
    target: Target
    identity: str
    before: Value
    verdict: str = ""
    is_reverted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Nothing is held against the rule for this target any more: `reason` is that it passed, was changed or so."""

    time: float
    rule: str
    knob: str
    target: Target
    reason: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What the next boot sets: `value` for `setting`, as the rule wanted. `original`: what was there before us."""

    setting: str
    value: Value
    original: Value
    rule: str
    because: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a rule made of a target: `before` is what the rule found there. `kept`: what the next boot makes of it."""

    rule: str
    before: Value
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class Owned:
    """A target that we changed: `original` was there before our first write. As a record, what earlier ones come to.

    `written`: every value that it may hold by our doing; more than one while a write is under way, fell
    short or failed, since a failed write may still have had its effect. `changes`: the rules whose doing the value is,
    each on top of the one before; a rule that has put back what it found is not among them. `is_settled`: the last
    write has its outcome.
    """

    knob: str
    target: Target
    identity: str
    original: Value
    written: tuple[Value, ...]
    last: Intent
    changes: tuple[Change, ...] = ()
    is_settled: bool = False

    @property
    def kept(self) -> Kept | None:
        """What the next boot sets."""
        return next((change.kept for change in reversed(self.changes) if change.kept), None)

    @property
    def is_on_detour(self) -> bool:
        """Another knob's write has set it on its way, or is about to, and has not put it back."""
        return self.last.is_detour and not self.is_settled

    @property
    def ours(self) -> tuple[Value, ...]:
        """Every value that it may hold by our doing, also after a boot."""
        return (*self.written, self.kept.value) if self.kept else self.written


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """Follows the records that earlier ones were made into: `last_id` is the last of an intent until then."""

    time: float
    last_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """From here on the guests of records are those of the libvirt at `uri`."""

    time: float
    uri: str


Record = Intent | Outcome | Released | Held | Cleared | Owned | Compacted | Connected
_KINDS: Mapping[str, type[Record]] = {
    "intent": Intent,
    "outcome": Outcome,
    "released": Released,
    "held": Held,
    "cleared": Cleared,
    "owned": Owned,
    "compacted": Compacted,
    "connected": Connected,
}


HEAD = b'{"kind":'
"""How each line begins."""


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
    return _made(kind, data)


_Made = TypeVar("_Made")


def _made(kind: type[_Made], data: Any) -> _Made:
    """Fields that were added later may be missing."""
    known = fields(kind)  # type: ignore[arg-type]
    needed = {field.name for field in known if field.default is MISSING}
    if not isinstance(data, dict) or not needed <= set(data) <= {field.name for field in known}:
        raise ValueError(f"a record of kind {kind.__name__.lower()} with other fields")
    return kind(**{name: _READERS.get(name, _text)(name, value) for name, value in data.items()})


def _of(*types: type) -> Callable[[str, Any], Any]:
    def read(name: str, value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"{name} cannot be {value!r}")
        return value

    return read


_text = _of(str)
_list = _of(list)
_value = _of(int, str)


def _target(name: str, pairs: Any) -> Target:
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in _list(name, pairs)):
        raise ValueError(f"{name} cannot be {pairs!r}")
    return tuple((str(key), str(value)) for key, value in pairs)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "id": _of(int),
    "last_id": _of(int),
    "time": _of(int, float),
    "until": _of(int, float),
    "is_detour": _of(bool),
    "is_reverted": _of(bool),
    "is_settled": _of(bool),
    "before": _value,
    "after": _value,
    "original": _value,
    "value": _of(int, str, type(None)),
    "target": _target,
    "written": lambda name, values: tuple(_value(name, value) for value in _list(name, values)),
    "last": lambda _, data: _made(Intent, data),
    "changes": lambda name, items: tuple(_made(Change, item) for item in _list(name, items)),
    "kept": lambda _, data: None if data is None else _made(Kept, data),
}
"""Of the fields that are not text."""
