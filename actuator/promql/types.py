"""Values that PromQL expressions evaluate to, and the errors of the language."""

import struct
from collections.abc import MutableSequence
from typing import NamedTuple, TypeAlias

from actuator.promql.labels import Labels


class PromqlError(Exception):
    """The expression cannot be compiled; the message says what is wrong and what to write instead."""


class UnsupportedError(PromqlError):
    """The construct is PromQL, but not supported here; ``name`` says which, ``hint`` what to write instead."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"{name}: not supported; {hint}")
        self.name = name


class EvaluationError(PromqlError):
    """The expression is valid, but not on these data (many-to-many matches, duplicate label sets, ...)."""


class Sample(NamedTuple):
    """One element of a result: a value at the time of the evaluation."""

    labels: Labels
    value: float


class Element(NamedTuple):
    """An element of an instant vector during evaluation.

    ``drop_name`` marks a metric name that is to go: at once by default, at the end of the evaluation
    with delayed name removal (Prometheus' feature flag of that name).
    """

    labels: Labels
    value: float
    drop_name: bool = False


class Window(NamedTuple):
    """One series of a range vector: its samples in (start_ms, end_ms], oldest first, none of them stale."""

    labels: Labels
    times_ms: MutableSequence[int]
    values: MutableSequence[float]
    start_ms: int
    end_ms: int
    drop_name: bool = False


Vector: TypeAlias = list[Element]
Matrix: TypeAlias = list[Window]
Value: TypeAlias = float | str | Vector | Matrix


STALE_BITS = 0x7FF0000000000002
_STALE_BYTES = struct.pack("<Q", STALE_BITS)
STALE_MARKER: float = struct.unpack("<d", _STALE_BYTES)[0]
"""The NaN by which Prometheus marks the end of a series (model/value/value.go)."""


def is_stale(value: float) -> bool:
    """Whether ``value`` is the staleness marker and not an ordinary NaN."""
    return value != value and struct.pack("<d", value) == _STALE_BYTES
