"""Prometheus' own linter finds nothing to say of any golden page."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.golden import HOSTS
from tests.scenarios.model import RULES


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_golden_page_passes_promtool(host: Path, promtool: Path) -> None:
    page = (host / "expected.prom").read_text()
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_file_with_records_only_is_one_of_prometheus(promtool: Path) -> None:
    checked = subprocess.run(
        [promtool, "check", "rules", RULES / "host.yml"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
