"""What is checked of a text before the parser sees it, so that the parser cannot end the process or misread it."""

import math
import re

from actuator.promql.types import PromqlError, UnsupportedError

MAX_CHARACTERS = 64 * 1024
MAX_DEPTH = 40
MAX_OPERATORS = 200
"""Together with the depth it keeps evaluation, too, well within the depth of calls that Python allows."""

# Each alternative is possessive and takes an unclosed string to the end, so that the scan is linear.
_STRING = r"""(?:"(?:\\.?|[^"\\])*+(?:"|\Z)|'(?:\\.?|[^'\\])*+(?:'|\Z)|`[^`]*+(?:`|\Z))"""
_TOKEN = re.compile(
    rf"""{_STRING} | \#[^\n]*+ | \{{(?:[^"'`{{}}]|{_STRING})*+\}}
      | (?P<open>[(\[{{])
      | (?P<close>[)\]}}])
      | (?P<past>@\s*-)
      | (?P<operator>[-+*/%^]|[<>!=]=?|\b(?:and|or|unless|atan2)\b)
      | (?P<number>(?:\d++\.?\d*+|\.\d++)(?:e[-+]?\d++)?|\b(?:inf|nan)\b)(?:ms|[smhdwy])?
      | \w[\w:]*+
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_LOOK_BEHIND = 64
"""Characters in which a number finds that it is a duration."""
_STRING_OR_COMMENT = re.compile(rf"{_STRING}|\#[^\n]*+", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:(?P<byte>x[89a-f]|[23][0-7]{2})|.)", re.DOTALL | re.IGNORECASE)


def check(text: str) -> None:
    """Raises PromqlError for a text that is too large, too deep, or out of range."""
    if len(text) > MAX_CHARACTERS:
        raise PromqlError(f"the expression has {len(text)} characters, more than {MAX_CHARACTERS}")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise PromqlError("the expression is not valid Unicode: it contains a lone surrogate")
    if "\\" in text:
        _check_escapes(text)
    depth = operators = 0
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "open":
                depth += 1
            case "close":
                depth -= 1
            case "operator":
                operators += 1
            case "number":
                _check_number(token["number"], text[max(0, token.start() - _LOOK_BEHIND) : token.start()])
            case "past":
                raise UnsupportedError("@ timestamps before 1970", "the store has no such samples")
        if depth > MAX_DEPTH:
            raise PromqlError(f"brackets are nested deeper than {MAX_DEPTH}; move a part to a recording rule")
        if operators > MAX_OPERATORS:
            raise PromqlError(f"more than {MAX_OPERATORS} operators; move a part to a recording rule")


def _check_number(number: str, before: str) -> None:
    """Refuse what no float holds, and durations that the parser would panic about: beyond 64 bits, Inf and NaN."""
    value = float(number)
    is_duration = before.rstrip(" \t\r\n+-").lower().endswith(("offset", "[", ":"))
    if (math.isinf(value) and number[0] not in "iI") or (is_duration and not value < 2**63):
        raise PromqlError(f"the {'duration' if is_duration else 'number'} {number[:20]} is out of range")


def _check_escapes(text: str) -> None:
    r"""Refuse ``"\xe9"``: a byte in Prometheus, but the character é to the parser."""
    for token in _STRING_OR_COMMENT.finditer(text):
        if token[0][0] in "\"'" and any(escape["byte"] for escape in _ESCAPE.finditer(token[0])):
            raise PromqlError(r"escapes such as \xe9 are bytes, not characters: write é itself, or \u00e9")
