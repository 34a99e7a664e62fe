"""The text format of Prometheus (0.0.4): a scrape body to values of series.

Pure and bounded. A body that is malformed in one line is refused as a whole: half a scrape is not data.
"""

import re
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from actuator.promql.labels import NAME, Labels, make

MAX_LINE_CHARACTERS = 64 * 1024
MAX_SAMPLES = 100_000
MAX_LINES = 500_000

S = TypeVar("S", bound=Hashable)

_NAME = re.compile(r"[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*")
_OPEN = re.compile(r"\{[ \t]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,[ \t]*|(?=\}))')
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

    def forget(self) -> None:
        """Resolve all series anew in the next body."""
        self._known = {}

    def parse(self, body: str) -> dict[S, float]:
        """Values by series; raises ExpositionError, and what ``resolve`` raises.

        Explicit timestamps are accepted and ignored: a sample is as old as its scrape, whatever the target says.
        """
        if body and body[-1] != "\n":
            raise ExpositionError("the last line has no end: the body is cut off")
        if body.count("\n") > MAX_LINES:
            raise ExpositionError(f"more than {MAX_LINES} lines")
        values: dict[S, float] = {}
        texts: dict[str, S] = {}
        for number, line in enumerate(body.split("\n"), start=1):
            if not line or line[0] == "#":
                continue
            try:
                self._sample(line, values, texts)
            except ValueError as error:
                raise ExpositionError(f"line {number}: {error}") from None
        self._known = texts
        return values

    def _sample(self, line: str, values: dict[S, float], texts: dict[str, S]) -> None:
        if len(line) > MAX_LINE_CHARACTERS:
            raise ValueError(f"more than {MAX_LINE_CHARACTERS} characters")
        text, _, value = line.rpartition(" ")
        series = self._known.get(text)
        if series is None:
            text, labels, value = _split(line)
            if not text:
                return
            series = self._known.get(text)
            if series is None:
                series = self._resolve(labels)
        if series in values:
            raise ValueError(f"{text} occurs twice")
        if len(values) == MAX_SAMPLES:
            raise ValueError(f"more than {MAX_SAMPLES} samples")
        values[series] = _number(value)
        texts[text] = series


def _split(line: str) -> tuple[str, Labels, str]:
    """Text of the series, its labels and the text of its value; all empty for a blank line or a comment."""
    line = line.strip(" \t\r")
    if not line or line[0] == "#":
        return "", (), ""
    name = _NAME.match(line)
    if name is None:
        raise ValueError(f"expected a metric name, got {line[:40]!r}")
    pairs, end = _labels(line, name.end())
    text = line[:end].rstrip(" \t")
    value, *timestamp = line[end:].split() or [""]
    if len(timestamp) > 1:
        raise ValueError(f"unexpected {timestamp[1][:40]!r} after the timestamp")
    if timestamp and not _is_integer(timestamp[0]):
        raise ValueError(f"expected a timestamp in milliseconds, got {timestamp[0][:40]!r}")
    return text, make({**pairs, NAME: name[1]}), value


def _labels(line: str, start: int) -> tuple[dict[str, str], int]:
    """Label pairs in braces, if there are any at ``start``, and the end of the series in the line."""
    opened = _OPEN.match(line, start)
    if opened is None:
        return {}, start
    pairs: dict[str, str] = {}
    position = opened.end()
    while (label := _LABEL.match(line, position)) is not None:
        name, value = label.groups()
        if name in pairs or name == NAME:
            raise ValueError(f"the label {name!r} is given twice")
        pairs[name] = _ESCAPE.sub(lambda escape: _ESCAPED[escape[1]], value) if "\\" in value else value
        position = label.end()
    if line[position : position + 1] != "}":
        raise ValueError(f"expected a label or '}}', got {line[position : position + 40]!r}")
    return pairs, position + 1


def _number(text: str) -> float:
    try:
        if "_" not in text:  # which Python allows between digits
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"expected a number, got {text[:40]!r}")


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()
