"""The expression tree: frozen nodes of our own, independent of the parser that made them.

Durations and times are whole milliseconds, the resolution of Prometheus.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

ValueType: TypeAlias = Literal["scalar", "vector", "matrix", "string"]

At: TypeAlias = int | Literal["start", "end"] | None
"""The ``@`` modifier: unix milliseconds, a bound of the query, or None."""


class Pattern(Protocol):
    """The part of a compiled RE2 regular expression that we use."""

    def fullmatch(self, text: str) -> object: ...


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label; regular expressions are RE2 and match the whole value."""

    name: str
    op: Literal["=", "!=", "=~", "!~"]
    value: str
    pattern: Pattern | None = field(default=None, repr=False, compare=False)

    def matches(self, value: str) -> bool:
        """Whether a series with this label value (empty: no such label) fulfils the condition."""
        if self.pattern is None:
            return (value == self.value) == (self.op == "=")
        return (self.pattern.fullmatch(value) is not None) == (self.op == "=~")


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class String:
    value: str


@dataclass(frozen=True, slots=True)
class Negate:
    operand: "Node"


@dataclass(frozen=True, slots=True)
class Selector:
    """``name{matchers} offset o @ t``, an instant vector; the name is a matcher on ``__name__``."""

    matchers: tuple[Matcher, ...]
    offset_ms: int = 0
    at: At = None


@dataclass(frozen=True, slots=True)
class Range:
    """``selector[range]``; offset and ``@`` belong to the selector."""

    selector: Selector
    range_ms: int


@dataclass(frozen=True, slots=True)
class Subquery:
    """``operand[range:step] offset o @ t``; ``step_ms`` None is the evaluator's default step."""

    operand: "Node"
    range_ms: int
    step_ms: int | None = None
    offset_ms: int = 0
    at: At = None


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple["Node", ...]
    value_type: ValueType


@dataclass(frozen=True, slots=True)
class Aggregate:
    """``op by|without (grouping) (parameter, operand)``; neither by nor without is ``by ()``."""

    op: str
    operand: "Node"
    parameter: "Node | None"
    grouping: tuple[str, ...]
    without: bool


@dataclass(frozen=True, slots=True)
class Matching:
    """How elements of two vectors find each other.

    ``many`` is the side that may have several elements per match (group_left: left);
    ``include`` are the labels that group_left or group_right copies from the other side.
    """

    on: bool = False
    labels: tuple[str, ...] = ()
    many: Literal["left", "right"] | None = None
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binary:
    op: str
    left: "Node"
    right: "Node"
    matching: Matching
    return_bool: bool


Node: TypeAlias = Number | String | Negate | Selector | Range | Subquery | Call | Aggregate | Binary


def children(node: Node) -> tuple[Node, ...]:
    """Direct sub-expressions, in the order of the text. The selector of a range is one of them."""
    match node:
        case Negate(operand) | Subquery(operand=operand):
            return (operand,)
        case Range(selector):
            return (selector,)
        case Call(arguments=arguments):
            return arguments
        case Aggregate(operand=operand, parameter=None):
            return (operand,)
        case Aggregate(operand=operand, parameter=parameter):
            assert parameter is not None
            return (parameter, operand)
        case Binary(left=left, right=right):
            return (left, right)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def value_type(node: Node) -> ValueType:
    """Type of the value that the node evaluates to."""
    match node:
        case Number():
            return "scalar"
        case String():
            return "string"
        case Range() | Subquery():
            return "matrix"
        case Call():
            return node.value_type
        case Negate(operand):
            return value_type(operand)
        case Binary(left=left, right=right):
            return "scalar" if value_type(left) == value_type(right) == "scalar" else "vector"
        case _:
            return "vector"
