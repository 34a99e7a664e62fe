"""The autopilot's rules and the shipped policy, so many times as fast as they ship: a benchmark has no day (pure)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from kvmhost.units import duration_seconds, format_seconds
from tests.lab.lab import REPOSITORY

RULES = REPOSITORY / "rules/autopilot.yml"
_POLICY = REPOSITORY / "actuator/rules/policy.yml"
_WINDOW = re.compile(r"(?<=\[)\w+(?=\])")
_SECONDS = re.compile(r"(predict_linear\([\w:]+\[\w+\], |time\(\) - )(\d+)")
_DURATIONS = ("for", "every", "keep_firing_for", "interval")


def rules(text: str, by: float, *groups: str) -> str:
    """These groups of the autopilot's rules with all times divided, but not below a millisecond.

    The group `memory`, which all use, is always there.
    """
    whole = {group["name"]: group for group in yaml.safe_load(text)["groups"]}
    return _dump({"groups": [whole[name] for name in ("memory", *groups)]}, by)


def faster(text: str, by: float) -> str:
    """Rules with all times divided, but not below a millisecond: also seconds ahead, and seconds before now.

    What they wait for a driver stays as it is: balloons are no faster.
    """
    return _dump(yaml.safe_load(text), by)


def _dump(document: Any, by: float) -> str:
    return yaml.safe_dump(_quick(document, by), sort_keys=False, width=1000)


def policy(by: float, file: Path = _POLICY) -> str:
    """A policy, the shipped one if none is named, with as many times the writes a minute."""
    limit = re.compile(r"writes_per_minute: (\d+)")
    return limit.sub(lambda found: f"writes_per_minute: {int(found[1]) * by:.0f}", file.read_text())


def _quick(value: Any, by: float, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _quick(inner, by, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_quick(inner, by) for inner in value]
    if key in _DURATIONS:
        return duration(value, by)
    if isinstance(value, str) and key != "because":
        value = _WINDOW.sub(lambda found: duration(found[0], by), value)
        return _SECONDS.sub(lambda found: f"{found[1]}{int(found[2]) / by:g}", value)
    return value


def duration(text: str, by: float) -> str:
    """A duration as short."""
    return format_seconds(max(0.001, duration_seconds(text) / by))
