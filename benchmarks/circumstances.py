"""Where, when and by which command something was measured, and progress on long work."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
import time
from pathlib import Path


def machine(more: str = "") -> dict[str, str]:
    """What to know of this machine."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "machine": f"{os.cpu_count()} CPUs ({cpu[1] if cpu else 'unknown'}){more}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }


def command(target: str, part: str = "") -> str:
    """What repeats this run, of a target or a part of it."""
    options = shlex.join([part, *sys.argv[1:]][not part :])
    return f"make {target} BENCH={shlex.quote(options)}" if options else f"make {target}"


def load() -> str:
    """The load averages of the last 1, 5 and 15 minutes."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def say(line: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
