"""Results of queries as text: a table, Prometheus' JSON, promtool's lines (pure)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from actuator.data.printable import printable
from actuator.data.result import Result, Series
from actuator.promql.labels import NAME, Labels, drop_name, get
from actuator.promql.text import quote

_VALUE, _TIME = "VALUE", "TIME"


def table(result: Result) -> str:
    """A line for each value, a column for each label; times, in UTC, only where they differ from the query's."""
    if result.value_type == "string":
        return result.text
    rows = [_row(series, point, result.value_type) for series in result.series for point in series.points]
    names = sorted({name for row in rows for name in row} - {NAME, _TIME, _VALUE})
    columns = [name for name in (NAME, *names, _TIME, _VALUE) if any(name in row for row in rows)]
    if columns == [_VALUE]:
        return "\n".join(row[_VALUE] for row in rows)
    lines = [dict(zip(columns, columns, strict=True)), *rows]
    widths = {name: max(len(line.get(name, "")) for line in lines) for name in columns}
    return "\n".join("  ".join(line.get(name, "").ljust(widths[name]) for name in columns).rstrip() for line in lines)


def as_json(result: Result) -> str:
    """The `data` of an answer of Prometheus' HTTP API (docs/querying/api.md there)."""
    content: object
    match result.value_type:
        case "string":
            content = [0, result.text]
        case "scalar":
            content = _json_point(result.series[0].points[0])
        case "vector":
            content = [{"metric": dict(each.labels), "value": _json_point(each.points[0])} for each in result.series]
        case "matrix":
            content = [
                {"metric": dict(each.labels), "values": [_json_point(point) for point in each.points]}
                for each in result.series
            ]
    return json.dumps({"resultType": result.value_type, "result": content}, ensure_ascii=False)


def promtool(result: Result) -> str:
    """What `promtool query instant` prints (common/model/value.go)."""
    match result.value_type:
        case "string":
            return result.text
        case "scalar":
            ((time_ms, value),) = result.series[0].points
            return f"scalar: {_decimal(value)} @[{_seconds(time_ms)}]"
        case "vector":
            return "\n".join(f"{_metric(each.labels)} => {_promtool_points(each)}" for each in result.series)
        case "matrix":
            ordered = sorted(result.series, key=lambda each: each.labels)
            return "\n".join(f"{_metric(each.labels)} =>\n{_promtool_points(each)}" for each in ordered)


FORMATS: Mapping[str, Callable[[Result], str]] = {"table": table, "json": as_json, "promtool": promtool}


def _row(series: Series, point: tuple[int, float], value_type: str) -> dict[str, str]:
    time_ms, value = point
    row = {printable(name): printable(text) for name, text in series.labels} | {_VALUE: _json_number(value)}
    if value_type == "matrix":
        row[_TIME] = datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    return row


def _promtool_points(series: Series) -> str:
    return "\n".join(f"{_decimal(value)} @[{_seconds(time_ms)}]" for time_ms, value in series.points)


def _metric(labels: Labels) -> str:
    pairs = ", ".join(f"{name}={quote(value)}" for name, value in drop_name(labels))
    name = get(labels, NAME)
    return f"{name}{{{pairs}}}" if pairs or not name else name


def _json_point(point: tuple[int, float]) -> list[object]:
    time_ms, value = point
    return [time_ms // 1000 if time_ms % 1000 == 0 else time_ms / 1000, _json_number(value)]


def _json_number(value: float) -> str:
    """As Prometheus writes it (util/jsonutil): with an exponent only when it is very large or small."""
    return repr(value) if value and not 1e-6 <= abs(value) < 1e21 and abs(value) < float("inf") else _decimal(value)


def _decimal(value: float) -> str:
    """Go's strconv.FormatFloat(value, 'f', -1, 64)."""
    if value != value:
        return "NaN"
    if abs(value) == float("inf"):
        return "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _seconds(time_ms: int) -> str:
    return _decimal(time_ms / 1000)
