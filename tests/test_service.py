"""The actuator under a service manager: a real process that tells a real socket how it is."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs import BIN, PATIENCE_SECONDS, wait_until
from tests.test_programs import BROKEN, RULES, Host


class Manager:
    """Listens as systemd does; `messages` are those that came so far, with the time of each (monotonic)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        self._heard: list[tuple[float, dict[str, str]]] = []

    def messages(self) -> list[dict[str, str]]:
        while True:
            try:
                lines = self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return [message for _, message in self._heard]
            self._heard.append((time.monotonic(), dict(line.split("=", 1) for line in lines)))

    def wait_for(self, is_it: Callable[[dict[str, str]], bool], what: str) -> dict[str, str]:
        wait_until(lambda: any(map(is_it, self.messages())), f"it says {what}; it said {self.messages()}")
        return next(message for message in self.messages() if is_it(message))

    def count(self, name: str) -> int:
        return sum(name in message for message in self.messages())

    def silent_seconds(self) -> float:
        self.messages()
        return time.monotonic() - self._heard[-1][0]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"\0kvmtune-service-{os.getpid()}"
    manager = Manager(monkeypatch, address)
    yield manager
    manager.close()


one_kind = pytest.mark.parametrize("manager", ["path"], indirect=True)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for program in host.programs:
        program.process.kill()
        program.process.wait()


def test_from_the_start_to_the_end(host: Host, manager: Manager) -> None:
    actuator = host.actuator(host.exporter(), "--apply")
    manager.wait_for(lambda message: message.get("READY") == "1", "that it is ready")
    status = manager.wait_for(lambda message: "2 values changed" in message.get("STATUS", ""), "what it changed")[
        "STATUS"
    ]
    assert status.startswith("applies, 2 values changed; 1 tuning rules; last tick ")
    assert manager.count("STOPPING") == manager.count("RELOADING") == 0
    assert actuator.end(signal.SIGTERM) == 0
    words = [next(iter(message)) for message in manager.messages()]
    assert words[-4:] == ["STOPPING", *["EXTEND_TIMEOUT_USEC"] * 3]  # at the start, and after each of two values
    assert host.ksm() == ("0", "100")


@one_kind
def test_it_is_ready_also_without_an_exporter_and_says_what_it_waits_for(host: Host, manager: Manager) -> None:
    host.actuator("http://127.0.0.1:1/metrics")
    message = manager.wait_for(lambda message: "STATUS" in message, "how it is")
    assert message["READY"] == "1"
    assert "waits: the exporter has not answered yet" in message["STATUS"]


@one_kind
@pytest.mark.parametrize("rules", [RULES.replace("190", "180"), BROKEN])
def test_a_reload(host: Host, manager: Manager, rules: str) -> None:
    actuator = host.actuator(host.exporter())
    manager.wait_for(lambda message: "READY" in message, "that it is ready")
    host.rules.write_text(rules)
    before = time.monotonic_ns() // 1000
    actuator.process.send_signal(signal.SIGHUP)
    message = manager.wait_for(lambda message: "RELOADING" in message, "that it reloads")
    assert before < int(message["MONOTONIC_USEC"]) < time.monotonic_ns() // 1000
    manager.wait_for(lambda message: message == {"READY": "1"}, "that it is done")


@one_kind
def test_the_watchdog_is_answered_between_ticks(host: Host, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    host.actuator(host.exporter(), "--interval", "30s")
    wait_until(lambda: manager.count("WATCHDOG") >= 4, "it is alive also between two ticks")
    assert manager.count("STATUS") == 1  # of one tick


@one_kind
def test_a_tick_that_hangs_is_none(host: Host, manager: Manager) -> None:
    """Of two KSM files that look the same, the exporter reads the one that answers."""
    stuck = host.directory / "stuck"
    shutil.copytree(host.root, stuck)
    (stuck / "sys/kernel/mm/ksm/run").unlink()
    os.mkfifo(stuck / "sys/kernel/mm/ksm/run")  # whoever reads it waits for a writer
    actuator = host.actuator(host.exporter(), "--path.rootfs", stuck)
    manager.wait_for(lambda message: "WATCHDOG" in message, "that it is alive")
    wait_until(lambda: manager.silent_seconds() > 2, "the tick that wants to write hangs, and so it says nothing more")
    assert actuator.process.poll() is None


def locks(*limits: str) -> subprocess.CompletedProcess[str]:
    """A start with locked memory.."""
    command = (BIN / "kvmtune-actuator", "run", "--mlockall", "--rules", Path(__file__).parents[1] / "rules")
    return subprocess.run((*limits, *command), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def test_memory_that_may_not_be_locked(host: Host) -> None:
    poor = ("prlimit", "--memlock=65536", "setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")
    done = locks(*(poor if os.geteuid() == 0 else poor[:2]))
    assert done.returncode == 1
    assert done.stderr == (
        "--mlockall: RLIMIT_MEMLOCK is 64 KiB: set LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited, "
        "or grant CAP_IPC_LOCK\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may")
def test_locked_memory(host: Host) -> None:
    actuator = host.actuator(host.exporter(), "--mlockall")
    actuator.wait_for("dry run")
    status = Path(f"/proc/{actuator.process.pid}/status").read_text()
    assert int(re.findall(r"VmLck:\s+(\d+) kB", status)[0]) > 10_000
