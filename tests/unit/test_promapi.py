"""What a server's answers come to: a result, or why there is none. Pure: bytes in, result out."""

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actuator.data.formats import FORMATS
from actuator.data.httpclient import Answer
from actuator.data.promapi import ApiError, BadExpressionError, decode
from actuator.data.result import Result, Series


def answer(body: object, status: int = 200, content_type: str = "application/json", location: str = "") -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, "Reason", content_type, location, content)


def success(kind: object, result: object, **more: object) -> dict[str, object]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


def vector(*values: object) -> dict[str, object]:
    return success("vector", [{"metric": {"n": str(number)}, "value": [10.5, value]} for number, value in enumerate(values)])  # fmt: skip


X = (("__name__", "x"), ("a", "b"))
METRIC = {"__name__": "x", "a": "b", "gone": ""}


@pytest.mark.parametrize(
    ("envelope", "result"),
    [
        (success("scalar", [10, "1.5"]), Result("scalar", (Series((), ((10_000, 1.5),)),))),
        (success("string", [10, "text"]), Result("string", (), "text")),
        (success("vector", []), Result("vector", ())),
        (success("vector", [{"metric": METRIC, "value": [10.123, "2e+21"]}]), Result("vector", (Series(X, ((10_123, 2e21),)),))),
        (success("matrix", [{"metric": METRIC, "values": [[1, "1"], [2.5, "2"]]}]), Result("matrix", (Series(X, ((1000, 1.0), (2500, 2.0))),))),
        (success("scalar", [10, "1"], infos=["PromQL info: metric might not be a counter"]), Result("scalar", (Series((), ((10_000, 1.0),)),))),
        (success("scalar", [10, "1"], warnings=[]), Result("scalar", (Series((), ((10_000, 1.0),)),))),
        # What servers add to their answers is not ours to judge.
        (success("vector", [], isPartial=False, stats={}), Result("vector", ())),
    ],
)  # fmt: skip
def test_a_result(envelope: object, result: Result) -> None:
    assert decode(answer(envelope)) == result


def test_numbers_that_json_has_not() -> None:
    values = [sample.value for sample in decode(answer(vector("NaN", "+Inf", "-Inf", "-0"))).samples()]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, 0.0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["success", "vector", "NaN"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metric", "value", "values", "histogram", "a"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.sampled_from(["vector", "matrix", "scalar", "string"]), JSON, st.integers(100, 599))
def test_no_json_raises_anything_else(kind: str, result: object, status: int) -> None:
    with suppress(ApiError):
        for show in FORMATS.values():
            show(decode(answer(success(kind, result), status)))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with suppress(ApiError):
        decode(answer(body))


@pytest.mark.parametrize(
    ("given_answer", "why"),
    [
        (answer(success("scalar", [1, "1"], warnings=["store a:1 timed out", "b"])), "the answer may be partial: store a:1 timed out and 1 more"),
        (answer(success("scalar", [1, "1"], warnings="store a:1 timed out")), "the answer may be partial: store a:1 timed out"),
        (answer(success("vector", [], isPartial=True)), "the answer is partial"),
        (answer({"status": "error", "errorType": "execution", "error": "many-to-many"}, 422), "many-to-many (execution)"),
        (answer({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503), "query timed out (timeout)"),
        (answer({"status": "error", "errorType": "bad_data", "error": "1:2: parse error"}, 400), "1:2: parse error (bad_data)"),
        (answer(success("vector", [{"metric": {"__name__": "h"}, "histogram": [1, {}]}])), 'the result {__name__="h"} is a native histogram'),
        (answer(success("matrix", [{"metric": {"__name__": "h"}, "histograms": [[1, {}]]}])), 'the result {__name__="h"} is a native histogram'),
        (answer(b"<html>Sign in</html>", content_type="text/html"), "the answer (text/html) is not one of Prometheus' query API"),
        (answer(b"", content_type=""), "the answer (without a type) is not one"),
        (answer(b"[" * 1_000_000), "is not one of Prometheus' query API"),
        (answer(b'{"status":"success","data":{"res'), "is not one of Prometheus' query API"),
        (answer([1]), "is not one of Prometheus' query API"),
        (answer({"status": "success"}), "is not one of Prometheus' query API"),
        (answer(b"Moved", 302, location="https://login.example.org/"), "it redirects to https://login.example.org/: give the URL"),
        (answer(b"no auth", 401, "text/plain"), "it answered 401 Reason; no auth; give basic_auth or authorization in --query.config.file"),
        (answer(b"no org id", 403, "text/plain"), "it answered 403 Reason; no org id; may this user query?"),
        (answer(b"<html>", 404, "text/html"), "it answered 404 Reason; there is no query API: is the path right?"),
        (answer(b"too many", 429, "text/plain"), "it answered 429 Reason; too many; the server limits"),
        (answer({"status": "error", "errorType": "execution", "error": "\x1b[2Jgone"}, 422), "\\x1b[2Jgone (execution)"),
        (answer(b"\xff" * 1000, 502, "text/plain"), "it answered 502 Reason; \ufffd"),
        # A success with a status that says otherwise is a proxy's doing.
        (answer(vector("1"), 502), "it answered 502 Reason"),
        (answer(success("table", [])), "a table that is none"),
        (answer(success("scalar", 1)), "a scalar that is none"),
        (answer(success("string", [1, 2])), "a string that is none"),
        (answer(vector(1)), "is not a time and a value"),
        (answer(vector("many")), "could not convert string to float"),
        (answer(success("scalar", [1e400, "1"])), "the answer is malformed"),
        (answer(success("matrix", [{"metric": {}, "values": [[-1e11, "1"]]}])), "is not a time and a value"),
        (answer(success("scalar", ["1", "1"])), "is not a time and a value"),
        (answer(success("vector", [7])), "7 is not a series"),
        (answer(success("vector", [{"metric": {"a": 1}, "value": [1, "1"]}])), "is not a series"),
        (answer(success("vector", [{"metric": {}, "values": []}])), "is not a series"),
        (answer(success("matrix", [{"metric": {}, "value": [1, "1"]}])), "is not a series"),
        (answer(success("matrix", [{"metric": {}, "values": [1]}])), "1 is not a time and a value"),
    ],
)  # fmt: skip
def test_no_result_says_why(given_answer: Answer, why: str) -> None:
    with pytest.raises(ApiError) as error:
        decode(given_answer)
    assert why in str(error.value)
    assert len(str(error.value)) < 600
    assert isinstance(error.value, BadExpressionError) == ("bad_data" in why)
