"""An expression tree as text, for questions about parts of an expression (pure).

What the user wrote is never rendered: it is sent and shown as it stands.
"""

from __future__ import annotations

import math

from actuator.promql.nodes import (
    Aggregate,
    At,
    Binary,
    Call,
    Matcher,
    Matching,
    Negate,
    Node,
    Number,
    Range,
    Selector,
    String,
    Subquery,
)


def render(node: Node, time_ms: int) -> str:
    """A text with the value of `node` in an instant query at ``time_ms``, also if it is sent for another time.

    ``@ start()`` and ``@ end()`` become that time.
    """
    match node:
        case Number(value):
            return _number(value)
        case String(value):
            return quote(value)
        case Negate(operand):
            return f"-({render(operand, time_ms)})"
        case Selector(matchers, offset_ms, at):
            return _selector(matchers) + _modifiers(offset_ms, at, time_ms)
        case Range(Selector(matchers, offset_ms, at), range_ms):
            return f"{_selector(matchers)}[{range_ms}ms]{_modifiers(offset_ms, at, time_ms)}"
        case Subquery(operand, range_ms, step_ms, offset_ms, at):
            window = f"[{range_ms}ms:{f'{step_ms}ms' if step_ms else ''}]"
            return f"({render(operand, time_ms)}){window}{_modifiers(offset_ms, at, time_ms)}"
        case Call(function, arguments):
            return f"{function}({', '.join(render(argument, time_ms) for argument in arguments)})"
        case Aggregate(op, operand, parameter, grouping, without):
            inner = [render(part, time_ms) for part in (parameter, operand) if part is not None]
            return f"{op} {'without' if without else 'by'} {_names(grouping)} ({', '.join(inner)})"
        case Binary(op, left, right, matching, return_bool):
            middle = f"{op}{' bool' if return_bool else ''}{_matching(matching)}"
            return f"({render(left, time_ms)}) {middle} ({render(right, time_ms)})"


def quote(text: str) -> str:
    """A string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _number(value: float) -> str:
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


def _selector(matchers: tuple[Matcher, ...]) -> str:
    return "{" + ", ".join(f"{_name(each.name)}{each.op}{quote(each.value)}" for each in matchers) + "}"


def _name(label: str) -> str:
    return label if label.isascii() and label.replace("_", "a").isalnum() and not label[0].isdigit() else quote(label)


def _names(labels: tuple[str, ...]) -> str:
    return f"({', '.join(map(_name, labels))})"


def _modifiers(offset_ms: int, at: At, time_ms: int) -> str:
    """``offset`` and ``@``; a point in time is written with its milliseconds."""
    offset = f" offset {'-' if offset_ms < 0 else ''}{abs(offset_ms)}ms" if offset_ms else ""
    if at is None:
        return offset
    moment = at if isinstance(at, int) else time_ms
    return f"{offset} @ {moment / 1000:.3f}"


def _matching(matching: Matching) -> str:
    if matching == Matching():
        return ""
    text = f" {'on' if matching.on else 'ignoring'} {_names(matching.labels)}"
    if matching.many:
        text += f" group_{matching.many} {_names(matching.include)}"
    return text
