"""Whether two rules can act on one target at one time (pure).

All rules on a knob are looked at in pairs, so that what there is to know of one is found once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from actuator.knobs import KNOBS
from actuator.lint.conditions import Alternatives, Interval, alternatives, are_apart, compared, core, telling
from actuator.lint.finding import Subject
from actuator.promql.nodes import Aggregate, Binary, Matcher, Node, Selector
from actuator.rules.ruleset import Action, Allocate, Group, Set, Tune


@dataclass(frozen=True)
class Side:
    """One rule on a knob. `numbers`: those of expressions, shared by all sides; to compare expressions takes long."""

    subject: Subject
    group: Group
    rule: Tune
    action: Action
    numbers: dict[Node, int]

    @cached_property
    def selected(self) -> list[Matcher]:
        """The conditions on the labels of what it acts on."""
        exprs = [self.rule.when.root]
        if isinstance(self.action, Set) and not isinstance(self.action.value, str):
            exprs.append(self.action.value.root)
        if isinstance(self.action, Allocate):
            exprs.append(self.action.need.root)
        keys = KNOBS[self.action.knob].keys
        return [matcher for expr in exprs for matcher in matchers_of(core(expr)) if matcher.name in keys]

    @cached_property
    def while_alive(self) -> tuple[Mapping[int, Interval], ...]:
        """What can be so while an instance acts, by the number of the expression."""
        keys = frozenset(KNOBS[self.action.knob].keys)
        found = telling(_while_alive(self.subject, self.rule), keys, self.subject.catalogue.labels)
        return tuple(
            {self.numbers.setdefault(node, len(self.numbers)): interval for node, interval in one.items()}
            for one in found
        )


def can_meet(one: Side, other: Side) -> bool:
    """Whether both rules can act on one target at one time."""
    if exclude_each_other(one.selected, other.selected):
        return False
    # One that goes on for a while after its time is over by then if the other has to wait as long.
    lingers = (
        one.rule.keep_firing_for_seconds > other.rule.for_seconds
        or other.rule.keep_firing_for_seconds > one.rule.for_seconds
    )
    return lingers or not are_apart(one.while_alive, other.while_alive)


def exclude_each_other(one: Iterable[Matcher], other: Iterable[Matcher]) -> bool:
    """Whether no value of some label fulfils the conditions of both, as far as one of them names a value."""
    both = (*one, *other)
    for label in {matcher.name for matcher in both if matcher.op == "="}:
        matchers = [matcher for matcher in both if matcher.name == label]
        values = {matcher.value for matcher in matchers if matcher.op == "="}
        if not any(all(matcher.matches(value) for matcher in matchers) for value in values):
            return True
    return False


def matchers_of(node: Node) -> Iterator[Matcher]:
    """Those that every element of a result fulfils, if it still has the label."""
    match node:
        case Selector(matchers):
            yield from matchers
        case Binary("or", left, right):
            others = list(matchers_of(core(right)))
            yield from (matcher for matcher in matchers_of(core(left)) if matcher in others)
        case Binary(op, left, right, matching):
            yield from matchers_of(core(left))
            if not matching.on and not matching.labels and op != "unless":
                yield from matchers_of(core(right))
        case Aggregate(operand=operand, grouping=grouping, without=False):
            yield from (matcher for matcher in matchers_of(core(operand)) if matcher.name in grouping)


def _while_alive(subject: Subject, rule: Tune) -> Alternatives:
    """What can be so while an instance acts: `when`, or with an `until`, whatever is not that."""
    if rule.until is None:
        return alternatives(rule.when.root, subject.catalogue.labels)
    ends = compared(rule.until.root)
    rest = ends[1].outside() if ends else None
    return ({ends[0]: rest},) if ends and rest else ({},)
