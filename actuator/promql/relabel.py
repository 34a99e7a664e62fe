"""label_replace and label_join: the functions that rewrite label sets."""

import re
from functools import lru_cache
from typing import Any, cast

import re2

from actuator.promql.labels import NAME, get, replace
from actuator.promql.nodes import Call
from actuator.promql.types import Element, EvaluationError, PromqlError, Value, Vector

MAX_LABEL_CHARACTERS = 64 * 1024
"""Of a label's value: one that doubles itself would soon fill the memory."""

_REFERENCE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<name>\w+)|\{(?P<braced>\w+)\})")
_NUMBERED = re.compile(r"0|[1-9][0-9]{0,7}")


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
    result = []
    for element in vector:
        values = [get(element.labels, source) for source in sources]
        _check_length(sum(map(len, values)) + len(separator) * len(values))
        result.append(_with_label(element, target, separator.join(values)))
    return result


def _check_length(characters: int) -> None:
    if characters > MAX_LABEL_CHARACTERS:
        raise EvaluationError(f"a label's value would have more than {MAX_LABEL_CHARACTERS} characters")


def _with_label(element: Element, name: str, value: str) -> Element:
    labels = replace(element.labels, name, value)
    return Element(labels, element.value, element.drop_name and name != NAME)


def _expand(template: str, found: Any) -> str:
    """Fill ``$1``, ``${1}`` and ``$name`` in, like regexp.Expand of Go: an unknown group is empty."""
    length = len(template)

    def value(reference: re.Match[str]) -> str:
        nonlocal length
        group = "$" if reference["escaped"] else _group(found, reference["name"] or reference["braced"])
        length += len(group)
        _check_length(length)
        return group

    return _REFERENCE.sub(value, template)


def _group(found: Any, name: str) -> str:
    try:
        return found.group(int(name) if _NUMBERED.fullmatch(name) else name) or ""
    except (IndexError, KeyError, re2.error):
        return ""
