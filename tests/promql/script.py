"""The test language of Prometheus (promql/promqltest): text to commands. Times are milliseconds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from actuator import promql
from actuator.promql import labels
from actuator.promql.labels import Labels
from actuator.promql.nodes import Selector
from actuator.promql.types import STALE_MARKER, PromqlError

Points = tuple[float | None, ...]

_NUMBER = r"[-+]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
_POINTS = re.compile(rf"(?P<base>{_NUMBER}|_|stale)(?:(?P<step>[-+]{_NUMBER})?x(?P<times>\d+))?", re.IGNORECASE)
_SERIES = re.compile(
    r"""(?P<series>[\w:.]*\s*(?:\{(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^"'}])*\})?)\s+(?P<points>.+)"""
)
_INSTANT = re.compile(r"eval(?:_(?P<mode>fail|ordered|warn|info))?\s+instant\s+(?:at\s+(?P<at>\S+)\s+)?(?P<text>.+)")
_RANGE = re.compile(
    r"eval(?:_(?P<mode>fail|warn|info))?\s+range\s+from\s+(?P<start>\S+)\s+to\s+(?P<end>\S+)"
    r"\s+step\s+(?P<step>\S+)\s+(?P<text>.+)"
)
_EXPECT = re.compile(r"expect\s+(?P<what>\w+)(?:\s+(?P<how>msg|regex)\s*:\s*(?P<message>.+))?")
_EXPECT_STRING = re.compile(r"""expect\s+string\s+(["'`])(?P<string>.*)\1""")
_EXPECT_WINDOW = re.compile(r"expect range vector from (?P<start>\S+) to (?P<end>\S+) step (?P<step>\S+)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}


class ScriptError(Exception):
    """The script is not in the test language; the message names the line."""


@dataclass(frozen=True)
class Load:
    step_ms: int
    series: tuple[tuple[Labels, Points], ...]
    histograms: tuple[Labels, ...]


@dataclass(frozen=True)
class Clear:
    pass


@dataclass(kw_only=True)
class Case:
    """An expression and what is expected of it."""

    line: int
    text: str
    start_ms: int
    end_ms: int
    step_ms: int | None = None
    ordered: bool = False
    fails: bool = False
    message: str | None = None
    pattern: str | None = None
    string: str | None = None
    scalar: Points | None = None
    series: dict[Labels, Points] = field(default_factory=dict)
    window_ms: range | None = None
    native_histograms: bool = False


def parse(script: str) -> Iterator[Load | Clear | Case]:
    """Commands of a script; all but clear end at a blank line or a comment. Raises ScriptError."""
    block: list[str] = []
    for number, raw in enumerate([*script.split("\n"), ""], start=1):
        line = raw.strip()
        if line and not line.startswith("#"):
            block.append(line)
            if block != ["clear"]:
                continue
        if block:
            yield _command(block, number - len(block))
        block = []


def _command(block: list[str], line: int) -> Load | Clear | Case:
    head, *body = block
    try:
        if head == "clear":
            return Clear()
        if head.startswith("load"):
            return _load(head, body)
        return _case(head, body, line)
    except (ValueError, PromqlError) as error:
        raise ScriptError(f"line {line}: {head}: {error}") from error


def _load(head: str, body: list[str]) -> Load:
    command, _, step = head.partition(" ")
    series, histograms = [], []
    for line in body:
        name, points = _split(line)
        if "{{" in points:
            histograms.append(name)
        else:
            series.append((name, _points(points)))
    if command == "load_with_nhcb":
        histograms += [_without_bucket(name) for name, _ in series]
    return Load(_milliseconds(step), tuple(series), tuple(histograms))


def _without_bucket(series: Labels) -> Labels:
    """The native histogram that load_with_nhcb makes of the buckets of a classic one."""
    name = re.sub(r"_(bucket|count|sum)$", "", labels.get(series, labels.NAME))
    return labels.replace(labels.drop(series, ("le",)), labels.NAME, name)


def _case(head: str, body: list[str], line: int) -> Case:
    if (instant := _INSTANT.fullmatch(head)) is not None:
        at = _milliseconds(instant["at"] or "0")
        case = Case(line=line, text=instant["text"], start_ms=at, end_ms=at)
        mode = instant["mode"]
    elif (steps := _RANGE.fullmatch(head)) is not None:
        start, end, step = (_milliseconds(steps[name]) for name in ("start", "end", "step"))
        case = Case(line=line, text=steps["text"], start_ms=start, end_ms=end, step_ms=step)
        mode = steps["mode"]
    else:
        raise ValueError("expected load, clear, eval instant or eval range")
    case.fails, case.ordered = mode == "fail", mode == "ordered"
    for expectation in body:
        _expect(case, expectation)
    return case


def _expect(case: Case, line: str) -> None:
    if "{{" in line:
        case.native_histograms = True
    elif (string := _EXPECT_STRING.fullmatch(line)) is not None:
        case.string = string["string"]
    elif (window := _EXPECT_WINDOW.fullmatch(line)) is not None:
        start, end, step = (_milliseconds(window[name]) for name in ("start", "end", "step"))
        case.window_ms = range(start, end + 1, step)
    elif (expect := _EXPECT.fullmatch(line)) is not None:
        case.fails |= expect["what"] == "fail"
        case.ordered |= expect["what"] == "ordered"
        if expect["what"] == "fail":
            case.message = expect["message"] if expect["how"] == "msg" else None
            case.pattern = expect["message"] if expect["how"] == "regex" else None
    elif line.startswith("expected_fail_message"):
        case.message = line.partition(" ")[2]
    elif line.startswith("expected_fail_regexp"):
        case.pattern = line.partition(" ")[2]
    elif re.fullmatch(_NUMBER, line, re.IGNORECASE):
        case.scalar = (float(line),)
    else:
        name, points = _split(line)
        case.series[name] = _points(points)


def _split(line: str) -> tuple[Labels, str]:
    found = _SERIES.fullmatch(line)
    if found is None:
        raise ValueError(f"expected a series and its points: {line}")
    series = found["series"].strip()
    if re.fullmatch(r"\{\s*\}", series):
        return labels.EMPTY, found["points"]
    root = promql.compile(series).root
    assert isinstance(root, Selector)
    return labels.make({matcher.name: matcher.value for matcher in root.matchers}), found["points"]


def _points(text: str) -> Points:
    points: list[float | None] = []
    for item in text.split():
        found = _POINTS.fullmatch(item)
        if found is None:
            raise ValueError(f"expected points: {item}")
        base, step, times = found["base"], float(found["step"] or 0), int(found["times"] or 0)
        if base == "_":
            points += [None] * max(1, times)
            continue
        value = STALE_MARKER if base == "stale" else float(base)
        for _ in range(times + 1):
            points.append(value)
            value = value + step if step else value
    return tuple(points)


def _milliseconds(text: str) -> int:
    """A duration such as 1h30m, or a number of seconds."""
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return round(float(text) * 1000)
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if "".join(number + unit for number, unit in parts) != text.removeprefix("-"):
        raise ValueError(f"expected a duration: {text}")
    total = sum(int(number) * _UNITS_MS[unit] for number, unit in parts)
    return -total if text.startswith("-") else total
