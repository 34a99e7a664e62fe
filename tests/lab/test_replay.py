"""Recordings are files of Prometheus, too, and a replay from a real Prometheus is one of what it has scraped."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import time

import pytest

from actuator import promql
from actuator.data.query import QueryError
from actuator.data.server import ServerQuery
from actuator.replay.recording import Recording
from tests.programs import Program, run, wait_until

from . import packages
from .lab import CACHE

SCRAPES = 12
RULES = """
groups:
  - name: g
    rules:
      - record: host:available:ratio
        expr: kvm_memory_available_bytes / kvm_memory_total_bytes
      - tune: test
        because: "It is a test."
        when: host:available:ratio > 0 and rate(process_cpu_seconds_total[10s]) >= 0
        for: 3s
        set:
          ksm.pages_to_scan: kvm_ksm_pages_to_scan + 100
"""


@contextmanager
def running(program: Program) -> Iterator[Program]:
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.end(signal.SIGTERM)


@contextmanager
def prometheus(directory: Path, *configuration: str) -> Iterator[str]:
    """A Prometheus with its data in `directory`/tsdb; its URL."""
    (directory / "prometheus.yml").write_text("\n".join(("global: {scrape_interval: 1s}", *configuration)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    program = Program(
        directory / "prometheus.log", packages.program("prometheus", "prometheus", CACHE),
        f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address={address}",
    )  # fmt: skip
    with running(program):
        yield f"http://{address}"


def answer(url: str, expression: str, at: float) -> tuple[promql.Sample, ...]:
    with closing(ServerQuery(url)) as query:
        try:
            return query.instant(promql.compile(expression), at)
        except QueryError:
            return ()


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = Program(
        tmp_path_factory.mktemp("exporter") / "log", "kvmtune-exporter", "--web.listen-address", "127.0.0.1:0",
        "--libvirt.uri", "test:///nowhere",
    )  # fmt: skip
    with running(program):
        yield program.wait_for(r"http://\S+/metrics")[0]


def test_promtool_reads_a_recording(tmp_path: Path, exporter: str, promtool: Path) -> None:
    """Prometheus then has each sample of it."""
    file = tmp_path / "a.om"
    flags = ("--scrape.url", exporter, "--interval", "500ms", "--for", "3s")
    assert run("kvmtune-actuator", "record", *flags, "-o", file).returncode == 0
    made = subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", file, tmp_path / "tsdb"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    with closing(Recording(file, pytest.fail)) as recording:
        scrapes = list(recording.scrapes())
    with prometheus(tmp_path) as url:
        wait_until(lambda: bool(answer(url, "vector(1)", time())), "Prometheus answers")
        for scrape in (scrapes[0], scrapes[-1]):
            found = dict(answer(url, '{job="kvmtune"}', scrape.time))
            assert found == pytest.approx(dict(scrape.values), nan_ok=True)


def test_a_replay_from_a_server_is_one_of_what_it_has_scraped(tmp_path: Path, exporter: str) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    target = exporter.split("/")[2]
    scrape = f"scrape_configs: [{{job_name: kvm, static_configs: [{{targets: ['{target}']}}]}}]"
    with prometheus(tmp_path, scrape) as url:
        wait_until(
            lambda: any(sample.value >= SCRAPES for sample in answer(url, "count_over_time(up[5m])", time())),
            f"Prometheus has scraped {SCRAPES} times",
        )
        flags = ("--rules", tmp_path / "rules.yml", "--output", "json")
        done = run("kvmtune-actuator", "replay", "--query.url", url, "--since", "5m", *flags)
        (count,) = answer(url, "count_over_time(up[5m])", time())
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert SCRAPES <= found["scrapes"] <= count.value
    assert found["last"] - found["first"] == pytest.approx(found["scrapes"] - 1, abs=2)
    assert found["gaps"] == []
    assert {rule["mode"] for rule in found["rules"].values()} == {"apply"}
    (decision, *_) = found["decisions"]
    assert decision["outcome"] in ("would write", "refused", "limit")  # as this host's KSM is set
    # Two scrapes until there is a rate, then the 3 s of `for`.
    assert decision["time"] - found["first"] == pytest.approx(4, abs=1.5)
