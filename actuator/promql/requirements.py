"""What an expression needs of the store, found without evaluating it."""

import math

from actuator.promql.evaluate import Semantics
from actuator.promql.labels import NAME
from actuator.promql.nodes import At, Node, Range, Selector, Subquery, children, walk


def window_ms(node: Node, semantics: Semantics) -> float:
    """How far before the time of the evaluation samples can matter; infinite for a fixed ``@`` time."""
    match node:
        case Selector(_, offset_ms, at):
            return _reach(semantics.lookback_ms, offset_ms, at)
        case Range(Selector(_, offset_ms, at), range_ms):
            return _reach(range_ms, offset_ms, at)
        case Subquery(operand, range_ms, _, offset_ms, at):
            return _reach(range_ms + window_ms(operand, semantics), offset_ms, at)
        case _:
            return max((window_ms(child, semantics) for child in children(node)), default=0)


def looks_back_ms(node: Node) -> float:
    """How far the ranges and offsets of an expression reach; what is asked for now looks back 0."""
    return window_ms(node, Semantics(lookback_ms=0))


def subquery_steps(node: Node, semantics: Semantics) -> int:
    """How often the most repeated part of the expression is evaluated: steps of nested subqueries multiply."""
    repeated = max((subquery_steps(child, semantics) for child in children(node)), default=1)
    return repeated * _steps(node, semantics) if isinstance(node, Subquery) else repeated


def evaluations(node: Node, semantics: Semantics) -> int:
    """How many parts are evaluated, those of a subquery at each of its steps."""
    once = sum((evaluations(child, semantics) for child in children(node)), start=1)
    return once * _steps(node, semantics) if isinstance(node, Subquery) else once


def _steps(node: Subquery, semantics: Semantics) -> int:
    return -(-node.range_ms // (node.step_ms or semantics.subquery_step_ms))


def _reach(length_ms: float, offset_ms: int, at: At) -> float:
    return math.inf if isinstance(at, int) else max(0, length_ms + offset_ms)


def matched_labels(root: Node) -> frozenset[str]:
    """Names of the labels that the selectors of an expression ask for, but the metric's."""
    selectors = (node for node in walk(root) if isinstance(node, Selector))
    return frozenset(matcher.name for one in selectors for matcher in one.matchers) - {NAME}


def metric_names(root: Node) -> frozenset[str]:
    """Names that the selectors of an expression ask for literally."""
    return frozenset(
        matcher.value
        for node in walk(root)
        if isinstance(node, Selector)
        for matcher in node.matchers
        if matcher.name == NAME and matcher.op == "=" and matcher.value
    )
