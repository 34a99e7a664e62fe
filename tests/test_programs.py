"""Both programs as an operator starts them, on a host made of files: no root, no libvirt, real processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import BIN, PATIENCE_SECONDS, Program, run, wait_until

RULES = """
groups:
  - name: g
    rules:
      - tune: ksm_on
        because: "It is a test."
        when: kvm_ksm_run == 0
        until: kvm_ksm_run == 7
        for: 300ms
        set:
          ksm.run: 1
          ksm.pages_to_scan: 190
"""
BROKEN = RULES.replace("because", "becuase").replace("ksm.run: 1", "ksm.ran: 1").replace("300ms", "soon")


class Host:
    """A copy of a fixture host, and the programs that run on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        shutil.copytree(Path(__file__).parent / "hosts/ordinary", self.root)
        self.ksm_files = self.root / "sys/kernel/mm/ksm"
        self.rules = directory / "rules.yml"
        self.rules.write_text(RULES)
        self.programs: list[Program] = []
        for file, value in (("run", "0"), ("pages_to_scan", "100"), ("advisor_mode", "[none] scan-time")):
            (self.ksm_files / file).write_text(f"{value}\n")

    def ksm(self) -> tuple[str, str]:
        return (self.ksm_files / "run").read_text().strip(), (self.ksm_files / "pages_to_scan").read_text().strip()

    def wait_for_ksm(self, values: tuple[str, str]) -> None:
        wait_until(lambda: self.ksm() == values, f"run and pages_to_scan are {values}")

    def start(self, *command: str | Path) -> Program:
        program = Program(self.directory / f"{len(self.programs)}.log", *command)
        self.programs.append(program)
        return program

    def exporter(self) -> str:
        """Start the exporter; its URL."""
        program = self.start(
            "kvmtune-exporter", "--path.rootfs", self.root, "--libvirt.uri", "test:///nowhere",
            "--web.listen-address", "127.0.0.1:0",
        )  # fmt: skip
        return program.wait_for(r"http://\S+/metrics")[0]

    def actuator_arguments(self, url: str) -> tuple[str | Path, ...]:
        return (
            "run", "--rules", self.rules, "--scrape.url", url, "--interval", "100ms",
            "--web.listen-address", "127.0.0.1:0", *self.options,
        )  # fmt: skip

    def actuator(self, url: str, *flags: str | Path) -> Program:
        return self.start("kvmtune-actuator", *self.actuator_arguments(url), *flags)

    @property
    def options(self) -> tuple[str | Path, ...]:
        state = self.directory / "state"
        return ("--path.rootfs", self.root, "--state-dir", state, "--libvirt.uri", "test:///nowhere")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for program in host.programs:
        program.process.kill()
        program.process.wait()


def test_a_dry_run_explains_and_writes_nothing(host: Host) -> None:
    actuator = host.actuator(host.exporter())
    line = actuator.wait_for(r"(?m)^.*pages_to_scan.*$")[0]
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d would write ksm_on: host ksm.pages_to_scan 100 -> 190 \| It is a test. \(when = 0\)", line
    )
    assert "dry run: nothing is written" in actuator.output
    assert actuator.end(signal.SIGINT) == 0
    assert host.ksm() == ("0", "100")
    assert not (host.directory / "state").exists()
    # The same decision is told once, not at each tick.
    assert actuator.output.count("ksm.pages_to_scan") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_puts_everything_back(host: Host, number: signal.Signals) -> None:
    actuator = host.actuator(host.exporter(), "--apply")
    host.wait_for_ksm(("1", "190"))
    assert actuator.end(number) == 0
    assert host.ksm() == ("0", "100")
    assert "restore: host ksm.pages_to_scan 100: restored" in actuator.output


def test_stopping_puts_everything_back_also_when_nobody_reads_its_output(host: Host) -> None:
    url = host.exporter()
    reader, writer = os.pipe()
    actuator = subprocess.Popen(
        [BIN / "kvmtune-actuator", *host.actuator_arguments(url), "--apply"], stdout=writer, stderr=writer
    )
    os.close(writer)
    host.wait_for_ksm(("1", "190"))
    os.close(reader)
    actuator.terminate()
    actuator.wait(PATIENCE_SECONDS)
    assert host.ksm() == ("0", "100")


def test_on_stop_keep_leaves_what_was_set(host: Host) -> None:
    actuator = host.actuator(host.exporter(), "--apply", "--on-stop", "keep")
    host.wait_for_ksm(("1", "190"))
    assert actuator.end(signal.SIGTERM) == 0
    assert host.ksm() == ("1", "190")


def test_after_kill_9_restore_puts_everything_back(host: Host) -> None:
    actuator = host.actuator(host.exporter(), "--apply")
    host.wait_for_ksm(("1", "190"))
    actuator.end(signal.SIGKILL)
    assert host.ksm() == ("1", "190")
    (host.ksm_files / "pages_to_scan").write_text("444\n")  # someone else, meanwhile
    done = run("kvmtune-actuator", "restore", *host.options)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "restore: host ksm.pages_to_scan 100: left alone (someone else set it to 444 after we wrote 190)",
        "restore: host ksm.run 0: restored",
    ]
    assert host.ksm() == ("0", "444")
    again = run("kvmtune-actuator", "restore", *host.options)
    assert (again.returncode, again.stdout) == (0, "nothing to restore: no value is changed\n")


