"""Whether a write did what it was for: its trial (pure).

After a write, the rule's `verify` must hold within its time. An answer counts if all its data are younger than the
write. Time in which there is no answer does not count, so that missing data take nothing back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from actuator.rules.ruleset import Verify
from kvmhost.units import format_seconds


@dataclass(frozen=True, slots=True)
class Trial:
    """A write that has not proved itself yet. Times are unix seconds; `seen`: when it was looked at last."""

    written: float
    deadline: float
    seen: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether `verify` holds for the target, by data that reach until `as_of` (unix seconds)."""

    holds: bool
    as_of: float


def begin(verify: Verify, written: float) -> Trial:
    """The trial of a write at `written`."""
    return Trial(written, written + verify.within_seconds, written)


def step(verify: Verify, trial: Trial, answer: Answer | None, now: float) -> Trial | str | None:
    """The trial at `now`: it goes on, failed for a reason, or passed (None). `answer` None: it is not known."""
    if answer is None:
        return replace(trial, deadline=trial.deadline + now - trial.seen, seen=now)
    counts = answer.as_of > trial.written and answer.as_of - verify.looks_back_seconds >= trial.written
    if counts and answer.holds:
        return None
    if counts and now >= trial.deadline:
        within = format_seconds(verify.within_seconds)
        return f"verify did not hold within {within} after the write: {verify.expr.text}"
    return replace(trial, seen=now)
