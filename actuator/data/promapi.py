"""Answers of Prometheus' HTTP API (docs/querying/api.md there): HTTP status and body to a result (pure)."""

from __future__ import annotations

import json
from http import HTTPStatus

from actuator.data.httpclient import Answer
from actuator.data.printable import printable
from actuator.data.result import Result, Series
from actuator.promql.labels import make, text
from actuator.promql.types import PromqlError

_EXCERPT_CHARACTERS = 300
_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300800
"""The years 1 to 9999: what can be shown as a date."""
_NEXT_STEPS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "give basic_auth or authorization in --query.config.file",
    HTTPStatus.FORBIDDEN: "may this user query? Some servers also want a tenant: http_headers in --query.config.file",
    HTTPStatus.NOT_FOUND: "there is no query API: is the path right? Mimir's, for one, begins with /prometheus",
    HTTPStatus.METHOD_NOT_ALLOWED: "is the URL the server's?",
    HTTPStatus.TOO_MANY_REQUESTS: "the server limits how often it is asked: give it more room, or a longer --interval",
}


class ApiError(Exception):
    """The server has no answer to the query; the message says why, and what to do where that is known."""


class BadExpressionError(ApiError, PromqlError):
    """The server says that the expression is wrong."""


def decode(answer: Answer) -> Result:
    """The result of an instant query; raises ApiError.

    A partial result is none; warnings tell of one (Thanos), and of functions that make no sense. Infos do no harm.
    """
    envelope = _envelope(answer)
    match envelope:
        case {"status": "success", "warnings": [first, *rest]}:
            more = f" and {len(rest)} more" if rest else ""
            raise ApiError(f"the answer may be partial: {_short(first)}{more}")
        case {"status": "success", "warnings": warnings} if warnings:
            raise ApiError(f"the answer may be partial: {_short(warnings)}")
        case {"status": "success", "isPartial": True}:  # VictoriaMetrics
            raise ApiError("the answer is partial: a part of the server's storage did not answer")
        case {"status": "success", "data": {"resultType": str(kind), "result": result}} if answer.status < 300:
            return _result(kind, result)
        case {"status": "error", "errorType": str(kind), "error": str(reason)}:
            error = BadExpressionError if kind == "bad_data" else ApiError
            raise error(f"{_short(reason)} ({kind})")
    raise _no_result(answer)


def _envelope(answer: Answer) -> object:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise _no_result(answer) from None


def _no_result(answer: Answer) -> ApiError:
    if answer.status // 100 == 3:
        return ApiError(f"it redirects to {_short(answer.location) or 'nowhere'}: give the URL where the server is")
    if answer.status // 100 == 2:
        kind = _short(answer.content_type) or "without a type"
        return ApiError(f"the answer ({kind}) is not one of Prometheus' query API: is the URL the server's?")
    step = _NEXT_STEPS.get(answer.status)
    said = "" if "html" in answer.content_type else _short(answer.body.decode("utf-8", "replace"))
    return ApiError("; ".join(filter(None, (f"it answered {answer.status} {answer.reason}", said, step))))


def _result(kind: str, result: object) -> Result:
    try:
        match kind, result:
            case "scalar", [time, value]:
                return Result("scalar", (Series((), (_point(time, value),)),))
            case "string", [_, str(string)]:
                return Result("string", (), string)
            case "vector", [*elements]:
                return Result("vector", tuple(_series(element, "value") for element in elements))
            case "matrix", [*elements]:
                return Result("matrix", tuple(_series(element, "values") for element in elements))
    except (ValueError, OverflowError) as error:
        raise ApiError(f"the answer is malformed: {error}") from None
    raise ApiError(f"the answer is malformed: a {_short(kind)} that is none")


def _series(element: object, key: str) -> Series:
    match element:
        case {"metric": dict(metric), **values} if all(isinstance(value, str) for value in metric.values()):
            labels = make(metric)
        case _:
            raise ValueError(f"{_short(element)} is not a series")
    match key, values:
        case "value", {"value": point}:
            return Series(labels, (_pair(point),))
        case _, {"histogram": _} | {"histograms": [_, *_]}:
            raise ApiError(
                f"the result {text(labels)} is a native histogram, not a number: "
                "take histogram_quantile(), histogram_avg() or histogram_fraction() of it"
            )
        case "values", {"values": [*points]}:
            return Series(labels, tuple(_pair(point) for point in points))
    raise ValueError(f"{_short(element)} is not a series")


def _pair(point: object) -> tuple[int, float]:
    match point:
        case [time, value]:
            return _point(time, value)
    raise ValueError(f"{_short(point)} is not a time and a value")


def _point(time: object, value: object) -> tuple[int, float]:
    """Values are strings, so that they may be NaN and infinite."""
    if not isinstance(time, int | float) or not isinstance(value, str) or not _FIRST_SECOND <= time < _LAST_SECOND:
        raise ValueError(f"{_short([time, value])} is not a time and a value")
    return round(time * 1000), float(value)


def _short(value: object) -> str:
    line = " ".join((value if isinstance(value, str) else repr(value)).split())
    return printable(line if len(line) <= _EXCERPT_CHARACTERS else line[:_EXCERPT_CHARACTERS] + "…")
