"""What a check is given, and what it finds (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from actuator.lint.catalogue import Catalogue
from actuator.promql import Expr
from actuator.rules.policy import Policy
from actuator.rules.ruleset import Allocate, Group, Place, Record, RuleSet, Set, Tune
from kvmhost.yamltree import Position, Problem

Rule = Record | Tune

_NOWHERE = Position("", 1, 1)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong (`is_error`), or that may not be meant; `message` says it with the fix."""

    position: Position
    rule: str
    message: str
    is_error: bool = False

    @property
    def problem(self) -> Problem:
        """For the operator."""
        where, kind = self.position, "" if self.is_error else "warning: "
        return Problem(where.file, where.line, where.column, f"{kind}{self.rule}: {self.message}")


@dataclass(frozen=True)
class Subject:
    """What is checked. `interval_seconds`: between two ticks. `for_server`: a server is asked, which has other series,
    too, and scrapes when it likes."""

    rules: RuleSet
    policy: Policy
    interval_seconds: float
    for_server: bool = False

    @cached_property
    def catalogue(self) -> Catalogue:
        """The series that there are."""
        return Catalogue(self.rules)

    def interval_of(self, group: Group) -> float:
        """Seconds between two evaluations of a group."""
        return max(self.interval_seconds, group.interval_seconds or 0.0)


def at(rule: Rule | Group, key: str, message: str, *, is_error: bool = False) -> Finding:
    """A finding about the value of a rule's `key`, or about the rule if the key is not there."""
    where = rule.positions.get(key) or rule.positions.get("", _NOWHERE)
    return Finding(where, rule.name, message, is_error)


def place_of(rule: Rule) -> str:
    """The rule and where it is, for a message about another one."""
    return f"{rule.name!r} ({rule.positions.get('', _NOWHERE)})"


def expressions(rule: Rule) -> Iterator[tuple[str, Expr]]:
    """All expressions of a rule, each with its key."""
    if isinstance(rule, Record):
        yield "expr", rule.expr
        return
    yield "when", rule.when
    if rule.until:
        yield "until", rule.until
    for fresh in rule.fresh:
        yield f"require_fresh.{fresh.metric.text}", fresh.metric
    if rule.verify:
        yield "verify.expr", rule.verify.expr
    for action in rule.actions:
        match action:
            case Set(knob, value):
                if not isinstance(value, str):
                    yield f"set.{knob}", value
            case Place():
                yield "place.load", action.load
                yield "place.memory", action.memory
            case Allocate():
                parts = {"free": action.free, "need": action.need, "shares": action.shares}
                parts |= {"min": action.min, "max": action.max}
                yield from ((f"allocate.{name}", expr) for name, expr in parts.items() if expr)
