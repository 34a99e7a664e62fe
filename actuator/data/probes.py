"""What a server is asked besides the expression: whether its data are there, how old, and of which host (pure).

An empty result is a "no" only if the data were there. Samples in memory show that; a server must be asked. One question
for each selector tells three things: whether it selects anything, how old the newest sample is, and of how many
instances it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from actuator.promql import Sample
from actuator.promql.labels import NAME, get
from actuator.promql.nodes import At, Call, Node, Selector, Subquery
from actuator.promql.presence import asks_for_absence, has_range, operands
from actuator.promql.text import render

INSTANCE = "instance"


class Question(NamedTuple):
    """A query text and the time to evaluate it for, in unix milliseconds."""

    text: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A time within a query of ``query_ms``: of a subquery, its end. A `presence.Witness` that asks a server."""

    time_ms: int
    query_ms: int
    ask: Callable[[Question], tuple[Sample, ...]]

    def any(self, node: Node) -> bool:
        return bool(self.ask(self.question(node)))

    def at_end_of(self, node: Subquery) -> Moment:
        return Moment(self.anchor(node.at, node.offset_ms), self.query_ms, self.ask)

    def anchor(self, at: At, offset_ms: int) -> int:
        """The time that a selector or subquery looks at."""
        if at is None:
            return self.time_ms - offset_ms
        return (at if isinstance(at, int) else self.query_ms) - offset_ms

    def question(self, node: Node) -> Question:
        """Of a selector: the time of the newest number of each instance. Of a function: whether it has a result.

        What is not a number is not below infinity, either.
        """
        text = render(node, self.query_ms)
        if not isinstance(node, Selector):
            return Question(f"count({text} <= Inf)", self.time_ms)
        if not is_named(node):
            return Question(f"count by ({INSTANCE}) ({text} <= Inf)", self.time_ms)
        return Question(f"max by ({INSTANCE}) (timestamp({text}) and {text} <= Inf)", self.time_ms)


@dataclass(frozen=True, slots=True)
class Probe:
    """A part of an expression, and the moment at which it looks for data."""

    node: Selector | Call
    moment: Moment

    @property
    def question(self) -> Question:
        return self.moment.question(self.node)

    def age_seconds(self, newest: Sequence[Sample]) -> float:
        """How much older the newest sample is than it could be; 0 without samples, a name, or for a fixed time."""
        node = self.node
        if not newest or not isinstance(node, Selector) or isinstance(node.at, int) or not is_named(node):
            return 0.0
        return self.moment.anchor(node.at, node.offset_ms) / 1000 - max(sample.value for sample in newest)


def is_named(node: Selector) -> bool:
    """Whether all that it selects has one name, without which timestamp() would find series that are the same."""
    return any(matcher.name == NAME and matcher.op == "=" for matcher in node.matchers)


def instances(newest: Sequence[Sample]) -> list[str]:
    """The instances that a selector's samples are of."""
    return sorted(get(sample.labels, INSTANCE) for sample in newest)


def probes(node: Node, moment: Moment) -> Iterator[Probe]:
    """Every selector, and every function of a range, which may need more samples than one."""
    match node:
        case Selector():
            yield Probe(node, moment)
        case Subquery(operand):
            yield from probes(operand, moment.at_end_of(node))
        case _:
            for child in operands(node):
                yield from probes(child, moment)
    if isinstance(node, Call) and not asks_for_absence(node) and has_range(node):
        yield Probe(node, moment)
