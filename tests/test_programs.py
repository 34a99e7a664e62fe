"""Both programs as an operator starts them, on a host made of files: no root, no libvirt, real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from actuator.ledger.ledger import Ledger
from actuator.ledger.records import Intent
from tests.filehost import RULES, Host, host_in
from tests.programs import BIN, PATIENCE_SECONDS, run, wait_until

BROKEN = RULES.replace("because", "becuase").replace("ksm.run: 1", "ksm.ran: 1").replace("300ms", "soon")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path) as host:
        yield host


def test_a_dry_run_explains_and_writes_nothing(host: Host) -> None:
    actuator = host.actuator(host.exporter())
    line = actuator.wait_for(r"(?m)^.*pages_to_scan.*$")[0]
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d would write ksm_on: host ksm.pages_to_scan 100 -> 190 \| It is a test. \(when = 0\)", line
    )
    assert "dry run: nothing is written" in actuator.output
    assert actuator.end(signal.SIGINT) == 0
    assert host.ksm() == ("0", "100")
    assert not (host.directory / "state/ledger.jsonl").exists()
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


def test_guests_of_another_libvirt_are_not_taken_for_gone_until_they_are_given_up(host: Host) -> None:
    (host.directory / "state").mkdir()
    ledger = Ledger(host.directory / "state")
    ledger.connect("test:///gone")
    lent = Intent(id=1, time=1, knob="balloon.target", target=(("domain", "web-1"),), identity="uuid", before=2**30, after=2**29, rule="r", because="b")  # fmt: skip
    ledger.append(lent)
    ledger.close()
    restore = f"kvmtune-actuator restore --state-dir {host.directory}/state"
    for command in ((*host.actuator_arguments("http://127.0.0.1:1/metrics"), "--apply"), ("restore", *host.options)):
        done = run("kvmtune-actuator", *command)
        assert done.returncode == 1
        assert done.stderr == (
            f"{host.directory}/state/ledger.jsonl has changes to guests of test:///gone, and to test:///nowhere they would "
            f"be gone: put them back by '{restore}', which asks test:///gone; if that is gone for good, "
            f"'{restore} --forget-guests' gives them up\n"
        )
    done = run("kvmtune-actuator", "restore", *host.options, "--forget-guests")
    assert done.stdout.splitlines() == [
        "forgotten: web-1 balloon.target was 1 GiB",
        "nothing to restore: no value is changed",
    ]
    assert done.returncode == 0


def test_only_one_acts_on_a_host_whatever_its_state_directory(host: Host) -> None:
    url = host.exporter()
    first = host.actuator(url, "--apply")
    host.wait_for_ksm(("1", "190"))
    (host.directory / "other").mkdir()
    (host.directory / "other/ledger.jsonl").touch()
    for command in (("run", "--apply", "--rules", host.rules), ("restore",)):
        for state in ("state", "other"):
            done = run("kvmtune-actuator", *command, *host.options, "--state-dir", host.directory / state)
            assert done.returncode == 1
            locked = f"pid {first.process.pid} has locked {host.root}/sys/kernel/mm"
            assert done.stderr == f"another kvmtune-actuator is at work ({locked}): stop it first\n"
    assert host.ksm() == ("1", "190")
    dry = host.actuator(url)
    dry.wait_for("dry run: nothing is written")
    assert dry.end(signal.SIGTERM) == 0
    first.end(signal.SIGKILL)
    assert run("kvmtune-actuator", "restore", *host.options).returncode == 0
    assert host.ksm() == ("0", "100")


SWAP = """
groups:
  - name: g
    rules:
      - tune: swap_less
        because: "It is a test."
        when: kvm_ksm_run == 0
        set: {sysctl.vm.swappiness: 11}
        persist: true
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_kept_for_the_next_boot_goes_with_what_was_set(host: Host, end: signal.Signals) -> None:
    host.rules.write_text(SWAP)
    swappiness, drop_in = host.root / "proc/sys/vm/swappiness", host.root / "etc/sysctl.d/90-kvmtune.conf"
    before = swappiness.read_text()
    actuator = host.actuator(host.exporter(), "--apply")
    wait_until(drop_in.exists, "it is kept")
    wait_until(lambda: '"outcome"' in (host.directory / "state/ledger.jsonl").read_text(), "it is done")
    assert swappiness.read_text() == "11\n"
    assert drop_in.read_text().endswith("vm.swappiness = 11\n")
    actuator.end(end)
    if end == signal.SIGKILL:
        assert drop_in.exists()
        assert run("kvmtune-actuator", "restore", *host.options).returncode == 0
    assert not drop_in.exists()
    assert swappiness.read_text() == before


