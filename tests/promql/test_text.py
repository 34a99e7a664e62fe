"""Parts of an expression as text: what is rendered means what was parsed."""

import pytest

from actuator.promql.parser import parse
from actuator.promql.text import render

TIME_MS = 1_700_000_000_250


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("x", '{__name__="x"}'),
        ('x{a=~"b.*", c!="", d!~"\\\\d\\""}', '{__name__="x", a=~"b.*", c!="", d!~"\\\\d\\""}'),
        ('{"a.b", "ü"="\\n"}', '{__name__="a.b", "ü"="\\n"}'),
        ("x offset 1m30s @ 7.5", '{__name__="x"} offset 90000ms @ 7.500'),
        ("x offset -1s @ start()", '{__name__="x"} offset -1000ms @ 1700000000.250'),
        ("rate(x[5m] offset 1h)", 'rate({__name__="x"}[300000ms] offset 3600000ms)'),
        ("max_over_time(x[5m:])", 'max_over_time(({__name__="x"})[300000ms:])'),
        ("max_over_time((x + 1)[5m:10s] @ end())", 'max_over_time((({__name__="x"}) + (1.0))[300000ms:10000ms] @ 1700000000.250)'),
        ("topk(2, x)", 'topk by () (2.0, {__name__="x"})'),
        ('quantile without (a, "b.c") (-Inf, x)', 'quantile without (a, "b.c") (-Inf, {__name__="x"})'),
        ("x > bool on (a) group_left (b) y", '({__name__="x"}) > bool on (a) group_left (b) ({__name__="y"})'),
        ("x and ignoring (a) y", '({__name__="x"}) and ignoring (a) ({__name__="y"})'),
        ("-x ^ 2", '-(({__name__="x"}) ^ (2.0))'),
        ("label_replace(x, 'a', '$1', 'b', '(.*)')", 'label_replace({__name__="x"}, "a", "$1", "b", "(.*)")'),
        ("time() + NaN", "(time()) + (NaN)"),
    ],
)  # fmt: skip
def test_rendered(text: str, rendered: str) -> None:
    assert render(parse(text), TIME_MS) == rendered
    assert render(parse(rendered), TIME_MS) == rendered
