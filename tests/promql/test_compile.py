"""What compiles, what is refused and how, and what is known of an expression before it is evaluated."""

import math

import pytest

from actuator import promql
from actuator.promql import PromqlError, UnsupportedError


@pytest.mark.parametrize(
    ("text", "name", "hint"),
    [
        ("histogram_avg(x)", "histogram_avg()", "native histograms"),
        ("histogram_count(x)", "histogram_count()", "native histograms"),
        ("histogram_stddev(x)", "histogram_stddev()", "native histograms"),
        ("histogram_stdvar(x)", "histogram_stdvar()", "native histograms"),
        ("histogram_sum(x)", "histogram_sum()", "native histograms"),
        ("x </ 2", "the operators </ and >/", "native histograms"),
        ("x >/ 2", "the operators </ and >/", "native histograms"),
        ("histogram_quantiles(x, 'q', 0.5)", "histogram_quantiles()", "histogram_quantile()"),
        ("info(x)", "info()", "group_left"),
        ('info(x, {a=~".*"})', "info()", "group_left"),
        ("limitk(2, x)", "limitk()", "topk()"),
        ("limit_ratio(0.5, x)", "limit_ratio()", "topk()"),
        ("x + fill(0) y", "fill", "'or'"),
        ("x + fill_left(0) y", "fill", "'or'"),
        ("x + fill_right(0) y", "fill", "'or'"),
        ("x anchored", "'anchored'", "leave it out"),
        ("rate(x[5m] smoothed)", "'smoothed'", "leave it out"),
        ("x[5m + 1m]", "duration expressions", "5m"),
        ("x[5m:1m * 2]", "duration expressions", "5m"),
        ("x[-5m]", "duration expressions", "5m"),
        ("x[step()]", "duration expressions", "5m"),
        ("x[max_of(1m, 2m)]", "duration expressions", "5m"),
        ("x offset (5m)", "duration expressions", "5m"),
        ("x offset -STEP()", "duration expressions", "5m"),
        ("step()", "step()", "one instant"),
        ("range()", "range()", "one instant"),
        ("start()", "start()", "one instant"),
        ("end()", "end()", "one instant"),
        ("min_of(1, 2)", "min_of()", "clamp_max()"),
        ("max_of(1, 2)", "max_of()", "clamp_min()"),
        ("start_timestamp(x)", "start_timestamp()", "text format"),
        ('{a="1" or b="2"}', "'or' inside a selector", "=~"),
        ("1_000", "underscores in numbers", "leave them out"),
        ("x @ -5", "@ timestamps before 1970", "no such samples"),
        ("x @ - 5", "@ timestamps before 1970", "no such samples"),
    ],
)
def test_refused_by_name_and_with_a_hint(text: str, name: str, hint: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        promql.compile(text)
    assert refused.value.name == name
    assert str(refused.value).startswith(f"{name}: not supported; ")
    assert hint in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x offset Inf", "the duration Inf is out of range"),
        ("x offset -NaN", "the duration NaN is out of range"),
        ("x[5m:] offset + inf", "the duration inf is out of range"),
        ("x offset 1e20", "the duration 1e20 is out of range"),
        ("x[1e20]", "the duration 1e20 is out of range"),
        ("x[5m:1e20]", "the duration 1e20 is out of range"),
        ("x[1h30m:1e20]", "the duration 1e20 is out of range"),
        ("x[1.9e19:]", "the duration 1.9e19 is out of range"),
        ("x[9.5e10]", "out of range"),
        ("x offset 300y", "out of range"),
        ("x @ Inf", "timestamp out of bounds"),
        ("x @ NaN", "timestamp out of bounds"),
        ("x @ 1e300", "too large"),
        ("x @ 1e12", "out of range"),
        ("1e400", "the number 1e400 is out of range"),
        (".1e999", "the number .1e999 is out of range"),
        ("9" * 400, "the number 99999999999999999999 is out of range"),
    ],
)
def test_numbers_out_of_range(text: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PromqlError) as refused:
        promql.compile(text)
    assert said in str(refused.value)
    assert capfd.readouterr().err == "", "the parser has panicked"


@pytest.mark.filterwarnings("ignore")
def test_a_panic_of_the_parser_is_an_error_like_others() -> None:
    with pytest.raises(PromqlError, match="out of range"):
        promql.compile("x offset # how long?\n Inf")


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
        'label_replace(x, "", "b", "c", "d")',
        'label_join(x, "", "b", "c")',
        'label_join(x, "a", "b", "c", "")',
        'count_values("", x)',
        r'x{a="\xe9"}',
        r"x{a='\351'}",
        r'x{a="\q"}',
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(PromqlError):
        promql.compile(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(" * 20_000 + "x" + ")" * 20_000, "nested deeper than 40"),
        ("abs(" * 41 + "x" + ")" * 41, "nested deeper than 40"),
        ("-" * 60_000 + "x", "more than 200 operators"),
        ("x+" * 30_000 + "x", "more than 200 operators"),
        ("x or " * 201 + "x", "more than 200 operators"),
        ("x" * 65_537, "characters"),
        ("max_over_time(x[1d:1s])", "86400 steps"),
        ("max_over_time(max_over_time(x[2h:1m])[2h:1m])", "14400 steps"),
        ("x[1y:]", "525600 steps"),
        (f"max_over_time((vector(1){'+1' * 100})[11000s:1s])", "parts at their steps together"),
    ],
)
def test_too_big(text: str, said: str) -> None:
    with pytest.raises(PromqlError, match=said):
        promql.compile(text)


@pytest.mark.parametrize(
    "text",
    [
        "abs(" * 40 + "x" + ")" * 40,
        "+".join(["x"] * 201),
        "x{" + ",".join(f'label{i}="{i}=({{[+"' for i in range(300)) + "}",
        "x # " + "(" * 100 + "\n+ y",
        "max_over_time(x[3h:1s])",
        "x:inf + max_over_time(job:errors:nan[5m:1m]) + x:1e30",
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
