"""strace, by which a real process is ended, stopped or refused at a system call of our choice."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest


def _works() -> bool:
    strace = shutil.which("strace")
    # A container may have it and forbid it.
    return strace is not None and subprocess.run([strace, "-D", "-o", "/dev/null", "true"], check=False).returncode == 0


needed = pytest.mark.skipif(not _works(), reason="strace is missing, or may not trace here: apt install strace")

CALLS = ("openat", "write", "fsync")


def by(log: Path, files: Sequence[Path], *inject: str) -> tuple[str, ...]:
    """Prefix of a command: what it does to `files` is told in `log`. `inject` as strace takes it, counting these calls.

    Of the first thread only, which is the one of the loop. The command keeps its process, for signals.
    """
    paths = (word for file in files for word in ("-P", str(file)))
    injections = (word for one in inject for word in ("-e", f"inject={one}"))
    return (
        "/usr/bin/env",
        "strace",
        "-D",
        "-qq",
        "-o",
        str(log),
        *paths,
        "-e",
        f"trace={','.join(CALLS)}",
        *injections,
    )


def steps(log: Path, *, last: str) -> Iterator[tuple[str, int]]:
    """The calls in `log` up to the last one of `last`, each with how many of its name it makes."""
    names = re.findall(r"(?m)^(\w+)\(", log.read_text())
    counted: Counter[str] = Counter()
    for name in names[: len(names) - names[::-1].index(last)]:
        counted[name] += 1
        yield name, counted[name]


def injected(log: Path) -> int:
    """How many calls in `log` were made to fail."""
    return log.read_text().count("(INJECTED)") if log.exists() else 0


def is_held(pid: int) -> bool:
    """Whether a process is kept from entering a call, and not just looked at."""
    for _ in range(10):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "t":
            return False
        time.sleep(0.02)
    return True
