"""The text format: what is read from it, and that nothing else is."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from actuator.data import exposition
from actuator.data.exposition import ExpositionError, Parser
from actuator.promql.labels import Labels


def parse(body: str, openmetrics: bool = False) -> dict[Labels, float]:
    return Parser[Labels](lambda labels: labels).parse(body, openmetrics)


def named(name: str, **labels: str) -> Labels:
    return tuple(sorted({"__name__": name, **labels}.items()))


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        ("up 1", named("up"), 1.0),
        ("up{} 1", named("up"), 1.0),
        ('up{a="b"} -1.5e3', named("up", a="b"), -1500.0),
        ('up{a="b",c="d",} 1', named("up", a="b", c="d"), 1.0),
        ('up { a = "b" , c = "d" } 1', named("up", a="b", c="d"), 1.0),
        ('up{a="b"}1', named("up", a="b"), 1.0),
        ("\tup\t1\t", named("up"), 1.0),
        ("  up   1  ", named("up"), 1.0),
        ("up 1 1700000000000", named("up"), 1.0),
        ("up 1 -5", named("up"), 1.0),
        ('up{a="b"} 1 1700000000000', named("up", a="b"), 1.0),
        ("up 1\r", named("up"), 1.0),
        ('up{a="b"} 1 2\r', named("up", a="b"), 1.0),
        ("up +Inf", named("up"), math.inf),
        ("up -Inf", named("up"), -math.inf),
        ("a:b_c9 1", named("a:b_c9"), 1.0),
        ('up{a=""} 1', named("up"), 1.0),
        (r'up{a="x\\y\"z\nw"} 1', named("up", a='x\\y"z\nw'), 1.0),
        (r'up{a="\d"} 1', named("up", a=r"\d"), 1.0),
        ('up{a="# } 9 ,é"} 1', named("up", a="# } 9 ,é"), 1.0),
        ('{"up"} 1', named("up"), 1.0),
        ('{"my.up" , "a.b"="c",d="e"} 1 5', (("__name__", "my.up"), ("a.b", "c"), ("d", "e")), 1.0),
        ('up{"a b"="c"} 1', (("__name__", "up"), ("a b", "c")), 1.0),
        (r'{"é\"\\\n"} 1', named('é"\\\n'), 1.0),
    ],
)
def test_sample(line: str, labels: Labels, value: float) -> None:
    assert parse(line + "\n") == {labels: value}


def test_nan() -> None:
    (value,) = parse("up NaN\n").values()
    assert math.isnan(value)


def test_comments_and_blank_lines() -> None:
    body = "# HELP up Help.\n# TYPE up gauge\n\n#\n# a comment\n  # another\n   \nup 1\n\r\n"
    assert parse(body) == {named("up"): 1.0}


def test_an_empty_body_has_no_samples() -> None:
    assert parse("") == {}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1up 1", "expected a metric name, got '1up 1'"),
        ('{a="b"} 1', "expected a metric name"),
        ('{""} 1', "expected a metric name"),
        ('{a="b","up"} 1', "expected a label or '}'"),
        ('up{"up"} 1', "two metric names"),
        ("up \u00a01", "expected a number"),
        ("up \u0661", "expected a number"),
        ('up 1 # {a="b"} 1', "unexpected"),
        ("up", "expected a number, got ''"),
        ("up{}", "expected a number, got ''"),
        ("up one", "expected a number, got 'one'"),
        ("up 1_000", "expected a number"),
        ("up 1 2 3", "unexpected '3' after the timestamp"),
        ("up 1 now", "expected a timestamp in milliseconds, got 'now'"),
        ("up 1 1.5", "expected a timestamp"),
        ('up{a="b" 1', "expected a label or '}'"),
        ('up{a="b" c="d"} 1', "expected a label or '}'"),
        ("up{a=b} 1", "expected a label or '}'"),
        ('up{a="b} 1', "expected a label or '}'"),
        ("up{,} 1", "expected a label or '}'"),
        ('up{1a="b"} 1', "expected a label or '}'"),
        ('up{a="b",a="c"} 1', "the label 'a' is given twice"),
        ('up{__name__="b"} 1', "the label '__name__' is given twice"),
        ("ok 2", "ok occurs twice"),
        ("ok{} 2", "ok{} occurs twice"),
    ],
)
def test_a_malformed_line_refuses_the_body_and_is_named(line: str, reason: str) -> None:
    with pytest.raises(ExpositionError) as error:
        parse(f"ok 1\n{line}\nalso_ok 1\n")
    assert str(error.value).startswith("line 2: ")
    assert reason in str(error.value)


def test_an_error_does_not_quote_a_whole_line() -> None:
    line = 'a{b="' + "c" * 60_000 + '"} 1\n'
    with pytest.raises(ExpositionError) as error:
        Parser(lambda labels: labels).parse(line + line)
    assert len(str(error.value)) < 300


def test_a_body_that_is_cut_off_is_refused() -> None:
    """Since "x 12" may have been "x 123"."""
    with pytest.raises(ExpositionError, match="cut off"):
        parse("up 1\nx 12")


def test_long_lines_are_refused() -> None:
    with pytest.raises(ExpositionError, match="line 1: more than 65536 characters"):
        parse('up{a="' + "x" * 70_000 + '"} 1\n')
    with pytest.raises(ExpositionError, match="line 1: more than 65536 characters"):
        parse("up " + "1" * 70_000 + "\n")


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        ("a_total 1", named("a_total"), 1.0),
        ('a_total{b="c"} 1 1700000000.25', named("a_total", b="c"), 1.0),
        ('a_bucket{le="1"} 1 # {trace_id="x # y"} 0.5 1700000000', named("a_bucket", le="1"), 1.0),
        ("a_total 1 2 # {} 0.5", named("a_total"), 1.0),
        ("a_created 1.7e9", named("a_created"), 1.7e9),
        ('{"a.b"} 1 # {} 1', named("a.b"), 1.0),
        ('a{b=" # "} 1', named("a", b=" # "), 1.0),
    ],
)
def test_openmetrics(line: str, labels: Labels, value: float) -> None:
    assert parse(f"# TYPE a counter\n{line}\n# EOF\n", openmetrics=True) == {labels: value}
    assert parse(f"{line}\r\n# EOF\r\n", openmetrics=True) == {labels: value}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not # EOF"),
        ("a 1\n", "not # EOF"),
        ("a 1 # EOF\n", "not # EOF"),
        ("a 1\n# EOF\na 2\n", "not # EOF"),
        ("a 1 x\n# EOF\n", "line 1: expected a number, got 'x'"),
        ("a 1 # x\n# EOF\n", "line 1: expected an exemplar, got 'x'"),
    ],
)
def test_openmetrics_that_is_malformed(body: str, reason: str) -> None:
    with pytest.raises(ExpositionError, match=reason):
        parse(body, openmetrics=True)


def test_too_many_labels_are_refused() -> None:
    many = ",".join(f'l{number}="x"' for number in range(101))
    with pytest.raises(ExpositionError, match="line 1: more than 100 labels"):
        parse(f"a{{{many}}} 1\n")


def test_ten_million_labels_are_refused_in_time() -> None:
    """As many as fit into the largest body: what is refused is refused before all of it is parsed."""
    labels = ",".join(f'{name}=""' for name in ("a", "b", "c", "d", "e", "f", "g", "h"))
    one = ",".join(f'l{number}="x"' for number in range(99))
    with pytest.raises(ExpositionError, match="more than 100 labels"):
        parse("a{" + ",".join(f'a{number}=""' for number in range(5_000)) + "} 1\n")
    with pytest.raises(ExpositionError, match="more than 500000 new labels"):
        parse("".join(f"a{number}{{{one}}} 1\n" for number in range(6_000)))
    with pytest.raises(ExpositionError, match="more than 65536 characters"):
        parse("a{" + ",".join([labels] * 400_000) + "} 1\n")


def test_too_many_samples_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MAX_SAMPLES", 2)
    with pytest.raises(ExpositionError, match="line 3: more than 2 samples"):
        parse("a 1\nb 1\nc 1\n")


def test_too_many_lines_are_refused() -> None:
    with pytest.raises(ExpositionError, match="more than 500000 lines"):
        parse("\n" * 500_001)


def test_a_series_is_resolved_once_while_it_is_there() -> None:
    resolved: list[Labels] = []

    def resolve(labels: Labels) -> Labels:
        resolved.append(labels)
        return labels

    parser = Parser[Labels](resolve)
    assert parser.parse('a{x="1"} 1\nb 2\n') == {named("a", x="1"): 1.0, named("b"): 2.0}
    assert parser.parse('a{x="1"} 3\nb 4 1700000000000\n') == {named("a", x="1"): 3.0, named("b"): 4.0}
    assert len(resolved) == 2
    parser.parse("b 5\n")
    parser.parse('a{x="1"} 6\nb 7\n')
    assert len(resolved) == 3
    parser.forget()
    parser.parse("b 8\n")
    assert len(resolved) == 4


def test_what_a_repeated_body_has_to_say_is_said() -> None:
    """The quick way for bodies without new series refuses nothing by itself."""
    parser = Parser[Labels](lambda labels: labels)
    parser.parse('a 1\nb{c="d"} 1\n')
    assert parser.parse('# HELP b B.\nb{c="d"} 2\r\na 3\n') == {named("b", c="d"): 2.0, named("a"): 3.0}
    for body, reason in (
        ("a 1\na 2\n", "line 2: a occurs twice"),
        ("a 1\na{} 2\n", "line 2: a{} occurs twice"),
        ("a 1_0\n", "line 1: expected a number"),
        ("a one\n", "line 1: expected a number"),
        ("a \u0661\n", "line 1: expected a number"),
        ("a " + "1" * 70_000 + "\n", "line 1: more than 65536 characters"),
    ):
        with pytest.raises(ExpositionError) as error:
            parser.parse(body)
        assert reason in str(error.value)


def test_a_refused_body_leaves_the_parser_as_it_was() -> None:
    parser = Parser[Labels](lambda labels: labels)
    parser.parse("a 1\n")
    with pytest.raises(ExpositionError):
        parser.parse("a 2\nb 1\n!\n")
    assert parser.parse("a 3\n") == {named("a"): 3.0}


LINES = st.lists(
    st.sampled_from([*'abc_:{}",=\\ \t\r\n#', "up", '{a="b"}', " 1", " NaN", " 1700000000000", "\\n", "é"])
)


@given(st.text() | LINES.map("".join), st.booleans())
@settings(max_examples=500)
def test_any_text_is_parsed_or_refused_with_its_line(body: str, openmetrics: bool) -> None:
    parser = Parser[Labels](lambda labels: labels)
    for _ in range(2):  # the second time with what the first has remembered
        try:
            samples = parser.parse(body, openmetrics)
        except ExpositionError as error:
            assert "line" in str(error)
        else:
            assert all(labels == tuple(sorted(labels)) and all(value for _, value in labels) for labels in samples)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=10)
NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,5}", fullmatch=True)
LABEL_NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True).filter(lambda name: name[:2] != "__")
VALUES = st.floats().map(repr) | st.integers(-(2**53), 2**53).map(str) | st.sampled_from(["+Inf", "-Inf", "NaN"])


def quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'"{escaped}"'


@st.composite
def pages(draw: st.DrawFn, *, openmetrics: bool) -> str:
    """A page of gauges, in all the ways in which it may be written."""
    space = st.just(" ") if openmetrics else st.sampled_from([" ", "\t", "  "])
    lines = []
    for name in draw(st.lists(NAMES, unique=True, max_size=5)):
        lines.append(f"# TYPE {name} gauge")
        label_sets = st.dictionaries(LABEL_NAMES, TEXTS, max_size=3)
        for labels in draw(st.lists(label_sets, max_size=3, unique_by=lambda one: str(sorted(one.items())))):
            inside = ",".join(f"{key}={quoted(value)}" for key, value in labels.items())
            plain = f"{name}{{{inside}}}" if inside else name
            series = draw(st.sampled_from([plain, f"{{{quoted(name)}{',' * bool(inside)}{inside}}}"]))
            time = draw(st.integers(0, 10**9).map(str))
            lines.append(f"{series}{draw(space)}{draw(VALUES)}" + draw(st.sampled_from(["", f" {time}"])))
    return "".join(f"{line}\n" for line in [*lines, *["# EOF"] * openmetrics])


def by_prometheus_client(body: str, openmetrics: bool) -> dict[Labels, str]:
    families = openmetrics_parser if openmetrics else text_parser
    return {
        tuple(sorted({**{key: value for key, value in sample.labels.items() if value}, "__name__": sample.name}.items())):
        repr(float(sample.value))
        for family in families.text_string_to_metric_families(body)
        for sample in family.samples
    }  # fmt: skip


@pytest.mark.parametrize("openmetrics", [False, True])
@given(st.data())
@settings(max_examples=100)
def test_a_page_says_what_it_says_to_prometheus_client(openmetrics: bool, data: st.DataObject) -> None:
    body = data.draw(pages(openmetrics=openmetrics))
    parser = Parser[Labels](lambda labels: labels)
    for _ in range(2):
        try:
            found = {labels: repr(value) for labels, value in parser.parse(body, openmetrics).items()}
        except ExpositionError as error:  # an empty label is none, so two label sets may be the same
            assert "occurs twice" in str(error)
            return
        assert found == by_prometheus_client(body, openmetrics)
