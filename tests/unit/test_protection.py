"""The actuator's own place among the OOM killer's victims, and its memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from actuator.knobs.write import Disposable, Write
from actuator.protection import spare_from_oom_killer
from kvmhost.childprocess import expose_to_oom_killer
from tests.programs import wait_until


@pytest.mark.parametrize(("before", "after"), [(0, -900), (200, -900), (-900, -900), (-1000, -1000)])
def test_the_actuator_lowers_its_score_and_never_raises_it(tmp_path: Path, before: int, after: int) -> None:
    score = tmp_path / "oom_score_adj"
    score.write_text(f"{before}\n")
    spare_from_oom_killer(score)
    assert int(score.read_text()) == after


def test_without_the_right_it_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    spare_from_oom_killer(tmp_path / "none")
    (record,) = caplog.records
    assert record.levelname == "DEBUG"
    assert "OOMScoreAdjust=-900 in the unit" in record.getMessage()
    assert os.strerror(errno.ENOENT) in record.getMessage()


@pytest.mark.parametrize(("before", "after"), [(-900, 0), (-1, 0), (0, 0), (300, 300)])
def test_a_child_that_can_be_started_again_is_not_spared(tmp_path: Path, before: int, after: int) -> None:
    score = tmp_path / "oom_score_adj"
    score.write_text(f"{before}\n")
    expose_to_oom_killer(score)
    assert int(score.read_text()) == after


def test_who_unmerges_is_the_first_victim(tmp_path: Path) -> None:
    """The kernel marks it, too, while it writes 2 to KSM's run; here it waits for a reader of what it writes."""
    file = tmp_path / "run"
    os.mkfifo(file)
    unmerging = Disposable(patience_seconds=0.5)
    before = children()
    assert unmerging.make([Write(file, "2\n")], [], {}) == ""
    (pid,) = children() - before
    wait_until(lambda: Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n", "it is the first victim")
    assert file.read_text() == "2\n"
    wait_until(lambda: not unmerging.is_active, "it ends")


def children() -> set[int]:
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for one in lists for pid in one.read_text().split()}
