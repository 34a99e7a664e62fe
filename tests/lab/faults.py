"""Faults, each as a `with` block whose end undoes it, whatever happens in it.

If the tests are killed, the end of the lab's PID namespace ends stopped processes, too.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.programs import wait_until

from .guests import Guest
from .lab import Lab


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """The processes do not run: what a QEMU looks like that waits for a dead disk, or a libvirtd in a deadlock."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def killed_daemon(lab: Lab) -> Iterator[None]:
    """libvirtd has ended by kill -9, and its successor (see the script `namespace`) answers at the end."""
    os.kill(lab.daemon_pid(), signal.SIGKILL)
    try:
        yield
    finally:
        lab.wait_for_daemon()


def named(name: str) -> set[int]:
    """PIDs of the processes of this machine that go by a name."""
    found = set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has ended
            if comm.read_text().strip() == name:
                found.add(int(comm.parent.name))
    return found


@contextmanager
def beside(lab: Lab, program: Path) -> Iterator[None]:
    """A program runs among the lab's processes, until the end of the block also those of its name in the background."""
    namespaces = ("nsenter", "--target", str(lab.daemon_pid()), "--pid", "--mount")
    before = named(program.name)
    with subprocess.Popen(
        (*namespaces, "setpriv", "--pdeathsig", "KILL", program), stdin=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.kill()
            for pid in named(program.name) - before:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def slow_migration(lab: Lab, guest: Guest, destination: Lab) -> Iterator[None]:
    """A guest is on its way to another lab, and at the end stays."""
    with tempfile.TemporaryDirectory(dir="/tmp") as common:
        command = lab.migration(guest, destination, Path(common), "--bandwidth", "1")
        with subprocess.Popen(("virsh", "--quiet", "--connect", lab.uri, *command), stderr=subprocess.DEVNULL):
            try:
                wait_until(lambda: "Data processed" in lab.virsh("domjobinfo", guest.name), "it is on its way")
                yield
            finally:
                lab.virsh("domjobabort", guest.name)


@contextmanager
def mute_socket(path: Path) -> Iterator[None]:
    """A UNIX socket at `path` that takes every connection and all that is sent, and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4096)  # the kernel makes the connections; nobody has to accept them
        try:
            yield
        finally:
            path.unlink()


class Door:
    """A path by which a client reaches a lab's libvirtd, until it is led elsewhere."""

    def __init__(self, lab: Lab) -> None:
        self.path = lab.run / "door"
        self._lab = lab
        self._lead_to(lab.socket)

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.path}"

    @contextmanager
    def mute(self) -> Iterator[None]:
        """The daemon has ended, and what can be connected to in its place takes connections and never answers."""
        mute = self._lab.run / "mute"
        with mute_socket(mute):
            self._lead_to(mute)
            try:
                with killed_daemon(self._lab):  # which ends the connections that there were
                    yield
            finally:
                self._lead_to(self._lab.socket)

    def _lead_to(self, target: Path) -> None:
        new = self.path.with_suffix(".new")
        new.symlink_to(target)
        new.rename(self.path)
