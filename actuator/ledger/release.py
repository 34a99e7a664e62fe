"""An operator's word that what is held back may be tried again: requests in the state directory.

A request is a file of the very records that the actuator is to make, so that it needs neither its lock nor its end.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from actuator.knobs import Target, label
from actuator.ledger import files
from actuator.ledger.ledger import Ledger
from actuator.ledger.records import Cleared, Record, Released, decode, encode
from actuator.ledger.standing import Standing

log = logging.getLogger("kvmtune-actuator")

_REASON = "an operator says so"

Asked = tuple[Cleared | Released, str]
"""What would release it, and what is held back, as text."""


def held_back(standing: Standing, now: float) -> Iterator[Asked]:
    """All that is in quarantine, or left alone after someone else has set it, at the unix time `now` (pure).

    What would release it has the time of what it is meant for.
    """
    for held in standing.held.values():
        if held.verdict:
            cleared = Cleared(time=held.time, rule=held.rule, knob=held.knob, target=held.target, reason=_REASON)
            yield cleared, f"{held.rule} leaves {held.knob} of {label(held.target)} alone: {held.verdict}"
    for released in standing.hands_off.values():
        if now < released.until:
            free = Released(time=released.time, knob=released.knob, target=released.target, reason=_REASON)
            minutes = (released.until - now) / 60
            what = f"all rules leave {released.knob} of {label(released.target)} alone for {minutes:.0f} min"
            yield free, f"{what}: {released.reason}"


def names(record: Cleared | Released) -> Collection[str]:
    """What it can be called by: the rule, the knob, the guest or other target."""
    rule = [record.rule] if isinstance(record, Cleared) else []
    return [*rule, record.knob, *_targets(record.target)]


def _targets(target: Target) -> list[str]:
    return [label(target), *(value for key, value in target if key == "domain")]


def ask(directory: Path, records: Collection[Record], now: float) -> None:
    """Have the actuator make these records at its next tick, or when it starts; `OSError`."""
    path = directory / f"release-{now:.6f}.jsonl"
    os.close(files.replace(path, b"".join(map(encode, records)), 0o600))


def take(ledger: Ledger, now: float) -> None:
    """Do what was asked for. What has come to be held back after it was asked is not meant."""
    for path in sorted(ledger.path.parent.glob("release-*.jsonl")):
        try:
            records = [decode(line) for line in path.read_bytes().splitlines()]
        except (OSError, ValueError) as error:
            log.warning("%s is no request to release: %s", path, error)
            records = []
        for record in records:
            if isinstance(record, Cleared | Released) and _is_meant(record, ledger):
                ledger.append(replace(record, time=now))
        with contextlib.suppress(OSError):  # what was done once is not meant a second time
            path.unlink()


def _is_meant(record: Cleared | Released, ledger: Ledger) -> bool:
    key = (record.knob, record.target)
    there = ledger.held.get((record.rule, key)) if isinstance(record, Cleared) else ledger.hands_off.get(key)
    return there is not None and there.time == record.time
