"""What goes wrong around a write: real processes, ended, refused or interfered with at any step of it.

Promised is that no fault loses the ledger, leaves a knob changed and unrecorded, or stops the loop.
"""

from __future__ import annotations

import re
import resource
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import strace
from tests.filehost import HOLDS, HOLDS_NOT, SCAN_FASTER, Host, host_in
from tests.programs import PATIENCE_SECONDS, Program, run, wait_until
from tests.target import Target, hang

NOTHING = "nothing to restore: no value is changed\n"


@pytest.fixture
def target() -> Iterator[Target]:
    """An exporter whose answers the test gives."""
    target = Target()
    target.answer = HOLDS
    yield target
    target.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path) as host:
        host.rules.write_text(SCAN_FASTER)
        yield host


def url(target: Target) -> str:
    return f"http://{target.address}/metrics"


def ledger(host: Host) -> Path:
    return host.directory / "state/ledger.jsonl"


def knob(host: Host) -> Path:
    return host.ksm_files / "pages_to_scan"


def acting(host: Host, target: Target, *inject: str, on: tuple[Path, ...] = ()) -> Program:
    """An actuator that writes; `inject` is what strace does to it at its calls on these files."""
    prefix = strace.by(host.directory / "strace", on, *inject) if on else ()
    return host.actuator(url(target), "--apply", prefix=prefix)


def write_is_recorded(host: Host) -> bool:
    return ledger(host).exists() and b'"kind":"outcome"' in ledger(host).read_bytes()


def settle(host: Host) -> None:
    """A file of sysfs keeps its value when it is opened to be written; this one was emptied."""
    if not host.rate:
        host.rate = "100"


def finishes(host: Host) -> None:
    """Whatever has happened, `restore` puts the host back, and says so."""
    settle(host)
    done = host.restore()
    if not ledger(host).exists():
        assert (done.returncode, host.rate) == (2, "100")
        assert "there is no ledger in" in done.stderr
        return
    assert (done.returncode, done.stderr, host.rate) == (0, "", "100")
    assert done.stdout == NOTHING or re.search("pages_to_scan 100: (restored|already there)\n", done.stdout)


@strace.needed
def test_killed_at_any_step_of_a_write_restore_puts_back_what_was_changed(host: Host, target: Target) -> None:
    files = (ledger(host), knob(host))
    reference = acting(host, target, on=files)
    wait_until(lambda: write_is_recorded(host), "the write is done")
    reference.end(signal.SIGKILL)
    steps = list(strace.steps(host.directory / "strace", last="fsync"))
    assert len(steps) >= 8  # the ledger is opened; then intent (2), the knob's value, write (2), read-back, outcome (2)

    def killed(step: tuple[str, int]) -> str:
        call, count = step
        with host_in(host.directory / f"{call}-{count}") as victim:
            victim.rules.write_text(SCAN_FASTER)
            actuator = acting(victim, target, f"{call}:signal=KILL:when={count}", on=(ledger(victim), knob(victim)))
            assert actuator.process.wait(PATIENCE_SECONDS) == -signal.SIGKILL, actuator.output
            found = victim.rate
            finishes(victim)
            return found

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(killed, steps)) >= {"100", "190"}


@strace.needed
def test_a_restore_that_is_killed_at_any_step_can_be_done_again(host: Host, target: Target) -> None:
    actuator = acting(host, target)
    wait_until(lambda: write_is_recorded(host), "the write is done")
    actuator.end(signal.SIGKILL)
    crashed = host.directory / "crashed"
    shutil.copytree(host.directory / "state", crashed / "state")
    host.restore(strace.by(host.directory / "strace", (ledger(host), knob(host))))
    steps = list(strace.steps(host.directory / "strace", last="fsync"))
    assert len(steps) >= 8

    def killed(step: tuple[str, int]) -> str:
        call, count = step
        with host_in(host.directory / f"{call}-{count}") as victim:
            shutil.copytree(crashed / "state", victim.directory / "state")
            victim.rate = "190"
            files = (ledger(victim), knob(victim))
            log = victim.directory / "strace"
            done = victim.restore(strace.by(log, files, f"{call}:signal=KILL:when={count}"))
            assert done.returncode == -signal.SIGKILL, done.stdout
            found = victim.rate
            finishes(victim)
            return found

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(killed, steps)) >= {"100", "190"}


