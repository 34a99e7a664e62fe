"""Text to expression tree: the only import of ``promql_parser``.

The parser (0.12) overflows the stack of the process on deep trees, takes quadratic time on long ones and
panics on some numbers. So the text goes through ``precheck`` first, the panics that are left are caught, and the
tree is copied at once into ``nodes``; whatever the copy does not know is refused by name.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal, cast

import promql_parser as upstream

from actuator.promql import functions, nodes, precheck
from actuator.promql.aggregate import OPERATORS as AGGREGATIONS
from actuator.promql.binary import OPERATORS as BINARY_OPERATORS
from actuator.promql.labels import NAME
from actuator.promql.nodes import At, Matcher, Matching, Node
from actuator.promql.refused import explain, refuse
from actuator.promql.relabel import compile_pattern
from actuator.promql.types import PromqlError, UnsupportedError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MAX_DURATION = timedelta(microseconds=2**63 // 1000)
"""That of Go, which counts nanoseconds: 292 years."""


def parse(text: str, *, for_server: bool = False) -> Node:
    """The expression tree of ``text``; raises PromqlError and nothing else.

    ``for_server``: a server evaluates it, so it may call what the embedded evaluator does not know.
    """
    precheck.check(text)
    try:
        root = _node(upstream.parse(text))
    except OverflowError:
        raise PromqlError("a duration or an @ timestamp is out of range") from None
    except ValueError as error:
        raise explain(text, str(error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3 derives it from BaseException
            raise
        raise PromqlError(f"a number is out of range: {error}") from None
    if not for_server:
        _check_known(root)
    return root


def _check_known(root: Node) -> None:
    for node in nodes.walk(root):
        if isinstance(node, nodes.Call) and node.function not in functions.TABLE:
            raise refuse(f"{node.function}()")
        if isinstance(node, nodes.Aggregate) and node.op not in AGGREGATIONS:
            raise refuse(f"{node.op}()")


def _node(tree: upstream.Expr) -> Node:
    match tree:
        case upstream.NumberLiteral():
            return nodes.Number(tree.val)
        case upstream.StringLiteral():
            return nodes.String(tree.val)
        case upstream.ParenExpr():
            return _node(tree.expr)
        case upstream.UnaryExpr():
            return nodes.Negate(_node(tree.expr))
        case upstream.VectorSelector():
            return _selector(tree)
        case upstream.MatrixSelector():
            return nodes.Range(_selector(tree.vector_selector), _milliseconds(tree.range))
        case upstream.SubqueryExpr():
            return _subquery(tree)
        case upstream.Call():
            return _call(tree)
        case upstream.AggregateExpr():
            return _aggregate(tree)
        case upstream.BinaryExpr():
            return _binary(tree)
        case _:
            raise refuse(type(tree).__name__)


def _selector(tree: upstream.VectorSelector) -> nodes.Selector:
    if tree.matchers.or_matchers:
        raise UnsupportedError("'or' inside a selector", "use =~ or join two selectors with 'or'")
    named = (Matcher(NAME, "=", tree.name),) if tree.name else ()
    matchers = tuple(_matcher(matcher) for matcher in tree.matchers.matchers)
    return nodes.Selector(named + matchers, _milliseconds(tree.offset), _at(tree.at))


def _matcher(tree: upstream.Matcher) -> Matcher:
    if tree.op == upstream.MatchOp.Equal:
        return Matcher(tree.name, "=", tree.value)
    if tree.op == upstream.MatchOp.NotEqual:
        return Matcher(tree.name, "!=", tree.value)
    pattern = compile_pattern(tree.value)
    return Matcher(tree.name, "=~" if tree.op == upstream.MatchOp.Re else "!~", tree.value, pattern)


def _subquery(tree: upstream.SubqueryExpr) -> nodes.Subquery:
    return nodes.Subquery(
        operand=_node(tree.expr),
        range_ms=_milliseconds(tree.range),
        step_ms=_milliseconds(tree.step) or None,
        offset_ms=_milliseconds(tree.offset),
        at=_at(tree.at),
    )


def _call(tree: upstream.Call) -> nodes.Call:
    name = tree.func.name
    arguments = tuple(_node(argument) for argument in tree.args)
    # The parser checks these itself, but lets ln() of a scalar pass.
    for argument, expected in zip(arguments, map(_value_type, tree.func.arg_types), strict=False):
        if nodes.value_type(argument) != expected:
            raise PromqlError(f"{name}() takes a {expected}, not a {nodes.value_type(argument)}")
    if name in ("label_replace", "label_join"):
        _check_relabelling(name, [argument.value for argument in arguments if isinstance(argument, nodes.String)])
    return nodes.Call(name, arguments, _value_type(tree.func.return_type))


def _check_relabelling(name: str, texts: list[str]) -> None:
    target, _, *others = texts
    if not target:
        raise PromqlError(f"invalid destination label name in {name}(): it is empty")
    if name == "label_replace":
        compile_pattern(others[1])
    elif not all(others):
        raise PromqlError(f"invalid source label name in {name}(): it is empty")


def _value_type(upstream_type: upstream.ValueType) -> nodes.ValueType:
    return cast(nodes.ValueType, str(upstream_type).rpartition(".")[2].lower())


def _aggregate(tree: upstream.AggregateExpr) -> nodes.Aggregate:
    modifier = tree.modifier
    parameter = None if tree.param is None else _node(tree.param)
    if str(tree.op) == "count_values" and parameter == nodes.String(""):
        raise PromqlError("invalid label name in count_values(): it is empty")
    return nodes.Aggregate(
        op=str(tree.op),
        operand=_node(tree.expr),
        parameter=parameter,
        grouping=tuple(modifier.labels) if modifier else (),
        without=modifier is not None and modifier.type == upstream.AggModifierType.Without,
    )


def _binary(tree: upstream.BinaryExpr) -> nodes.Binary:
    op = str(tree.op)
    if op not in BINARY_OPERATORS:
        raise refuse(f"the operator {op}")
    modifier = tree.modifier
    return_bool = modifier is not None and modifier.return_bool
    return nodes.Binary(op, _node(tree.lhs), _node(tree.rhs), _matching(modifier), return_bool)


def _matching(modifier: upstream.BinModifier | None) -> Matching:
    if modifier is None:
        return Matching()
    if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
        raise refuse("fill")
    labels = modifier.matching
    return Matching(
        on=labels is not None and labels.type == upstream.LabelModifierType.Include,
        labels=tuple(labels.labels) if labels else (),
        many=_many_side(modifier.card),
        include=tuple(modifier.group_labels or ()),
    )


def _many_side(cardinality: upstream.VectorMatchCardinality) -> Literal["left", "right"] | None:
    if cardinality == upstream.VectorMatchCardinality.ManyToOne:
        return "left"
    return "right" if cardinality == upstream.VectorMatchCardinality.OneToMany else None


def _milliseconds(duration: timedelta | None) -> int:
    if duration is None:
        return 0
    if abs(duration) > _MAX_DURATION:
        raise OverflowError
    return duration // _MILLISECOND


def _at(tree: upstream.AtModifier | None) -> At:
    if tree is None:
        return None
    if tree.type == upstream.AtModifierType.Start:
        return "start"
    if tree.type == upstream.AtModifierType.End:
        return "end"
    assert tree.at is not None
    return (tree.at - _EPOCH) // _MILLISECOND
