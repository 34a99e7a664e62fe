"""The parts of the comparison with Prometheus that need no Prometheus; tests/lab/test_promql_differential.py has one."""

import math

import pytest

from actuator import promql
from actuator.promql import PromqlError
from actuator.promql.types import STALE_MARKER
from tests.promql.differential import data, judge, mutations, remotewrite
from tests.promql.differential.data import Samples
from tests.promql.differential.expressions import query
from tests.promql.differential.mutations import MUTATIONS, Mutation
from tests.promql.differential.queries import Answer, Refused, difference

UP = (("__name__", "up"),)


def test_a_seed_gives_the_same_data_and_queries() -> None:
    assert repr(data.generate("a")) == repr(data.generate("a")) != repr(data.generate("b"))
    assert query("a", 7) == query("a", 7) != query("a", 8)


def test_nearly_all_queries_are_valid() -> None:
    def valid(number: int) -> bool:
        try:
            judge.compiled(query("valid", number))
        except PromqlError:
            return False
        return True

    assert sum(map(valid, range(500))) > 450


def test_every_function_of_prometheus_2_is_asked() -> None:
    text = " ".join(query("all", number).text for number in range(3000))
    newer = {"first_over_time", "histogram_fraction", "mad_over_time", "sort_by_label", "sort_by_label_desc"}
    newer |= {f"ts_of_{which}_over_time" for which in ("first", "last", "max", "min")}
    known = set(promql.functions.TABLE) - newer - {"double_exponential_smoothing"} | {"holt_winters"}
    assert [name for name in sorted(known) if f"{name}(" not in text] == []


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ({UP: {0: 1.0}}, {UP: {0: 1.0 + 1e-10}}, True),
        ({UP: {0: 1.0}}, {UP: {0: 1.0 + 1e-8}}, False),
        ({UP: {0: math.nan}}, {UP: {0: math.nan}}, True),
        ({UP: {0: math.inf}}, {UP: {0: -math.inf}}, False),
        ({UP: {0: 1.0}}, {UP: {1: 1.0}}, False),
        ({UP: {0: 1.0}}, {}, False),
        ({}, Refused("why"), False),
        (Refused("here"), Refused("there"), True),
        ("a", "b", False),
    ],
)
def test_what_differs(ours: Answer, theirs: Answer, same: bool) -> None:
    assert (difference(ours, theirs) == "") == same


def test_remote_write() -> None:
    """As Prometheus' own message definitions encode it; the bits of the stale marker are kept."""
    label = b"\x0a\x0e" + b"\x0a\x08__name__\x12\x02up"
    sample = b"\x12\x0c" + b"\x09\x02\x00\x00\x00\x00\x00\xf0\x7f" + b"\x10\xe8\x07"
    message = b"\x0a\x1e" + label + sample
    assert remotewrite.body([Samples(UP, {1000: STALE_MARKER})]) == b"\x20\xf4\x1f\x00" + message


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_the_source(mutation: Mutation) -> None:
    """If it does not, adapt it: the comparison must still be shown to find it."""
    assert mutations.mutated(mutation) != mutations.source(mutation).read_text()
