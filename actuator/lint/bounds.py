"""Limits that cannot matter, and setpoints beyond them (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from itertools import product

from actuator.knobs import KNOBS, Knob
from actuator.lint.conditions import constant
from actuator.lint.finding import Finding, Subject, at
from actuator.rules.limits import CONTINUOUS, Amount, Limits
from actuator.rules.policy import load
from actuator.rules.ruleset import Set, Tune

_Bound = tuple[float, str]
"""A limit and whose it is."""


def check(subject: Subject) -> Iterator[Finding]:
    """Every tuning rule, next to the policy."""
    yield from _unbounded(subject)
    for rule in subject.rules.tunes:
        for action in rule.actions:
            own, policy = rule.limits.get(action.knob, Limits()), subject.policy.limits.get(action.knob, Limits())
            knob = KNOBS[action.knob]
            yield from _moot(rule, knob, own, policy)
            low, high = _range(knob, own, policy)
            if low and high and low[0] > high[0]:
                yield at(
                    rule, "limits",
                    f"{knob.name} is never set: {_shown(knob, low)} is above {_shown(knob, high)}",
                    is_error=True,
                )  # fmt: skip
            elif isinstance(action, Set):
                yield from _setpoint(rule, action, knob, low, high)


def _unbounded(subject: Subject) -> Iterator[Finding]:
    """Knobs without a limit that they have in the policy that ships, which a file of one's own replaces as a whole.

    The first rule on such a knob is named. A knob that the policy names without any limits is meant to have none.
    """
    given = subject.policy.limits
    for knob, ours in load().limits.items():
        bounds = {name: limit for name in ("max", "step") if (limit := getattr(ours, name)) is not None}
        for rule in subject.rules.tunes if given.get(knob) != Limits() else ():
            own = [given.get(knob, Limits()), rule.limits.get(knob, Limits())]
            lost = [name for name in bounds if all(getattr(one, name) is None for one in own)]
            if lost and any(action.knob == knob for action in rule.actions):
                shown = ", ".join(f"{name}: {_written(KNOBS[knob], bounds[name])}" for name in lost)
                yield at(
                    rule, f"set.{knob}",
                    f"neither policy nor rule limits {knob} by {' and '.join(lost)}, as kvmtune's own policy does: "
                    f"write {{{shown}}} into the policy, or {knob}: {{}} if it shall have no limits",
                )  # fmt: skip
                break


def _written(knob: type[Knob], limit: Amount | int) -> str:
    if isinstance(limit, Amount):
        return f"{limit.ratio * 100:g}%" if limit.ratio is not None else knob.unit.format(limit.absolute or 0)
    return knob.unit.format(limit)


def _moot(rule: Tune, knob: type[Knob], own: Limits, policy: Limits) -> Iterator[Finding]:
    for limit in fields(Limits):
        mine, theirs = getattr(own, limit.name), getattr(policy, limit.name)
        if _is_looser(limit.name, mine, theirs):
            yield at(
                rule, f"limits.{limit.name}",
                f"{limit.name!r} changes nothing for {knob.name}, since the policy's own is tighter: remove it, or "
                "change the policy",
            )  # fmt: skip
    for step, deadband in product((own.step, policy.step), (own.deadband, policy.deadband)):
        if _is_looser("step", deadband, step):
            yield at(rule, "limits", f"a step of {knob.name} is smaller than its deadband, and so not worth a write")


def _is_looser(limit: str, mine: Amount | int | None, theirs: Amount | int | None) -> bool:
    """Whether `theirs` is tighter than `mine`; a share and a number cannot be compared."""
    if isinstance(mine, Amount) and isinstance(theirs, Amount):
        if (mine.ratio is None) != (theirs.ratio is None):
            return False
        one, other = mine.ratio or mine.absolute or 0, theirs.ratio or theirs.absolute or 0
    elif isinstance(mine, int) and isinstance(theirs, int):
        one, other = mine, theirs
    else:
        return False
    return one < other if limit in ("min", "deadband") else one > other


def _range(knob: type[Knob], own: Limits, policy: Limits) -> tuple[_Bound | None, _Bound | None]:
    """The tightest limits of rule, policy and knob."""
    if knob.unit not in CONTINUOUS:
        return None, None
    rows = (
        (own.min, own.max, "the rule"),
        (policy.min, policy.max, "the policy"),
        (knob.lowest, knob.highest, "the knob"),
    )
    lows = [(low, f"the lowest that {whose} allows") for low, _, whose in rows if low is not None]
    highs = [(high, f"the highest that {whose} allows") for _, high, whose in rows if high is not None]
    return max(lows, default=None), min(highs, default=None)


def _shown(knob: type[Knob], bound: _Bound) -> str:
    return f"{bound[1]} ({knob.unit.format(int(bound[0]))})"


def _setpoint(rule: Tune, action: Set, knob: type[Knob], low: _Bound | None, high: _Bound | None) -> Iterator[Finding]:
    """A number that is written down."""
    if isinstance(action.value, str) or action.value.value_type != "scalar":
        return
    number = constant(action.value.root)
    if number is None:
        return
    bound = low if low and number < low[0] else high if high and number > high[0] else None
    if bound:
        is_hard = bound[0] in (knob.lowest, knob.highest)
        message = f"{number:g} is beyond {_shown(knob, bound)}, which is set instead: write that"
        yield at(rule, f"set.{knob.name}", message, is_error=is_hard)
