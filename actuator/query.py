"""One function for the rule engine, whoever answers: the value of a compiled expression at a time."""

from typing import Protocol

from actuator.promql import EvaluationError, Expr, Sample
from actuator.promql.evaluate import PROMETHEUS_3, Evaluator, Semantics
from actuator.promql.labels import EMPTY
from actuator.promql.presence import present
from actuator.promql.types import Element
from actuator.store import Store, milliseconds


class QueryError(Exception):
    """There is no answer; what the rule watches is unknown."""


class Query(Protocol):
    def instant(self, expr: Expr, time: float) -> tuple[Sample, ...]:
        """Value at ``time`` (unix seconds); a scalar is one sample without labels. Raises QueryError."""

    def present(self, expr: Expr, time: float) -> bool:
        """Whether the data that the expression reads are there, so that an empty result means "no".

        Raises QueryError.
        """


class LocalQuery:
    """Answers from the samples in memory."""

    def __init__(self, store: Store, semantics: Semantics = PROMETHEUS_3) -> None:
        self._store = store
        self._semantics = semantics

    def instant(self, expr: Expr, time: float) -> tuple[Sample, ...]:
        try:
            value = self._evaluator(time).result(expr.root)
        except EvaluationError as error:
            raise QueryError(f"{expr.text}: {error}") from error
        if isinstance(value, float):
            return (Sample(EMPTY, value),)
        if isinstance(value, str) or expr.value_type == "matrix":
            raise QueryError(f"{expr.text}: the result is a {expr.value_type}, not a vector or a scalar")
        return tuple(Sample(element.labels, element.value) for element in value if isinstance(element, Element))

    def present(self, expr: Expr, time: float) -> bool:
        try:
            return present(expr.root, self._evaluator(time))
        except EvaluationError as error:
            raise QueryError(f"{expr.text}: {error}") from error

    def _evaluator(self, time: float) -> Evaluator:
        now_ms = milliseconds(time)
        return Evaluator(self._store, now_ms, now_ms, now_ms, self._semantics)
