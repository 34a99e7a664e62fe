"""Renders all dashboards: `python -m grafana` writes grafana/dashboards/*.json anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import actuator, balloon, cpu, fleet, hugepages, ksm, memory

DIRECTORY = Path(__file__).parent / "dashboards"
MODULES = (fleet, memory, ksm, balloon, hugepages, cpu, actuator)


def rendered() -> Mapping[str, str]:
    """The JSON of each dashboard, by file name."""
    dashboards = (module.made() for module in MODULES)
    return {
        f"{made.uid}.json": json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True) + "\n" for made in dashboards
    }


if __name__ == "__main__":
    for name, text in rendered().items():
        (DIRECTORY / name).write_text(text)
