"""No text makes the compiler raise anything but PromqlError, no data the evaluator anything but EvaluationError."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from actuator import promql
from actuator.promql import EvaluationError, PromqlError, functions
from actuator.promql.aggregate import OPERATORS as AGGREGATIONS
from actuator.promql.binary import OPERATORS
from actuator.promql.types import STALE_MARKER
from actuator.store import Store

TOKENS = """( ) [ ] { } , : @ # ' " ` \\ - = =~ 5m 1 0x 1e Inf NaN x by without on ignoring group_left bool offset
start() "a" {a="b"}"""
WORDS = st.sampled_from([*functions.TABLE, *AGGREGATIONS, *OPERATORS, *TOKENS.split()])
NUMBERS = st.sampled_from(["0", "1", "-1", "0.5", "2.5e300", "1e-300", "NaN", "Inf", "-Inf", "time()", "scalar(x)"])
SELECTORS = st.sampled_from(["x", "y", "none", '{__name__=~"x|y"}', 'x{a="1"}', "x offset 1m", "x @ end()"])


def _ranges(vectors: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spans = st.sampled_from(["[1m]", "[5m] offset 1m", "[1h] @ 60"])
    steps = st.sampled_from(["[5m:1m]", "[3m:]", "[1m:7s] offset -1m"])
    plain = st.builds("{}{}".format, st.sampled_from(["x", "y", "none"]), spans)
    return plain | st.builds("({}){}".format, vectors, steps)


def _larger(vectors: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions one level larger: all operators, aggregations and functions, well typed or not."""
    one = st.one_of(vectors, _ranges(vectors), NUMBERS, st.just('"a"'))
    arguments = st.lists(one, max_size=3).map(", ".join)
    matching = st.sampled_from(["", "bool", "on(a)", "ignoring(a)", "on() group_left", "on(a) group_right(b)"])
    by = st.sampled_from(["", "by (a)", "without (a)"])
    scalar = NUMBERS | st.just('"v"')
    return st.one_of(
        st.builds("{}({})".format, st.sampled_from(sorted(functions.TABLE)), arguments),
        st.builds("({} {} {} {})".format, one, st.sampled_from(sorted(OPERATORS)), matching, one),
        st.builds("{} {} ({})".format, st.sampled_from(sorted(AGGREGATIONS)), by, vectors),
        st.builds("{} {} ({}, {})".format, st.sampled_from(sorted(AGGREGATIONS)), by, scalar, vectors),
        st.builds('label_replace({}, "{}", "$1$x", "a", "(.*)")'.format, vectors, st.sampled_from(["a", "b", ""])),
        st.builds("-{}".format, vectors),
    )


EXPRESSIONS = st.recursive(SELECTORS, _larger, max_leaves=6)
VALUES = st.lists(st.floats() | st.just(STALE_MARKER) | st.sampled_from([0.0, 1.0, -1.0]), max_size=8)


@given(st.text() | st.lists(WORDS, max_size=30).map(" ".join) | st.lists(WORDS, max_size=30).map("".join))
@settings(max_examples=500)
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        expr = promql.compile(text)
    except PromqlError as error:
        assert str(error)
    else:
        assert expr.text == text
        assert expr.window_seconds >= 0


@given(EXPRESSIONS, VALUES, VALUES)
@settings(max_examples=500, deadline=None)
def test_any_expression_has_a_value_or_an_evaluation_error(text: str, x: list[float], y: list[float]) -> None:
    try:
        root = promql.compile(text).root
    except PromqlError:
        return
    store = Store(window_seconds=math.inf)
    for minute in range(8):
        for name, label, values in (("x", "1", x), ("x", "2", y), ("y", "1", y)):
            if minute < len(values):
                store.append((("__name__", name), ("a", label)), minute * 60.0, values[minute])
    try:
        value = promql.instant(root, store, 300_000)
    except EvaluationError as error:
        assert str(error)
    else:
        assert isinstance(value, float | str | list)
