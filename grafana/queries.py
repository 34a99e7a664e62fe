"""How dashboards ask Prometheus.

An expression stands in a dashboard as in docs/metrics.md; `of_hosts` narrows each of its metrics to the hosts chosen.
"""

from __future__ import annotations

import re

from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

DATA_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

# The exporter and the actuator of a host differ in the port only.
_HOSTS = 'instance=~"$instance(:[0-9]+)?"'
_METRIC = re.compile(r"\b(kvm(?:tune)?_\w+)(\{)?")


def of_hosts(expr: str) -> str:
    """`expr`, with each metric narrowed to the hosts that are chosen, on one line."""
    return _METRIC.sub(lambda found: f"{found[1]}{{{_HOSTS}{',' if found[2] else '}'}", " ".join(expr.split()))


def query(expr: str, ref: str = "A") -> Dataquery:
    """A query over the time shown; `ref` names it in its panel."""
    return Dataquery().datasource(DATA_SOURCE).ref_id(ref).expr(of_hosts(expr)).range()


def by_host(expr: str) -> str:
    """`expr` with a label `host`: its instance without the port."""
    return f'label_replace({expr}, "host", "$1", "instance", "(.*?)(:[0-9]+)?")'