def test_on_stop_keep_keeps_it_for_the_next_boot(host: Host) -> None:
    host.rules.write_text(SWAP)
    drop_in = host.root / "etc/sysctl.d/90-kvmtune.conf"
    actuator = host.actuator(host.exporter(), "--apply", "--on-stop", "keep")
    wait_until(drop_in.exists, "it is kept")
    assert actuator.end(signal.SIGTERM) == 0
    assert drop_in.read_text().endswith("vm.swappiness = 11\n")


POOL = """
groups:
  - name: g
    rules:
      - tune: pool
        because: "It is a test."
        when: kvm_ksm_run == 0
        set: {hugepages.pool: 'kvm_hugepages_node_nr{node="0",size="2MiB"} + 1'}
        persist: true
"""


def test_on_stop_keep_keeps_for_the_next_boot_what_no_tick_has_read_back(host: Host) -> None:
    host.rules.write_text(POOL)
    ledger = host.directory / "state/ledger.jsonl"
    actuator = host.actuator(host.exporter(), "--apply", "--on-stop", "keep", "--interval", "1h")
    actuator.wait_for("written +pool: node 0/size 2MiB hugepages.pool")
    assert '"outcome"' not in ledger.read_text()
    assert actuator.end(signal.SIGTERM) == 0
    assert '"outcome"' in ledger.read_text()
    assert list((host.root / "etc").glob("*.d/90-kvmtune.conf"))


def test_restore_removes_what_nothing_owns(host: Host) -> None:
    """As after an /etc that could not be written."""
    (host.directory / "state").mkdir()
    (host.directory / "state/ledger.jsonl").touch()
    drop_in = host.root / "etc/sysctl.d/90-kvmtune.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(
        "# Written by kvmtune-actuator, and written anew with each change: do not edit.\nvm.swappiness = 1\n"
    )
    assert run("kvmtune-actuator", "restore", *host.options).returncode == 0
    assert not drop_in.exists()


def test_a_quarantine_outlives_kill_9_and_can_be_released(host: Host) -> None:
    host.rules.write_text(RULES.rstrip() + "\n        verify: {expr: kvm_ksm_run == 7, within: 200ms}\n")
    url = host.exporter()
    first = host.actuator(url, "--apply")
    first.wait_for("is in quarantine: verify did not hold within 200ms")
    first.end(signal.SIGKILL)
    state = ("--state-dir", host.directory / "state")
    listed = run("kvmtune-actuator", "release", *state)
    assert listed.returncode == 0
    assert "ksm_on leaves ksm.run of host alone: verify did not hold within 200ms after" in listed.stdout
    second = host.actuator(url, "--apply", "--verbose")
    second.wait_for("quarantined ksm_on: host ksm.run")
    assert "written" not in second.output
    with urllib.request.urlopen(second.wait_for(r"own metrics on (\S+)")[1], timeout=5) as response:
        metrics = response.read().decode()
    assert "\nkvmtune_actuator_quarantined_targets 2.0\n" in metrics
    assert "\nkvmtune_actuator_drifted_targets 0.0\n" in metrics
    size = (host.directory / "state/ledger.jsonl").stat().st_size
    assert f"\nkvmtune_actuator_ledger_bytes {size:.1f}\n" in metrics
    unknown = run("kvmtune-actuator", "release", "ksm_off", *state)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.splitlines() == [
        "nothing is left alone by the name of ksm_off",
        "there is: host, ksm.pages_to_scan, ksm.run, ksm_on",
    ]
    asked = run("kvmtune-actuator", "release", "ksm.run", *state)
    assert (asked.returncode, asked.stdout.splitlines()[-1]) == (
        0,
        "it is released at the actuator's next tick, or when one starts",
    )
    second.wait_for("written     ksm_on: host ksm.run 0 -> 1")
    assert second.end(signal.SIGTERM) == 0
    assert host.ksm() == ("0", "100")


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
    done = run("kvmtune-actuator", "check", "--interval", "100ms", "--strict", host.rules)
    assert (done.returncode, done.stdout) == (0, "no problems (groups: 1, tuning rules: 1)\n")


