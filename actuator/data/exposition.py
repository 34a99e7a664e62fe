"""The text formats of Prometheus (0.0.4, 1.0.0) and OpenMetrics: a scrape body to values of series.

Pure and bounded. A body that is malformed in one line is refused as a whole: half a scrape is not data.
"""

import re
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from actuator.promql.labels import NAME, Labels, make

MAX_LINE_CHARACTERS = 64 * 1024
MAX_LABELS = 100
MAX_SAMPLES = 100_000
MAX_LINES = 500_000
MAX_NEW_LABELS = 500_000
"""In a body, of series that the last one did not have: they are what takes time."""

_USUAL_DIGITS = 32
_EXCERPT_CHARACTERS = 200

S = TypeVar("S", bound=Hashable)

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_OPEN = re.compile(r"[ \t]*\{[ \t]*")
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_END_OF_LABEL = r"[ \t]*(?:,[ \t]*|(?=\}))"
_QUOTED_NAME = re.compile(_QUOTED + _END_OF_LABEL)
_LABEL = re.compile(rf"(?:([a-zA-Z_][a-zA-Z0-9_]*)|{_QUOTED})[ \t]*=[ \t]*{_QUOTED}{_END_OF_LABEL}")
_FIELD = re.compile(r"[^ \t\r]+")
_ESCAPE = re.compile(r'\\([\\"n])')
_ESCAPED = {"\\": "\\", '"': '"', "n": "\n"}


class ExpositionError(Exception):
    """The body is not in the text format or beyond a limit; the message names the line."""


class Parser(Generic[S]):
    """Parses the bodies of one target.

    ``resolve`` turns the labels of a sample into whatever stands for the series. It is called once for each
    text of a series: the next body finds the series again by its text, so that a repeated scrape is cheap.
    """

    def __init__(self, resolve: Callable[[Labels], S]) -> None:
        self._resolve = resolve
        self._known: dict[str, S] = {}
        self._new_labels = 0

    def forget(self) -> None:
        """Resolve all series anew in the next body."""
        self._known = {}

    def parse(self, body: str, openmetrics: bool = False, first_line: int = 1) -> dict[S, float]:
        """Values by series; raises ExpositionError, and what ``resolve`` raises.

        Explicit timestamps are accepted and ignored: a sample is as old as its scrape, whatever the target says.
        So are exemplars. Messages count lines from ``first_line``.
        """
        if openmetrics:
            body = _before_eof(body)
        elif body and body[-1] != "\n":
            raise ExpositionError("the last line has no end: the body is cut off")
        if body.count("\n") > MAX_LINES:
            raise ExpositionError(f"more than {MAX_LINES} lines")
        repeated = self._repeated(body) if self._known else None
        if repeated is not None:
            return repeated
        values: dict[S, float] = {}
        texts: dict[str, S] = {}
        self._new_labels = 0
        for number, line in enumerate(body.split("\n"), start=first_line):
            if not line or line[0] == "#":
                continue
            try:
                self._sample(line, values, texts, openmetrics)
            except ValueError as error:
                raise ExpositionError(f"line {number}: {error}") from None
        self._known = texts
        return values

    def _repeated(self, body: str) -> dict[S, float] | None:
        """The values of a body without new series, in half the time; None if anything asks for a closer look."""
        samples = [line.rpartition(" ") for line in body.split("\n") if line and line[0] != "#"]
        try:
            series = [self._known[text] for text, _, _ in samples]
            values = dict(zip(series, map(float, [value for _, _, value in samples]), strict=True))
        except (KeyError, ValueError):
            return None
        numbers = "".join([value for _, _, value in samples])
        is_plain = numbers.isascii() and "_" not in numbers and len(numbers) <= _USUAL_DIGITS * len(samples)
        if not is_plain or len(values) < len(samples):
            return None
        if len(samples) < len(self._known):
            self._known = dict(zip([text for text, _, _ in samples], series, strict=True))
        return values

    def _sample(self, line: str, values: dict[S, float], texts: dict[str, S], openmetrics: bool) -> None:
        if len(line) > MAX_LINE_CHARACTERS:
            raise ValueError(f"more than {MAX_LINE_CHARACTERS} characters")
        text, _, value = line.rpartition(" ")
        series = self._known.get(text)
        if series is None:
            text, labels, value = _split(line, openmetrics)
            if not text:
                return
            series = self._known.get(text)
            if series is None:
                series = self._new(labels)
        if series in values:
            raise ValueError(f"{text[:_EXCERPT_CHARACTERS]} occurs twice")
        if len(values) == MAX_SAMPLES:
            raise ValueError(f"more than {MAX_SAMPLES} samples")
        values[series] = _number(value)
        texts[text] = series

    def _new(self, labels: Labels) -> S:
        self._new_labels += len(labels)
        if self._new_labels > MAX_NEW_LABELS:
            raise ValueError(f"more than {MAX_NEW_LABELS} new labels")
        return self._resolve(labels)


