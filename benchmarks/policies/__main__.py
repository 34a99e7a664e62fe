"""`make bench-policies`: the autopilot next to its peers, one part after the other, or the part that is named."""

from __future__ import annotations

import signal
import subprocess
import sys

PARTS = {
    "ksm": "KSM on the real kernel, an hour",
    "balloon": "balloons in a model of hosts with 8 to 500 guests",
    "balloon_guests": "balloons of real guests on a host made small, three quarters of an hour",
    "pinning": "vCPUs of real guests that begin on the wrong CPUs",
}
_USAGE = """\
usage: make bench-policies [BENCH="[PART] [OPTIONS]"]

Runs the autopilot and its peers side by side, and prints what came of it. As root.

{parts}

Without PART all of them, with the options for each. --write writes the pages in
docs/benchmarks, too; PART --help tells the rest.

Examples:
  make bench-policies BENCH="ksm --rounds 1 --mixes clones"
  make bench-policies BENCH=--write
"""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE.format(parts="\n".join(f"  {name:16}{about}" for name, about in PARTS.items())), end="")
        return 0
    named = arguments[:1] if arguments[:1] and arguments[0] in PARTS else []
    for part in named or PARTS:
        command = (sys.executable, "-m", f"{__package__}.{part}", *arguments[len(named) :])
        if status := subprocess.run(command, check=False).returncode:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
