"""What is computed for whole columns is what the same step gives for one series after the other, to the last bit."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actuator import promql
from actuator.promql import aggregate, binary, kernels, ranges, vectorized
from actuator.promql.columns import Columns, LabelSets, Rows, is_stale
from actuator.promql.labels import Labels
from actuator.promql.nodes import Aggregate, Binary
from actuator.promql.types import STALE_MARKER, Element, EvaluationError, Window

NUMBERS = (
    st.floats()
    | st.sampled_from([0.0, -0.0, 1.0, 5.0, math.inf, -math.inf, math.nan, 1e308, -1e308])
    | st.integers(0, 20).map(float)
)
SAMPLES = NUMBERS | st.just(STALE_MARKER)


def bits(value: float) -> bytes:
    """A value to the last bit; NaNs are all the same."""
    return struct.pack("<d", value if value == value else math.nan)


def same(elements: list[Element]) -> dict[Labels, bytes]:
    assert len({element.labels for element in elements}) == len(elements)
    return {element.labels: bits(element.value) for element in elements}


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Some series of a window; most have a sample at each time, some count up and are reset."""
    times = draw(st.lists(st.integers(1, 60_000), unique=True, max_size=8).map(sorted))
    column = st.one_of(
        st.lists(SAMPLES, min_size=len(times), max_size=len(times)),
        st.lists(st.floats(0, 1e6), min_size=len(times), max_size=len(times)),
        st.lists(st.floats(0, 1e6), min_size=len(times), max_size=len(times)).map(sorted),
    )
    series = draw(st.lists(column, min_size=1, max_size=6))
    labels = tuple((("n", str(number)),) for number in range(len(series)))
    values = np.array(series, np.float64).T.copy() if times else np.empty((0, len(series)))
    return Rows(labels, np.array(times, np.int64), values, 0, 60_000)


@pytest.mark.parametrize("function", kernels.TABLE)
@given(rows())
@settings(max_examples=150)
def test_functions_of_windows(function: str, window: Rows) -> None:
    columns = kernels.apply(function, LabelSets(window.labels), [window])
    one_by_one = {}
    for one in window.windows():
        value = ranges.TABLE[function](one)
        if value is not None:
            one_by_one[one.labels] = bits(value)
    assert same(columns.elements()) == one_by_one
    assert columns.drop_name == (function not in ranges.KEEP_NAME)
    numbers = (without_nan(one) for one in window.windows())
    found = any(one.values and ranges.TABLE[function](one) is not None for one in numbers)
    assert kernels.has_result(function, window) == found


def without_nan(window: Window) -> Window:
    kept = [(time, value) for time, value in zip(window.times_ms, window.values, strict=True) if not math.isnan(value)]
    return window._replace(times_ms=[time for time, _ in kept], values=[value for _, value in kept])


def test_functions_of_windows_with_and_without_gaps() -> None:
    values = np.array([[1.0, STALE_MARKER], [2.0, 5.0], [4.0, 7.0]])
    window = Rows(((("n", "a"),), (("n", "b"),)), np.array([10_000, 20_000, 30_000]), values, 0, 40_000)
    columns = kernels.apply("sum_over_time", LabelSets(window.labels), [window])
    assert dict(columns.pairs()) == {(("n", "a"),): 7.0, (("n", "b"),): 12.0}


NAMES = ("x", "y")


@st.composite
def vectors(draw: st.DrawFn, name: str) -> Columns:
    chosen = draw(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("cde")), unique=True, max_size=6))
    labels = [(("__name__", name), ("l", one), ("m", other)) for one, other in chosen]
    values = np.array(draw(st.lists(SAMPLES, min_size=len(labels), max_size=len(labels))), np.float64)
    return Columns(LabelSets(labels), values, ~is_stale(values))


BINARY = [
    *(f"x {op} y" for op in ("+", "-", "*", "/", "%", "^", "atan2")),
    *(f"x {op} {flag} y" for op in ("==", "!=", ">", "<", ">=", "<=") for flag in ("", "bool")),
    "x / on(l, m) y",
    "x > on(m) y",
    "x - ignoring(l) y",
    "x * on(l) group_left y",
    "x < bool ignoring(m) group_left(m) y",
    "x + on(l) group_right y",
    "x >= on(l) group_right(m) y",
    "x and y",
    "x or on(l) y",
    "x unless ignoring(m) y",
]


