"""PromQL over samples that are held in memory: compile an expression once, evaluate it as often as needed."""

from dataclasses import dataclass

from actuator.promql import nodes, requirements
from actuator.promql.evaluate import PROMETHEUS_3, Semantics, instant
from actuator.promql.labels import Labels
from actuator.promql.nodes import Node, ValueType
from actuator.promql.parser import parse
from actuator.promql.types import EvaluationError, PromqlError, Sample, UnsupportedError

__all__ = [
    "PROMETHEUS_3",
    "EvaluationError",
    "Expr",
    "Labels",
    "PromqlError",
    "Sample",
    "Semantics",
    "UnsupportedError",
    "compile",
    "compile_for_server",
    "instant",
]


MAX_SUBQUERY_STEPS = 11_000
"""Prometheus' own limit on the points of a range query."""
MAX_SUBQUERY_PARTS = 250_000
"""Evaluations of a part of the expression, however little data it reads: one or two seconds."""


@dataclass(frozen=True)
class Expr:
    """A compiled expression.

    ``text``: what the user wrote.
    ``window_seconds``: how far back its selectors look (range, offset and lookback together), infinite for a
    fixed ``@`` time.
    ``metric_names``: names that it selects literally.
    """

    text: str
    root: Node
    window_seconds: float
    metric_names: frozenset[str]
    value_type: ValueType


def compile(text: str, semantics: Semantics = PROMETHEUS_3) -> Expr:  # noqa: A001 - promql.compile, like re.compile
    """Compile an expression; raises PromqlError, with a hint, for one that is wrong or not supported."""
    root = parse(text)
    steps = requirements.subquery_steps(root, semantics)
    if steps > MAX_SUBQUERY_STEPS:
        raise PromqlError(
            f"its subqueries have {steps} steps, more than {MAX_SUBQUERY_STEPS}: shorten a range or widen a step"
        )
    parts = requirements.evaluations(root, semantics)
    if parts > MAX_SUBQUERY_PARTS:
        raise PromqlError(
            f"its subqueries evaluate {parts} parts at their steps together, more than {MAX_SUBQUERY_PARTS}: "
            "shorten a range, widen a step, or record an operand"
        )
    return _expr(text, root, semantics)


def compile_for_server(text: str) -> Expr:
    """Read an expression that a server evaluates; raises PromqlError for one that is wrong, or unknown to the parser.

    The server has its own limits, and functions that the embedded evaluator refuses.
    """
    try:
        return _expr(text, parse(text, for_server=True), PROMETHEUS_3)
    except UnsupportedError as error:
        raise PromqlError(f"{error}; or make it a recording rule of the server") from None


def _expr(text: str, root: Node, semantics: Semantics) -> Expr:
    return Expr(
        text=text,
        root=root,
        window_seconds=requirements.window_ms(root, semantics) / 1000,
        metric_names=requirements.metric_names(root),
        value_type=nodes.value_type(root),
    )
