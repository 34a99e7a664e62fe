"""No text makes the compiler raise anything but PromqlError, no data the evaluator anything but EvaluationError.

A second is the limit for each: hypothesis takes a longer one for a failure.
"""

import math
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actuator import promql
from actuator.data.store import Store
from actuator.promql import EvaluationError, PromqlError, functions, precheck, relabel
from actuator.promql.aggregate import OPERATORS as AGGREGATIONS
from actuator.promql.binary import OPERATORS
from actuator.promql.types import STALE_MARKER
from actuator.promqltest import ScriptError, run

SECOND = timedelta(seconds=1)
TOKENS = r"""( ) [ ] { } , : @ # ' " ` \ - = =~ =~" 5m 1 0x 1e 1e30 1e300 Inf NaN x by without on ignoring group_left
bool offset start() end() step() anchored fill(1) </ "a" "\xff" "\u12 {a="b"} {a=~"(a*)*b"} [5m] [5m:1e20] é ٣"""
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


def _compiles_or_is_refused(text: str) -> None:
    try:
        expr = promql.compile(text)
    except PromqlError as error:
        assert str(error)
        assert len(str(error)) < 1000, "the error quotes the whole text"
    else:
        assert expr.text == text
        assert expr.window_seconds >= 0


@given(st.text() | st.lists(WORDS, max_size=30).map(" ".join) | st.lists(WORDS, max_size=30).map("".join))
@settings(max_examples=500, deadline=SECOND)
def test_any_text_compiles_or_is_refused(text: str) -> None:
    _compiles_or_is_refused(text)


@given(st.lists(WORDS, min_size=1, max_size=4), st.sampled_from(["", " ", ", ", "\n"]), st.integers(1, 70_000))
@settings(max_examples=100, deadline=SECOND)
def test_any_long_text_compiles_or_is_refused(words: list[str], between: str, times: int) -> None:
    _compiles_or_is_refused((between.join(words) * times)[: precheck.MAX_CHARACTERS + 1])


@given(
    st.text(st.sampled_from("ab.*+?|()[]{}^$\\1,9-:") | st.characters(exclude_categories=["Cs"]), max_size=40),
    st.integers(1, 2_000),
)
@settings(max_examples=200, deadline=SECOND)
def test_any_regular_expression_matches_or_is_refused(pattern: str, times: int) -> None:
    try:
        compiled = relabel.compile_pattern((pattern * times)[:10_000])
    except PromqlError as error:
        assert len(str(error)) < 1000
    else:
        compiled.fullmatch("a" * 10_000)


@pytest.mark.parametrize(
    "text",
    [
        'x{a=~"(a*)*b"}',
        'x{a=~"((((a{100}){100}){100}){100}"}',
        'x{a=~"' + "(a|" * 8_000 + "b" + ")" * 8_000 + '"}',
        'x{a=~"' + "a*" * 20_000 + 'b"}',
        'x{a!~".*.*.*.*=.*"}',
    ],
)
def test_bombs_of_regular_expressions(text: str) -> None:
    store = Store(window_seconds=math.inf)
    store.append((("__name__", "x"), ("a", "a" * 10_000)), 0, 1.0)
    try:
        assert isinstance(promql.instant(promql.compile(text).root, store, 0), list)
    except PromqlError as error:
        assert len(str(error)) < 1000


@given(EXPRESSIONS, VALUES, VALUES)
@settings(max_examples=500, deadline=SECOND)
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_over_time(x[1h:1s])", "to read 360000 series"),
        ("max_over_time(max_over_time((x + x)[5m:5s])[1h:2m])", "to read 360000 series"),
        ("label_replace(" * 40 + "x" + ', "a", "$1$1", "a", "(.*)")' * 40, "65536 characters"),
        ('label_replace(x, "a", "' + "$1" * 32_000 + '", "a", "(.*)")', "65536 characters"),
        ('label_join(x, "a", "' + "," * 100 + '"' + ', "a"' * 12_000 + ")", "65536 characters"),
    ],
)
def test_what_would_take_too_long_or_too_much_memory_is_an_error(text: str, said: str) -> None:
    store = Store(window_seconds=math.inf)
    for number in range(100):
        store.append((("__name__", "x"), ("a", f"{number:03}")), 0, 1.0)
    with pytest.raises(EvaluationError, match=said):
        promql.instant(promql.compile(text).root, store, 0)


def test_the_deepest_expression_has_a_value() -> None:
    operators = "-" * precheck.MAX_OPERATORS
    levels = precheck.MAX_DEPTH - 2
    text = "max_over_time(" * levels + "(" + operators + "x)[1m:1m]" + ")[1m:1m]" * (levels - 1) + ")"
    store = Store(window_seconds=math.inf)
    store.append((("__name__", "x"),), 0, 1.0)
    assert promql.instant(promql.compile(text).root, store, 0) == [((), 1.0, False)]


def test_numbers_in_labels_may_be_longer_than_integers_can_be() -> None:
    store = Store(window_seconds=math.inf)
    for value in ("9" * 5_000, "10", "9", "009" + "0" * 5_000):
        store.append((("__name__", "x"), ("a", value)), 0, 1.0)
    result = promql.instant(promql.compile('sort_by_label(x, "a")').root, store, 0)
    assert isinstance(result, list)
    assert [len(element.labels[1][1]) for element in result] == [1, 2, 5_000, 5_003]


SCRIPT_LINES = st.sampled_from(
    """load 1m|load 999999999999y|load_with_nhcb 5m|  x 1 2 3|  x{a="b"} 1+1x5 _ stale NaN|  x_bucket{le="1"} 0+1x10000000
  x{ 1|  x@st -1m|  x {{count:1}}|clear|eval instant at 5m x|eval instant at 99999999999999999s x|eval_fail instant x
eval range from 0 to 5m step 1m rate(x[5m])|eval range from 0 to 9y step 1ms x|eval instant at 1m year(x * 1e300)
eval_ordered instant at 1m sort(x)|eval instant at 1m "a"|eval instant at 1m x[2m]| expect string "a"| expect ordered
  expect range vector from 0 to 2m step 1m|  expect fail regex: (|  expect fail msg: a|  expect warn|  {} 1| 1||# a""".replace(
        "\n", "|"
    ).split("|")
)


@given(st.text() | st.lists(SCRIPT_LINES | st.text(max_size=10), max_size=20).map("\n".join))
@settings(max_examples=300, deadline=SECOND)
def test_any_script_runs_or_is_refused(script: str) -> None:
    try:
        assert isinstance(run(script), list)
    except ScriptError as error:
        assert str(error).startswith("line ")
