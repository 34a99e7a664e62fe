"""Metrics as tests compare them: read back by prometheus_client's own parser."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from exporter import page
from exporter.table import Family


def samples_of(families: Iterable[Family], without: tuple[str, ...] = ()) -> dict[str, float]:
    """Samples as `name` or `name{label values}`, leaving the labels `without` out."""
    found = {}
    for metric in text_string_to_metric_families(page.text(families).decode()):
        for sample in metric.samples:
            values = [value for name, value in sample.labels.items() if name not in without]
            found[sample.name + ("{" + ",".join(values) + "}" if values else "")] = sample.value
    return found
