"""Whether an expression has its data: what tells an empty result that means "no" from missing data (pure)."""

from __future__ import annotations

from typing import Protocol

from actuator.promql.nodes import Binary, Call, Node, Range, Selector, Subquery, children

_ASK_FOR_ABSENCE = frozenset({"absent", "absent_over_time"})


class Witness(Protocol):
    """Who knows the values of parts of the expression, at one time."""

    def any(self, node: Node) -> bool:
        """Whether the value has any element that is a number; raises what it raises when there is no answer."""

    def at_end_of(self, node: Subquery) -> Witness:
        """The one for the last instant of a subquery's window."""


def present(node: Node, witness: Witness) -> bool:
    """Whether every selector has a live sample and every range function enough samples for a result.

    What is not a number (NaN) is not there.

    Of `or`, one side is enough.
    Selectors inside absent() and absent_over_time() are not needed: that they select nothing is an answer.
    Raises what the witness raises.
    """
    match node:
        case Selector():
            return witness.any(node)
        case Call() if asks_for_absence(node):
            return True
        case Call() if has_range(node):
            return all(present(operand, witness) for operand in operands(node)) and witness.any(node)
        case Binary(op="or", left=left, right=right):
            return present(left, witness) or present(right, witness)
        case Subquery():
            return present(node.operand, witness.at_end_of(node))
        case _:
            return all(present(operand, witness) for operand in operands(node))


def operands(node: Node) -> tuple[Node, ...]:
    """The parts that data come from. The second argument of info() only chooses labels to add."""
    return children(node)[:1] if isinstance(node, Call) and node.function == "info" else children(node)


def has_range(call: Call) -> bool:
    """Whether it is a function of samples over time."""
    return any(isinstance(argument, Range | Subquery) for argument in call.arguments)


def asks_for_absence(call: Call) -> bool:
    """Whether an empty argument is what the call asks for."""
    return call.function in _ASK_FOR_ABSENCE
