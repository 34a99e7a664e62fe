"""The autopilot's rules and the shipped policy, so many times as fast as they ship: a benchmark has no day (pure)."""

from __future__ import annotations

import re
from typing import Any

import yaml

from kvmhost.units import duration_seconds, format_seconds
from tests.lab.lab import REPOSITORY

RULES = REPOSITORY / "rules/autopilot.yml"
_POLICY = REPOSITORY / "actuator/rules/policy.yml"
_WINDOW = re.compile(r"(?<=\[)\w+(?=\])")
_DURATIONS = ("for", "every", "keep_firing_for")


def rules(text: str, by: float, *groups: str) -> str:
    """These groups of a text of rules with all times divided, but not below a millisecond.

    The group `memory`, which all use, is always there.
    """
    whole = {group["name"]: group["rules"] for group in yaml.safe_load(text)["groups"]}
    kept = {name: whole[name] for name in ("memory", *groups)}
    quick = [{"name": name, "rules": [_quick(rule, by) for rule in rules]} for name, rules in kept.items()]
    return yaml.safe_dump({"groups": quick}, sort_keys=False, width=1000)


def policy(by: float) -> str:
    """The shipped policy, with as many times the writes a minute."""
    limit = re.compile(r"writes_per_minute: (\d+)")
    return limit.sub(lambda found: f"writes_per_minute: {int(found[1]) * by:.0f}", _POLICY.read_text())


def _quick(value: Any, by: float, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _quick(inner, by, name) for name, inner in value.items()}
    if key in _DURATIONS:
        return duration(value, by)
    if isinstance(value, str) and key != "because":
        return _WINDOW.sub(lambda found: duration(found[0], by), value)
    return value


def duration(text: str, by: float) -> str:
    """A duration as short."""
    return format_seconds(max(0.001, duration_seconds(text) / by))
