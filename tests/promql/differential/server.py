"""A Prometheus of our own: started empty, filled by remote write, asked over HTTP."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from queue import Empty, SimpleQueue
from urllib.parse import urlencode

from actuator.promql import labels
from tests.promql.differential import remotewrite
from tests.promql.differential.data import END_MS, START_MS, Samples
from tests.promql.differential.queries import Answer, Query, Refused

_CONFIGURATION = "global: {evaluation_interval: 1m}\n"
_START_SECONDS = 30
_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""It shall not outlive these tests, however they end."""
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_REFUSALS = (400, 422)
_SLICE_MS = 20 * 60_000
"""Samples must not be older than the newest of all by more than an hour, so all series are sent in slices of time."""


class Server:
    """The HTTP API at ``port`` of this host, over as many connections as there are threads that ask."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: SimpleQueue[HTTPConnection] = SimpleQueue()

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get().close()

    def write(self, series: Sequence[Samples]) -> None:
        for start in range(START_MS, END_MS + _SLICE_MS, _SLICE_MS):
            piece = [
                Samples(one.labels, {t: value for t, value in one.points.items() if start <= t < start + _SLICE_MS})
                for one in series
            ]
            status, answer = self._post("/api/v1/write", remotewrite.body(piece), remotewrite.HEADERS)
            if status != 204:
                raise OSError(f"Prometheus refused the samples: {answer.decode()}")

    def ask(self, query: Query) -> Answer:
        form = {"query": query.text}
        if query.step_ms is None:
            path, form["time"] = "/api/v1/query", _seconds(query.start_ms)
        else:
            path, form["start"], form["end"] = "/api/v1/query_range", _seconds(query.start_ms), _seconds(query.end_ms)
            form["step"] = _seconds(query.step_ms)
        status, body = self._post(path, urlencode(form).encode(), _FORM)
        if status in _REFUSALS:
            return Refused(json.loads(body)["error"])
        if status != 200:
            raise OSError(f"{query}: HTTP status {status}: {body.decode()}")
        return _answer(json.loads(body)["data"])

    def ready(self) -> bool:
        try:
            return self._post("/api/v1/query", b"query=1", _FORM)[0] == 200
        except OSError:
            return False

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        self._idle.put(connection)
        return response.status, answer


@contextmanager
def running(program: Path, directory: Path) -> Iterator[Server]:
    """A Prometheus without targets that keeps its data under ``directory``."""
    configuration = directory / "prometheus.yml"
    configuration.write_text(_CONFIGURATION)
    port = _free_port()
    command = (
        *_WITH_US,
        program,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--storage.tsdb.retention.time=100y",
        "--log.level=warn",
    )
    with (directory / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Server(port)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not server.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"{program} did not start: {(directory / 'prometheus.log').read_text()}")
            time.sleep(0.05)
        yield server
    finally:
        server.close()
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _seconds(time_ms: int) -> str:
    return f"{time_ms // 1000}.{time_ms % 1000:03}"


def _answer(data: dict) -> Answer:  # type: ignore[type-arg]
    result = data["result"]
    match data["resultType"]:
        case "string":
            return str(result[1])
        case "scalar":
            return {labels.EMPTY: _points([result])}
        case "vector":
            return {labels.make(one["metric"]): _points([one["value"]]) for one in result}
        case _:
            # Prometheus 2.42 lists series without any value, too, for absent_over_time() in a subquery.
            return {labels.make(one["metric"]): _points(one["values"]) for one in result if "values" in one}


def _points(pairs: list[tuple[float, str]]) -> dict[int, float]:
    return {round(seconds * 1000): float(value) for seconds, value in pairs}
