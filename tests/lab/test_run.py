"""`make run` as an operator uses it: scripts/run starts the two programs, and stops them in their order."""

import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.programs import wait_until

from .guests import Guest
from .lab import REPOSITORY, Lab
from .programs import Program


class Operator:
    """Someone at a terminal, in a clone of kvmtune, with ports that nobody else uses."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.exporter_port, self.actuator_port = free_ports(2)

    def types_make_run(self, *prefix: str, **variables: str) -> Program:
        """Start scripts/run by way of `prefix`, as the first process of a session."""
        ports = {"EXPORTER_PORT": str(self.exporter_port), "ACTUATOR_PORT": str(self.actuator_port)}
        settings = [f"{name}={value}" for name, value in (ports | variables).items()]
        # Bash cannot trap a signal that was ignored when it started, as it is for what runs in the background.
        with_settings = ("env", "--default-signal=INT", *settings)
        self.run = Program(
            self._log,
            "/usr/bin/setpriv",
            "--pdeathsig",
            "TERM",
            "setsid",
            *prefix,
            *with_settings,
            REPOSITORY / "scripts/run",
        )
        return self.run

    def sees_both_programs(self) -> None:
        self.run.wait_for("Ctrl-C stops both")
        assert "\nkvm_memory_total_bytes " in page(self.exporter_port, "metrics")
        assert "\nkvmtune_actuator_" in page(self.actuator_port, "metrics")
        assert "/metrics" in page(self.exporter_port)
        assert "/metrics" in page(self.actuator_port)

    def sends(self, number: signal.Signals) -> int:
        """A signal to all processes at the terminal, as Ctrl-C is one; gives the exit status."""
        os.killpg(self.run.process.pid, number)
        return self.run.process.wait(30)

    def processes(self) -> dict[int, str]:
        """PID -> command line of all that runs on our behalf, found by the environment that they inherit."""
        mine = f"EXPORTER_PORT={self.exporter_port}\0".encode()
        found = (path.parent for path in Path("/proc").glob("[0-9]*/environ") if mine in contents(path))
        return {int(process.name): contents(process / "cmdline").decode().replace("\0", " ") for process in found}


def contents(file: Path) -> bytes:
    with suppress(OSError):  # the process has just ended
        return file.read_bytes()
    return b""


def free_ports(count: int) -> list[int]:
    with ExitStack() as all_at_once:
        sockets = [all_at_once.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def page(port: int, path: str = "") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as response:
        text: str = response.read().decode()
    return text


def with_an_empty(directory: str) -> tuple[str, ...]:
    """Prefix of a command that shall find nothing in `directory`."""
    return ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {directory} && exec "$@"', "sh")


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path / "run.log")
    yield operator
    if operator.run.process.poll() is None:
        operator.sends(signal.SIGTERM)
    wait_until(lambda: operator.processes() == {}, "all have ended")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_like_stop_both_cleanly(operator: Operator, number: signal.Signals) -> None:
    operator.types_make_run()
    operator.sees_both_programs()
    assert operator.processes()
    assert operator.sends(number) == 0
    wait_until(lambda: operator.processes() == {}, "all have ended")


def test_it_is_a_dry_run_that_sees_the_guests(operator: Operator, lab: Lab, guests: list[Guest]) -> None:
    run = operator.types_make_run(LIBVIRT_URI=lab.uri)
    run.wait_for("dry run: nothing is written")
    operator.sees_both_programs()
    series = [f'kvm_domain_balloon_actual_bytes{{domain="{guest.name}"' for guest in guests]
    wait_until(lambda: all(one in page(operator.exporter_port, "metrics") for one in series), "both are in it")


def test_apply_1_acts(operator: Operator, lab: Lab) -> None:
    run = operator.types_make_run(*with_an_empty("/var/lib"), LIBVIRT_URI=lab.uri, APPLY="1")
    run.wait_for("applies its decisions")
    operator.sees_both_programs()
    assert operator.sends(signal.SIGINT) == 0
    assert "nothing to restore" in run.output


def test_without_libvirtd_it_runs_and_says_what_is_missing(operator: Operator) -> None:
    run = operator.types_make_run(*with_an_empty("/run"))
    operator.sees_both_programs()
    run.wait_for("no data of guests from libvirt: .*is libvirtd running")


def test_without_root_it_runs(as_nobody: tuple[str, ...], operator: Operator) -> None:
    operator.types_make_run(*as_nobody)
    operator.sees_both_programs()
    assert operator.sends(signal.SIGINT) == 0


@pytest.mark.parametrize("name", ["EXPORTER_PORT", "ACTUATOR_PORT"])
def test_a_port_in_use_is_said_with_the_next_step(operator: Operator, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = operator.types_make_run(**{name: str(port)})
        assert run.process.wait(30) == 1
    assert f"port {port} is in use" in run.output
    assert f"make run {name}={port + 10}" in run.output


@pytest.mark.parametrize("program", ["kvmtune-exporter", "kvmtune-actuator"])
def test_one_that_dies_takes_the_other_along(operator: Operator, program: str) -> None:
    run = operator.types_make_run()
    operator.sees_both_programs()
    (pid,) = (pid for pid, line in operator.processes().items() if f"bin/{program} " in line)
    os.kill(pid, signal.SIGKILL)
    assert run.process.wait(30) == 128 + signal.SIGKILL
    wait_until(lambda: operator.processes() == {}, "all have ended")
