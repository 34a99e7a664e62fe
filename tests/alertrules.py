"""The rules for a Prometheus server in rules/prometheus, and their tests for promtool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TOP = Path(__file__).parents[1]
DIRECTORY = TOP / "rules/prometheus"
FILES = tuple(sorted(DIRECTORY.glob("*.yml")))
TEST_FILES = tuple(sorted((DIRECTORY / "tests").glob("*.test.yml")))


@dataclass(frozen=True)
class Alert:
    """As it stands in its file, without defaults."""

    name: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


def records(*files: Path) -> dict[str, str]:
    """The expression of each recording rule, by its name."""
    return {rule["record"]: rule["expr"] for rule in _rules(files) if "record" in rule}


def alerts() -> list[Alert]:
    """All of them, in the order of the files."""
    return [
        Alert(rule["alert"], rule["expr"], rule.get("labels", {}), rule.get("annotations", {}))
        for rule in _rules(FILES)
        if "alert" in rule
    ]


def expectations() -> list[tuple[str, bool]]:
    """What the tests for promtool look at: an alert, and whether it shall fire then."""
    cases = [case for file in TEST_FILES for case in yaml.safe_load(file.read_text())["tests"]]
    return [(look["alertname"], bool(look["exp_alerts"])) for case in cases for look in case["alert_rule_test"]]


def _rules(files: tuple[Path, ...]) -> list[dict[str, Any]]:
    groups = [group for file in files for group in yaml.safe_load(file.read_text()).get("groups", ())]
    return [rule for group in groups for rule in group["rules"]]
