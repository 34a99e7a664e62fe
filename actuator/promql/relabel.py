"""label_replace and label_join: the functions that rewrite label sets."""

import re
from functools import lru_cache
from typing import Any, cast

import re2

from actuator.promql.labels import NAME, get, replace
from actuator.promql.nodes import Call
from actuator.promql.types import Element, EvaluationError, PromqlError, Value, Vector

_REFERENCE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<name>\w+)|\{(?P<braced>\w+)\})")


@lru_cache(maxsize=1024)
def compile_pattern(text: str) -> Any:
    """An RE2 regular expression in which a dot matches a newline; use ``fullmatch`` of the result."""
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        detail = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise PromqlError(f"invalid regular expression {text[:80]!r}: {detail[:80]} (the syntax is RE2)") from None


def label_replace(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    """Set a label to a template filled with what a regular expression matched in another label."""
    vector, target, template, source, pattern = cast(tuple[Vector, str, str, str, str], arguments)
    if not target:
        raise EvaluationError("invalid destination label name in label_replace(): it is empty")
    compiled = compile_pattern(pattern)
    result = []
    for element in vector:
        found = compiled.fullmatch(get(element.labels, source))
        if found is None:
            result.append(element)
        else:
            result.append(_with_label(element, target, _expand(template, found)))
    return result


def label_join(call: Call, arguments: list[Value], now_ms: int) -> Vector:
    """Set a label to the values of other labels, joined by a separator."""
    vector, target, separator, *sources = cast(tuple[Vector, str, str, str], arguments)
    if not target or not all(sources):
        raise EvaluationError("invalid label name in label_join(): it is empty")
    return [
        _with_label(element, target, separator.join(get(element.labels, source) for source in sources))
        for element in vector
    ]


def _with_label(element: Element, name: str, value: str) -> Element:
    labels = replace(element.labels, name, value)
    return Element(labels, element.value, element.drop_name and name != NAME)


def _expand(template: str, found: Any) -> str:
    """Fill ``$1``, ``${1}`` and ``$name`` in, like regexp.Expand of Go: an unknown group is empty."""

    def value(reference: re.Match[str]) -> str:
        if reference["escaped"]:
            return "$"
        name = reference["name"] or reference["braced"]
        try:
            return found.group(int(name) if name.isdecimal() else name) or ""
        except (IndexError, KeyError, re2.error):
            return ""

    return _REFERENCE.sub(value, template)
