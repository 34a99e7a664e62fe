"""Label sets as sorted tuples: hashable, so that a label set can be a grouping key as it stands."""

from collections.abc import Collection
from typing import TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of name and value, sorted by name, no empty values; the metric's name is the label ``__name__``."""

NAME = "__name__"
SCHEMA = frozenset({NAME, "__type__", "__unit__"})
"""What a metric is; it goes wherever a result is not that metric any more (schema/labels.go)."""
EMPTY: Labels = ()


def make(pairs: dict[str, str]) -> Labels:
    """Labels of a mapping; an empty value means that the label is absent, as everywhere in Prometheus."""
    return tuple(sorted((name, value) for name, value in pairs.items() if value))


def get(labels: Labels, name: str) -> str:
    """Value of the label ``name``, or the empty string if there is none."""
    for key, value in labels:
        if key == name:
            return value
    return ""


def keep(labels: Labels, names: Collection[str]) -> Labels:
    """Only the labels in ``names``."""
    return tuple([pair for pair in labels if pair[0] in names])


def drop(labels: Labels, names: Collection[str]) -> Labels:
    """All labels but those in ``names``."""
    return tuple([pair for pair in labels if pair[0] not in names])


def drop_name(labels: Labels) -> Labels:
    """All labels but the metric's name, and its type and unit if they are labels."""
    return tuple([pair for pair in labels if pair[0] not in SCHEMA])


def replace(labels: Labels, name: str, value: str) -> Labels:
    """Labels with ``name`` set to ``value`` (removed if ``value`` is empty)."""
    return make({**dict(labels), name: value})


def text(labels: Labels) -> str:
    """Labels as Prometheus writes them in messages, ``{__name__="up", job="x"}``."""
    return "{" + ", ".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
