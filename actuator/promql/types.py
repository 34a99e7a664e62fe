"""Values that PromQL expressions evaluate to, and the errors of the language."""

import struct
from array import array
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from actuator.promql.labels import Labels
from actuator.promql.nodes import Matcher


class PromqlError(Exception):
    """The expression cannot be compiled; the message says what is wrong and what to write instead."""


class UnsupportedError(PromqlError):
    """The construct is PromQL, but not supported here; the message names it and a way around."""


class EvaluationError(PromqlError):
    """The expression is valid, but not on these data (many-to-many matches, duplicate label sets, ...)."""


@dataclass(frozen=True, slots=True)
class Sample:
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


class Series(Protocol):
    """What the evaluator asks of a stored series. Times are unix milliseconds, as in Prometheus."""

    @property
    def labels(self) -> Labels: ...

    def latest(self, start_ms: int, end_ms: int) -> tuple[int, float] | None:
        """Newest sample in (start_ms, end_ms], staleness markers included."""

    def window(self, start_ms: int, end_ms: int) -> tuple["array[int]", "array[float]"]:
        """Times and values in (start_ms, end_ms], oldest first, staleness markers included."""


class Source(Protocol):
    """Where the evaluator finds series."""

    def select(self, matchers: Sequence[Matcher]) -> Sequence[Series]:
        """Series whose labels fulfil all matchers."""


_STALE_BITS = struct.pack("<Q", 0x7FF0000000000002)
STALE_MARKER: float = struct.unpack("<d", _STALE_BITS)[0]
"""The NaN by which Prometheus marks the end of a series (model/value/value.go)."""


def is_stale(value: float) -> bool:
    """Whether ``value`` is the staleness marker and not an ordinary NaN."""
    return value != value and struct.pack("<d", value) == _STALE_BITS