def test_on_a_full_disk_nothing_is_changed_and_it_goes_on_when_there_is_room(host: Host, target: Target) -> None:
    target.answer = HOLDS_NOT
    # What it says goes through a pipe, which no limit on files concerns.
    actuator = host.actuator(
        url(target), "--apply", prefix=("/bin/bash", "-c", 'exec > >(exec cat) 2>&1; exec "$@"', "-")
    )
    actuator.wait_for("the exporter answers")
    before = ledger(host).read_bytes()
    resource.prlimit(actuator.process.pid, resource.RLIMIT_FSIZE, (len(before), resource.RLIM_INFINITY))
    target.answer = HOLDS
    actuator.wait_for("cannot write .*ledger.jsonl: File too large")
    assert (host.rate, ledger(host).read_bytes()) == ("100", before)
    resource.prlimit(actuator.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    host.wait_for_rate("190")
    assert actuator.end(signal.SIGTERM) == 0
    assert host.rate == "100"


@strace.needed
@pytest.mark.parametrize("fault", ["write:error=ENOSPC", "write:error=EROFS", "fsync:error=EIO", "fsync:error=ENOSPC"])
def test_what_cannot_be_recorded_is_not_done(host: Host, target: Target, fault: str) -> None:
    actuator = acting(host, target, fault, on=(ledger(host),))
    wait_until(lambda: strace.injected(host.directory / "strace") >= 3, "it has tried in several ticks")
    assert actuator.end(signal.SIGTERM) == 0
    assert actuator.output.count("nothing is written without a ledger: cannot write") == 1
    assert host.rate == "100"
    assert b"intent" not in ledger(host).read_bytes()  # it was taken back: nothing was done
    finishes(host)


@strace.needed
@pytest.mark.parametrize("fault", ["write:error=ENOSPC:when=2+", "fsync:error=EIO:when=2+"])
def test_when_the_disk_is_full_between_intent_and_outcome_stopping_still_puts_back(
    host: Host, target: Target, fault: str
) -> None:
    actuator = acting(host, target, fault, on=(ledger(host),))
    host.wait_for_rate("190")
    actuator.wait_for("cannot write .*ledger.jsonl")
    assert actuator.end(signal.SIGTERM) == 0
    assert "restoring all the same" in actuator.output
    assert host.rate == "100"
    finishes(host)


def test_a_torn_and_a_foreign_line_of_the_ledger_are_named_and_cost_nothing_else(host: Host, target: Target) -> None:
    first = acting(host, target)
    wait_until(lambda: write_is_recorded(host), "the write is done")
    first.end(signal.SIGKILL)
    intact = ledger(host).read_bytes()
    ledger(host).write_bytes(b"hello\n" + intact + b'{"kind":"intent","id":7,"tim')
    second = acting(host, target)
    second.wait_for("ledger.jsonl:1: .*: what this record changed is not known")
    second.wait_for("ends in a record that a crash has cut short")
    second.wait_for("values are still changed from an earlier run")
    assert second.end(signal.SIGTERM) == 0
    assert host.rate == "100"


@pytest.mark.parametrize("damage", [b"#", b"\x00\xff"])
def test_a_damaged_ledger_is_not_taken_for_nothing_changed(host: Host, target: Target, damage: bytes) -> None:
    actuator = acting(host, target)
    wait_until(lambda: write_is_recorded(host), "the write is done")
    actuator.end(signal.SIGKILL)
    lines = ledger(host).read_bytes().splitlines(keepends=True)
    ledger(host).write_bytes(b"".join(damage + line for line in lines))
    state = ("--state-dir", host.directory / "state")
    assert "the ledger is damaged" in run("kvmtune-actuator", "status", *state).stdout
    assert "is not known" in run("kvmtune-actuator", "release", *state).stderr
    assert "is not known" in run("kvmtune-actuator", "explain", "ksm.run", *state).stderr
    done = host.restore()
    assert (done.returncode, host.rate) == (1, "190")
    assert done.stdout == "nothing to restore: no value is known to be changed\n"
    assert f"{ledger(host)}:1: " in done.stderr
    assert done.stderr.endswith("damaged records are left: put back by hand what they tell of, and remove them\n")


def test_restore_takes_no_other_directory_for_one_without_changes(host: Host) -> None:
    done = host.restore()
    state = host.directory / "state"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"there is no ledger in {state}: --state-dir names that of the actuator\n"
    assert not state.exists()


def test_what_someone_else_set_before_is_what_is_put_back(host: Host, target: Target) -> None:
    host.rate = "130"
    actuator = acting(host, target)
    host.wait_for_rate("190")
    assert actuator.end(signal.SIGTERM) == 0
    assert host.rate == "130"


# The value is read for the rule, once more right before it is written, and once afterwards.
@strace.needed
@pytest.mark.parametrize(
    ("look", "found", "told"),
    [(2, "100", "someone else has set it to 555 since"), (4, "190", "someone else set it to 555")],
)
def test_what_someone_else_sets_during_a_write_is_not_lost(
    host: Host, target: Target, look: int, found: str, told: str
) -> None:
    actuator = acting(host, target, f"openat:delay_enter=2000000:when={look}", on=(knob(host),))
    actuator.wait_for("each decision is told here")  # while it starts, strace holds it as well
    wait_until(lambda: strace.is_held(actuator.process.pid), "it is about to look")
    assert host.rate == found
    host.rate = "555"
    actuator.wait_for(told)
    assert actuator.end(signal.SIGTERM) == 0
    assert host.rate == "555"


def test_what_someone_else_sets_afterwards_stays(host: Host, target: Target) -> None:
    actuator = acting(host, target)
    wait_until(lambda: write_is_recorded(host), "the write is done")
    host.rate = "555"
    actuator.wait_for("someone else set it to 555 after we wrote 190")
    assert actuator.end(signal.SIGTERM) == 0
    assert host.rate == "555"
    assert host.restore().stdout == NOTHING


ADVICE = {
    "EACCES": "Permission denied; grant",
    "EBUSY": "not ready",
    "EINVAL": "the KSM advisor is on",
    "ENOMEM": "not enough memory",
}
OTHER = SCAN_FASTER.replace("scan_faster", "scan_often").replace(
    "ksm.pages_to_scan: kvm_ksm_pages_to_scan * 1.9", "ksm.sleep_millisecs: 30"
)


@strace.needed
@pytest.mark.parametrize("error", ADVICE)
def test_a_write_that_the_kernel_refuses_is_explained_and_costs_nothing_else(
    host: Host, target: Target, error: str
) -> None:
    host.rules.write_text(SCAN_FASTER + OTHER.split("rules:\n")[1])
    # Each third time that it is opened, it is to be written: before, the value is read for the rule, and for the write.
    actuator = acting(host, target, f"openat:error={error}:when=3+3", on=(knob(host),))
    actuator.wait_for(f"failed +scan_faster: host ksm.pages_to_scan .*{ADVICE[error]}")
    wait_until(lambda: (host.ksm_files / "sleep_millisecs").read_text() == "30\n", "the other rule acts")
    assert host.rate == "100"
    assert actuator.end(signal.SIGTERM) == 0
    assert (host.ksm_files / "sleep_millisecs").read_text() != "30\n"
    finishes(host)


def test_stopped_in_a_tick_that_waits_for_the_exporter_it_puts_back_at_once(host: Host, target: Target) -> None:
    actuator = acting(host, target)
    wait_until(lambda: write_is_recorded(host), "the write is done")
    target.answer = hang
    target.request = b""
    wait_until(lambda: target.request != b"", "it waits")
    assert actuator.end(signal.SIGTERM) == 0
    assert host.rate == "100"


@strace.needed
def test_rules_whose_file_system_does_not_answer_keep_it_from_nothing(host: Host, target: Target) -> None:
    actuator = acting(host, target)
    wait_until(lambda: write_is_recorded(host), "the write is done")
    hold = host.start(
        "/usr/bin/env", "strace", "-f", "-p", str(actuator.process.pid), "-P", host.rules, "-e", "trace=openat",
        "-e", "inject=openat:delay_enter=3600000000",
    )  # fmt: skip
    try:
        hold.wait_for("attached")
        actuator.process.send_signal(signal.SIGHUP)
        actuator.wait_for("rules and policy cannot be read within 10s")
        actuator.process.send_signal(signal.SIGTERM)
        host.wait_for_rate("100")
    finally:
        hold.process.kill()  # nobody is seen to have ended while it holds a thread of theirs
    assert actuator.process.wait(PATIENCE_SECONDS) == 0


@strace.needed
@pytest.mark.parametrize("step", ["write:signal=TERM:when=1", "write:signal=TERM:when=2", "write:signal=TERM:when=3"])
def test_stopped_at_any_write_of_a_tick_it_puts_back(host: Host, target: Target, step: str) -> None:
    actuator = acting(host, target, step, on=(ledger(host), knob(host)))
    assert actuator.process.wait(PATIENCE_SECONDS) == 0
    assert "restore: host ksm.pages_to_scan 100: restored" in actuator.output
    finishes(host)


def test_a_thousand_rules_on_ten_thousand_series_keep_their_pace(host: Host, target: Target) -> None:
    target.answer = HOLDS + "".join(f'load{{n="{n}"}} {n}\n' for n in range(10_000)).encode()
    one = SCAN_FASTER.split("rules:\n")[1]
    others = [
        one.replace("scan_faster", f"r{n}").replace("kvm_ksm_run == 0", f'load{{n="{n}"}} < 0') for n in range(999)
    ]
    host.rules.write_text(SCAN_FASTER + "".join(others))
    actuator = acting(host, target)
    host.wait_for_rate("190")
    metrics = actuator.wait_for(r"own metrics on (\S+)")[1]
    wait_until(lambda: gauge(metrics, "ticks_total") >= 4, "it ticks on")
    assert gauge(metrics, "tick_duration_seconds") < 2  # 0.2 s on a CPU of its own
    assert gauge(metrics, "scrape_success") == 1
    assert actuator.end(signal.SIGTERM) == 0
    assert host.rate == "100"


def gauge(metrics: str, name: str) -> float:
    """A value that the actuator tells of itself."""
    with urllib.request.urlopen(metrics, timeout=PATIENCE_SECONDS) as response:
        found = re.search(rf"(?m)^kvmtune_actuator_{name} (\S+)$", response.read().decode())
    assert found
    return float(found[1])
