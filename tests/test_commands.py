"""The commands that look at a running actuator and steer it, on real processes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from actuator.console import status
from actuator.console.status import Status
from tests.programs import BIN, PATIENCE_SECONDS, run, wait_until
from tests.test_programs import RULES, Host

FASTER = (
    RULES.replace("ksm.pages_to_scan: 190", "ksm.pages_to_scan: kvm_ksm_pages_to_scan + 10")
    .replace("for: 300ms", "every: 200ms")
    .replace("kvm_ksm_run == 0", "kvm_ksm_run >= 0")
)
"""A rule that acts again and again."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for program in host.programs:
        program.process.kill()
        program.process.wait()


def ask(host: Host, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return run("kvmtune-actuator", *command, "--state-dir", host.directory / "state")


def look(host: Host) -> tuple[Status | None, str]:
    return status.look(host.directory / "state")


def problem(host: Host) -> str:
    return look(host)[1]


def wait_for_changes(host: Host) -> None:
    host.wait_for_ksm(("1", "190"))
    wait_until(lambda: len(getattr(look(host)[0], "changed", ())) == 2, "the status has the changes")


def test_status_of_one_at_work_and_of_one_that_was_killed_or_stopped(host: Host) -> None:
    none = ask(host, "status")
    assert none.returncode == 1
    assert "no actuator is at work: none has run with the state directory" in none.stdout
    url = host.exporter()
    actuator = host.actuator(url, "--apply")
    wait_for_changes(host)
    done = ask(host, "status")
    assert done.returncode == 0
    assert f"applies its decisions, pid {actuator.process.pid}, since" in done.stdout
    assert "  host ksm.pages_to_scan 100 -> 190, by ksm_on at" in done.stdout
    told = json.loads(ask(host, "status", "--output", "json").stdout)
    assert (told["problem"], told["rules"][0]["name"], told["rules"][0]["active"]) == ("", "ksm_on", 1)
    actuator.end(signal.SIGKILL)
    done = ask(host, "status")
    assert done.returncode == 1
    assert "2 changed values are left, which `kvmtune-actuator restore` puts back" in done.stdout
    run("kvmtune-actuator", "restore", *host.options)
    assert problem(host) == f"it was killed or has crashed (there is no process {actuator.process.pid})"
    again = host.actuator(url)
    wait_until(lambda: not problem(host), "a dry run has a status, too")
    again.end(signal.SIGTERM)
    assert "it was stopped at" in problem(host)


def test_one_that_hangs_is_told_from_one_that_is_dead(host: Host) -> None:
    actuator = host.actuator(host.exporter())
    wait_until(lambda: not problem(host), "it is at work")
    actuator.process.send_signal(signal.SIGSTOP)
    assert problem(host) == ""  # not yet: it is given ten seconds
    file = host.directory / "state/status.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "ended": told["ended"] - 60}))
    assert "it is stuck: the last good tick was 1m" in problem(host)
    actuator.process.send_signal(signal.SIGCONT)
    wait_until(lambda: not problem(host), "it is at work again")


def test_a_pause_of_a_running_actuator(host: Host) -> None:
    host.rules.write_text(FASTER)
    actuator = host.actuator(host.exporter(), "--apply")
    wait_until(lambda: host.ksm()[1] not in ("", "100"), "it acts")
    done = ask(host, "pause", "--for", "1h", "--because", "upgrade")
    assert done.returncode == 0
    assert ": upgrade\nnothing is written from its next tick on\n" in done.stdout
    actuator.wait_for(r"paused +ksm_on: host ksm.pages_to_scan .*paused until .*: upgrade\)")
    url = actuator.wait_for(r"own metrics on (\S+)")[1]
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
        assert b"\nkvmtune_actuator_paused 1.0\n" in response.read()
    pages = host.ksm()[1]
    assert "paused      until" in ask(host, "status").stdout
    time.sleep(0.5)
    assert host.ksm()[1] == pages
    # It outlasts a crash, and a start.
    actuator.end(signal.SIGKILL)
    actuator = host.actuator(host.exporter(), "--apply")
    actuator.wait_for(r"INFO paused until .*: upgrade")
    actuator.wait_for(r"paused +ksm_on")
    assert host.ksm()[1] == pages
    assert ask(host, "resume").stdout == "the pause is over\n"
    wait_until(lambda: host.ksm()[1] not in ("", pages), "it acts again")
    assert ask(host, "resume").stdout == "nothing was paused\n"
    ask(host, "pause")
    actuator.wait_for("INFO paused until `kvmtune-actuator resume`")
    assert actuator.end(signal.SIGTERM) == 0
    assert host.ksm() == ("0", "100")
    assert "no actuator is at work now: it was stopped" in ask(host, "pause").stdout


def test_a_pause_that_cannot_be_said(host: Host) -> None:
    for command in ("pause", "resume"):
        done = run("kvmtune-actuator", command, "--state-dir", host.rules)
        assert (done.returncode, done.stdout) == (1, "")
        assert " a directory; give another --state-dir" in done.stderr or "File exists; give another" in done.stderr


@pytest.mark.parametrize("command", ["status", "schema", "check {rules}", "explain ksm.run"])
def test_an_output_that_takes_nothing_is_said(host: Host, command: str) -> None:
    words = command.format(rules=host.rules).split()
    state = ["--state-dir", host.directory / "state"] if words[0] in ("status", "explain") else []
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [BIN / "kvmtune-actuator", *words, *state], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "cannot write the output: No space left on device")
    assert "Traceback" not in done.stderr