@pytest.mark.parametrize("text", BINARY)
@given(vectors("x"), vectors("y"))
@settings(max_examples=40)
def test_operators(text: str, left: Columns, right: Columns) -> None:
    node = promql.compile(text).root
    assert isinstance(node, Binary)
    columns = vectorized.operate(node, left, right)
    if columns is not None:
        expected = binary.apply(node, left.elements(), right.elements())
        assert isinstance(expected, list)
        assert same(columns.elements()) == same(expected)
        assert {columns.drop_name, *(element.drop_name for element in expected)} == {columns.drop_name}


@pytest.mark.parametrize("text", ["x + 2", "2 - x", "x % 0", "0 / x", "x > 1", "1 >= x", "x == bool 0", "0 < bool x"])
@given(vectors("x"))
@settings(max_examples=40)
def test_operators_with_a_scalar(text: str, vector: Columns) -> None:
    node = promql.compile(text).root
    assert isinstance(node, Binary)
    scalar = float(text.replace("x", "").replace("bool", "").strip("+-%/>=< "))
    left, right = (vector, scalar) if text.startswith("x") else (scalar, vector)
    columns = vectorized.operate(node, left, right)
    assert columns is not None
    elements = vector.elements()
    expected = binary.apply(node, *((elements, scalar) if left is vector else (scalar, elements)))
    assert isinstance(expected, list)
    assert same(columns.elements()) == same(expected)
    assert {columns.drop_name, *(element.drop_name for element in expected)} == {columns.drop_name}


@pytest.mark.parametrize("grouping", ["", "by (l)", "without (l)", "by (m, __name__)", "by (nothing)"])
@pytest.mark.parametrize("op", [*aggregate.REDUCTIONS, "quantile"])
@given(vectors("x"))
@settings(max_examples=20)
def test_aggregations(op: str, grouping: str, vector: Columns) -> None:
    node = promql.compile(f"{op} {grouping} ({'0.3, ' if op == 'quantile' else ''}x)").root
    assert isinstance(node, Aggregate)
    parameter = 0.3 if op == "quantile" else None
    columns = vectorized.reduce(node, vector, parameter)
    assert columns is not None
    assert same(columns.elements()) == same(aggregate.apply(node, vector.elements(), parameter))


def test_what_is_no_clean_match_is_left_to_the_operators_themselves() -> None:
    labels: list[Labels] = [(("l", "a"), ("m", "c")), (("l", "a"), ("m", "d"))]
    vector = Columns(LabelSets(labels), np.array([1.0, 2.0]), np.array([True, True]))
    node = promql.compile("x / on(l) y").root
    assert isinstance(node, Binary)
    assert vectorized.operate(node, vector, vector) is None
    with pytest.raises(EvaluationError, match="many-to-many"):
        binary.apply(node, vector.elements(), vector.elements())


def test_what_was_derived_is_kept() -> None:
    sets = LabelSets([(("l", "a"),)])
    assert sets.derived("key", object) is sets.derived("key", object)


def test_a_join_goes_with_either_side() -> None:
    """The series of one side may change at each scrape, and those of the other never."""
    stays = LabelSets([(("l", "a"),)])
    changes = LabelSets([(("l", "a"),)])
    assert stays.joined(changes, "key", object) is stays.joined(changes, "key", object)
    for _ in range(1000):
        changes = LabelSets([(("l", "a"),)])
        stays.joined(changes, "key", object)
    assert len(stays._joined) == 1


@pytest.mark.parametrize("first", ["x == y", "x and y"])
def test_a_set_operator_does_not_share_the_join_of_a_comparison(first: str) -> None:
    vector = Columns(LabelSets([(("l", "a"),)]), np.array([1.0]), np.array([True]))
    for text, is_of_columns in ((first, first == "x == y"), ("x == y", True), ("x and y", False)):
        node = promql.compile(text).root
        assert isinstance(node, Binary)
        assert (vectorized.operate(node, vector, vector) is not None) == is_of_columns