@pytest.mark.parametrize(("flags", "status"), [((), 0), (("--strict",), 1)])
def test_what_may_not_be_meant_is_a_warning(host: Host, flags: tuple[str, ...], status: int) -> None:
    done = run("kvmtune-actuator", "check", *flags, host.rules)
    assert (done.returncode, done.stdout) == (status, "warnings: 1 (groups: 1, tuning rules: 1)\n")
    assert done.stderr.startswith(f"{host.rules}:9:14: warning: ksm_on: 'for' (300ms) is shorter than the 5s")


def test_a_metric_that_nobody_exports_is_an_error_to_check_and_a_line_to_run(host: Host) -> None:
    host.rules.write_text(RULES.replace("kvm_ksm_run == 0", "kvm_ksm_rum == 0"))
    done = run("kvmtune-actuator", "check", host.rules)
    assert (done.returncode, done.stdout) == (2, "")
    assert "asks for kvm_ksm_rum, which no collector exports" in done.stderr
    assert done.stderr.endswith("problems: 1; nothing was done\n")
    actuator = host.actuator(host.exporter())
    actuator.wait_for("the exporter of this version has no kvm_ksm_rum: `kvmtune-actuator check` says where")
    actuator.wait_for("each decision is told here")
    assert actuator.end(signal.SIGTERM) == 0


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


@pytest.mark.parametrize(
    "command",
    ["check {}", "check {dir}", "check {rules} --policy {}", "test {}", "replay x.om --rules {}", "promqltest {}"],
)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_named_and_not_waited_for(host: Host, tmp_path: Path, command: str, kind: str) -> None:
    file = tmp_path / "strange/x.yml"
    file.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    done = run("kvmtune-actuator", *command.format(file, dir=file.parent, rules=host.rules).split())
    assert done.returncode == 2
    assert f"{file}" in done.stderr
    assert "not a regular file" in done.stderr


def test_a_reload_of_a_pipe_keeps_the_last_good_rules(host: Host) -> None:
    actuator = host.actuator(host.exporter(), "--apply")
    host.wait_for_ksm(("1", "190"))
    host.rules.unlink()
    os.mkfifo(host.rules)
    actuator.process.send_signal(signal.SIGHUP)
    actuator.wait_for("rules or policy on disk are refused, the last good ones stay in force:\n.*not a regular file")
    assert actuator.end(signal.SIGTERM) == 0
    assert host.ksm() == ("0", "100")


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
        (["run", "--path.rootfs", "/nope"], 2, "there is no /nope/proc/meminfo: --path.rootfs names where"),
        (["run", "--state-dir", ""], 2, "it is empty: name a directory"),
        (["status", "--state-dir", ""], 2, "it is empty: name a directory"),
        (["replay", "/absent", "--rules", "{rules}", "-o", "json"], 2, "cannot read /absent"),
        (["run", "--rules", "/absent"], 2, "/absent:1:1: cannot be read: No such file or directory"),
        (["run", "--web.config.file", "/absent"], 2, "/absent:1:1: cannot be read: No such file or directory"),
        (["check", "/absent", "--policy", "/gone"], 2, "/gone:1:1: cannot be read"),
    ],
)
def test_arguments(host: Host, arguments: list[str], status: int, told: str) -> None:
    rules = ["--rules", str(host.rules)] if arguments[:1] == ["run"] and "--rules" not in arguments else []
    done = run("kvmtune-actuator", *(word.format(rules=host.rules) for word in arguments), *rules)
    assert done.returncode == status
    assert told in " ".join((done.stdout + done.stderr).split())


def test_a_port_in_use_is_said_with_the_next_step(host: Host) -> None:
    url = host.exporter()
    taken = url.split("/")[2]
    done = run("kvmtune-actuator", "run", "--rules", host.rules, "--web.listen-address", taken)
    assert done.returncode == 1
    assert "or choose another --web.listen-address" in done.stderr
