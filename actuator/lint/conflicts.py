"""Rules that get in each other's way on a knob (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from actuator.knobs import KNOBS
from actuator.lint import conditions
from actuator.lint.conditions import core
from actuator.lint.finding import Finding, Subject, at, place_of
from actuator.lint.meeting import Side, can_meet, exclude_each_other, matchers_of
from actuator.promql.nodes import Node
from actuator.rules.ruleset import Action, Allocate, Place, Set


def check(subject: Subject) -> Iterator[Finding]:
    """All pairs of rules that act on one knob. One that only says what it would do is in the way of its like only."""
    on_knob: dict[tuple[str, str], list[Side]] = {}
    numbers: dict[Node, int] = {}
    for group in subject.rules.groups:
        for rule in group.tunes:
            for action in rule.actions if rule.mode != "off" else ():
                side = Side(subject, group, rule, action, numbers)
                on_knob.setdefault((action.knob, rule.mode), []).append(side)
    overruled: set[str] = set()
    for sides in on_knob.values():
        yield from _restored(sides)
        for number, side in enumerate(sides):
            yield from _with_those_before(side, sides[:number], overruled)


def _with_those_before(side: Side, before: Sequence[Side], overruled: set[str]) -> Iterator[Finding]:
    equals = []
    for other in before:
        winner, loser = (side, other) if side.rule.priority > other.rule.priority else (other, side)
        if _always_overrules(winner, loser):
            if loser.rule.name not in overruled:
                overruled.add(loser.rule.name)
                why = "comes first" if winner.rule.priority == loser.rule.priority else "has a higher priority"
                yield at(
                    loser.rule, "",
                    f"it never acts: {place_of(winner.rule)} sets the same under the same 'when' and {why}: remove one",
                    is_error=True,
                )  # fmt: skip
        elif _share_a_budget(side.action, other.action):
            if can_meet(side, other):
                yield _both_divide(side, other)
        elif side.rule.priority == other.rule.priority:
            if not _agree(side.action, other.action) and can_meet(side, other):
                equals.append(other)
        elif isinstance(winner.action, Allocate) and can_meet(side, other):
            yield _spends(loser, winner)
    if equals:
        yield _first_wins(side, equals)


def _first_wins(side: Side, others: Sequence[Side]) -> Finding:
    verb, both = ("sets", "both") if len(others) == 1 else ("set", "they")
    return at(
        side.rule, _key(side.action),
        f"{_named(others)} {verb} {side.action.knob}, too, and {both} can hold at once, when the first in the files "
        "wins: give one a higher 'priority', or let one 'when' exclude the other",
    )  # fmt: skip


def _both_divide(side: Side, other: Side) -> Finding:
    return at(
        side.rule, _key(side.action),
        f"it divides memory that {place_of(other.rule)} divides, too: both count on all of 'free'; let one rule do it, "
        "or give each a part by labels",
    )  # fmt: skip


def _spends(loser: Side, winner: Side) -> Finding:
    return at(
        loser.rule, _key(loser.action),
        f"it spends memory that {place_of(winner.rule)} divides with a higher priority: only a rule whose own "
        "'priority' is higher is counted in",
    )  # fmt: skip


def _named(sides: Sequence[Side]) -> str:
    """Who they are; of many, the first and how many more."""
    if len(sides) > 2:
        return f"{place_of(sides[0].rule)} and {len(sides) - 1} other rules"
    return " and ".join(place_of(side.rule) for side in sides)


def _restored(sides: Sequence[Side]) -> Iterator[Finding]:
    for side in sides:
        if side.rule.on_clear != "restore":
            continue
        others = [one for one in sides if one is not side and not exclude_each_other(side.selected, one.selected)]
        if not others:
            continue
        yield at(
            side.rule, "on_clear",
            f"'on_clear: restore' puts {side.action.knob} back only if this rule was the last to change it, and "
            f"{_named(others)} change{'s' if len(others) == 1 else ''} it, too: let one rule have the knob",
        )  # fmt: skip


def _key(action: Action) -> str:
    match action:
        case Set(knob):
            return f"set.{knob}"
        case Place():
            return "place"
        case Allocate():
            return "allocate"


def _always_overrules(winner: Side, loser: Side) -> bool:
    """Whether the winner sets the same targets whenever the loser would."""
    subject, rule, other = winner.subject, winner.rule, loser.rule
    if not rule.is_about_the_same_as(other):
        return False
    in_step = (rule.for_seconds, rule.keep_firing_for_seconds) == (other.for_seconds, other.keep_firing_for_seconds)
    as_often = rule.every_seconds in (0.0, other.every_seconds)
    if not in_step or not as_often or subject.interval_of(winner.group) != subject.interval_of(loser.group):
        return False
    fixed = {action.knob for action in rule.actions if _is_fixed(action)}
    return all(action.knob in fixed and (_is_fixed(action) or not KNOBS[action.knob].keys) for action in other.actions)


def _is_fixed(action: Action) -> bool:
    """Whether it is a literal, which has a value for every target that `when` selects."""
    return isinstance(action, Set) and (isinstance(action.value, str) or _number(action) is not None)


def _number(action: Action) -> float | None:
    if not isinstance(action, Set) or isinstance(action.value, str) or action.value.value_type != "scalar":
        return None
    return conditions.constant(action.value.root)


def _agree(one: Action, other: Action) -> bool:
    """Whether it does not matter which of them is carried out."""
    if isinstance(one, Set) and isinstance(other, Set):
        roots = [action.value if isinstance(action.value, str) else action.value.root for action in (one, other)]
        return roots[0] == roots[1]
    # No other strategy moves the vCPUs of guests that have cores of their own, and none goes where these are.
    return (
        isinstance(one, Place)
        and isinstance(other, Place)
        and (one.strategy == "exclusive") != (other.strategy == "exclusive")
    )


def _share_a_budget(one: Action, other: Action) -> bool:
    """Whether what both give comes from the same memory."""
    if not (isinstance(one, Allocate) and isinstance(other, Allocate)):
        return False
    if not one.free.metric_names & other.free.metric_names:
        return False
    mine, theirs = (matchers_of(core(action.free.root)) for action in (one, other))
    return not exclude_each_other(mine, theirs)
