"""A real Prometheus that holds given samples and answers queries over HTTP."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.lab import packages
from tests.lab.errors import LabError
from tests.lab.lab import CACHE

_START_SECONDS = 30.0
_ENGINE_SECONDS = re.compile(rb'"evalTotalTime":([0-9.e-]+)')
# Whatever becomes of this process, what it measures does not outlive it.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")


class Server:
    """Asks one Prometheus, over a connection that stays open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str, **parameters: object) -> bytes:
        """Body of an answer; raises LabError for one that is not OK."""
        self._connection.request("GET", f"{path}?{urlencode(parameters)}")
        with self._connection.getresponse() as answer:
            body = answer.read()
        if answer.status != http.client.OK:
            raise LabError(f"Prometheus answered {answer.status}: {body[:500].decode(errors='replace')}")
        return body

    def seconds(self, query: str, at: float) -> tuple[float, float]:
        """From the request to the last byte of the answer, which nobody parses; and the engine's share of it."""
        start = time.perf_counter()
        body = self.get("/api/v1/query", query=query, time=f"{at:.3f}", stats="true")
        taken = time.perf_counter() - start
        found = _ENGINE_SECONDS.search(body)
        if found is None:
            raise LabError("Prometheus sent no statistics")
        return taken, float(found[1])

    def values(self, query: str, at: float) -> dict[tuple[tuple[str, str], ...], float]:
        """An instant vector as label sets and values."""
        result: list[dict[str, Any]] = json.loads(self.get("/api/v1/query", query=query, time=f"{at:.3f}"))["data"][
            "result"
        ]
        return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in result}

    def close(self) -> None:
        self._connection.close()


def version() -> str:
    """Of the Prometheus that is measured."""
    shown = subprocess.run([_program("prometheus"), "--version"], capture_output=True, text=True, check=True)
    return (shown.stdout or shown.stderr).split("\n")[0]


@contextmanager
def serving(pages: Iterable[tuple[int, list[str]]], directory: Path) -> Iterator[Server]:
    """A Prometheus over these scrapes (unix seconds, lines `series value`), with its files in `directory`."""
    text, data, config = (directory / name for name in ("samples.txt", "data", "prometheus.yml"))
    _write(pages, text)
    _run(_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", text, data)
    text.unlink()
    config.write_text("global: {}\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    command = (
        _program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=100y",
        "--log.level=warn",
    )
    log = directory / "prometheus.log"
    with log.open("w") as output:
        process = subprocess.Popen((*_ENDS_WITH_US, *map(str, command)), stdout=output, stderr=output)
    server = Server(port)
    try:
        _wait_ready(server, process, log)
        yield server
    finally:
        server.close()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _write(pages: Iterable[tuple[int, list[str]]], path: Path) -> None:
    """The samples as OpenMetrics, where all samples of a metric stand together."""
    scrapes = list(pages)
    with path.open("w") as file:
        for series in zip(*(lines for _, lines in scrapes), strict=True):
            file.writelines(f"{line} {time}\n" for (time, _), line in zip(scrapes, series, strict=True))
        file.write("# EOF\n")


def _wait_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            server.get("/-/ready")
        except (OSError, LabError):
            server.close()
            if process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"Prometheus does not serve:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)
        else:
            return


def _program(name: str) -> Path:
    return packages.program(name, "prometheus", CACHE)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(map(str, command))}: status {done.returncode}: {done.stderr[-2000:]}")
