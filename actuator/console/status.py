"""What a running actuator tells of itself: `status.json` in the state directory, replaced at each tick.

Times are unix seconds of the actuator's clock, which never jumps. How long ago something was is told by `monotonic`,
the machine's own clock, which all of its processes share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from actuator import statefile
from actuator.console import history
from actuator.console.pause import Pause
from actuator.decision import Decision
from actuator.knobs import Target, Value
from actuator.ledger import ledger
from actuator.ledger.ledger import LedgerError
from kvmhost import textfile
from kvmhost.fs import HostError, HostFS
from kvmhost.processes import stat_fields
from kvmhost.units import format_seconds

NAME = "status.json"

_LATE_TICKS = 3
_LATE_SECONDS = 10.0
_DEAD = (b"Z", b"X")
_STAT_START = 22 - 3  # in `stat_fields`: ticks of the kernel from its boot until the process was started


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The newest tick. `lag_seconds`: how much later than planned it began. `error`: what ended it early."""

    time: float
    monotonic: float
    seconds: float
    lag_seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleStatus:
    """A rule in force. `faults`: what keeps it from deciding, for all targets or some."""

    name: str
    mode: str
    active: int
    pending: int
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A value that differs from what was there before kvmtune, by the ledger; `rule` was the last to write it."""

    knob: str
    target: Target
    original: Value
    now: Value
    rule: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """What a rule leaves alone since its `verify` failed there."""

    rule: str
    knob: str
    target: Target
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The whole of it.

    `ended`: monotonic time of the newest tick that ran to its end, or of the start. `data_age_seconds`: of the data
    that a rule has last decided on, None if there were none; `data_error`: why there are none now. `process_started`
    tells the process from another one that gets its pid. `stopped`: when it stopped as it was asked to.
    """

    version: str
    mode: Literal["apply", "dry run"]
    pid: int
    process_started: int
    started: float
    interval_seconds: float
    rules_from: tuple[str, ...]
    ended: float
    tick: Tick | None
    data_age_seconds: float | None
    data_error: str
    paused: Pause | None
    rules: tuple[RuleStatus, ...]
    changed: tuple[Changed, ...]
    quarantined: tuple[Quarantined, ...]
    decisions: tuple[Decision, ...]
    stopped: float | None = None


def write(directory: Path, status: Status) -> None:
    """Replace the file; `OSError` if that fails."""
    statefile.replace(directory / NAME, as_json(status).encode() + b"\n")


def as_json(status: Status | None, **others: object) -> str:
    """The status as JSON, with `others` before it."""
    values = {field.name: getattr(status, field.name) for field in fields(status)} if status else {}
    return json.dumps({**others, **values}, default=history.as_json, separators=(",", ":"))


def read(directory: Path) -> Status | None:
    """None if there is no such file; `ValueError` if it is of another version, `OSError` if it cannot be read."""
    path = directory / NAME
    try:
        content, _ = textfile.read(path)
    except FileNotFoundError:
        return None
    if not content:
        raise ValueError(f"{path} is empty, as where the disk was full when it was written: see the actuator's log")
    try:
        return _decode(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not of this version of kvmtune: {error}") from None


def _decode(data: Mapping[str, Any]) -> Status:
    return Status(
        **{
            **data,
            "rules_from": tuple(data["rules_from"]),
            "tick": Tick(**data["tick"]) if data["tick"] else None,
            "paused": Pause(**data["paused"]) if data["paused"] else None,
            "rules": tuple(RuleStatus(**{**rule, "faults": tuple(rule["faults"])}) for rule in data["rules"]),
            "changed": tuple(Changed(**_targeted(changed)) for changed in data["changed"]),
            "quarantined": tuple(Quarantined(**_targeted(held)) for held in data["quarantined"]),
            "decisions": tuple(history.decision(each) for each in data["decisions"]),
        }
    )


def _targeted(data: Mapping[str, Any]) -> dict[str, Any]:
    return {**data, "target": history.target(data["target"])}


def process_started(pid: int) -> int | None:
    """When a process started, in ticks since the boot; None if there is none with this pid, 0 if nobody may know."""
    try:
        content = HostFS().content(f"proc/{pid}/stat")
    except HostError:
        return 0
    if content is None:
        return 0 if _is_hidden(pid) else None
    fields = stat_fields(content)
    return None if fields[0] in _DEAD else int(fields[_STAT_START])


def _is_hidden(pid: int) -> bool:
    """Whether /proc does not show it to this user (its mount option hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def is_alive(status: Status) -> bool:
    """Whether the process that wrote it is still there."""
    started = process_started(status.pid)
    return status.stopped is None and started is not None and started in (0, status.process_started)


def problem(status: Status, *, alive: bool, changed: int, monotonic: float, doubts: int = 0) -> str:
    """Why the actuator is not at work, with the next step; empty if it is (pure).

    `changed`: how many values the ledger says are changed. `doubts`: how much of it is damaged. `monotonic`: now.
    """
    left = _left(changed, doubts)
    if status.stopped is not None:
        return f"it was stopped at {datetime.fromtimestamp(status.stopped):%F %T}{left}"
    if not alive:
        return f"it was killed or has crashed (there is no process {status.pid}){left}"
    ago = monotonic - status.ended
    if ago > _LATE_TICKS * status.interval_seconds + _LATE_SECONDS:
        why = status.tick.error if status.tick and status.tick.error else "it hangs, or cannot write this file"
        return f"it is stuck: the last good tick was {format_seconds(round(ago))} ago ({why}); see its log"
    return ""


def _left(changed: int, doubts: int) -> str:
    left = f"; {changed} changed values are left, which `kvmtune-actuator restore` puts back" if changed else ""
    if doubts:
        left += "; the ledger is damaged: what else is changed is not known, `kvmtune-actuator restore` says more"
    return left


def look(directory: Path) -> tuple[Status | None, str]:
    """The status that a state directory has, and why no actuator is at work with it; empty if one is."""
    try:
        found = read(directory)
    except ValueError as error:
        return None, str(error)
    except OSError as error:
        return None, statefile.cannot("read", directory / NAME, error)
    try:
        standing = ledger.read(directory)
        changed, doubts = len(standing.owned), len(ledger.doubts(directory, standing))
    except LedgerError:
        changed, doubts = len(found.changed) if found else 0, 0
    if found is None:
        elsewhere = f"; root's has --state-dir {statefile.OF_ROOT}" if directory != statefile.OF_ROOT else ""
        return (
            None,
            f"none has run with the state directory {directory} yet: `kvmtune-actuator run` starts one{elsewhere}"
            f"{_left(changed, doubts)}",
        )
    is_there = is_alive(found)
    return found, problem(found, alive=is_there, changed=changed, doubts=doubts, monotonic=time.monotonic())
