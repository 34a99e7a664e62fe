"""The page that a scrape gets: families in one of the two exposition formats (pure).

Text: https://prometheus.io/docs/instrumenting/exposition_formats. OpenMetrics: prometheus/OpenMetrics on GitHub.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from exporter.table import COUNTER, Family

_TOTAL = "_total"

# What is said of a metric is the same in each scrape.
_MOST_METRICS = 2048


def text(families: Iterable[Family]) -> bytes:
    """The families in Prometheus' text format."""
    parts = (f"{_head(family.name, family.kind, family.meaning)}\n{family.text}\n" for family in families)
    return "".join(parts).encode()


def openmetrics(families: Iterable[Family]) -> bytes:
    """The families in OpenMetrics 1.0: there, a counter's family is named without its `_total`."""
    parts = (f"{_openmetrics_head(family.name, family.kind, family.meaning)}\n{family.text}\n" for family in families)
    return ("".join(parts) + "# EOF\n").encode()


@lru_cache(_MOST_METRICS)
def _head(name: str, kind: str, meaning: str) -> str:
    return f"# HELP {name} {_help(meaning)}\n# TYPE {name} {kind}"


@lru_cache(_MOST_METRICS)
def _openmetrics_head(name: str, kind: str, meaning: str) -> str:
    name = name.removesuffix(_TOTAL) if kind == COUNTER else name
    meaning = _help(meaning).replace('"', r"\"")
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}"


def _help(meaning: str) -> str:
    return meaning.replace("\\", r"\\").replace("\n", r"\n")
