"""`kvmtune-actuator promqltest` as a process: what it prints, and its exit status."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.programs import BIN, run

DATA = "load 1m\n  x 1 2 3\n\n"
PASSES = DATA + "eval instant at 2m sum(x)\n  {} 3\n"
FAILS = DATA + "eval instant at 1m x\n  x 3\n"
BEYOND = "eval instant at 0 info(x)\n\neval instant at 0 limitk(1, x)\n\neval instant at 0 info(y)\n"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, script in {"passes": PASSES, "fails": FAILS, "beyond": BEYOND, "broken": "load 1m\n  x one\n"}.items():
        Path(f"{name}.test").write_text(script)
    Path("binary.test").write_bytes(b"\xff\xfe")
    return tmp_path


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("arguments", "status", "printed"),
    [
        (["passes.test"], 0, "passes.test: 1 passed, 0 failed, 0 out of scope\n"),
        (["beyond.test"], 0, "beyond.test: 0 passed, 0 failed, 3 out of scope\n"),
        (
            ["--verbose", "beyond.test"],
            0,
            "beyond.test: 0 passed, 0 failed, 3 out of scope\n"
            "    out of scope: info(): 2, line 1, 5\n"
            "    out of scope: limitk(): 1, line 3\n",
        ),
        (
            ["fails.test", "passes.test"],
            1,
            "fails.test: 0 passed, 1 failed, 0 out of scope\n"
            "fails.test:4: x\n"
            '    {__name__="x"} at 60 s: expected 3.0, got 2.0\n'
            "passes.test: 1 passed, 0 failed, 0 out of scope\n"
            "total: 1 passed, 1 failed, 0 out of scope\n",
        ),
    ],
)
def test_prints_and_status(arguments: list[str], status: int, printed: str) -> None:
    ended = run("kvmtune-actuator", "promqltest", *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, printed, "")


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("broken.test", "broken.test: line 1: load 1m: expected points: one"),
        ("binary.test", "binary.test: 'utf-8' codec can't decode"),
        ("missing.test", "missing.test: [Errno 2] No such file or directory"),
        (".", ".: [Errno 21] Is a directory"),
    ],
)
def test_a_file_that_is_no_script_is_named_and_the_others_run(file: str, said: str) -> None:
    ended = run("kvmtune-actuator", "promqltest", file, "fails.test")
    assert ended.returncode == 2
    assert ended.stderr.startswith(said)
    assert ended.stdout.endswith("total: 0 passed, 1 failed, 0 out of scope, 1 unreadable\n")


@pytest.mark.usefixtures("directory")
def test_a_reader_that_has_seen_enough_is_nothing_to_tell_of() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        command = [BIN / "kvmtune-actuator", "promqltest", "passes.test"]
        ended = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_help_shows_a_script() -> None:
    ended = run("kvmtune-actuator", "promqltest", "--help")
    assert ended.returncode == 0
    assert "eval instant at 10m rate(errors_total[5m])" in ended.stdout
    assert "Exit status: 0" in ended.stdout
