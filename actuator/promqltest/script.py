"""The test language of Prometheus (promql/promqltest): text to commands. Times are unix milliseconds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from actuator import promql
from actuator.promql import labels
from actuator.promql.labels import Labels
from actuator.promql.nodes import Selector, String
from actuator.promql.relabel import compile_pattern
from actuator.promql.types import STALE_MARKER, PromqlError

Points = tuple[float | None, ...]

MAX_POINTS = 100_000
"""Of a series in a script: ``1x1000000000`` would fill the memory."""
MAX_STEPS = 11_000
"""Prometheus' own limit on the points of a range query."""

_NUMBER = r"[-+]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
_POINTS = re.compile(rf"(?P<base>{_NUMBER}|_|stale)(?:(?P<step>[-+]{_NUMBER})?x(?P<times>\d{{1,18}}))?", re.IGNORECASE)
_SERIES = re.compile(
    r"""(?P<series>[\w:.]*\s*(?:\{(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^"'}])*\})?)"""
    r"(?P<start_timestamps>@st)?\s+(?P<points>.+)"
)
_INSTANT = re.compile(r"eval(?:_(?P<mode>fail|ordered|warn|info))?\s+instant\s+(?:at\s+(?P<at>\S+)\s+)?(?P<text>.+)")
_RANGE = re.compile(
    r"eval(?:_(?P<mode>fail|warn|info))?\s+range\s+from\s+(?P<start>\S+)\s+to\s+(?P<end>\S+)"
    r"\s+step\s+(?P<step>\S+)\s+(?P<text>.+)"
)
_LOAD = re.compile(r"load(?P<nhcb>_with_nhcb)?\s+(?P<step>\S+)")
_EXPECT = re.compile(
    r"expect\s+(?P<what>ordered|fail|warn|no_warn|info|no_info)(?:\s+(?P<how>msg|regex)\s*:\s*(?P<message>.+))?"
)
_EXPECT_STRING = re.compile(r"expect\s+string\s+(?P<literal>.+)")
_EXPECT_WINDOW = re.compile(r"expect range vector from (?P<start>\S+) to (?P<end>\S+) step (?P<step>\S+)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
_MAX_MS = 2**63 // 1_000_000
"""Of Go's durations, which count nanoseconds."""

NATIVE_HISTOGRAMS = "native histograms"
START_TIMESTAMPS = "start timestamps"


class ScriptError(Exception):
    """The script is not in the test language; the message names the line."""


@dataclass(frozen=True)
class Load:
    """Samples of series, one a step from time 0 on; ``beyond`` are series out of scope, and why they are."""

    step_ms: int
    series: tuple[tuple[Labels, Points], ...]
    beyond: tuple[tuple[str, Labels], ...]


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
    annotations: bool = False
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
        if (load := _LOAD.fullmatch(head)) is not None:
            return _load(load, body)
        return _case(head, body, line)
    except (ValueError, PromqlError) as error:
        raise ScriptError(f"line {line}: {head}: {error}") from error


def _load(head: re.Match[str], body: list[str]) -> Load:
    series, beyond = [], []
    for line in body:
        found, name = _split(line)
        if found["start_timestamps"]:
            beyond.append((START_TIMESTAMPS, name))
        elif "{{" in found["points"]:
            beyond.append((NATIVE_HISTOGRAMS, name))
        else:
            series.append((name, points_of(found["points"])))
    if head["nhcb"]:
        beyond += [(NATIVE_HISTOGRAMS, _without_bucket(name)) for name, _ in series]
    return Load(_milliseconds(head["step"]), tuple(series), tuple(beyond))


def _without_bucket(series: Labels) -> Labels:
    """The native histogram that load_with_nhcb makes of the buckets of a classic one."""
    name = re.sub(r"_(bucket|count|sum)$", "", labels.get(series, labels.NAME))
    return labels.replace(labels.drop(series, ("le",)), labels.NAME, name)


def _case(head: str, body: list[str], line: int) -> Case:
    if (instant := _INSTANT.fullmatch(head)) is not None:
        at = _milliseconds(instant["at"] or "0")
        case = Case(line=line, text=instant["text"], start_ms=at, end_ms=at)
        mode = instant["mode"]
    elif (found := _RANGE.fullmatch(head)) is not None:
        steps = _steps(found)
        case = Case(line=line, text=found["text"], start_ms=steps.start, end_ms=steps.stop - 1, step_ms=steps.step)
        mode = found["mode"]
    else:
        raise ValueError("expected load, clear, eval instant or eval range")
    case.fails, case.ordered, case.annotations = mode == "fail", mode == "ordered", mode in ("warn", "info")
    for expectation in body:
        _expect(case, expectation)
    return case


def _steps(found: re.Match[str]) -> range:
    start, end, step = (_milliseconds(found[name]) for name in ("start", "end", "step"))
    if end < start or step <= 0:
        raise ValueError("expected an end after the start, and a step")
    steps = range(start, end + 1, step)
    if len(steps) > MAX_STEPS:
        raise ValueError(f"{len(steps)} steps, more than {MAX_STEPS}")
    return steps


def _expect(case: Case, line: str) -> None:
    if "{{" in line:
        case.native_histograms = True
    elif (string := _EXPECT_STRING.fullmatch(line)) is not None:
        case.string = _string(string["literal"])
    elif (window := _EXPECT_WINDOW.fullmatch(line)) is not None:
        case.window_ms = _steps(window)
    elif (expect := _EXPECT.fullmatch(line)) is not None:
        case.ordered |= expect["what"] == "ordered"
        case.annotations |= expect["what"] in ("warn", "info")
        if expect["what"] == "fail":
            case.fails = True
            _fail(case, message=expect["how"] == "msg", text=expect["message"])
    elif line.startswith(("expected_fail_message", "expected_fail_regexp")):
        _fail(case, message=line.startswith("expected_fail_message"), text=line.partition(" ")[2].strip())
    elif re.fullmatch(_NUMBER, line, re.IGNORECASE):
        case.scalar = (float(line),)
    else:
        found, name = _split(line)
        case.series[name] = points_of(found["points"])


def _fail(case: Case, *, message: bool, text: str | None) -> None:
    if message:
        case.message = text
    elif text is not None:
        compile_pattern(text)
        case.pattern = text


def _string(literal: str) -> str:
    root = promql.compile(literal).root
    if not isinstance(root, String):
        raise PromqlError(f"expected a string: {literal}")
    return root.value


def _split(line: str) -> tuple[re.Match[str], Labels]:
    """A line's parts, and the label set that they are about."""
    found = _SERIES.fullmatch(line)
    if found is None:
        raise ValueError(f"expected a series and its points: {line}")
    return found, series_labels(found["series"].strip())


def series_labels(text: str) -> Labels:
    """The label set that ``name{label="value"}`` names; raises PromqlError."""
    if re.fullmatch(r"\{\s*\}", text):
        return labels.EMPTY
    root = promql.compile(text).root
    if not isinstance(root, Selector) or any(matcher.op != "=" for matcher in root.matchers):
        raise PromqlError(f"expected a series: {text}")
    return labels.make({matcher.name: matcher.value for matcher in root.matchers})


def points_of(text: str) -> Points:
    """The values that ``1+2x5 _ stale`` means, None where there is none; raises ValueError."""
    points: list[float | None] = []
    for item in text.split():
        found = _POINTS.fullmatch(item)
        if found is None:
            raise ValueError(f"expected points: {item}")
        base, step, times = found["base"].lower(), float(found["step"] or 0), int(found["times"] or 0)
        if len(points) + times > MAX_POINTS:
            raise ValueError(f"{item}: a series has more than {MAX_POINTS} points")
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
    if re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", text):
        return round(float(text) * 1000)
    parts = re.findall(r"(\d{1,18})(ms|[smhdwy])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.removeprefix("-"):
        raise ValueError(f"expected a duration: {text}")
    total = sum(int(number) * _UNITS_MS[unit] for number, unit in parts)
    if total > _MAX_MS:
        raise ValueError(f"more than 292 years: {text}")
    return -total if text.startswith("-") else total
