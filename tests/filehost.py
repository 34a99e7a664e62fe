"""A host made of files, and the real programs at work on it: no root, no libvirt."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.host import FIXTURES
from tests.programs import BIN, Program, run, wait_until
from tests.target import OK

RULES = """
groups:
  - name: g
    rules:
      - tune: ksm_on
        because: "It is a test."
        when: kvm_ksm_run == 0
        until: kvm_ksm_run == 7
        for: 300ms
        set:
          ksm.run: 1
          ksm.pages_to_scan: 190
"""

SCAN_FASTER = """
groups:
  - name: g
    rules:
      - tune: scan_faster
        because: "It is a test."
        when: kvm_ksm_run == 0
        for: 0s
        set:
          ksm.pages_to_scan: kvm_ksm_pages_to_scan * 1.9
"""
HOLDS = OK + b"kvm_ksm_run 0\nkvm_ksm_pages_to_scan 100\n"
"""What an exporter may answer, by which this rule holds for the host as it is at first."""
HOLDS_NOT = HOLDS.replace(b"run 0", b"run 1")


class Host:
    """A copy of a fixture host, and the programs that run on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        shutil.copytree(FIXTURES / "ordinary", self.root)
        self.ksm_files = self.root / "sys/kernel/mm/ksm"
        self.rules = directory / "rules.yml"
        self.rules.write_text(RULES)
        self.programs: list[Program] = []
        for file, value in (("run", "0"), ("pages_to_scan", "100"), ("advisor_mode", "[none] scan-time")):
            (self.ksm_files / file).write_text(f"{value}\n")

    def ksm(self) -> tuple[str, str]:
        return (self.ksm_files / "run").read_text().strip(), (self.ksm_files / "pages_to_scan").read_text().strip()

    def wait_for_ksm(self, values: tuple[str, str]) -> None:
        wait_until(lambda: self.ksm() == values, f"run and pages_to_scan are {values}")

    @property
    def rate(self) -> str:
        """What stands in pages_to_scan."""
        return self.ksm()[1]

    @rate.setter
    def rate(self, value: str) -> None:
        (self.ksm_files / "pages_to_scan").write_text(f"{value}\n")

    def wait_for_rate(self, value: str) -> None:
        wait_until(lambda: self.rate == value, f"pages_to_scan is {value}")

    def start(self, *command: str | Path) -> Program:
        program = Program(self.directory / f"{len(self.programs)}.log", *command)
        self.programs.append(program)
        return program

    def exporter(self) -> str:
        """Start the exporter; its URL."""
        program = self.start(
            "kvmtune-exporter", "--path.rootfs", self.root, "--libvirt.uri", "test:///nowhere",
            "--web.listen-address", "127.0.0.1:0",
        )  # fmt: skip
        return program.wait_for(r"http://\S+/metrics")[0]

    def actuator_arguments(self, url: str) -> tuple[str | Path, ...]:
        return (
            "run", "--rules", self.rules, "--scrape.url", url, "--interval", "100ms",
            "--web.listen-address", "127.0.0.1:0", *self.options,
        )  # fmt: skip

    def actuator(self, url: str, *flags: str | Path, prefix: tuple[str | Path, ...] = ()) -> Program:
        """Start the actuator, by way of the command `prefix`."""
        return self.start(*prefix, BIN / "kvmtune-actuator", *self.actuator_arguments(url), *flags)

    def restore(self, prefix: tuple[str | Path, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run `kvmtune-actuator restore` to its end."""
        return run(*prefix, BIN / "kvmtune-actuator", "restore", *self.options)

    @property
    def options(self) -> tuple[str | Path, ...]:
        state = self.directory / "state"
        return ("--path.rootfs", self.root, "--state-dir", state, "--libvirt.uri", "test:///nowhere")

    def end(self) -> None:
        """End all that was started."""
        for program in self.programs:
            program.process.kill()
            program.process.wait()


@contextmanager
def host_in(directory: Path) -> Iterator[Host]:
    """A host whose programs end with the block."""
    host = Host(directory)
    try:
        yield host
    finally:
        host.end()
