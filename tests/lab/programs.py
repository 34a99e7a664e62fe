"""The real exporter and actuator, as an operator starts them, against a lab."""

import signal
import subprocess
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import programs
from tests.programs import BIN, wait_until

# An actuator that outlives a test run that was killed would turn the knobs again that the keeper has restored.
_ENDS_WITH_US = ("/usr/bin/setpriv", "--pdeathsig", "KILL")

NO_LIMITS = "limits: {}"


def series(metric: str, **labels: str) -> str:
    """A series as `Program.scrape` writes it; the labels in the order of the page."""
    written = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{written}}}" if written else metric


class Program(programs.Program):
    """A running program that serves metrics."""

    @property
    def metrics_url(self) -> str:
        return self.wait_for(r"metrics on (http://\S+/metrics)")[1]

    def scrape(self) -> dict[str, float]:
        """The program's metrics now: series, as `name{label="value"}` -> value."""
        lines = (line for line in self.page().splitlines() if line[:1] not in "#")
        return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines)}

    def page(self) -> str:
        """The program's metrics now, as it writes them."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as response:
            text: str = response.read().decode()
        return text

    def has(self, series: str, value: float) -> bool:
        """Whether the program says now that `series` is `value`."""
        return self.scrape().get(series) == value


class Programs:
    """Starts programs against the lab at `uri`; logs and the actuator's ledger are under `directory`."""

    def __init__(self, directory: Path, uri: str) -> None:
        self.directory = directory
        self._uri = uri
        self._running: list[Program] = []

    def exporter(self, *flags: str | Path, prefix: tuple[str | Path, ...] = ()) -> Program:
        """An exporter on a free port, ready: the lab's guests are in its metrics. `prefix` is a command to run it by."""
        program = self._start(
            "kvmtune-exporter", "--web.listen-address", "127.0.0.1:0", "--libvirt.uri", self._uri, *flags, prefix=prefix
        )
        wait_until(lambda: program.scrape().get("kvm_libvirt_up") == 1, "the exporter reads libvirt")
        return program

    def actuator(
        self,
        exporter: Program,
        rules: Path,
        *flags: str | Path,
        interval: str = "1s",
        prefix: tuple[str | Path, ...] = (),
    ) -> Program:
        """An actuator on a free port that has started its loop; a dry run unless `flags` say --apply."""
        return self._start(
            "kvmtune-actuator", "run", "--scrape.url", exporter.metrics_url, "--rules", rules,
            "--interval", interval, "--web.listen-address", "127.0.0.1:0", *self.host_flags, *flags, prefix=prefix,
        )  # fmt: skip

    def acting(self, rules: str, *flags: str | Path, policy: str = NO_LIMITS) -> Program:
        """An actuator that acts twice a second, by the rules of one group, and an exporter that it asks.

        Its rules are in the file `rules.yml` of the directory: it reads them again when it gets SIGHUP.
        """
        self.write_rules(rules)
        (self.directory / "policy.yml").write_text(policy)
        files = ("--policy", self.directory / "policy.yml", "--apply")
        exporter = self.exporter("--libvirt.stats-interval", "1s")
        return self.actuator(exporter, self.directory / "rules.yml", *files, *flags, interval="500ms")

    def write_rules(self, rules: str) -> None:
        """Make these the rules of the one group."""
        text = textwrap.indent(textwrap.dedent(rules), "      ")
        (self.directory / "rules.yml").write_text(f"groups:\n  - name: lab\n    rules:\n{text}")

    def restore(self) -> subprocess.CompletedProcess[str]:
        """Run `kvmtune-actuator restore` to its end. It is not told the URI, since the ledger is."""
        command = (BIN / "kvmtune-actuator", "restore", "--state-dir", self.directory / "state")
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    @property
    def host_flags(self) -> tuple[str | Path, ...]:
        return ("--state-dir", self.directory / "state", "--libvirt.uri", self._uri)

    def stop(self) -> None:
        """End all that run, last started first, so that an actuator can restore its knobs.

        What they said is printed: pytest shows it with a test that failed.
        """
        for program in reversed(self._running):
            if program.process.poll() is None:
                try:
                    program.end(signal.SIGTERM)
                finally:
                    program.process.kill()
            print(f"{program.log.name}:\n{program.output}")

    def _start(self, *command: str | Path, prefix: tuple[str | Path, ...] = ()) -> Program:
        log = self.directory / f"{len(self._running)}-{command[0]}.log"
        # The kernel forgets whom a process ends with when its user changes.
        program = Program(log, *prefix, *_ENDS_WITH_US, BIN / command[0], *command[1:])
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
