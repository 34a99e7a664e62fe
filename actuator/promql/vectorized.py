"""Binary operators and aggregations of whole columns.

They give what `binary.apply` and `aggregate.apply` give for the elements, or None for what is left to those: set
operators, rare operations, and label sets that are no clean match, so that the error comes from one place.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, chain, compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actuator.promql import aggregate, binary, floats
from actuator.promql.columns import Columns, Floats, LabelSets, distinct
from actuator.promql.labels import Labels
from actuator.promql.nodes import Aggregate, Binary
from actuator.promql.types import Value

# Not here are ^ and atan2: numpy's may differ from libm's in the last bit.
_ARITHMETIC = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "%": np.fmod}
_COMPARISONS = {
    "==": np.equal, "!=": np.not_equal, ">": np.greater, "<": np.less, ">=": np.greater_equal, "<=": np.less_equal,
}  # fmt: skip


@np.errstate(all="ignore")
def operate(node: Binary, left: Value | Columns, right: Value | Columns) -> Columns | None:
    """``left op right``, where at least one side is columns."""
    match left, right:
        case Columns(), float():
            return _calculate(node, left.values, right, left)
        case float(), Columns():
            return _calculate(node, left, right.values, right)
        case Columns(), Columns() if node.op not in binary.SETS:
            return _match(node, left, right)
    return None


def _calculate(node: Binary, left: Floats | float, right: Floats | float, vector: Columns) -> Columns | None:
    """The operation on the values of ``vector`` and its partner."""
    if node.op in _ARITHMETIC:
        return Columns(vector.sets, _ARITHMETIC[node.op](left, right), vector.present, True)
    if node.op not in _COMPARISONS:
        return None
    holds = _COMPARISONS[node.op](left, right)
    if node.return_bool:
        return Columns(vector.sets, holds.astype(np.float64), vector.present, True)
    return Columns(vector.sets, vector.values, vector.present & holds, vector.drop_name)


class _Join(NamedTuple):
    """Which elements of the two sides belong together, and the label sets of the results."""

    many: NDArray[np.intp]
    one: NDArray[np.intp]
    sets: LabelSets


def _match(node: Binary, left: Columns, right: Columns) -> Columns | None:
    swapped = node.matching.many == "right"
    many, one = (right, left) if swapped else (left, right)
    key = (node.matching, node.op in binary.ARITHMETIC)
    join = many.sets.joined(one.sets, key, lambda: _join(node, many.sets, one.sets))
    if join is None:
        return None
    present = many.present[join.many] & one.present[join.one]
    first, second = (join.one, join.many) if swapped else (join.many, join.one)
    matched = Columns(join.sets, left.values[first], present)
    result = _calculate(node, matched.values, right.values[second], matched)
    # Arithmetic has dropped the name already, and comparisons keep it.
    return None if result is None else replace(result, drop_name=node.return_bool)


def _join(node: Binary, many: LabelSets, one: LabelSets) -> _Join | None:
    """None if an element has more than one partner, or two results have the same labels."""
    signature, result = binary.signature(node.matching), binary.result_labels(node)
    partners = {signature(labels): index for index, labels in enumerate(one.labels)}
    if len(partners) < len(one):
        return None
    keys = list(map(signature, many.labels))
    if node.matching.many is None and len(set(keys)) < len(keys):
        return None
    pairs = [(index, partners[key]) for index, key in enumerate(keys) if key in partners]
    sets = distinct(result(many.labels[index], one.labels[partner]) for index, partner in pairs)
    if sets is None:
        return None
    both = np.array(pairs, np.intp).reshape(-1, 2)
    return _Join(both[:, 0], both[:, 1], sets)


class _Groups(NamedTuple):
    """Elements in the order of their groups, where each group ends in it, and the labels of the groups."""

    order: NDArray[np.intp]
    bounds: list[tuple[int, int]]
    sets: LabelSets


def reduce(node: Aggregate, vector: Columns, parameter: Value | None) -> Columns | None:
    """The aggregation of a vector, one value for each group."""
    reduction = _reduction(node, parameter)
    if reduction is None:
        return None
    key = ("groups", node.grouping, node.without)
    groups = vector.sets.derived(key, lambda: _groups(node, vector.sets))
    values = vector.values[groups.order].tolist()
    members = [values[start:end] for start, end in groups.bounds]
    if not vector.present.all():
        present = vector.present[groups.order].tolist()
        members = [
            list(compress(values, present[start:end]))
            for values, (start, end) in zip(members, groups.bounds, strict=True)
        ]
    results = np.array([reduction(values) if values else 0.0 for values in members], np.float64)
    return Columns(groups.sets, results, np.array(list(map(bool, members)), np.bool_), vector.drop_name)


def _reduction(node: Aggregate, parameter: Value | None) -> Callable[[Sequence[float]], float] | None:
    if node.op == "quantile" and isinstance(parameter, float):
        return partial(floats.quantile, parameter)
    return aggregate.REDUCTIONS.get(node.op)


def _groups(node: Aggregate, sets: LabelSets) -> _Groups:
    key = aggregate.group_key(node)
    groups: dict[Labels, list[int]] = {}
    for index, labels in enumerate(sets.labels):
        groups.setdefault(key(labels), []).append(index)
    ends = list(accumulate(map(len, groups.values())))
    order = np.array(list(chain.from_iterable(groups.values())), np.intp)
    return _Groups(order, list(zip([0, *ends], ends, strict=False)), LabelSets(groups))
