"""Tables of metrics: from rows and subjects to what Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter.table import Labels, Row, counter, families, gauge, info, state_set

Subjects = Iterable[tuple[Labels, dict[str, float]]]


class Page(Collector):
    """Metrics in the form that `generate_latest` asks for."""

    def __init__(self, metrics: Iterator[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def lines(row: Row[dict[str, float]], subjects: Subjects, labels: Labels = ()) -> list[str]:
    return generate_latest(Page(families([row], subjects, labels))).decode().splitlines()


def test_a_gauge() -> None:
    row: Row[dict[str, float]] = gauge("kvm_cpu_online", "CPUs.", lambda subject: subject.get("online"))
    assert lines(row, [((), {"online": 8})]) == [
        "# HELP kvm_cpu_online CPUs.",
        "# TYPE kvm_cpu_online gauge",
        "kvm_cpu_online 8.0",
    ]


def test_a_counter_of_labelled_subjects() -> None:
    row: Row[dict[str, float]] = counter("kvm_x_total", "X.", lambda subject: subject.get("x"))
    subjects: Subjects = [(("a", "0"), {"x": 1}), (("b", "1"), {"x": 2.5})]
    assert lines(row, subjects, labels=("node", "size"))[2:] == [
        'kvm_x_total{node="a",size="0"} 1.0',
        'kvm_x_total{node="b",size="1"} 2.5',
    ]


def test_a_state_set_shows_every_state() -> None:
    row: Row[dict[str, float]] = state_set("kvm_mode", "Mode.", "mode", lambda _: {"none": False, "on": True})
    assert lines(row, [((), {})])[2:] == ['kvm_mode{mode="none"} 0.0', 'kvm_mode{mode="on"} 1.0']


def test_an_info_is_words_on_a_constant() -> None:
    row: Row[dict[str, float]] = info("kvm_domain_info", "Words.", ("title", "os"), lambda _: ('a "b"', "c\nd"))
    assert lines(row, [(("web",), {})], labels=("domain",))[2:] == [
        'kvm_domain_info{domain="web",os="c\\nd",title="a \\"b\\""} 1.0'
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
def test_what_is_unknown_is_absent_with_its_help(row: Row[dict[str, float]]) -> None:
    assert lines(row, [((), {})]) == []


def test_zero_is_not_absent() -> None:
    assert lines(gauge("kvm_x", "X.", lambda _: 0), [((), {})])[2:] == ["kvm_x 0.0"]


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b", "c")])
def test_label_values_must_match_their_names(values: Labels) -> None:
    with pytest.raises(ValueError, match="kvm_x has labels"):
        list(families([gauge("kvm_x", "X.", lambda _: 1)], [(values, {})], labels=("node", "size")))
