"""docs/actuator-metrics.md, made of the actuator's own metrics. `make golden` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from prometheus_client.metrics import MetricWrapperBase

from actuator.decision import Outcome
from actuator.metrics import Metrics
from actuator.plans.guard import Reason

PAGE = Path(__file__).parents[1] / "docs/actuator-metrics.md"

_HEAD = """\
# Metrics of kvmtune-actuator

<!-- Written by `make golden` from the code in actuator/metrics.py: change that. -->

On `/metrics` of `--web.listen-address` (default: 127.0.0.1:9753).

| metric | type | labels | meaning |
|---|---|---|---|
"""


def written() -> str:
    """The whole page."""
    metrics = Metrics("0", dry_run=True)
    found = {id(value): value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)}
    labels = {each._name: each._labelnames for each in found.values()}
    rows = []
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        own = labels.get(family.name) or tuple(family.samples[0].labels if family.samples else ())
        rows.append(f"| `{name}` | {family.type} | {', '.join(own)} | {family.documentation} |\n")
    return _HEAD + "".join(rows)


def _words(union: object) -> list[str]:
    """All words of nested literals."""
    return [word for part in get_args(union) for word in (_words(part) or [str(part)])]


OUTCOMES = tuple(outcome for outcome in _words(Outcome) if outcome != "write")
"""Of decisions; `write` is only on the way to one."""
REASONS: tuple[str, ...] = get_args(Reason)
