"""The blast radius: how many guests a rule may write to in one tick (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from actuator.knobs import Target, Value
from actuator.plans.guard import Reason
from actuator.plans.plan import Setpoint


@dataclass(frozen=True, slots=True)
class Radius:
    """`share` of the guests that have the knob, but `at_least` guests in any case."""

    share: float = 0.5
    at_least: int = 8

    def of(self, guests: int) -> int:
        """How many of so many guests."""
        return max(int(self.share * guests), self.at_least)


@dataclass(frozen=True, slots=True)
class Move:
    """A setpoint that would be written to one of so many `guests`."""

    setpoint: Setpoint
    before: Value
    after: Value
    guests: int

    @property
    def guest(self) -> str:
        return dict(self.setpoint.target)["domain"]

    @property
    def size(self) -> tuple[bool, float]:
        """What matters more is greater: of numbers a decrease first, since it frees what others are given."""
        if isinstance(self.before, str) or isinstance(self.after, str):
            return False, 0.0
        return self.after < self.before, abs(self.after - self.before)


@dataclass(frozen=True, slots=True)
class Held:
    """Why a setpoint is not written in this tick."""

    outcome: Literal["refused", "waiting"]
    detail: str
    reason: Reason | None = None


def held_back(moves: Sequence[Move], radius: Radius) -> Mapping[tuple[str, str, Target], Held]:
    """By rule, knob and target, what goes beyond the radius of its rule.

    What was planned for a group (`allocate`, `place`) is safe in parts: its largest moves are made now, and the next
    evaluation goes on from there. Any other rule that wants so much at once is stopped before its first write: more
    often than not, what it goes by is wrong.
    """
    held: dict[tuple[str, str, Target], Held] = {}
    of_rule: dict[tuple[str, str], list[Move]] = {}
    for move in moves:
        of_rule.setdefault((move.setpoint.rule, move.setpoint.knob), []).append(move)
    for (rule, knob), its in of_rule.items():
        touched = {move.guest for move in its}
        most = radius.of(its[0].guests)
        if len(touched) <= most:
            continue
        if all(move.setpoint.is_planned for move in its):
            largest = dict.fromkeys(move.guest for move in sorted(its, key=lambda move: move.size, reverse=True))
            now = set(list(largest)[:most])
            rest = Held("waiting", f"the plan is carried out in parts: {most} guests at a tick (blast_radius)")
            held |= {(rule, knob, move.setpoint.target): rest for move in its if move.guest not in now}
        else:
            detail = (
                f"the rule would write to {len(touched)} of {its[0].guests} guests at once, and the policy's "
                f"blast_radius is {most}: bound it, as by topk({most}, ...), or raise blast_radius"
            )
            held |= {(rule, knob, move.setpoint.target): Held("refused", detail, "blast radius") for move in its}
    return held
