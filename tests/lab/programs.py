"""The real exporter and actuator, as an operator starts them, against a lab."""

import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import programs
from tests.programs import BIN, wait_until

# An actuator that outlives a test run that was killed would turn the knobs again that the keeper has restored.
_ENDS_WITH_US = ("/usr/bin/setpriv", "--pdeathsig", "KILL")


class Program(programs.Program):
    """A running program that serves metrics."""

    @property
    def metrics_url(self) -> str:
        return self.wait_for(r"metrics on (http://\S+/metrics)")[1]

    def scrape(self) -> dict[str, float]:
        """The program's metrics now: series, as `name{label="value"}` -> value."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as response:
            lines = response.read().decode().splitlines()
        return {
            series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines if line[:1] not in "#")
        }

    def has(self, series: str, value: float) -> bool:
        """Whether the program says now that `series` is `value`."""
        return self.scrape().get(series) == value


class Programs:
    """Starts programs against the lab at `uri`; logs and the actuator's ledger are under `directory`."""

    def __init__(self, directory: Path, uri: str) -> None:
        self.directory = directory
        self._uri = uri
        self._running: list[Program] = []

    def exporter(self, *flags: str | Path) -> Program:
        """An exporter on a free port, ready: the lab's guests are in its metrics."""
        program = self._start(
            "kvmtune-exporter", "--web.listen-address", "127.0.0.1:0", "--libvirt.uri", self._uri, *flags
        )
        wait_until(lambda: program.scrape().get("kvm_libvirt_up") == 1, "the exporter reads libvirt")
        return program

    def actuator(self, exporter: Program, rules: Path, *flags: str | Path, interval: str = "1s") -> Program:
        """An actuator on a free port that has started its loop; a dry run unless `flags` say --apply."""
        return self._start(
            "kvmtune-actuator", "run", "--scrape.url", exporter.metrics_url, "--rules", rules,
            "--interval", interval, "--web.listen-address", "127.0.0.1:0", *self.host_flags, *flags,
        )  # fmt: skip

    def restore(self) -> subprocess.CompletedProcess[str]:
        """Run `kvmtune-actuator restore` to its end."""
        command = (BIN / "kvmtune-actuator", "restore", *self.host_flags)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    @property
    def host_flags(self) -> tuple[str | Path, ...]:
        return ("--state-dir", self.directory / "state", "--libvirt.uri", self._uri)

    def stop(self) -> None:
        """End all that run, last started first, so that an actuator can restore its knobs."""
        for program in reversed(self._running):
            if program.process.poll() is None:
                try:
                    program.end(signal.SIGTERM)
                finally:
                    program.process.kill()

    def _start(self, *command: str | Path) -> Program:
        log = self.directory / f"{len(self._running)}-{command[0]}.log"
        program = Program(log, *_ENDS_WITH_US, BIN / command[0], *command[1:])
        self._running.append(program)
        assert program.metrics_url  # it serves
        return program


@contextmanager
def running(directory: Path, uri: str) -> Iterator[Programs]:
    """Programs that end with the block."""
    programs = Programs(directory, uri)
    try:
        yield programs
    finally:
        programs.stop()
