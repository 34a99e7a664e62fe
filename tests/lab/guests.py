"""Guests of the lab that run, and how the host talks to them."""

import itertools
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError
from .specs import GuestSpec

_BOOT_SECONDS = 120.0  # about 10 s on an idle machine, under TCG
_REQUESTS = itertools.count(int(time.time() * 1000))


class GuestError(LabError):
    """A guest did not answer, or answered that it could not carry out the command."""


@dataclass(frozen=True, kw_only=True)
class Console:
    """The second serial port of a running guest, which carries out commands (see guest-init)."""

    name: str
    path: Path

    def command(self, text: str, timeout_seconds: float = 300.0) -> str:
        """Have the guest carry out `text` and give back what it printed.

        ping                        seconds since it booted
        meminfo                     its /proc/meminfo
        fill MIB [random|same|zero] have MIB megabytes in use in all; `same` is equal in all guests, page by page
        free                        drop the fill
        busy [N], idle              N (1) processes that spin; none
        sh WORD...                  any shell command
        """
        identity = f"{next(_REQUESTS):x}"
        deadline = time.monotonic() + timeout_seconds
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout_seconds)
                connection.connect(str(self.path))
                connection.sendall(f"\n{identity} {text}\n".encode())
                output, status = self._answer(connection, identity, deadline)
        except OSError as error:
            raise GuestError(f"guest {self.name}: no answer to '{text}': {error}") from error
        if status != 0:
            raise GuestError(f"guest {self.name}: '{text}' failed with status {status}: {output.strip()}")
        return output

    def meminfo(self) -> dict[str, int]:
        """The guest's own /proc/meminfo: field -> bytes (counts, such as HugePages_Total, as they are)."""
        fields = re.findall(r"^(\S+): +(\d+)( kB)?", self.command("meminfo"), re.MULTILINE)
        return {name: int(value) * (1024 if unit else 1) for name, value, unit in fields}

    def wait_ready(self, timeout_seconds: float = _BOOT_SECONDS) -> float:
        """Wait until the guest has booted; gives the seconds since its kernel started."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                return float(self.command("ping", timeout_seconds=2.0))
            except GuestError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _answer(self, connection: socket.socket, identity: str, deadline: float) -> tuple[str, int]:
        pattern = re.compile(rf"<{identity}>\n(.*)</{identity} (\d+)>\n", re.DOTALL)
        received = ""
        while time.monotonic() < deadline:
            chunk = connection.recv(65536)
            if not chunk:
                raise GuestError(f"guest {self.name}: hung up; its console log is in the lab's log directory")
            received += chunk.decode(errors="replace").replace("\r", "")
            found = pattern.search(received)
            if found:
                return found[1], int(found[2])
        raise TimeoutError("timed out")


@dataclass(frozen=True, kw_only=True)
class Guest(Console):
    """A running guest, of which we know what it is made of."""

    spec: GuestSpec

    @property
    def uuid(self) -> str:
        return self.spec.uuid
