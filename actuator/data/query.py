"""One function for the rule engine, whoever answers: the value of a compiled expression at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from actuator.data.result import Result, of_value
from actuator.data.store import Store, milliseconds
from actuator.promql import EvaluationError, Expr, Sample
from actuator.promql.columns import Columns
from actuator.promql.evaluate import PROMETHEUS_3, Evaluator, Semantics
from actuator.promql.presence import present


class QueryError(Exception):
    """There is no answer; what the rule watches is unknown."""


class Query(Protocol):
    def prepare(self, exprs: Iterable[Expr], time: float) -> None:
        """Say what will be asked for ``time`` (unix seconds), so that it can be asked at once."""

    def instant(self, expr: Expr, time: float) -> tuple[Sample, ...]:
        """Value at ``time`` (unix seconds); a scalar is one sample without labels. Raises QueryError."""

    def present(self, expr: Expr, time: float) -> bool:
        """Whether the data that the expression reads are there, so that an empty result means "no".

        Raises QueryError.
        """

    def as_of(self, expr: Expr, time: float) -> float:
        """Until when (unix seconds) the data of the expression at ``time`` reach. Raises QueryError."""


class LocalQuery:
    """Answers from the samples in memory."""

    def __init__(self, store: Store, semantics: Semantics = PROMETHEUS_3) -> None:
        self._store = store
        self._semantics = semantics

    def prepare(self, exprs: Iterable[Expr], time: float) -> None:
        """Nothing: no answer needs to be waited for."""

    def instant(self, expr: Expr, time: float) -> tuple[Sample, ...]:
        try:
            value = self._evaluator(time).columns(expr.root)
        except EvaluationError as error:
            raise QueryError(f"{expr.text}: {error}") from error
        if isinstance(value, Columns):  # nearly all rules
            return tuple(map(Sample._make, value.pairs()))
        try:
            return of_value(value, expr.value_type, milliseconds(time)).samples()
        except ValueError as error:
            raise QueryError(f"{expr.text}: {error}") from error

    def result(self, expr: Expr, time: float) -> Result:
        """Its value at ``time``, whatever its type; raises QueryError."""
        try:
            value = self._evaluator(time).result(expr.root)
        except EvaluationError as error:
            raise QueryError(f"{expr.text}: {error}") from error
        return of_value(value, expr.value_type, milliseconds(time))

    def present(self, expr: Expr, time: float) -> bool:
        try:
            return present(expr.root, self._evaluator(time))
        except EvaluationError as error:
            raise QueryError(f"{expr.text}: {error}") from error

    def as_of(self, expr: Expr, time: float) -> float:
        """The time itself: a tick scrapes before it asks."""
        return time

    def _evaluator(self, time: float) -> Evaluator:
        now_ms = milliseconds(time)
        return Evaluator(self._store, now_ms, now_ms, now_ms, self._semantics)
