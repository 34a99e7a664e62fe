"""Decisions as the operator sees them: what was decided, on whom, from what to what, and why (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from actuator.knobs import KNOBS, Target, Value, label
from actuator.plans.guard import Reason, Ruling

Outcome = (
    Literal[
        "written",
        "would write",
        "settled",
        "fell short",
        "failed",
        "drifted",
        "overruled",
        "waiting",
        "quarantined",
        "paused",
        "restored",
        "not restored",
    ]
    | Ruling
)
"""`settled` and `fell short` tell the end of a write that took a while, `restored` and `not restored` what became of a
changed value at a stop; the rest, what became of a setpoint."""

QUIET: frozenset[Outcome] = frozenset({"unchanged", "deadband", "waiting", "settled", "overruled"})
"""Outcomes that are counted, and logged only on request: nothing is wrong and nothing changed by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of one setpoint. `time`: unix seconds. `value`: what the rule's `when` gave.

    `reason`: the kind of a refusal, which `detail` tells in full.
    """

    time: float
    rule: str
    knob: str
    target: Target
    outcome: Outcome
    before: Value | None = None
    after: Value | None = None
    because: str = ""
    value: float | None = None
    detail: str = ""
    reason: Reason | None = None

    @property
    def line(self) -> str:
        """For a person: the time of day, and what was decided."""
        return f"{datetime.fromtimestamp(self.time).strftime('%H:%M:%S')} {self.text}"

    @property
    def text(self) -> str:
        """For a person: outcome, rule, target, knob, before -> after, why."""
        values = [shown(self.knob, value) for value in (self.before, self.after) if value is not None]
        when = "" if self.value is None else f"when = {self.value:.4g}"
        notes = "; ".join(note for note in (when, self.detail) if note)
        what = " ".join(part for part in (label(self.target), self.knob, " -> ".join(values)) if part)
        why = " ".join(part for part in (self.because, f"({notes})" if notes else "") if part)
        return f"{self.outcome:<11} {self.rule}: {what}" + (f" | {why}" if why else "")


def shown(knob: str, value: Value) -> str:
    """A value in its knob's unit, for a person; as it stands if this version has no such knob."""
    return KNOBS[knob].unit.format(value) if knob in KNOBS else str(value)


class Journal:
    """Chooses what is worth a line: each write, and each change of a rule's decision on a target."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str, Target], tuple[object, ...]] = {}

    def is_news(self, decision: Decision) -> bool:
        """Whether the decision differs from the last one of this rule on this target. Writes always do."""
        key = (decision.rule, decision.knob, decision.target)
        now = (decision.outcome, decision.before, decision.after)
        seen = self._last.get(key)
        self._last[key] = now
        return decision.outcome == "written" or now != seen

    def forget(self, rule: str) -> None:
        """The rule holds for nothing any more: what it decides next is news."""
        self._last = {key: last for key, last in self._last.items() if key[0] != rule}