def test_only_one_acts_on_a_host(host: Host) -> None:
    url = host.exporter()
    first = host.actuator(url, "--apply")
    host.wait_for_ksm(("1", "190"))
    for command in (("run", "--apply", "--rules", host.rules), ("restore",)):
        done = run("kvmtune-actuator", *command, *host.options)
        assert done.returncode == 1
        assert "another kvmtune-actuator is at work" in done.stderr
    assert host.ksm() == ("1", "190")
    assert first.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("command", ["check", "run"])
def test_broken_rules_are_refused_with_all_their_problems(host: Host, command: str) -> None:
    host.rules.write_text(BROKEN)
    flags = ("--rules",) if command == "run" else ()
    done = run("kvmtune-actuator", command, *flags, host.rules)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"{host.rules}:5:9: a tuning rule has no 'because'",
        f"{host.rules}:6:9: unknown key 'becuase' in a tuning rule (did you mean 'because'?)",
        f"{host.rules}:9:14: 'for': 'soon' is not a duration: write it like 15s, 1m30s, 2h or 500ms",
        f"{host.rules}:11:11: unknown knob 'ksm.ran' (did you mean 'ksm.run'?)",
        "problems: 4; nothing was done",
    ]


def test_good_rules_are_fine(host: Host) -> None:
    done = run("kvmtune-actuator", "check", host.rules)
    assert (done.returncode, done.stdout) == (0, "no problems (groups: 1, tuning rules: 1)\n")


def test_a_reload_of_broken_rules_keeps_the_last_good_ones(host: Host) -> None:
    good = RULES.replace("ksm.pages_to_scan: 190", "ksm.pages_to_scan: 150")
    host.rules.write_text(good.replace("kvm_ksm_run == 0", "kvm_ksm_run == 9"))
    actuator = host.actuator(host.exporter(), "--apply")
    actuator.wait_for("own metrics on")
    host.rules.write_text(BROKEN)
    actuator.process.send_signal(signal.SIGHUP)
    actuator.wait_for("the last good ones stay in force:\n.*:5:9: a tuning rule has no 'because'")
    url = actuator.wait_for(r"own metrics on (\S+)")[1]
    with urllib.request.urlopen(url, timeout=5) as response:
        assert b"kvmtune_actuator_config_last_reload_successful 0.0" in response.read()
    assert host.ksm() == ("0", "100")
    host.rules.write_text(good)
    actuator.process.send_signal(signal.SIGHUP)
    host.wait_for_ksm(("1", "150"))
    assert actuator.end(signal.SIGTERM) == 0


def test_a_storm_of_signals_ends_nothing(host: Host) -> None:
    actuator = host.actuator(host.exporter(), "--apply")
    host.wait_for_ksm(("1", "190"))
    for _ in range(500):
        actuator.process.send_signal(signal.SIGHUP)
    host.rules.write_text('groups: "\\UFFFFFFFF"')
    actuator.process.send_signal(signal.SIGHUP)
    actuator.wait_for("not valid YAML")
    actuator.process.send_signal(signal.SIGTERM)
    assert actuator.end(signal.SIGTERM) == 0
    assert host.ksm() == ("0", "100")


def test_an_exporter_that_comes_later_is_waited_for(host: Host) -> None:
    actuator = host.actuator("http://127.0.0.1:9/metrics")
    actuator.wait_for("is the exporter running.* .nothing is decided until it is back")
    assert actuator.end(signal.SIGTERM) == 0
    assert actuator.output.count("nothing is decided") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--help"], 0, "it only says what it would do"),
        (["--version"], 0, "kvmtune-actuator 0.1.0"),
        ([], 2, "the following arguments are required: COMMAND"),
        (["run", "--interval", "fast"], 2, "'fast' is not a duration: write it like 15s"),
        (["run", "--web.listen-address", "nonsense"], 2, "nonsense"),
        (["run", "--scrape.url", "ftp://x"], 2, "expected a URL such as http://127.0.0.1:9752/metrics"),
        (["run", "--rules", "/absent"], 2, "/absent:1:1: cannot be read: [Errno 2] No such file or directory"),
        (["check", "/absent", "--policy", "/gone"], 2, "/gone:1:1: cannot be read"),
    ],
)
def test_arguments(host: Host, arguments: list[str], status: int, told: str) -> None:
    rules = ["--rules", str(host.rules)] if arguments[:1] == ["run"] and "--rules" not in arguments else []
    done = run("kvmtune-actuator", *arguments, *rules)
    assert done.returncode == status
    assert told in " ".join((done.stdout + done.stderr).split())


def test_a_port_in_use_is_said_with_the_next_step(host: Host) -> None:
    url = host.exporter()
    taken = url.split("/")[2]
    done = run("kvmtune-actuator", "run", "--rules", host.rules, "--web.listen-address", taken)
    assert done.returncode == 1
    assert "or choose another --web.listen-address" in done.stderr
