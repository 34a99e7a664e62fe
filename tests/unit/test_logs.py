"""The log of a process whose standard error nobody reads: it goes on, and ends when it is told to."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, sys
from exporter import logs
logs.to_standard_error()
for number in range(5000):
    logging.warning("line %d %s", number, "x" * 100)
print("went on", flush=True)
"""


def test_whoever_logs_does_not_wait_and_the_process_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "went on\n"
        assert process.wait(10) == 0  # although its pipe is full


def test_all_lines_are_written_when_someone_reads_and_what_is_lost_is_counted() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=30)
    written = sum(line.endswith("xxx") for line in done.stderr.splitlines())
    lost = sum(int(line[1:].split()[0]) for line in done.stderr.splitlines() if line.startswith("("))
    assert written >= 1000
    assert "WARNING line 0 " in done.stderr
    assert written + lost <= 5000
