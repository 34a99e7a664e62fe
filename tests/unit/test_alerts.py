"""The alerts for a Prometheus server, without one: each is complete, documented, tested, and over metrics that exist.

tests/lab/test_alerts.py has promtool run their tests, and a real Prometheus and Alertmanager.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actuator import promql
from actuator.data.exposition import Parser
from actuator.data.query import LocalQuery
from actuator.data.store import Store
from actuator.promql.labels import Labels, make
from tests import alertrules
from tests.alertrules import TOP, Alert
from tests.golden import HOSTS

ALERTS = alertrules.alerts()
RECORDS = alertrules.records(*alertrules.FILES)
PAGE = (TOP / "docs/alerts.md").read_text()
SECTIONS = re.findall(r"^### (\w+)$", PAGE, re.M)
METRICS = {
    name
    for page in ("metrics.md", "actuator-metrics.md")
    for name in re.findall(r"^\| `(\w+)` \|", (TOP / "docs" / page).read_text(), re.M)
}
OF_PROMETHEUS = {"up"}

each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


@pytest.mark.parametrize("expr", [*RECORDS.values(), *(alert.expr for alert in ALERTS)])
def test_an_expression_is_one_over_metrics_that_exist(expr: str) -> None:
    assert promql.compile(expr).metric_names <= METRICS | OF_PROMETHEUS | RECORDS.keys()


@each_alert
def test_an_alert_is_complete(alert: Alert) -> None:
    assert alert.labels.keys() == {"severity"}
    assert alert.labels["severity"] in ("info", "warning", "critical")
    assert alert.annotations.keys() == {"summary", "description", "runbook_url"}
    assert "$value" not in alert.annotations["summary"]  # or it would be another one at each evaluation
    assert re.search(r"\$value|\d|an hour", alert.annotations["description"])


@each_alert
def test_a_runbook_is_the_section_of_its_alert(alert: Alert) -> None:
    assert alert.annotations["runbook_url"] == f"docs/alerts.md#{alert.name.lower()}"
    section = PAGE.partition(f"\n### {alert.name}\n\n")[2].partition("\n#")[0]
    assert section.startswith(f"{alert.labels['severity'].capitalize()}. ")
    assert [part in section for part in ("- **Look:** ", "- **Do:** ", "- **Ignore** ")] == [True] * 3


def test_each_section_is_of_an_alert() -> None:
    assert sorted(SECTIONS) == sorted(alert.name for alert in ALERTS)


def test_links_within_the_page_lead_somewhere() -> None:
    places = {re.sub(r"\W+", "-", title.lower()) for title in re.findall(r"^#+ (.*)$", PAGE, re.M)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= places


@each_alert
def test_promtool_sees_an_alert_fire_and_not_fire(alert: Alert) -> None:
    assert {fires for name, fires in alertrules.expectations() if name == alert.name} == {True, False}


def test_the_server_makes_the_records_of_the_simple_rules() -> None:
    shipped = [path for path in (TOP / "rules/simple").glob("*.yml") if not path.name.endswith(".test.yml")]
    tuning = alertrules.records(*shipped)
    assert tuning.items() <= RECORDS.items()


HOLDS = {
    "64k-pages": {"KvmHugepagesIdle"},
    "ksm-off": {"KvmLibvirtDown"},
    "negative-general-profit": {"KvmKsmLosesMemory", "KvmLibvirtDown"},
    "ordinary": {"KvmBalloonDriverMissing", "KvmEmulatedDevices", "KvmHugepagesIdle"},
    "two-numa-nodes": {
        "KvmBalloonDriverSilent",
        "KvmHugepagesIdle",
        "KvmVcpuPinsDrifted",
        "KvmVcpuPinsOverlap",
        "KvmVirtioMemNotReached",
    },
}
"""What is true of the fixture hosts: an alert would fire, did it last."""


@pytest.mark.parametrize("host", [host for host in HOSTS if host.name in HOLDS], ids=lambda host: host.name)
def test_what_holds_on_a_host(host: Path) -> None:
    store = Store(window_seconds=86400)
    scrape(store, host, *range(0, 601, 120))
    query = LocalQuery(store)
    for name, expr in RECORDS.items():
        for sample in query.instant(promql.compile(expr), 600):
            store.append(make({**dict(sample.labels), "__name__": name}), 600, sample.value)
    assert {alert.name for alert in ALERTS if query.instant(promql.compile(alert.expr), 600)} == HOLDS[host.name]


def scrape(store: Store, host: Path, *times: float) -> None:
    """The same page at each of these times, as Prometheus would have it."""

    def labelled(labels: Labels) -> Labels:
        return make({**dict(labels), "job": "kvmtune-exporter", "instance": "host:9752"})

    values = Parser(labelled).parse((host / "expected.prom").read_text() + "up 1\n")
    for time in times:
        for labels, value in values.items():
            store.append(labels, time, value)
