"""A host that has tuned running, in namespaces of its own: see the script `tuned-host`. /proc/sys is the real one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kvmhost.dbus import Bus, BusError, system_bus
from kvmhost.tuned import profile

from . import packages
from .errors import LabError
from .lab import CACHE

_SCRIPT = Path(__file__).with_name("tuned-host")
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class TunedHost:
    init: int
    """Its first process."""
    bus: str
    """Address of its message bus that every user can get to."""

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.init}/root")

    def output(self, *command: str) -> str:
        """What a command prints that is run on it."""
        enter = ("nsenter", "--target", str(self.init), "--mount", "--pid", "--")
        done = subprocess.run((*enter, *command), capture_output=True, text=True, check=False, timeout=30)
        if done.returncode != 0:
            raise LabError(f"{' '.join(command)}: status {done.returncode}: {done.stdout}{done.stderr}".rstrip())
        return done.stdout.rstrip()

    def signal(self, name: str, program: str) -> None:
        """Send a signal to `tuned`, or to `bus`."""
        self.output("kill", f"-{name}", (self.root / f"run/{program}.pid").read_text().strip())


@contextmanager
def tuned_host(scratch: Path) -> Iterator[TunedHost]:
    """Within the block there is one; `scratch` is an empty directory."""
    unpacked = [packages.unpacked(name, CACHE / "packages") for name in packages.missing("tuned", "dbus-daemon")]
    unshare = ("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child")
    bus = f"unix:abstract={scratch}"
    log = scratch.with_suffix(".log")
    with log.open("w") as out:
        process = subprocess.Popen(
            (*unshare, _SCRIPT, scratch, bus, *unpacked),
            stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (made := children.read_text().split()) or not _answers(TunedHost(int(made[0]), bus)):
            if time.monotonic() > deadline or process.poll() is not None:
                raise LabError(f"the host with tuned did not come up:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield TunedHost(int(made[0]), bus)
    finally:
        process.communicate(timeout=_PATIENCE_SECONDS)  # closes its standard input, on which it ends


def _answers(host: TunedHost) -> bool:
    """Whether it is made, and tuned is up."""
    if not (host.root / "etc/tuned/lab").exists():
        return False
    bus = Bus(system_bus({}, host.root))
    try:
        profile(bus)
    except BusError:
        return False
    finally:
        bus.close()
    return True
