"""Every known difference between the evaluator and Prometheus 2.42, by name. There is no other.

A change came with Prometheus 3, or is in what 2.42 was built with. Its variant is what Prometheus 2.42 has, so it
explains an answer only if the evaluator, with the variant in it, gives that very answer. Where the change does not
matter, a variant is what the evaluator has, so that a defect there cannot hide behind it.

A freedom is what no Prometheus promises. Its variants use it, so it explains an answer only if one changes ours.

A defect is a place where Prometheus itself contradicts its documentation, or where we cannot follow it. It explains
an answer if the query has the construct.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from actuator.promql import binary, floats
from actuator.promql.aggregate import REDUCTIONS
from actuator.promql.evaluate import Semantics
from actuator.promql.nodes import Aggregate, Call, Node, Number, Range, Selector, String, Subquery, walk
from tests.promql.differential import prometheus2
from tests.promql.differential.queries import Answer, Query, Refused
from tests.promql.differential.variants import (
    Variant,
    elementwise,
    of_values,
    of_window,
    other_digits,
    other_orders,
)

SEMANTICS = Semantics(closed_windows=True)
"""Windows include their left end in Prometheus 2 (prometheus/prometheus#13904, #15431)."""

RENAMED = ("holt_winters", "double_exponential_smoothing")
"""The function's names in Prometheus 2 and 3 (#14930)."""


@dataclass(frozen=True)
class Change:
    """What another version of Prometheus does; ``upstream`` is the pull request that changed it."""

    name: str
    upstream: str
    variant: Variant


@dataclass(frozen=True)
class Freedom:
    """Variants that are as right as any other."""

    name: str
    variants: Callable[[], Iterable[Variant]]


@dataclass(frozen=True)
class Defect:
    """A query that fulfils ``concerns`` need not be answered alike."""

    name: str
    upstream: str
    concerns: Callable[[Query, Node, Answer], bool]


_COMPARISONS = dict.fromkeys(binary.COMPARISONS, prometheus2.comparison)

CHANGES = (
    Change(
        "rate: a counter's zero beyond half an interval",
        "prometheus/prometheus#13725",
        Variant({"rate": of_window(prometheus2.rate), "increase": of_window(prometheus2.increase)}),
    ),
    Change(
        "sum: not compensated",
        "prometheus/prometheus#14074",
        Variant(reductions={"sum": prometheus2.rounded(prometheus2.add, REDUCTIONS["sum"])}),
    ),
    Change(
        "avg: incremental, not compensated",
        "prometheus/prometheus#14413, #16569",
        Variant(reductions={"avg": prometheus2.rounded(prometheus2.average, REDUCTIONS["avg"])}),
    ),
    Change(
        "avg_over_time: incremental",
        "prometheus/prometheus#16569, #16773",
        Variant({"avg_over_time": of_values(prometheus2.rounded(prometheus2.average_over_time, floats.mean))}),
    ),
    Change(
        "stddev, stdvar: an infinity or NaN at first",
        "prometheus/prometheus#14941",
        Variant(
            reductions={
                "stdvar": prometheus2.variance,
                "stddev": lambda values: floats.sqrt(prometheus2.variance(values)),
            }
        ),
    ),
    Change(
        "compensation: infinities make it NaN",
        "prometheus/prometheus#14362",
        Variant(
            {
                "stdvar_over_time": of_values(prometheus2.variance_over_time),
                "stddev_over_time": of_values(lambda values: floats.sqrt(prometheus2.variance_over_time(values))),
                "deriv": of_window(prometheus2.deriv),
                "predict_linear": prometheus2.predict_linear,
            }
        ),
    ),
    Change(
        "histogram_quantile: steps by rounding",
        "prometheus/prometheus#13153",
        Variant({"histogram_quantile": prometheus2.histogram_quantile}),
    ),
    Change(
        "atan2: keeps the metric's name", "prometheus/prometheus#12595", Variant(operators={"atan2": prometheus2.atan2})
    ),
    Change(
        "logarithms of denormal numbers",
        "golang/go src/math/log_amd64.s",
        Variant(
            {
                "ln": elementwise(prometheus2.logarithm),
                "log10": elementwise(lambda value: prometheus2.logarithm(value) / math.log(10)),
            }
        ),
    ),
    Change(
        "exponentials that nearly overflow",
        "golang/go src/math/exp_amd64.s",
        Variant(
            {
                "exp": elementwise(prometheus2.exp),
                "sinh": elementwise(prometheus2.sinh),
                "cosh": elementwise(prometheus2.cosh),
            }
        ),
    ),
    Change(
        "comparison: second matches that it filters out",
        "prometheus/prometheus#17668",
        Variant(operators=_COMPARISONS),
    ),
)


FREEDOMS = (
    Freedom("the order of series: rounding of sums, ties of topk and bottomk", other_orders),
    Freedom("the last digits of mathematical functions", other_digits),
)


def _moves(query: Query, root: Node, theirs: Answer) -> bool:
    """2.42 lets the window of `f(x[5m] @ t, s)` move with the steps, if f or s depends on the time."""
    moving = (node for node in walk(root) if isinstance(node, Call) and _depends_on_time(node))
    steps = query.step_ms is not None or any(isinstance(node, Subquery) for node in walk(root))
    return steps and any(_fixed(argument) for call in moving for argument in call.arguments)


def _depends_on_time(call: Call) -> bool:
    scalars = [argument for argument in call.arguments if not isinstance(argument, Range | Subquery)]
    return call.function == "predict_linear" or not all(isinstance(node, Number) for node in scalars)


def _fixed(node: Node) -> bool:
    match node:
        case Range(selector):
            return selector.at is not None
        case Subquery(at=at):
            return at is not None
        case _:
            return False


def _fixed_parameter(query: Query, root: Node, theirs: Answer) -> bool:
    """Prometheus takes an aggregation of series at @ for constant, whatever its parameter is, and calculates it once."""
    return any(
        isinstance(node, Aggregate)
        and node.parameter is not None
        and not isinstance(node.parameter, Number | String)
        and all(part.at is not None for part in walk(node.operand) if isinstance(part, Selector))
        for node in walk(root)
    )


def _collides(query: Query, root: Node, theirs: Answer) -> bool:
    """Prometheus refuses series that differ in their names only, even if they are never there at the same time."""
    ranges = query.step_ms is not None or any(isinstance(node, Subquery) for node in walk(root))
    return ranges and isinstance(theirs, Refused) and "same labelset" in theirs.reason


def _timestamp_of_moved(query: Query, root: Node, theirs: Answer) -> bool:
    """Prometheus looks at t, but has read the samples until t - offset only."""
    return any(
        isinstance(node, Call)
        and node.function == "timestamp"
        and isinstance(node.arguments[0], Selector)
        and node.arguments[0].at is not None
        and node.arguments[0].offset_ms != 0
        for node in walk(root)
    )


def _unary_plus(query: Query, root: Node, theirs: Answer) -> bool:
    """It matters to the type of an operand, and to functions that look at the selector itself."""
    if isinstance(theirs, Refused):
        return "unary expression" in theirs.reason
    return re.search(r"(?:timestamp|absent|absent_over_time)\s*\([(\s]*\+", query.text) is not None


def _without_steps(query: Query, root: Node, theirs: Answer) -> bool:
    """A constant in a subquery is evaluated at the next step, although that comes after the end of the window."""
    if not isinstance(root, Subquery):
        return False
    step_ms = root.step_ms or SEMANTICS.subquery_step_ms
    return root.range_ms < step_ms


DEFECTS = (
    Defect("a window at @ moves with the steps", "prometheus/prometheus#13559", _moves),
    Defect("the parameter of an aggregation of series at @ stays that of the first step", "none", _fixed_parameter),
    Defect("label sets that collide at different steps", "partly prometheus/prometheus#17703, #17708", _collides),
    Defect("timestamp(x offset o @ t)", "none", _timestamp_of_moved),
    Defect("a subquery of a constant, without a step in its window", "none", _without_steps),
    Defect("unary plus: our parser loses it", "none", _unary_plus),
)
