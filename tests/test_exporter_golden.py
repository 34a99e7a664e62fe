"""What the exporter shows of each fixture host, to the letter."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests import metricsdoc
from tests.golden import HOSTS, rendered


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_metrics_of_fixture_host(host: Path) -> None:
    expected = host / "expected.prom"
    assert expected.exists(), f"{expected} is missing: `make golden` writes it; read it before you commit it"
    assert rendered(host) == expected.read_text(), "if the change is meant, `make golden` writes it anew"


def test_the_hosts_that_must_be_covered_are_there() -> None:
    assert {host.name for host in HOSTS} >= {
        "64k-pages",
        "ksm-off",
        "malformed-files",
        "negative-general-profit",
        "no-ksm-directory",
        "ordinary",
        "two-numa-nodes",
        "unreadable-files",
    }


@pytest.mark.parametrize("module", metricsdoc.MODULES.values(), ids=metricsdoc.MODULES)
def test_some_host_has_each_metric(module: ModuleType) -> None:
    missing = set(metricsdoc.rows(module)) - set(metricsdoc.shown())
    assert not missing, "a fixture host must show them, also to their reader in docs/metrics.md"


def test_the_reference_of_metrics_is_up_to_date() -> None:
    assert metricsdoc.PAGE.read_text() == metricsdoc.written(), "`make golden` writes it anew"
