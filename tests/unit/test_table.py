"""Tables of metrics: from rows and subjects to the lines that Prometheus reads."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import page
from exporter.table import Labels, Row, counter, families, gauge, info, state_set

Subject = dict[str, float]
Subjects = Iterable[tuple[Labels, Subject]]


def lines(row: Row[Subject], subjects: Subjects, labels: Labels = ()) -> list[str]:
    return [line for family in families([row], subjects, labels) for line in family.text.split("\n")]


def test_a_gauge() -> None:
    row: Row[Subject] = gauge("kvm_cpu_online", "CPUs.", lambda subject: subject.get("online"))
    assert list(families([row], [((), {"online": 8})])) == [("kvm_cpu_online", "gauge", "CPUs.", "kvm_cpu_online 8")]


def test_a_counter_of_labelled_subjects() -> None:
    row: Row[Subject] = counter("kvm_x_total", "X.", lambda subject: subject.get("x"))
    assert lines(row, [(("a", "0"), {"x": 1}), (("b", "1"), {"x": 2.5})], labels=("node", "size")) == [
        'kvm_x_total{node="a",size="0"} 1',
        'kvm_x_total{node="b",size="1"} 2.5',
    ]


def test_a_state_set_shows_every_state() -> None:
    row: Row[Subject] = state_set("kvm_mode", "Mode.", "mode", lambda _: {"none": False, "on": True})
    assert lines(row, [((), {})]) == ['kvm_mode{mode="none"} 0', 'kvm_mode{mode="on"} 1']


def test_an_info_is_words_on_a_constant() -> None:
    row: Row[Subject] = info("kvm_domain_info", "Words.", ("title", "os"), lambda _: ('a "b"', "c\nd\\"))
    assert lines(row, [(("web",), {})], labels=("domain",)) == [
        'kvm_domain_info{domain="web",title="a \\"b\\"",os="c\\nd\\\\"} 1'
    ]


@pytest.mark.parametrize(
    "row",
    [
        gauge("kvm_x", "X.", lambda _: None),
        counter("kvm_x_total", "X.", lambda _: None),
        state_set("kvm_x", "X.", "x", lambda _: {}),
        info("kvm_x_info", "X.", ("x",), lambda _: None),
    ],
    ids=["gauge", "counter", "state set", "info"],
)
def test_what_is_unknown_is_absent_with_its_help(row: Row[Subject]) -> None:
    assert list(families([row], [((), {})])) == []


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (True, "1"),
        (-3, "-3"),
        (2**63, "9223372036854775808"),
        (0.5, "0.5"),
        (1.0, "1.0"),
        (1e300, "1e+300"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers(value: float, written: str) -> None:
    assert lines(gauge("kvm_x", "X.", lambda _: value), [((), {})]) == [f"kvm_x {written}"]


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b", "c")])
def test_label_values_must_match_their_names(values: Labels) -> None:
    with pytest.raises(ValueError, match="do not go with the values"):
        list(families([gauge("kvm_x", "X.", lambda _: 1)], [(values, {})], labels=("node", "size")))


PAGE = list(
    families(
        [counter("kvm_x_total", 'A "count" of \\.', float), gauge("kvm_y", "A\nnumber.", float)],
        [(("a",), 1.5)],
        labels=("domain",),
    )
)


def test_the_text_format() -> None:
    assert page.text(PAGE).decode().splitlines() == [
        r'# HELP kvm_x_total A "count" of \\.',
        "# TYPE kvm_x_total counter",
        'kvm_x_total{domain="a"} 1.5',
        r"# HELP kvm_y A\nnumber.",
        "# TYPE kvm_y gauge",
        'kvm_y{domain="a"} 1.5',
    ]


def test_openmetrics_names_a_counter_without_total_and_ends() -> None:
    assert page.openmetrics(PAGE).decode().splitlines() == [
        r"# HELP kvm_x A \"count\" of \\.",
        "# TYPE kvm_x counter",
        'kvm_x_total{domain="a"} 1.5',
        r"# HELP kvm_y A\nnumber.",
        "# TYPE kvm_y gauge",
        'kvm_y{domain="a"} 1.5',
        "# EOF",
    ]


@given(
    some.lists(
        some.tuples(some.text(some.characters(exclude_categories=["Cs"])), some.floats(min_value=0)),
        unique_by=lambda one: one[0],
    )
)
def test_prometheus_reads_what_was_meant(samples: list[tuple[str, float]]) -> None:
    """prometheus_client's own parsers are the witness, for any label value and number."""
    found = list(
        families([counter("kvm_x_total", "X.", float)], [((name,), value) for name, value in samples], ("name",))
    )
    for parse, written in ((parse_text, page.text(found)), (parse_openmetrics, page.openmetrics(found))):
        read = [sample for family in parse(written.decode()) for sample in family.samples]
        assert [(sample.labels["name"], sample.value) for sample in read] == samples
