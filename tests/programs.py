"""The installed programs as processes, as an operator starts them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 30.0


class Program:
    """A running program; its output is in a file, so that nothing blocks."""

    def __init__(self, log: Path, *command: str | Path) -> None:
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen([BIN / command[0], *command[1:]], stdout=out, stderr=subprocess.STDOUT)

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in the output, awaited."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = re.search(pattern, self.output)
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        pytest.fail(f"no {pattern!r} in:\n{self.output}")

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


def wait_until(is_so: Callable[[], bool], what: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
    """Poll `is_so` until it holds; the test fails, and says `what`, when it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}"
        time.sleep(0.05)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """A program that ends by itself."""
    return subprocess.run(
        [BIN / command[0], *command[1:]], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
