"""What the evaluator answers, and why Prometheus 2.42 may answer something else."""

from actuator import promql
from actuator.promql import nodes
from actuator.promql.columns import Source
from actuator.promql.nodes import Node
from actuator.promql.types import PromqlError
from tests.promql.differential.differences import CHANGES, DEFECTS, FREEDOMS, RENAMED, SEMANTICS
from tests.promql.differential.queries import Answer, Query, Refused, difference, merged
from tests.promql.differential.variants import Variant, VariantEvaluator, together

_UNCHANGED = Variant()
_ALL_CHANGED = together(change.variant for change in CHANGES)


def answer(query: Query, source: Source, variant: Variant = _UNCHANGED) -> Answer:
    """What the evaluator answers to a query of Prometheus 2."""
    try:
        root = compiled(query)
        if query.step_ms is not None and nodes.value_type(root) in ("matrix", "string"):
            return Refused("a range query needs a scalar or an instant vector")
        evaluators = (
            VariantEvaluator(source, time_ms, query.start_ms, query.end_ms, SEMANTICS, variant)
            for time_ms in query.times_ms
        )
        return merged((evaluator.time_ms, evaluator.result(root)) for evaluator in evaluators)
    except PromqlError as error:
        return Refused(str(error))


def compiled(query: Query) -> Node:
    """The expression tree; raises PromqlError."""
    return promql.compile(query.text.replace(*RENAMED), SEMANTICS).root


def explanation(query: Query, source: Source, theirs: Answer) -> tuple[str, ...]:
    """Names of the known differences that make ``theirs`` differ from our answer; none: there is a new one."""
    for change in CHANGES:
        if not difference(answer(query, source, change.variant), theirs):
            return (change.name,)
    changed = answer(query, source, _ALL_CHANGED)
    if not difference(changed, theirs):
        return tuple(change.name for change in CHANGES if difference(_without(change.name, query, source), theirs))
    for freedom in FREEDOMS:
        for variant in freedom.variants():
            if difference(answer(query, source, together([_ALL_CHANGED, variant])), changed):
                return (freedom.name,)
    try:
        root = compiled(query)
    except PromqlError:
        return ()
    return tuple(defect.name for defect in DEFECTS if defect.concerns(query, root, theirs))[:1]


def _without(name: str, query: Query, source: Source) -> Answer:
    return answer(query, source, together(change.variant for change in CHANGES if change.name != name))
