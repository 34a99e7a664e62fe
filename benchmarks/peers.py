"""The programs that are measured: how to get and start each, and how a Prometheus would scrape it."""

from __future__ import annotations

import gzip
import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.results import SUBJECT
from tests.lab import packages
from tests.lab.errors import LabError
from tests.lab.lab import CACHE, REPOSITORY, Lab

_BIN = Path(sys.executable).parent
# Whatever becomes of this process, what it measures does not outlive it.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_START_SECONDS = 30.0
_HEADERS = {  # as Prometheus 2.42 sends them
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """A program with /metrics. `command` makes its command line of the libvirt URI and an address to listen on."""

    name: str
    version: str
    command: Callable[[str, str], tuple[str | Path, ...]]
    guest_metric: str | None = None
    """One that every guest has; None if it does not look at guests."""
    has_background: bool = False
    """It asks libvirt by itself, in cycles; else only when it is scraped."""
    fast: Exporter | None = None
    """The same without its slow tier, if it has one."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One answer to a scrape, and the seconds from the request to its last byte."""

    seconds: float
    body: bytes
    compressed: bool


class Client:
    """Scrapes as Prometheus does, over one connection if the program keeps it open."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=60)

    def scrape(self, *, compressed: bool = False) -> Page:
        headers = {**_HEADERS, "Accept-Encoding": "gzip" if compressed else "identity"}
        start = time.perf_counter()
        self._connection.request("GET", "/metrics", headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - start
        if answer.status != http.HTTPStatus.OK:
            raise LabError(f"{self._connection.host}:{self._connection.port}/metrics: {answer.status} {answer.reason}")
        return Page(seconds=seconds, body=body, compressed=answer.headers.get("Content-Encoding") == "gzip")

    def close(self) -> None:
        self._connection.close()


def samples(page: bytes) -> int:
    """How many samples a page has."""
    return sum(line[:1] != b"#" for line in page.splitlines() if line)


def exporters() -> tuple[Exporter, ...]:
    """kvmtune's own as it is here, and its peers: what is installed, else the distribution's, fetched for this."""
    host = ("--collector.disable-defaults", "--collector.ksmd", "--collector.meminfo", "--collector.pressure")
    return (
        _own(),
        _packaged(
            "prometheus-libvirt-exporter",
            lambda uri: (f"--libvirt.uri={uri}",),
            guest_metric="libvirt_domain_info_maximum_memory_bytes",
        ),
        _packaged("prometheus-node-exporter", lambda _uri: host),
    )


@contextmanager
def running(exporter: Exporter, lab: Lab) -> Iterator[tuple[int, Client]]:
    """The exporter's PID and a client, while the block runs; it answers already."""
    address = f"127.0.0.1:{_free_port()}"
    command = exporter.command(lab.uri, address)
    log = lab.directory / f"log/{exporter.name}.log"
    with log.open("w") as output:
        process = subprocess.Popen((*_ENDS_WITH_US, *command), stdout=output, stderr=output)
    try:
        client = Client(address)
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(client):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{exporter.name} does not serve:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process.pid, client
        client.close()
    finally:
        _end(process)


class Floor:
    """The program benchmarks/floor.py, which does one thing at a time when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid
        self._line()

    def reads(self) -> float:
        """Seconds that the reads of one scrape take."""
        return self._do("reads")

    def balloon(self) -> float:
        """Seconds that the balloon call of one slow-tier round takes."""
        return self._do("balloon")

    def _do(self, what: str) -> float:
        assert self._process.stdin
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"the floor program ended with status {self._process.wait()}; its error is above")
        return line


@contextmanager
def floor(lab: Lab) -> Iterator[Floor]:
    command = (*_ENDS_WITH_US, sys.executable, "-m", "benchmarks.floor", lab.uri)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    try:
        yield Floor(process)
    finally:
        _end(process)


def _own() -> Exporter:
    program = _BIN / SUBJECT
    usage = subprocess.run((program, "--help"), capture_output=True, text=True, check=False).stdout
    plain = Exporter(
        name=SUBJECT,
        version=_commit(),
        command=lambda uri, address: (program, "--libvirt.uri", uri, "--web.listen-address", address),
        guest_metric="kvm_domain_balloon_actual_bytes",
        has_background=True,
    )
    if "--libvirt.stats-interval" not in usage:
        return plain
    once = ("--libvirt.stats-interval", "1h", "--libvirt.max-age", "2h")
    fast = replace(plain, name=f"{SUBJECT}-fast", command=lambda uri, address: (*plain.command(uri, address), *once))
    return replace(plain, fast=fast)


def _packaged(name: str, flags: Callable[[str], tuple[str, ...]], *, guest_metric: str | None = None) -> Exporter:
    program = packages.program(name, name, CACHE)
    return Exporter(
        name=name,
        version=_package_version(program),
        command=lambda uri, address: (program, f"--web.listen-address={address}", *flags(uri)),
        guest_metric=guest_metric,
    )


def _package_version(program: Path) -> str:
    """The version in the changelog that comes with every Debian package."""
    changelog = program.parents[1] / "share/doc" / program.name / "changelog.Debian.gz"
    found = re.match(r"\S+ \((.*?)\)", gzip.decompress(changelog.read_bytes()).decode()) if changelog.exists() else None
    return found[1] if found else "of unknown version"


def _commit() -> str:
    git = shutil.which("git")
    command = (str(git), "describe", "--always", "--dirty")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY) if git else None
    return f"commit {done.stdout.strip()}" if done and done.returncode == 0 else "of unknown commit"


def _answers(client: Client) -> bool:
    try:
        client.scrape()
    except OSError:
        client.close()
        return False
    return True


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
