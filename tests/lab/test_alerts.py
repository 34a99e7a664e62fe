"""Prometheus' own tools on the alerts: the rules and examples are right, their tests pass, and notice other rules."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import alertrules
from tests.alertrules import FILES, TEST_FILES, TOP

from . import packages
from .lab import CACHE

EXAMPLES = dict(re.findall(r"^```yml\n# (\w+\.yml)\n(.*?)^```", (TOP / "docs/alerts.md").read_text(), re.M | re.S))
DURATION = re.compile(r"^        (?:keep_firing_)?for: \w+\n", re.M)
THRESHOLD = re.compile(r"(?<=[<>] )\d+(?:\.\d+)?(?!\^)")


def check(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_rules_are_rules_of_prometheus(promtool: Path, file: Path) -> None:
    check(promtool, "check", "rules", "--lint=all", "--lint-fatal", file)


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.name)
def test_their_tests_pass(promtool: Path, file: Path) -> None:
    check(promtool, "test", "rules", file)


def test_the_documented_configuration_is_one_of_prometheus(promtool: Path, tmp_path: Path) -> None:
    text = EXAMPLES["prometheus.yml"].replace("/etc/prometheus/kvmtune/", f"{alertrules.DIRECTORY}/")
    (tmp_path / "prometheus.yml").write_text(text)
    check(promtool, "check", "config", tmp_path / "prometheus.yml")


def test_the_documented_configuration_is_one_of_alertmanager(tmp_path: Path) -> None:
    amtool = packages.program("amtool", "prometheus-alertmanager", CACHE)
    (tmp_path / "alertmanager.yml").write_text(EXAMPLES["alertmanager.yml"])
    check(amtool, "check-config", tmp_path / "alertmanager.yml")


def others(rule: str) -> Iterator[tuple[str, str]]:
    """The text of an alert with one thing changed that an operator may change, and what it is."""
    for found in DURATION.finditer(rule):
        yield f"without {found[0].strip()}", rule.replace(found[0], "")
    for found in THRESHOLD.finditer(rule):
        beyond_zero = -1 if rule[found.start() - 2] == ">" else 1
        for number in [float(found[0]) * 0.5, float(found[0]) * 1.5] if float(found[0]) else [beyond_zero]:
            yield f"{number:g} for {found[0]}", f"{rule[: found.start()]}{number:g}{rule[found.end() :]}"


MUTANTS = [
    pytest.param(file, name, rule, other, id=f"{name}: {what}")
    for file in FILES
    for rule, name in re.findall(r"(      - alert: (\w+)\n(?:        .*\n)+)", file.read_text())
    for what, other in others(rule)
]


@pytest.mark.parametrize(("file", "name", "rule", "other"), MUTANTS)
def test_they_notice_an_alert_that_is_another(
    promtool: Path, tmp_path: Path, file: Path, name: str, rule: str, other: str
) -> None:
    (tmp_path / file.name).write_text(file.read_text().replace(rule, other))
    (tmp_path / "records.yml").write_text((file.parent / "records.yml").read_text())
    tests = yaml.safe_load((file.parent / "tests" / f"{file.stem}.test.yml").read_text())
    tests["rule_files"] = ["records.yml", file.name]
    tests["tests"] = [case for case in tests["tests"] if case["alert_rule_test"][0]["alertname"] == name]
    (tmp_path / "rules.test.yml").write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "rules.test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, "they all pass"
    assert "FAILED" in done.stderr + done.stdout