def test_explain_tells_what_was_decided_over_runs(host: Host) -> None:
    url = host.exporter()
    actuator = host.actuator(url, "--apply")
    wait_for_changes(host)
    done = ask(host, "explain", "ksm_on")
    assert done.returncode == 0
    for told in (
        "  because: It is a test.",
        "  when: kvm_ksm_run == 0",
        "now\n  holds for 1\n",
        "  host ksm.run 0 -> 1, by",
    ):
        assert told in done.stdout
    assert "written     ksm_on: host ksm.pages_to_scan 100 -> 190 | It is a test. (when = 0)" in done.stdout
    actuator.process.send_signal(signal.SIGHUP)
    actuator.wait_for("reloaded")
    actuator.end(signal.SIGTERM)
    host.actuator(url).wait_for("would write")
    done = ask(host, "explain", "ksm.run")
    lines = [line.split(maxsplit=2)[2] for line in done.stdout.splitlines() if line.startswith("  2")]
    assert lines[:7] == [
        "written     ksm_on: host ksm.run 0 -> 1 | It is a test. (when = 0)",
        "unchanged   ksm_on: host ksm.run 1 | It is a test. (when = 0)",
        "actuator reloaded: 1 tuning rules",
        "restored    restore: host ksm.run 0 | What we changed is put back.",
        "actuator stopped",
        "dry run: actuator started: version 0.1.0, dry run",
        "dry run: would write ksm_on: host ksm.run 0 -> 1 | It is a test. (when = 0)",
    ]
    done = ask(host, "explain", "ksm_of")
    assert (done.returncode, done.stderr) == (
        2,
        "no rule, knob or guest 'ksm_of' is known here (did you mean ksm_on?)\n",
    )


def test_a_dry_run_goes_on_without_a_state_directory(host: Host) -> None:
    (host.directory / "state").write_text("not a directory")
    actuator = host.actuator(host.exporter())
    actuator.wait_for("would write ksm_on: host ksm.pages_to_scan 100 -> 190")
    assert actuator.output.count("cannot be written") == 2  # history and status, once each
    assert actuator.end(signal.SIGTERM) == 0


def test_top_prints_a_frame(host: Host) -> None:
    url = host.exporter()
    host.actuator(url, "--apply")
    host.wait_for_ksm(("1", "190"))
    done = ask(host, "top", "--once", "--scrape.url", url)
    assert (done.returncode, done.stderr) == (0, "")
    for told in ("the actuator applies its decisions", "62.7 GiB available", "pressure  cpu", "web  ", "100 -> 190"):
        assert told in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_top_without_anybody(host: Host) -> None:
    done = ask(host, "top", "--once", "--scrape.url", "http://127.0.0.1:9/metrics")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no actuator is at work; `kvmtune-actuator status` says why" in done.stdout
    assert "is the exporter" in done.stdout


@pytest.mark.parametrize("end", [b"q", b"\x03", signal.SIGTERM])
def test_top_in_a_terminal_of_80_by_24_until_it_is_ended(host: Host, end: bytes | signal.Signals) -> None:
    command = ["kvmtune-actuator", "top", "--scrape.url", host.exporter(), "--state-dir", str(host.directory / "state")]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(BIN / command[0], command, {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    os.set_blocking(terminal, False)
    shown = b""

    def has_shown(what: bytes) -> bool:
        nonlocal shown
        with suppress(OSError):  # nothing yet, or it has ended
            shown += os.read(terminal, 65536)
        return what in shown

    wait_until(lambda: has_shown(b"LAST DECISIONS"), "a frame")
    settings = termios.tcgetattr(terminal)[3]
    assert not settings & termios.ICANON
    if isinstance(end, bytes):
        os.write(terminal, end)
    else:
        os.kill(pid, end)
    wait_until(lambda: has_shown(b"\x1b[?1049l"), "the screen is left", PATIENCE_SECONDS)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert termios.tcgetattr(terminal)[3] & termios.ICANON
    assert b"Traceback" not in shown
    os.close(terminal)
