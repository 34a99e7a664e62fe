"""The .deb on a machine that has nothing else of ours: a minimal Debian whose systemd runs the services as they ship."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import wait_until

from .lab import CACHE, REPOSITORY

_SCRIPT = Path(__file__).with_name("machine")
_BUILD_SECONDS = 300.0
SLEEP = Path("/sys/kernel/mm/ksm/sleep_millisecs")
RULE = """\
groups:
  - name: test
    rules:
      - tune: slower
        because: "It is a test."
        when: kvm_memory_total_bytes > 0
        set: {{ksm.sleep_millisecs: {value}}}
"""
# A process that looks like a guest's, of another user than the exporter.
GUEST = """\
[Service]
ExecStart=@/usr/bin/python3 qemu-system-x86_64 -c 'import time; time.sleep(600)' -name guest=web -uuid {uuid}
"""


@dataclass(frozen=True)
class Machine:
    """A root directory, and the first process of the system that was booted from it."""

    root: Path
    init: int

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command there to its end; gives what it printed."""
        enter = (
            "nsenter",
            "--target",
            str(self.init),
            "--all",
            "--",
            "/usr/bin/env",
            "--ignore-environment",
            "PATH=/usr/sbin:/usr/bin",
        )
        done = subprocess.run((*enter, *command), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def shows(self, unit: str, key: str) -> str:
        return self.run("systemctl", "show", "--value", "--property", key, unit)

    def metrics(self, port: int) -> str:
        """The page that a service serves there."""
        get = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
        return self.run("python3", "-c", get)

    def status(self, pid: str) -> dict[str, str]:
        """/proc/PID/status."""
        return dict(
            line.split(":\t", 1) for line in self.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line
        )


@pytest.fixture(scope="module")
def package() -> Path:
    """The .deb, built as `make deb` does."""
    built = subprocess.run(
        (REPOSITORY / "scripts/build", "deb"), capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return REPOSITORY / built.stdout.split()[-1]


@pytest.fixture(scope="module")
def root(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minimal system of this distribution with the package, whose dependencies dpkg has checked."""
    root = tmp_path_factory.mktemp("root")
    subprocess.run(
        ("tar", "--extract", "--file", _minimal_system(), "--directory", root, "--exclude=./dev/*"), check=True
    )
    shutil.copy(package, root / "root/kvmtune.deb")
    installed = _in(root, "dpkg", "--install", "/root/kvmtune.deb")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return root


@pytest.fixture(scope="module")
def machine(root: Path) -> Iterator[Machine]:
    with subprocess.Popen(
        ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", _SCRIPT, root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as boot:
        try:
            wait_until(lambda: _systemd_below(boot.pid) is not None, "systemd starts")
            machine = Machine(root, _systemd_below(boot.pid) or 0)
            wait_until(
                lambda: machine.run("systemctl", "is-system-running", check=False) == "running", "a system that runs"
            )
            yield machine
        finally:
            boot.kill()
            remove = ("unshare", "--mount", _SCRIPT, root, "remove")
            wait_until(lambda: subprocess.run(remove, capture_output=True, check=False).returncode == 0, "it is gone")


def test_both_programs_are_there(root: Path) -> None:
    for program in ("kvmtune-exporter", "kvmtune-actuator"):
        assert _in(root, program, "--version").stdout.startswith(f"{program} ")
    for command in ("check", "test"):
        done = _in(root, "kvmtune-actuator", command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_exporter_runs_and_the_actuator_waits_to_be_enabled(machine: Machine) -> None:
    assert machine.run("systemctl", "is-active", "kvmtune-exporter") == "active"
    assert machine.run("systemctl", "is-enabled", "kvmtune-actuator", check=False) == "disabled"
    assert machine.run("systemctl", "is-active", "kvmtune-actuator", check=False) == "inactive"


def test_the_sandbox_lets_the_exporter_read_everything(machine: Machine) -> None:
    wait_until(
        lambda: "kvmtune-exporter" in machine.run("journalctl", "--output=cat", "_COMM=kvmtune-exporte"), "it serves"
    )
    (machine.root / "etc/systemd/system/guest.service").write_text(GUEST.format(uuid=uuid.uuid4()))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "guest")
    wait_until(
        lambda: "\nkvm_domain_ksm_rmap_items{" in machine.metrics(9752), "what only CAP_DAC_READ_SEARCH lets it read"
    )
    page = machine.metrics(9752)
    failed = [line for line in page.splitlines() if line.startswith("kvm_collector_success") and line.endswith(" 0")]
    assert failed == []
    assert "kvm_ksm_pages_to_scan " in page
    status = machine.status(machine.shows("kvmtune-exporter", "MainPID"))
    assert status["Uid"].split()[0] == machine.run("id", "--user", "kvmtune-exporter")
    assert (status["CapEff"], status["NoNewPrivs"]) == (f"{1 << 2:016x}", "1"), "CAP_DAC_READ_SEARCH, and no more"


def test_the_actuator_is_a_dry_run_until_told_to_act(machine: Machine) -> None:
    machine.run("systemctl", "start", "kvmtune-actuator")
    assert machine.shows("kvmtune-actuator", "StatusText").startswith("dry run; ")
    status = machine.status(machine.shows("kvmtune-actuator", "MainPID"))
    assert status["Uid"].split()[0] == machine.run("id", "--user", "kvmtune")
    assert status["CapEff"] == f"{1 << 1:016x}", "CAP_DAC_OVERRIDE, and no more"
    machine.run("systemctl", "stop", "kvmtune-actuator")


def test_what_it_changed_is_put_back_however_it_ends(machine: Machine) -> None:
    before = SLEEP.read_text()
    rules = machine.root / "srv/test.yml"
    rules.write_text(RULE.format(value=321))
    flags = "--apply --interval=1s --rules=/srv/test.yml"
    (machine.root / "etc/kvmtune/actuator.env").write_text(f'KVMTUNE_ACTUATOR_FLAGS="{flags}"\n')

    machine.run("systemctl", "start", "kvmtune-actuator")
    wait_until(lambda: SLEEP.read_text() == "321\n", "the rule acts")
    machine.run("systemctl", "stop", "kvmtune-actuator")
    assert SLEEP.read_text() == before

    machine.run("systemctl", "start", "kvmtune-actuator")
    wait_until(lambda: SLEEP.read_text() == "321\n", "the rule acts")
    machine.run("systemctl", "kill", "--signal=KILL", "kvmtune-actuator")
    wait_until(lambda: SLEEP.read_text() == before, "systemd has it put back")
    wait_until(lambda: machine.shows("kvmtune-actuator", "NRestarts") == "1", "it is started again")
    wait_until(lambda: machine.shows("kvmtune-actuator", "ActiveState") == "active", "it ticks again")
    assert SLEEP.read_text() == "321\n"

    rules.write_text(RULE.format(value=322))
    machine.run("systemctl", "reload", "kvmtune-actuator")
    wait_until(lambda: SLEEP.read_text() == "322\n", "the rule that was reloaded acts")


def test_root_without_capabilities_does_for_what_only_root_may(machine: Machine) -> None:
    drop_ins = machine.root / "etc/systemd/system/kvmtune-actuator.service.d"
    drop_ins.mkdir()
    example = machine.root / "usr/share/doc/kvmtune/examples/kvmtune-actuator.service.d/root.conf"
    shutil.copy(example, drop_ins)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "kvmtune-actuator")
    status = machine.status(machine.shows("kvmtune-actuator", "MainPID"))
    assert (status["Uid"].split()[0], status["CapEff"]) == ("0", f"{0:016x}")
    assert machine.shows("kvmtune-actuator", "StatusText").startswith("applies, ")
    shutil.rmtree(drop_ins)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "kvmtune-actuator")


def test_an_upgrade_restarts_what_runs_and_keeps_the_configuration(machine: Machine) -> None:
    ids = {unit: machine.shows(unit, "MainPID") for unit in ("kvmtune-exporter", "kvmtune-actuator")}
    machine.run("dpkg", "--force-confold", "--install", "/root/kvmtune.deb")
    for unit, pid in ids.items():
        assert machine.run("systemctl", "is-active", unit) == "active"
        assert machine.shows(unit, "MainPID") != pid
    assert "--apply" in (machine.root / "etc/kvmtune/actuator.env").read_text()


def test_a_purge_leaves_the_state_only(machine: Machine) -> None:
    machine.run("dpkg", "--purge", "kvmtune")
    assert (
        machine.run("systemctl", "is-active", "kvmtune-exporter", "kvmtune-actuator", check=False)
        == "inactive\ninactive"
    )
    left = machine.run("find", "/etc", "/usr", "/var", "/lib/systemd", "-name", "*kvmtune*").splitlines()
    assert left == ["/var/lib/kvmtune"]
    assert (machine.root / "var/lib/kvmtune/ledger.jsonl").exists()


def _systemd_below(pid: int) -> int | None:
    """The child of this process that has become systemd."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError):
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return int(child)
    return None


def _minimal_system() -> Path:
    """An archive of it, made once."""
    codename = next(
        line.partition("=")[2]
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )

    system = CACHE / f"minimal-{codename}.tar"
    if not system.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = system.with_suffix(".partial.tar")
        command = ("mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,systemd", codename, partial)
        subprocess.run(command, check=True, timeout=_BUILD_SECONDS)
        partial.rename(system)
    return system


def _in(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with `root` as its root."""
    enter = ("unshare", "--mount", "sh", "-c", 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"', root)
    return subprocess.run((*enter, *command), capture_output=True, text=True, timeout=60, check=False)
