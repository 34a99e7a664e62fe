"""Alerts end to end: real pressure, a real Prometheus and Alertmanager, a webhook; then the actuator acts, and all is well.

The rules are those that ship, with the times for which an alert must hold divided by 60.
"""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kvmhost.units import duration_seconds, format_seconds
from tests.alertrules import FILES, TOP
from tests.programs import Program, wait_until

from . import packages
from .guests import Guest
from .lab import CACHE, Lab
from .programs import Programs
from .prometheus import Prometheus, configured, free_address
from .smallhost import ROOM_BYTES, ballast, small_host
from .specs import GuestSpec

PATIENCE_SECONDS = 60.0


@pytest.fixture
def pair(lab: Lab) -> Iterator[tuple[Guest, Guest]]:
    """Two guests: one that the host has given much memory and that does not need it, one that has too little."""
    specs = [GuestSpec(name=f"kvmtune-lab-{name}", memory_mib=1024) for name in ("idle", "full")]
    idle, full = lab.boot(*specs)
    idle.command("fill 800 random")
    idle.command("free")
    lab.virsh("setmem", full.name, "500MiB")
    wait_until(lambda: "actual 512000\n" in lab.virsh("dommemstat", full.name), "the balloon has taken its part")
    full.command(f"fill {full.meminfo()['MemAvailable'] // 2**20 - 24} random")
    yield idle, full
    for spec in specs:
        lab.destroy(spec.name)


class Webhook:
    """What Alertmanager has told: the state of each alert, by its name and guest, and its annotations."""

    def __init__(self) -> None:
        self.told: list[tuple[tuple[str, str], str, dict[str, str]]] = []

    def receive(self, body: dict[str, Any]) -> None:
        for alert in body["alerts"]:
            key = (alert["labels"]["alertname"], alert["labels"].get("domain", ""))
            self.told.append((key, alert["status"], alert["annotations"]))

    def states(self, *key: str) -> list[str]:
        """What was told of an alert, without repetitions."""
        states = [state for told, state, _ in list(self.told) if told == key]
        return [state for i, state in enumerate(states) if i == 0 or state != states[i - 1]]

    def wait_for(self, key: tuple[str, str], *states: str) -> None:
        """Wait until just this was told of an alert."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.states(*key) != list(states):
            assert time.monotonic() < deadline, f"{key}: {self.states(*key)}"
            time.sleep(0.1)

    def annotations(self, *key: str) -> dict[str, str]:
        return next(annotations for told, _, annotations in self.told if told == key)


@contextmanager
def webhook() -> Iterator[tuple[Webhook, str]]:
    received = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.receive(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield received, f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def alertmanager(directory: Path, hook: str) -> Iterator[str]:
    """An Alertmanager that tells `hook` of everything within a second; its address."""
    (directory / "alertmanager.yml").write_text(
        "route: {receiver: hook, group_by: [alertname, domain], group_wait: 0s, group_interval: 1s}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{hook}'}}]}}]\n"
    )
    address = free_address()
    package = packages.unpacked("prometheus-alertmanager", CACHE)
    # Debian's looks for its templates in /usr/share, so it sees those of the package there, and nobody else does.
    overlay = f"mount -t overlay -o lowerdir={package}/usr/share:/usr/share none /usr/share"
    program = Program(
        directory / "alertmanager.log", "/usr/bin/unshare", "--mount", "sh", "-c", f'{overlay} && exec "$0" "$@"',
        package / "usr/bin/prometheus-alertmanager", f"--config.file={directory / 'alertmanager.yml'}",
        f"--storage.path={directory / 'alertmanager'}", f"--web.listen-address={address}", "--cluster.listen-address=",
    )  # fmt: skip
    try:
        yield address
    finally:
        program.end(signal.SIGTERM)


def sixtieth(duration: re.Match[str]) -> str:
    return format_seconds(duration_seconds(duration[0]) / 60)


def hasty(directory: Path) -> Path:
    """The alerts, 60 times as fast."""
    directory.mkdir()
    for file in FILES:
        text = re.sub(r"(?<=for: )\w+$", sixtieth, file.read_text(), flags=re.MULTILINE)
        (directory / file.name).write_text(text)
    return directory


def unhealthy_rules(server: Prometheus) -> list[str]:
    """What Prometheus cannot evaluate, and why."""
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 40
    return [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] == "err"]


def test_pressure_is_told_and_so_is_its_end(
    lab: Lab, pair: tuple[Guest, Guest], kvmtune: Programs, tmp_path: Path
) -> None:
    _, full = pair
    tuning = tmp_path / "tuning"
    tuning.mkdir()
    for name in ("host.yml", "balloon.yml"):
        (tuning / name).write_text((TOP / "rules/simple" / name).read_text().replace("15s", "1s"))
    exporter = kvmtune.exporter("--libvirt.stats-interval", "1s")
    actuator = free_address()
    jobs = {"kvmtune-exporter": exporter.metrics_url.split("/")[2], "kvmtune-actuator": actuator}
    scrape = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in jobs.items()]
    short, squeezed, down = ("KvmHostMemoryShort", ""), ("KvmGuestSqueezed", full.name), ("KvmtuneActuatorDown", "")
    with (
        webhook() as (told, hook),
        alertmanager(tmp_path, hook) as manager,
        configured(
            tmp_path,
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [f"{hasty(tmp_path / 'alerts')}/*.yml"],
                "scrape_configs": scrape,
                "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager]}]}]},
            },
        ) as server,
        small_host(ROOM_BYTES),
        ballast(0.06),
    ):
        for alert in (short, squeezed, down):
            told.wait_for(alert, "firing")
        assert re.match(
            r"\d\.\d+% of the memory of \S+ that is not in hugepage", told.annotations(*short)["description"]
        )
        assert told.annotations(*squeezed)["runbook_url"] == "docs/alerts.md#kvmguestsqueezed"

        kvmtune.actuator(exporter, tuning, "--apply", "--web.listen-address", actuator)
        for alert in (down, squeezed, short):
            told.wait_for(alert, "firing", "resolved")
        assert unhealthy_rules(server) == []
