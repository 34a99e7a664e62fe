"""Pictures of the dashboards on data of the lab: `make pictures` writes docs/pictures anew. Ten minutes, as root.

A host runs short of memory while the simple rules are at work, five times as fast as they ship, and recovers. What a real
Prometheus answers to each query is drawn by Chromium with Grafana's own published components: see grafana/pictures.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from kvmhost.units import duration_seconds, format_seconds
from tests.dashboards import FILES, TOP, Json, Query, loaded, panels

from . import hoststate, programs, smallhost
from .lab import TEST_DIRECTORY, Lab
from .prometheus import Prometheus, prometheus
from .specs import HUGEPAGES, GuestSpec

PICTURES = TOP / "docs/pictures"
DRAW = TOP / "grafana/pictures"
TOP_OF_KSM = (0, 0, 1600, 580)  # left, upper, right, lower in pixels: what it saves, what it costs
VALUES = {"instance": "kvm1", "__interval": "2s", "__rate_interval": "8s", "__range": "4m"}

FILLS = {"web-1": "250 same", "web-2": "250 same", "db-1": "400 random", "build-1": "60 same"}
GUESTS = [GuestSpec(name=name, memory_mib=768, pins={0: "0"}) for name in FILLS]
OTHERS = [
    GuestSpec(name="cache-1", memory_mib=512, memory_backing=HUGEPAGES, boots=False),
    GuestSpec(name="vault-1", memory_mib=64, share_pages=False, boots=False),
    GuestSpec(
        name="legacy-1", memory_mib=64, boots=False,
        devices="<interface type='user'><model type='e1000'/></interface>",
    ),
]  # fmt: skip


def main() -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as directory:
        answers = Path(directory) / "answers"
        answers.mkdir()
        with hoststate.kept():
            scene(Path(directory), answers)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=DRAW, check=True)
        subprocess.run(["node", "draw.mjs", TOP / "grafana/dashboards", answers, PICTURES], cwd=DRAW, check=True)
    for picture in PICTURES.glob("*.png"):
        Image.open(picture).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(picture, optimize=True)
    Image.open(PICTURES / "kvmtune-ksm.png").crop(TOP_OF_KSM).save(PICTURES / "readme.png", optimize=True)


def scene(directory: Path, answers: Path) -> None:
    """What happens on the host; then what Prometheus says of it goes into files like those of the dashboards."""
    lab = Lab(TEST_DIRECTORY)
    with ExitStack() as stack:
        lab.start(tied=True)
        stack.callback(lab.down)
        stack.enter_context(smallhost.hugepages(512 * 2**20))
        guests = dict(zip(FILLS, lab.boot(*GUESTS), strict=True))
        stack.enter_context(lab.crowd(OTHERS, paused=False))
        server = stack.enter_context(at_work(directory, lab))
        begin = time.time()
        stack.enter_context(smallhost.small_host(smallhost.ROOM_BYTES))
        for name, fill in FILLS.items():
            guests[name].command(f"fill {fill}")
        time.sleep(20)
        for name in ("web-1", "web-2"):
            guests[name].command("busy")
        with smallhost.ballast(0.05):
            time.sleep(80)
            left_mib = guests["build-1"].meminfo()["MemAvailable"] // 2**20
            guests["build-1"].command(f"fill {left_mib + 30} random")
            time.sleep(25)
        time.sleep(45)
        for file in FILES:
            (answers / file.name).write_text(json.dumps(asked(server, loaded(file), begin, time.time())))


@contextmanager
def at_work(directory: Path, lab: Lab) -> Iterator[Prometheus]:
    """Within the block, both programs and a Prometheus run."""
    rules = directory / "rules"
    rules.mkdir()
    for file in (TOP / "rules/simple").glob("*.yml"):
        if not file.name.endswith(".test.yml"):
            faster = re.sub(r"\b(for|every): (\w+)", _fifth, file.read_text())
            (rules / file.name).write_text(faster.replace("[1m]", "[10s]"))
    policy = (TOP / "actuator/rules/policy.yml").read_text()
    (directory / "policy").write_text(re.sub(r"writes_per_minute: \d+", "writes_per_minute: 600", policy))
    with programs.running(directory, lab.uri) as started:
        exporter = started.exporter("--libvirt.stats-interval", "1s")
        actuator = started.actuator(exporter, rules, "--apply", "--policy", directory / "policy")
        with prometheus(directory, exporter, actuator, "kvm1") as server:
            yield server


def asked(server: Prometheus, dashboard: Json, begin: float, end: float) -> Json:
    """The answers to all queries of a dashboard: by title and reference those of panels, by name those of annotations."""

    def answer(target: Json) -> Any:
        expr = Query("", target["expr"]).expr(**VALUES)
        return (
            server.get("query", query=expr, time=end)["result"] if target["instant"] else server.range(expr, begin, end)
        )

    return {
        "from": begin,
        "to": end,
        "panels": {
            panel["title"]: {target["refId"]: answer(target) for target in panel["targets"]}
            for panel in panels(dashboard)
        },
        "annotations": {each["name"]: answer(each["target"]) for each in dashboard["annotations"]["list"]},
    }


def _fifth(found: re.Match[str]) -> str:
    return f"{found[1]}: {format_seconds(duration_seconds(found[2]) / 5)}"


if __name__ == "__main__":
    main()
