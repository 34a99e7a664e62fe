"""The rendered dashboards, their queries, and what Grafana would put in the place of variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[1]
FILES = tuple(sorted((TOP / "grafana/dashboards").glob("*.json")))

# A scrape interval of 15 s, the time shown three hours: what Grafana makes of that by default.
VALUES = {"instance": ".*", "domain": ".*", "__interval": "30s", "__rate_interval": "1m", "__range": "3h"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """`place`: file, panel or annotation, and name of the query, for messages and lists."""

    place: str
    text: str

    def expr(self, **values: str) -> str:
        """With the variables' values: those of VALUES but for `values`."""
        known = VALUES | values
        return re.sub(r"\$(\w*[a-z]\w*)", lambda found: known[found[1]], self.text)


def loaded(file: Path) -> Json:
    found: Json = json.loads(file.read_text())
    return found


def panels(dashboard: Json) -> list[Json]:
    """All but rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Those of all panels and annotations."""
    for file in FILES:
        dashboard = loaded(file)
        subject = file.stem.removeprefix("kvmtune-")
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield Query(f"{subject}: {panel['title']}: {target['refId']}", target["expr"])
        for annotation in dashboard["annotations"]["list"]:
            yield Query(f"{subject}: {annotation['name']} (annotation)", annotation["target"]["expr"])
