"""What compiles, what is refused and how, and what is known of an expression before it is evaluated."""

import math

import pytest

from actuator import promql
from actuator.promql import PromqlError, UnsupportedError


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("info(x)", "info()"),
        ("limitk(2, x)", "limitk()"),
        ("limit_ratio(0.5, x)", "limit_ratio()"),
        ("histogram_avg(x)", "histogram_avg()"),
        ("histogram_count(x)", "native histograms"),
        ("histogram_quantiles(x, 'q', 0.5)", "histogram_quantile()"),
        ("x + fill(0) y", "fill"),
        ("x + fill_left(0) y", "fill"),
        ("x anchored", "'anchored'"),
        ("rate(x[5m] smoothed)", "'smoothed'"),
        ("x[5m + 1m]", "duration expressions"),
        ("x[step()]", "duration expressions"),
        ("x offset (5m)", "duration expressions"),
        ('{a="1" or b="2"}', "'or' inside a selector"),
        ("x </ 2", "</"),
        ("1_000", "underscores"),
        ("x @ -5", "before 1970"),
        ("x @ - 5", "before 1970"),
        ("x offset Inf", "out of range"),
        ("x offset NaN", "out of range"),
        ("x[1e20]", "out of range"),
        ("step()", "step()"),
    ],
)
def test_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        promql.compile(text)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "x y",
        "sum(",
        "x{a=}",
        "{}",
        '{a=~".*"}',
        "rate(x)",
        "abs(1)",
        "abs(x, y)",
        "clamp(x, 1)",
        "nonsense(x)",
        "sum(x[1m])",
        "x + 'a'",
        "1 > 2",
        "x or 1",
        "x and bool y",
        "x + on(a) group_left(a) y",
        "topk(x, x)",
        "ln(0)",
        "log2(x > bool 1, 0)",
        "count_values(1, x)",
        "-'a'",
        "x[1m][1m]",
        "x[0s]",
        "x offset 1m offset 2m",
        'x{a=~"("}',
        r'x{a=~"\\1"}',
        'label_replace(x, "a", "b", "c", "(")',
        'x{a="' + "\ud800" + '"}',
        "x @ Inf",
        "x @ 1e12",
        "x[9223372036854775807]",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(PromqlError):
        promql.compile(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(" * 20_000 + "x" + ")" * 20_000, "nested deeper than 64"),
        ("abs(" * 65 + "x" + ")" * 65, "nested deeper than 64"),
        ("-" * 60_000 + "x", "more than 200 operators"),
        ("x+" * 30_000 + "x", "more than 200 operators"),
        ("x or " * 201 + "x", "more than 200 operators"),
        ("x" * 65_537, "characters"),
        ("max_over_time(x[1d:1s])", "86400 steps"),
        ("max_over_time(max_over_time(x[2h:1m])[2h:1m])", "14400 steps"),
        ("x[1y:]", "525600 steps"),
    ],
)
def test_too_big(text: str, said: str) -> None:
    with pytest.raises(PromqlError, match=said):
        promql.compile(text)


@pytest.mark.parametrize(
    "text",
    [
        "abs(" * 64 + "x" + ")" * 64,
        "+".join(["x"] * 201),
        "x{" + ",".join(f'label{i}="{i}=({{[+"' for i in range(300)) + "}",
        "x # " + "(" * 100 + "\n+ y",
        "max_over_time(x[3h:1s])",
    ],
)
def test_big_but_not_too_big(text: str) -> None:
    assert promql.compile(text).text == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 0),
        ("x", 300),
        ("x offset 10m", 900),
        ("x offset -2m", 180),
        ("x offset -1h", 0),
        ("rate(x[1m])", 60),
        ("rate(x[1m] offset 30s)", 90),
        ("x + rate(y[1h])", 3600),
        ("max_over_time(x[10m:1m])", 900),
        ("max_over_time(rate(x[2m])[10m:1m] offset 1m)", 780),
        ("sum(topk(scalar(x offset 1h), y))", 3900),
        ("x @ 100", math.inf),
        ("max_over_time(rate(x[2m] @ 100)[10m:1m])", math.inf),
        ("x @ start()", 300),
    ],
)
def test_window_is_all_that_the_selectors_look_back(text: str, seconds: float) -> None:
    assert promql.compile(text).window_seconds == seconds


def test_window_knows_the_lookback() -> None:
    assert promql.compile("x", promql.Semantics(lookback_ms=15_000)).window_seconds == 15


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1", set()),
        ("x / on(a) y{b='c'}", {"x", "y"}),
        ("rate(x[1m]) + sum_over_time((y > 1)[5m:])", {"x", "y"}),
        ('{__name__="x"} + {"y", a="b"}', {"x", "y"}),
        ('{__name__=~"x|y"}', set()),
        ("absent(x)", {"x"}),
    ],
)
def test_metric_names(text: str, names: set[str]) -> None:
    assert promql.compile(text).metric_names == names


@pytest.mark.parametrize(
    ("text", "value_type"),
    [
        ("1 + 2", "scalar"),
        ("-time()", "scalar"),
        ("scalar(x)", "scalar"),
        ("'text'", "string"),
        ("x", "vector"),
        ("1 + x", "vector"),
        ("vector(1)", "vector"),
        ("sum(x)", "vector"),
        ("rate(x[1m])", "vector"),
        ("x[1m]", "matrix"),
        ("x[1m:]", "matrix"),
    ],
)
def test_value_type(text: str, value_type: str) -> None:
    assert promql.compile(text).value_type == value_type


def test_expressions_are_values() -> None:
    assert promql.compile("x > 1") == promql.compile("x > 1")
    assert hash(promql.compile('x{a=~"b"}')) == hash(promql.compile('x{a=~"b"}'))
    assert promql.compile("x > 1") != promql.compile("x > 2")
