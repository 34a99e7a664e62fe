"""What is refused at load, by name, and what to write instead."""

import re

from actuator.promql.types import PromqlError, UnsupportedError

_MESSAGE_CHARACTERS = 300
_NATIVE_HISTOGRAMS = "it needs native histograms, which the text format does not carry"
_EXPERIMENTAL = "it is experimental in Prometheus"
_NAMED: dict[str, str] = {
    "fill": "join a default with 'or'",
    "info()": f"{_EXPERIMENTAL}: join the info metric with * on(...) group_left(...)",
    "limit_ratio()": f"{_EXPERIMENTAL}: use topk()",
    "limitk()": f"{_EXPERIMENTAL}: use topk()",
    "histogram_avg()": _NATIVE_HISTOGRAMS,
    "histogram_count()": _NATIVE_HISTOGRAMS,
    "histogram_quantiles()": f"{_EXPERIMENTAL}: use histogram_quantile() once per quantile",
    "histogram_stddev()": _NATIVE_HISTOGRAMS,
    "histogram_stdvar()": _NATIVE_HISTOGRAMS,
    "histogram_sum()": _NATIVE_HISTOGRAMS,
}

_UNKNOWN_TO_THE_PARSER: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\banchored\b"), "the modifier 'anchored' is not supported"),
    (re.compile(r"\bsmoothed\b"), "the modifier 'smoothed' is not supported"),
    (re.compile(r"</|>/"), "the operators </ and >/ need native histograms, which are not supported"),
    (
        re.compile(r"\[[^\[\]]*[-+*/%^(]|\boffset\s*+[-+]?\s*+\(|\b(?:step|range)\s*+\(\)"),
        "duration expressions are not supported: write a plain duration such as 5m",
    ),
    (re.compile(r"\d_\d"), "write numbers without underscores"),
)


def refuse(name: str) -> UnsupportedError:
    """The error that refuses a construct which the parser knows and the evaluator does not."""
    reason = _NAMED.get(name)
    return UnsupportedError(f"{name} is not supported{f': {reason}' if reason else ''}")


def explain(text: str, message: str) -> PromqlError:
    """The error for a text that the parser refused with ``message``, maybe since it is newer than the parser."""
    message = message[:_MESSAGE_CHARACTERS]  # it may quote the whole text
    for pattern, hint in _UNKNOWN_TO_THE_PARSER:
        if pattern.search(text):
            return UnsupportedError(f"{message} ({hint})")
    return PromqlError(message)
