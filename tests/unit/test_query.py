"""What the rule engine is told, from memory and by a server alike: a value, missing data, or no answer."""

import math
from collections.abc import Iterator
from contextlib import closing

import pytest

from actuator import promql
from actuator.data.query import LocalQuery, Query, QueryError
from actuator.data.server import ServerQuery
from actuator.data.store import Store
from actuator.promql import Sample
from actuator.promql.labels import Labels
from actuator.promql.types import STALE_MARKER
from tests import promserver

NOW = 1_700_000_000.0


@pytest.fixture
def store() -> Store:
    """A minute of samples, every 10 s: a memory gauge, a counter, one that is new and one that is gone."""
    store = Store(window_seconds=600)
    for age in range(60, -1, -10):
        store.append((("__name__", "used"), ("domain", "a")), NOW - age, 40.0)
        store.append((("__name__", "seconds_total"), ("domain", "a")), NOW - age, (60 - age) / 2)
        store.append((("__name__", "gone_total"),), NOW - age, 1.0)
    store.append((("__name__", "new_total"),), NOW, 1.0)
    store.append((("__name__", "unsure"),), NOW, math.nan)
    store.append((("__name__", "gone_total"),), NOW, STALE_MARKER)
    return store


@pytest.fixture(params=["memory", "server"])
def query(request: pytest.FixtureRequest, store: Store) -> Iterator[Query]:
    if request.param == "memory":
        yield LocalQuery(store)
        return
    with promserver.serving(store) as server, closing(ServerQuery(server.url)) as query:
        yield query


@pytest.mark.parametrize(
    ("text", "labels", "value"),
    [
        ("used", (("__name__", "used"), ("domain", "a")), 40.0),
        ("used / 2", (("domain", "a"),), 20.0),
        ("rate(seconds_total[1m])", (("domain", "a"),), 0.5),
        ("1 + 1", (), 2.0),
        ("scalar(used)", (), 40.0),
        ("time()", (), NOW),
        ("max_over_time(used[1m]) > 0", (("domain", "a"),), 40.0),
    ],
)
def test_instant(query: Query, text: str, labels: Labels, value: float) -> None:
    assert query.instant(promql.compile(text), NOW) == (Sample(labels, value),)


def test_an_empty_result(query: Query) -> None:
    assert query.instant(promql.compile("used > 50"), NOW) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("used * on() {__name__=~'used|new_total'}", "many-to-many matching not allowed"),
        ("-{__name__=~'new_total|unsure'}", "same labelset"),
        ("topk(NaN, used)", "NaN"),
        ("used[1m]", "the result is a matrix"),
        ("'text'", "the result is a string"),
    ],
)
def test_no_answer_names_the_expression_and_why(query: Query, text: str, reason: str) -> None:
    with pytest.raises(QueryError) as error:
        query.instant(promql.compile(text), NOW)
    assert text in str(error.value)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("text", "is_present"),
    [
        ("used > 50", True),
        ("used > missing", False),
        ("used > 50 or missing", True),
        ("sum(missing)", False),
        ("scalar(missing)", False),
        ("unsure", False),
        ("last_over_time(unsure[1m])", False),
        ('used{domain="b"}', False),
        ("used offset 30s", True),
        ("used offset 1h", False),
        ("1 > bool 2", True),
        # That something is absent is an answer.
        ("absent(missing)", True),
        ("absent(used)", True),
        ("absent_over_time(missing[1m])", True),
        ("absent(missing) and on() used", True),
        ("absent(missing) and on() missing", False),
        # A rate needs two samples, and a series that is there now.
        ("rate(seconds_total[1m])", True),
        ("rate(new_total[1m])", False),
        ("count_over_time(new_total[1m])", True),
        ("rate(gone_total[1m])", False),
        ("last_over_time(gone_total[1m])", False),
        ("rate(missing[1m])", False),
        # Of a subquery, the last instant counts.
        ("max_over_time(rate(seconds_total[30s])[1m:10s])", True),
        ("max_over_time((used > 50)[1m:10s])", False),
        ("max_over_time(gone_total[1m:10s])", False),
        ("max_over_time(gone_total[30s:10s] offset 10s)", True),
        ("max_over_time(rate(new_total[30s])[1m:10s])", False),
    ],
)
def test_present(query: Query, text: str, is_present: bool) -> None:
    assert query.present(promql.compile(text), NOW) is is_present


def test_present_fails_like_instant(query: Query) -> None:
    expr = promql.compile("max_over_time((used * on() {__name__=~'used|unsure'})[1m:10s])")
    with pytest.raises(QueryError, match="many-to-many"):
        query.present(expr, NOW)


def test_nothing_is_present_after_the_lookback(query: Query) -> None:
    assert query.present(promql.compile("used"), NOW + 299)
    assert not query.present(promql.compile("used"), NOW + 300)
