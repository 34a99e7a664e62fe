"""Other ways to ask what an instant query asks: the answer must be the same (promqltest/test.go).

A query whose selectors all have an ``@`` time has the same value whenever it is evaluated, and one step of a
range query has the value of the instant query at that time.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from actuator.promql import dates
from actuator.promql.nodes import Aggregate, Binary, Call, Negate, Node, Range, Selector, Subquery, walk

_DEPEND_ON_THE_TIME = frozenset({*dates.TABLE, "predict_linear", "time", "timestamp"})
_BOUNDS = re.compile(r"(start|end)\(\)")


def pinned(root: Node, time_ms: int) -> Iterator[tuple[Node, int]]:
    """The expression with ``@ time_ms`` added, and times at which it must have its value of ``time_ms``."""
    if any(isinstance(node, Call) and node.function in _DEPEND_ON_THE_TIME for node in walk(root)):
        return
    fixed = _pin(root, time_ms)
    for other_ms in (-10 * time_ms, 0, time_ms // 5, time_ms, 10 * time_ms) if time_ms else (-1000, 0, 1000):
        yield fixed, other_ms


def same_in_a_range(text: str) -> bool:
    """Whether ``text`` has the same value as a step of a range query: ``@ start()`` has not."""
    return _BOUNDS.search(text) is None


def _pin(node: Node, time_ms: int) -> Node:
    match node:
        case Selector(at=at) | Subquery(at=at):
            return node if isinstance(at, int) else replace(node, at=time_ms)
        case Range(selector):
            return replace(node, selector=cast(Selector, _pin(selector, time_ms)))
        case Negate(operand):
            return Negate(_pin(operand, time_ms))
        case Call(arguments=arguments):
            return replace(node, arguments=tuple(_pin(argument, time_ms) for argument in arguments))
        case Aggregate(operand=operand, parameter=parameter):
            pinned_parameter = None if parameter is None else _pin(parameter, time_ms)
            return replace(node, operand=_pin(operand, time_ms), parameter=pinned_parameter)
        case Binary(left=left, right=right):
            return replace(node, left=_pin(left, time_ms), right=_pin(right, time_ms))
        case _:
            return node
