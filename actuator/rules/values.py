"""The values in rule files and the policy, from text (pure). Each parser raises ValueError with what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from actuator import promql
from actuator.knobs import KNOBS, Knob
from actuator.knobs.knob import Unit
from actuator.rules import keys
from actuator.rules.limits import CONTINUOUS, Amount, Limits, amount, number
from kvmhost.units import size_bytes
from kvmhost.yamltree import Node, Tree, suggestion

_Word = TypeVar("_Word", bound=str)

_BETWEEN_SCALARS = "comparisons between scalars"  # words of the parser
_OF_VECTORS = "; write vector(...) of one side, as in vector(time()) % 4 >= 2"

_TRUE = frozenset(("true", "yes", "on"))
_FALSE = frozenset(("false", "no", "off"))

Compile = Callable[[str], promql.Expr]
"""Text to expression; raises PromqlError."""


def matching(pattern: str, what: str) -> Callable[[str], str]:
    """A parser of text that the whole `pattern` matches."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return parse


def expr_of(compileexpr_of: Compile, *value_types: str) -> Compile:
    def parse(text: str) -> promql.Expr:
        try:
            expr = compileexpr_of(text)
        except promql.PromqlError as error:
            hint = _OF_VECTORS if "scalar" not in value_types and _BETWEEN_SCALARS in str(error) else ""
            raise ValueError(f"{error} in {text.strip()!r}{hint}") from error
        if expr.value_type not in value_types:
            hint = _OF_VECTORS if expr.value_type == "scalar" else ""
            raise ValueError(f"must be {' or '.join(value_types)}, not {expr.value_type}: {text.strip()!r}{hint}")
        return expr

    return parse


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = whole(text)
    if value < 1:
        raise ValueError(f"{text!r} must be at least 1")
    return value


def share_of_all(text: str) -> float:
    """`50%` as 0.5."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if found is None or float(found[1]) > 100:
        raise ValueError(f"{text!r} is not a share: write for instance 50%")
    return float(found[1]) / 100


def one_line(text: str) -> str:
    """Text that may stand on several lines, as one."""
    return " ".join(text.split())


def _cpus(text: str) -> str:
    return str(Unit.CPUS.parse(text))


def _word(knob: type[Knob], text: str) -> str:
    word = str(Unit.WORD.parse(text))
    return one_of(knob.words)(word) if knob.words else word


def _switch(compile_expr: Compile, knob: type[Knob], text: str) -> promql.Expr:
    expr = compile_expr(text)
    values = range(knob.lowest or 0, (knob.highest or 1) + 1)
    if isinstance(expr.root, promql.nodes.Number) and expr.root.value not in values:
        raise ValueError(f"{text} is not one of its values: {', '.join(map(str, values))}")
    return expr


def byte_count(compile_expr: Compile, text: str) -> promql.Expr:
    """An expression whose value is in bytes."""
    try:
        size = size_bytes(text)
    except ValueError:
        return compile_expr(text)
    raise ValueError(f"this is PromQL, which has no sizes: write {text!r} as {size}")


def milliseconds(compile_expr: Compile, text: str) -> promql.Expr:
    """An expression whose value is in milliseconds. PromQL has durations, but in seconds."""
    expr = compile_expr(text)
    if text.strip().isalnum() and not text.strip().isdecimal() and isinstance(expr.root, promql.nodes.Number):
        plain = f"{expr.root.value * 1000:g}"
        raise ValueError(f"this is PromQL, where {text!r} is {expr.root.value:g} (seconds): write it as {plain}")
    return expr


def one_of(words: tuple[_Word, ...]) -> Callable[[str], _Word]:
    """A parser of one of these words."""

    def parse(text: str) -> _Word:
        for word in words:
            if word == text:
                return word
        raise ValueError(f"unknown {text!r}{suggestion(text, words)}")

    return parse


def setpoint(compile_expr: Compile, knob: type[Knob]) -> Callable[[str], promql.Expr | str]:
    """A parser of what a rule sets a knob to; `compile_expr` parses an expression."""
    if knob.unit is Unit.CPUS:
        return _cpus
    if knob.unit is Unit.WORD:
        return partial(_word, knob)
    parse = compile_expr
    if knob.unit is Unit.SWITCH:
        parse = partial(_switch, compile_expr, knob)
    elif knob.unit is Unit.MILLISECONDS:
        parse = partial(milliseconds, compile_expr)
    elif knob.unit is Unit.BYTES:
        parse = partial(byte_count, compile_expr)
    return partial(_no_word, parse, knob)


def _no_word(parse: Compile, knob: type[Knob], text: str) -> promql.Expr:
    """YAML's words for a switch would be names of metrics."""
    word = text.strip().lower()
    if word in _TRUE | _FALSE:
        number = f"{'1' if word in _TRUE else '0'} for {text!r}" if knob.unit is Unit.SWITCH else "a number"
        raise ValueError(f"{text!r} would be a metric in PromQL: write {number}")
    return parse(text)


def _step(unit: Unit, text: str) -> Amount:
    step = amount(unit)(text)
    if not (step.ratio or step.absolute):
        raise ValueError(f"{text!r} never moves anything: leave it out, or switch the rule off by 'mode: off'")
    return step


def read_limits(tree: Tree, node: Node, knob: str) -> Limits:
    """The limits of one knob, in its own unit."""
    unit = KNOBS[knob].unit
    known = keys.optional(keys.LIMITS) if unit in CONTINUOUS else ("writes_per_minute",)
    fields = tree.fields(node, f"the limits of {knob}", (), known)
    low = tree.scalar(fields.get("min"), "'min'", number(unit))
    high = tree.scalar(fields.get("max"), "'max'", number(unit))
    if low is not None and high is not None and low > high:
        tree.error(fields["min"], f"'min' ({unit.format(low)}) is above 'max' ({unit.format(high)})")
    return Limits(
        min=low,
        max=high,
        step=tree.scalar(fields.get("step"), "'step'", partial(_step, unit)),
        deadband=tree.scalar(fields.get("deadband"), "'deadband'", amount(unit)),
        writes_per_minute=tree.scalar(fields.get("writes_per_minute"), "'writes_per_minute'", positive),
    )
