"""A real Prometheus that scrapes programs of the lab."""

from __future__ import annotations

import json
import signal
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import packages
from .lab import CACHE
from .programs import Program


@dataclass(frozen=True)
class Prometheus:
    """`url`: of its query API."""

    url: str

    def get(self, path: str, **parameters: str | float) -> Any:
        """The data of an answer."""
        with urllib.request.urlopen(f"{self.url}/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def range(self, query: str, start: float, end: float, step_seconds: float = 2.0) -> list[dict[str, Any]]:
        """The series of a query between two unix times."""
        found = self.get("query_range", query=query, start=start, end=end, step=step_seconds)
        series: list[dict[str, Any]] = found["result"]
        return series


def free_address() -> str:
    """An address of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def prometheus(directory: Path, exporter: Program, actuator: Program, *hosts: str) -> Iterator[Prometheus]:
    """Within the block, a Prometheus scrapes both programs each second, as if they ran on each of these hosts."""
    targets = [
        {"targets": [urllib.parse.urlsplit(program.metrics_url).netloc], "labels": {"instance": f"{host}:{port}"}}
        for host in hosts
        for program, port in ((exporter, 9752), (actuator, 9753))
    ]
    jobs = [{"job_name": "kvmtune", "static_configs": targets}]
    with configured(directory, {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}) as server:
        yield server


@contextmanager
def configured(directory: Path, configuration: Mapping[str, object]) -> Iterator[Prometheus]:
    """Within the block, a Prometheus runs that has this in its configuration file."""
    config = directory / "prometheus.yml"
    config.write_text(json.dumps(configuration))
    address = free_address()
    program = Program(
        directory / "prometheus.log", packages.program("prometheus", "prometheus", CACHE),
        f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}", f"--web.listen-address={address}",
    )  # fmt: skip
    try:
        program.wait_for("Server is ready to receive web requests")
        yield Prometheus(f"http://{address}/api/v1")
    finally:
        program.end(signal.SIGTERM)
