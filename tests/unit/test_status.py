"""What a running actuator tells of itself, and what is made of it later."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actuator.commands.status import report
from actuator.console import status
from actuator.console.pause import Pause
from actuator.console.status import NAME, Changed, Quarantined, RuleStatus, Status, Tick, is_alive, look, problem, read
from actuator.decision import Decision
from actuator.knobs import HOST
from tests.disks import full_disk

GUEST = (("domain", "web-1"),)
DECISION = Decision(time=100, rule="r", knob="ksm.run", target=HOST, outcome="written", before=0, after=1, because="b")
STATUS = Status(
    version="0.1.0",
    mode="apply",
    pid=os.getpid(),
    process_started=status.process_started(os.getpid()) or 0,
    started=50.0,
    interval_seconds=5.0,
    rules_from=("/etc/kvmtune/rules",),
    ended=1000.0,
    tick=Tick(time=100.0, monotonic=1000.0, seconds=0.02, lag_seconds=0.001),
    data_age_seconds=0.0,
    data_error="",
    paused=None,
    rules=(RuleStatus(name="r", mode="apply", active=1, pending=2, faults=("no data of x",)),),
    changed=(Changed(knob="balloon.target", target=GUEST, original=2**30, now=2**29, rule="r", since=100.0),),
    quarantined=(Quarantined(rule="r", knob="ksm.run", target=HOST, reason="verify did not hold"),),
    decisions=(DECISION, replace(DECISION, value=float("inf"))),
)
IDLE = replace(STATUS, tick=None, data_age_seconds=None, rules=(), changed=(), quarantined=(), decisions=())


@pytest.mark.parametrize(
    "told", [STATUS, IDLE, replace(STATUS, paused=Pause(since=1, until=2.5, because="u"), stopped=9.0)]
)
def test_it_is_read_as_it_was_written(told: Status, tmp_path: Path) -> None:
    status.write(tmp_path / "new", told)
    assert read(tmp_path / "new") == told
    json.loads((tmp_path / "new" / NAME).read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("told", "alive", "monotonic", "expected"),
    [
        (STATUS, True, 1003, ""),
        (STATUS, True, 1024, ""),
        (STATUS, True, 1026, "it is stuck: the last good tick was 26s ago (it hangs, or cannot write this file)"),
        (replace(STATUS, tick=replace(STATUS.tick, error="disk full")), True, 1026, "26s ago (disk full); see its log"),  # type: ignore[type-var]
        (replace(STATUS, interval_seconds=60), True, 1150, ""),
        (IDLE, True, 1003, ""),
        (STATUS, False, 1003, "it was killed or has crashed (there is no process {pid}); 2 changed values"),
        (replace(STATUS, stopped=200.0), False, 1003, "it was stopped at 1970-01-01"),
    ],
)
def test_why_it_is_not_at_work(told: Status, alive: bool, monotonic: float, expected: str) -> None:
    found = problem(told, alive=alive, changed=2, monotonic=monotonic)
    assert expected.format(pid=told.pid) in found
    assert bool(found) == bool(expected)


def test_a_damaged_ledger_leaves_unknown_what_is_changed() -> None:
    told = problem(STATUS, alive=False, changed=0, doubts=2, monotonic=1003)
    assert "the ledger is damaged: what else is changed is not known" in told


def test_what_restore_has_put_back_is_not_counted() -> None:
    assert "restore" not in problem(STATUS, alive=False, changed=0, monotonic=1003)


def test_the_process_is_known_from_others_with_its_pid() -> None:
    assert is_alive(STATUS)
    assert not is_alive(replace(STATUS, process_started=STATUS.process_started - 1))
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its pid is still taken
    assert status.process_started(child.pid) is None
    child.wait()
    assert status.process_started(child.pid) is None


def test_a_look(tmp_path: Path) -> None:
    assert look(tmp_path)[0] is None
    assert (
        f"none has run with the state directory {tmp_path} yet: `kvmtune-actuator run` starts one" in look(tmp_path)[1]
    )
    now = time.monotonic()
    told = replace(STATUS, ended=now)
    status.write(tmp_path, told)
    assert look(tmp_path) == (told, "")


@pytest.mark.parametrize("content", ["{}", "[]", '{"version": 1', "null"])
def test_a_look_at_what_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content)
    found, why = look(tmp_path)
    assert found is None
    assert f"{tmp_path / NAME} is not of this version of kvmtune" in why


def test_on_a_full_disk_nothing_old_is_told(tmp_path: Path) -> None:
    status.write(tmp_path, STATUS)
    with full_disk(20), pytest.raises(OSError, match="File too large"):
        status.write(tmp_path, replace(STATUS, stopped=200.0))
    assert [file.name for file in tmp_path.iterdir()] == [NAME]
    assert "is empty, as where the disk was full when it was written" in look(tmp_path)[1]
    status.write(tmp_path, STATUS)
    assert read(tmp_path) == STATUS


def test_a_look_where_there_can_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory; give another --state-dir" in look(tmp_path / "file")[1]


def test_the_report() -> None:
    lines = list(report(replace(STATUS, paused=Pause(since=1, because="upgrade")), "", 1002.0))
    date, clock = (time.strftime(form, time.localtime(100)) for form in ("%F %T", "%T"))
    assert lines == [
        f"kvmtune-actuator 0.1.0, applies its decisions, pid {os.getpid()}, since {time.strftime('%F %T', time.localtime(50))}",
        "last tick   2s ago, took 20ms, 1ms late, every 5s",
        "data        all there",
        "paused      until `kvmtune-actuator resume`: upgrade",
        "rules       1",
        "  r: 1 active, 2 pending, cannot decide: no data of x",
        "changed     1",
        f"  web-1 balloon.target 1 GiB -> 512 MiB, by r at {date}",
        "quarantine  1",
        "  r leaves host ksm.run alone: verify did not hold",
        "decisions   the last ones; `kvmtune-actuator explain NAME` tells more",
        f"  {clock} written     r: host ksm.run 0 -> 1 | b",
        f"  {clock} written     r: host ksm.run 0 -> 1 | b (when = inf)",
    ]


def test_the_report_of_one_that_waits_for_data() -> None:
    lines = list(report(replace(IDLE, data_error="connection refused", mode="dry run"), "it was stopped", 1002.0))
    assert lines[:2] == ["no actuator is at work: it was stopped", "As it was at its last tick:"]
    assert lines[3:] == [
        "last tick   none yet",
        "data        never there yet: connection refused",
        "paused      no",
        "rules       0",
        "changed     nothing",
        "quarantine  nothing",
        "decisions   none",
    ]
