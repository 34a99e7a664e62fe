"""The text format: what is read from it, and that nothing else is."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actuator import exposition
from actuator.exposition import ExpositionError, Parser
from actuator.promql.labels import Labels


def parse(body: str) -> dict[Labels, float]:
    return Parser[Labels](lambda labels: labels).parse(body)


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
        ("{a='b'} 1", "expected a metric name"),
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


def test_a_body_that_is_cut_off_is_refused() -> None:
    """Since "x 12" may have been "x 123"."""
    with pytest.raises(ExpositionError, match="cut off"):
        parse("up 1\nx 12")


def test_long_lines_are_refused() -> None:
    with pytest.raises(ExpositionError, match="line 1: more than 65536 characters"):
        parse('up{a="' + "x" * 70_000 + '"} 1\n')
    with pytest.raises(ExpositionError, match="line 1: more than 65536 characters"):
        parse("up " + "1" * 70_000 + "\n")


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


def test_a_refused_body_leaves_the_parser_as_it_was() -> None:
    parser = Parser[Labels](lambda labels: labels)
    parser.parse("a 1\n")
    with pytest.raises(ExpositionError):
        parser.parse("a 2\nb 1\n!\n")
    assert parser.parse("a 3\n") == {named("a"): 3.0}


LINES = st.lists(
    st.sampled_from([*'abc_:{}",=\\ \t\r\n#', "up", '{a="b"}', " 1", " NaN", " 1700000000000", "\\n", "é"])
)


@given(st.text() | LINES.map("".join))
@settings(max_examples=500)
def test_any_text_is_parsed_or_refused_with_its_line(body: str) -> None:
    parser = Parser[Labels](lambda labels: labels)
    for _ in range(2):  # the second time with what the first has remembered
        try:
            samples = parser.parse(body)
        except ExpositionError as error:
            assert "line" in str(error)
        else:
            assert all(labels == tuple(sorted(labels)) and all(value for _, value in labels) for labels in samples)
