"""What the records of the ledger come to: what we changed, what is held against whom, what is others' (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from actuator.knobs import Value
from actuator.ledger.records import (
    Change,
    Cleared,
    Compacted,
    Connected,
    Held,
    Intent,
    Kept,
    Key,
    Outcome,
    Owned,
    Record,
    Released,
)

Owning = Mapping[Key, Owned]
Settings = Mapping[str, Kept]
"""By setting, what the next boot sets."""


@dataclass(slots=True)
class Standing:
    """`owned`: what we changed and have not released, in the order of the first changes.

    `held`: the writes of rules that are on trial or have failed. `hands_off`: what others have taken over. `last_id`:
    of an intent. `time`: of the last record. `libvirt`: the URI of that of the guests, if it is known. `damaged`: the
    lines that are no records, as (line number, reason).
    """

    owned: dict[Key, Owned] = field(default_factory=dict)
    held: dict[tuple[str, Key], Held] = field(default_factory=dict)
    hands_off: dict[Key, Released] = field(default_factory=dict)
    last_id: int = 0
    time: float = 0.0
    libvirt: str = ""
    damaged: list[tuple[int, str]] = field(default_factory=list)

    def after(self, record: Record) -> Standing:
        """What it is with one record more."""
        following = replace(self, owned=dict(self.owned), held=dict(self.held), hands_off=dict(self.hands_off))
        following.take(record)
        return following

    def take(self, record: Record) -> None:
        """Go on by one record."""
        if not isinstance(record, Owned):
            self.time = record.time
        match record:
            case Intent():
                self._intend(record)
            case Outcome():
                for key, mine in self.owned.items():
                    if mine.last.id == record.id:
                        self.owned[key] = _ended(mine, record)
            case Released():
                self._release(record)
            case Held():
                self.held[record.rule, (record.knob, record.target)] = record
            case Cleared():
                self.held.pop((record.rule, (record.knob, record.target)), None)
            case Owned():
                self.owned[record.knob, record.target] = record
                self.last_id = max(self.last_id, record.last.id)
            case Compacted():
                self.last_id = max(self.last_id, record.last_id)
            case Connected():
                self.libvirt = record.uri

    def _intend(self, intent: Intent) -> None:
        key = (intent.knob, intent.target)
        self.last_id = max(self.last_id, intent.id)
        self.hands_off.pop(key, None)
        written: tuple[Value, ...] = (intent.before, intent.after)
        known = self.owned.get(key)
        if known is None or known.identity != intent.identity:
            self.owned[key] = Owned(*key, intent.identity, intent.before, written, intent, _changes((), intent))
        else:
            changes = _changes(known.changes, intent)
            self.owned[key] = replace(known, written=written, last=intent, changes=changes, is_settled=False)
        if intent.trial:
            self.held[intent.rule, key] = Held(
                time=intent.time,
                rule=intent.rule,
                digest=intent.trial,
                knob=intent.knob,
                target=intent.target,
                identity=intent.identity,
                before=intent.before,
            )

    def _release(self, record: Released) -> None:
        key = (record.knob, record.target)
        self.owned.pop(key, None)
        self.hands_off.pop(key, None)
        if record.until:
            self.hands_off[key] = record

    def records(self) -> Iterator[Record]:
        """The fewest records that come to the same, but for what is over by the time of the last record."""
        if self.libvirt:
            yield Connected(time=self.time, uri=self.libvirt)
        yield from self.owned.values()
        yield from self.held.values()
        yield from (released for released in self.hands_off.values() if self.time < released.until)
        yield Compacted(time=self.time, last_id=self.last_id)

    @property
    def settings(self) -> Settings:
        """What the next boot sets."""
        return {kept.setting: kept for owned in self.owned.values() if (kept := owned.kept)}


def owned(records: Iterable[Record]) -> Owning:
    """What we changed and have not released, in the order of the first changes."""
    standing = Standing()
    for record in records:
        standing.take(record)
    return standing.owned


def _changes(known: tuple[Change, ...], intent: Intent) -> tuple[Change, ...]:
    """A rule that writes again takes over from those that came after it. A detour leads back."""
    if intent.is_detour:
        return known
    for index, change in enumerate(known):
        if change.rule == intent.rule:
            return known[: index + 1]
    return (*known, Change(intent.rule, intent.before))


def _ended(mine: Owned, outcome: Outcome) -> Owned:
    """A rule that has put back what it found has changed nothing; what it made of a target may be kept."""
    if outcome.value is None or mine.last.is_detour:
        written = mine.written if outcome.value is None else (outcome.value,)
        return replace(mine, written=written, is_settled=True)
    asked, changes = mine.last.after, mine.changes
    if outcome.result == "ok" and changes and changes[-1].before == asked:
        changes = changes[:-1]
    elif changes and changes[-1].rule == mine.last.rule:
        setting = mine.last.setting
        kept = Kept(setting, asked, mine.original, mine.last.rule, mine.last.because) if setting else None
        changes = (*changes[:-1], replace(changes[-1], kept=kept))
    written = (outcome.value,) if outcome.result == "ok" else (outcome.value, asked)
    return replace(mine, written=written, changes=changes, is_settled=True)
