"""What is refused at load, by name, and what to write instead."""

import re

from actuator.promql.types import PromqlError, UnsupportedError

_MESSAGE_CHARACTERS = 300
_NO_MORE_SAID = "invalid promql query"
_UNFINISHED = re.compile(r"([-+*/%^<>=!]{1,2}|\b(?:and|or|unless|bool|atan2|offset|on|ignoring|by|without))\s*$", re.I)
_NATIVE_HISTOGRAMS = "it needs native histograms, which the text format does not carry"
_DURATION_EXPRESSIONS = ("duration expressions", "write a plain duration such as 5m")
_OF_THE_QUERY = "a rule is evaluated at one instant; write the duration or time itself"
HINTS: dict[str, str] = {
    "end()": f"{_OF_THE_QUERY}, or time()",
    "fill": "join a default with 'or'",
    "histogram_avg()": _NATIVE_HISTOGRAMS,
    "histogram_count()": _NATIVE_HISTOGRAMS,
    "histogram_quantiles()": "use histogram_quantile() once per quantile",
    "histogram_stddev()": _NATIVE_HISTOGRAMS,
    "histogram_stdvar()": _NATIVE_HISTOGRAMS,
    "histogram_sum()": _NATIVE_HISTOGRAMS,
    "info()": "join the info metric with * on(...) group_left(...)",
    "limit_ratio()": "which series it samples is not defined; use topk()",
    "limitk()": "which series it takes is not defined; use topk()",
    "max_of()": "use clamp_min()",
    "min_of()": "use clamp_max()",
    "range()": _OF_THE_QUERY,
    "start()": f"{_OF_THE_QUERY}, or time()",
    "start_timestamp()": "the text format carries no start timestamps",
    "step()": _OF_THE_QUERY,
}
"""By what the parser knows and the evaluator does not: what to write instead."""
_UNKNOWN_TO_THE_PARSER: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), name, hint)
    for pattern, name, hint in (
        (r"\binfo\s*+\(", "info()", HINTS["info()"]),
        (r"\banchored\b", "'anchored'", "leave it out: rate() and its like then extrapolate to the whole range"),
        (r"\bsmoothed\b", "'smoothed'", "leave it out: rate() and its like then extrapolate to the whole range"),
        (r"</|>/", "the operators </ and >/", "they need native histograms, which the text format does not carry"),
        (r"\[[^\[\]]*[-+*/%^(]", *_DURATION_EXPRESSIONS),
        (r"\boffset\s*+[-+]?\s*+(?:\(|[a-z_]+\s*+\()", *_DURATION_EXPRESSIONS),
        (r"\d_\d", "underscores in numbers", "leave them out"),
    )
)


def refuse(name: str) -> UnsupportedError:
    """The error that refuses a construct which the parser knows and the evaluator does not."""
    return UnsupportedError(name, HINTS.get(name, "it is newer than this program; use another"))


def explain(text: str, message: str) -> PromqlError:
    """The error for a text that the parser refused with ``message``, maybe since it is newer than the parser."""
    message = message[:_MESSAGE_CHARACTERS]  # it may quote the whole text
    for pattern, name, hint in _UNKNOWN_TO_THE_PARSER:
        if pattern.search(text):
            return UnsupportedError(name, f"{hint} ({message})")
    if message == _NO_MORE_SAID and (last := _UNFINISHED.search(text)):
        return PromqlError(f"{message}: something is missing after {last[1]!r}")
    return PromqlError(message)
