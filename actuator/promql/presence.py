"""Whether an expression has its data: what tells an empty result that means "no" from missing data."""

from actuator.promql.evaluate import Evaluator
from actuator.promql.nodes import Binary, Call, Node, Range, Selector, Subquery, children

_ASKS_FOR_ABSENCE = frozenset({"absent", "absent_over_time"})


def present(node: Node, evaluator: Evaluator) -> bool:
    """Whether every selector has a live sample and every range function enough samples for a result.

    Of `or`, one side is enough.
    Selectors inside absent() and absent_over_time() are not needed: that they select nothing is an answer.
    Raises EvaluationError.
    """
    match node:
        case Selector():
            return bool(evaluator.vector(node))
        case Call(function) if function in _ASKS_FOR_ABSENCE:
            return True
        case Call(_, arguments) if any(isinstance(argument, Range | Subquery) for argument in arguments):
            return all(present(argument, evaluator) for argument in arguments) and bool(evaluator.vector(node))
        case Binary(op="or", left=left, right=right):
            return present(left, evaluator) or present(right, evaluator)
        case Subquery():
            return present(node.operand, evaluator.at_end_of(node))
        case _:
            return all(present(child, evaluator) for child in children(node))
