"""Results as text: as promtool (common/model/value.go) and Prometheus' API (util/jsonutil) write them."""

import json
import math

import pytest

from actuator.data.formats import as_json, promtool, table
from actuator.data.result import Result, Series

A = (("__name__", "x"), ("domain", "a"))
SCALAR = Result("scalar", (Series((), ((1_700_000_000_250, 0.5),)),))
STRING = Result("string", (), "text")
EMPTY = Result("vector", ())
NUMBER = Result("vector", (Series((), ((1000, 7.0),)),))
VECTOR = Result(
    "vector", (Series(A, ((1000, 1e21),)), Series((("node", 'q"\\\n'),), ((1000, math.inf),)), Series((("__name__", "y"),), ((1000, 2.0),)))
)  # fmt: skip
MATRIX = Result(
    "matrix", (Series((("b", "1"),), ((1000, 1.0), (2500, 2.0))), Series((("a", "1"),), ((1000, math.nan),)))
)


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (SCALAR, ["0.5"]),
        (STRING, ["text"]),
        (EMPTY, [""]),
        (NUMBER, ["7"]),
        (
            Result("vector", (Series(A, ((1000, 1.0),)), Series((("__name__", "long_name"), ("node", "0")), ((1000, -2.5),)))),
            [
                "__name__   domain  node  VALUE",
                "x          a             1",
                "long_name          0     -2.5",
            ],
        ),
        (
            MATRIX,
            [
                "a  b  TIME          VALUE",
                "   1  00:00:01.000  1",
                "   1  00:00:02.500  2",
                "1     00:00:01.000  NaN",
            ],
        ),
        (
            Result("vector", (Series((("node", "a\nb"), ("tty\t", "\x1b[2Jé")), ((1000, 1.0),)),)),
            ["node  tty\\t     VALUE", "a\\nb  \\x1b[2Jé  1"],
        ),
    ],
)  # fmt: skip
def test_table(result: Result, lines: list[str]) -> None:
    assert table(result).split("\n") == lines


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (SCALAR, ["scalar: 0.5 @[1700000000.25]"]),
        (STRING, ["text"]),
        (EMPTY, [""]),
        (NUMBER, ["{} => 7 @[1]"]),
        (VECTOR, ['x{domain="a"} => 1000000000000000000000 @[1]', '{node="q\\"\\\\\\n"} => +Inf @[1]', "y => 2 @[1]"]),
        (MATRIX, ['{a="1"} =>', "NaN @[1]", '{b="1"} =>', "1 @[1]", "2 @[2.5]"]),
    ],
)
def test_promtool(result: Result, lines: list[str]) -> None:
    assert promtool(result).split("\n") == lines


@pytest.mark.parametrize(
    ("result", "data"),
    [
        (SCALAR, {"resultType": "scalar", "result": [1700000000.25, "0.5"]}),
        (STRING, {"resultType": "string", "result": [0, "text"]}),
        (EMPTY, {"resultType": "vector", "result": []}),
        (NUMBER, {"resultType": "vector", "result": [{"metric": {}, "value": [1, "7"]}]}),
        (MATRIX, {"resultType": "matrix", "result": [{"metric": {"b": "1"}, "values": [[1, "1"], [2.5, "2"]]}, {"metric": {"a": "1"}, "values": [[1, "NaN"]]}]}),
    ],
)  # fmt: skip
def test_json(result: Result, data: object) -> None:
    assert json.loads(as_json(result)) == data


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (100.0, "100"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-07"),
        (0.1 + 0.2, "0.30000000000000004"),
        (-math.inf, "-Inf"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert json.loads(as_json(Result("scalar", (Series((), ((0, value),)),))))["result"][1] == text