def _before_eof(body: str) -> str:
    """The body without the line that ends OpenMetrics."""
    lines, _, rest = body.rpartition("# EOF")
    if len(lines) == len(body) or rest.strip("\r\n") or (lines and lines[-1] != "\n"):
        raise ExpositionError("the last line is not # EOF: the body is cut off")
    return lines


def _split(line: str, openmetrics: bool) -> tuple[str, Labels, str]:
    """Text of the series, its labels and the text of its value; all empty for a blank line or a comment."""
    line = line.strip(" \t\r")
    if not line or line[0] == "#":
        return "", (), ""
    found = _NAME.match(line)
    name, pairs, end = _labels(line, found.end() if found else 0)
    if found and name:
        raise ValueError(f"two metric names, {found[0][:40]!r} and {name[:40]!r}")
    name = found[0] if found else name
    if not name:
        raise ValueError(f"expected a metric name, got {line[:40]!r}")
    rest = line[end:]
    if openmetrics:
        rest, _, exemplar = rest.partition(" # ")
        if exemplar and exemplar[0] != "{":
            raise ValueError(f"expected an exemplar, got {exemplar[:40]!r}")
    value, *timestamp = _FIELD.findall(rest) or [""]
    if len(timestamp) > 1:
        raise ValueError(f"unexpected {timestamp[1][:40]!r} after the timestamp")
    if timestamp and openmetrics:
        _number(timestamp[0])
    elif timestamp and not _is_integer(timestamp[0]):
        raise ValueError(f"expected a timestamp in milliseconds, got {timestamp[0][:40]!r}")
    return line[:end], make({**pairs, NAME: name}), value


def _labels(line: str, start: int) -> tuple[str, dict[str, str], int]:
    """What is in braces, if they open at ``start``: a quoted metric name, label pairs, and where the series ends."""
    opened = _OPEN.match(line, start)
    if opened is None:
        return "", {}, start
    name, position = "", opened.end()
    pairs: dict[str, str] = {}
    quoted = _QUOTED_NAME.match(line, position)
    if quoted is not None:
        name, position = _unescaped(quoted[1]), quoted.end()
    while (label := _LABEL.match(line, position)) is not None:
        key = label[1] or _unescaped(label[2] or "")
        if key in pairs or key == NAME:
            raise ValueError(f"the label {key[:_EXCERPT_CHARACTERS]!r} is given twice")
        if len(pairs) == MAX_LABELS:
            raise ValueError(f"more than {MAX_LABELS} labels")
        pairs[key] = _unescaped(label[3])
        position = label.end()
    if line[position : position + 1] != "}":
        raise ValueError(f"expected a label or '}}', got {line[position : position + 40]!r}")
    return name, pairs, position + 1


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda escape: _ESCAPED[escape[1]], text) if "\\" in text else text


def _number(text: str) -> float:
    try:
        if text.isascii() and "_" not in text:  # Python reads more than the format allows
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"expected a number, got {text[:40]!r}")


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()
