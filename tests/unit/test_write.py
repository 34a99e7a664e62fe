"""Writes to files of the kernel: what goes wrong and how it is told, and writes that take long."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from actuator.knobs.write import ADVICE, Disposable, Write, explained, put
from tests.programs import wait_until


def test_a_value_replaces_another(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("1000\n")
    put(file, "1\n")
    assert file.read_text() == "1\n"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "run", "1\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [*ADVICE, errno.EIO])
def test_each_errno_has_a_next_step(number: int) -> None:
    told = explained(Write(Path("/sys/run"), "2\n"), number, {})
    assert told.startswith(f"cannot write 2 to /sys/run: {os.strerror(number)}; ")
    assert told.endswith(ADVICE.get(number, "see dmesg"))


def test_what_a_knob_knows_better_goes_first() -> None:
    assert explained(Write(Path("/run"), "2"), errno.EBUSY, {errno.EBUSY: "unmerge"}).endswith("; unmerge")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """`run` and `value`, both 1."""
    for name in ("run", "value"):
        (tmp_path / name).write_text("1\n")
    return tmp_path / "run", tmp_path / "value"


def test_writes_are_made_in_order(files: tuple[Path, Path]) -> None:
    run, value = files
    assert Disposable().make([Write(run, "2\n"), Write(value, "7\n")], [Write(run, "1\n")], {}) == ""
    assert (run.read_text(), value.read_text()) == ("1\n", "7\n")


def test_a_failure_ends_them_but_not_the_last_ones(files: tuple[Path, Path], tmp_path: Path) -> None:
    run, value = files
    writes = [Write(run, "2\n"), Write(tmp_path, "3\n"), Write(value, "7\n")]
    problem = Disposable().make(writes, [Write(run, "0\n")], {errno.EISDIR: "it is a directory"})
    assert problem == f"cannot write 3 to {tmp_path}: Is a directory; it is a directory"
    assert (run.read_text(), value.read_text()) == ("0\n", "1\n")


def test_nobody_waits_for_a_write_that_takes_long(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A pipe that nobody reads, for a kernel that is busy."""
    run, value = files
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Disposable(patience_seconds=0.05)
    assert writer.make([Write(pipe, "2\n"), Write(value, "7\n")], [Write(run, "0\n")], {}) == ""
    assert writer.is_active
    assert writer.make([Write(value, "8\n")], [], {}) == "earlier writes are still being made: wait for their end"
    assert pipe.read_text() == "2\n"
    wait_until(lambda: not writer.is_active, "the writes are made")
    assert (run.read_text(), value.read_text()) == ("0\n", "7\n")
