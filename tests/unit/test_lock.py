"""One actuator a host: who has the lock, and when it is free again."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actuator.ledger import lock
from actuator.ledger.lock import LockError

HOLD = "import sys; from pathlib import Path; from actuator.ledger import lock\nwith lock.host(Path(sys.argv[1])): print('has it', flush=True); sys.stdin.read()"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sys/kernel/mm").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the host."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def test_the_holder_is_named(root: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LockError) as told, lock.host(root):
        pass
    assert str(told.value) == (
        f"another kvmtune-actuator is at work (pid {holder.pid} has locked {root}/sys/kernel/mm): stop it first"
    )


def test_it_ends_with_its_holder(root: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.host(root):
        pass
    with lock.host(root):
        pass


def test_other_hosts_are_others(root: Path, holder: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "b/sys/kernel/mm").mkdir(parents=True)
    with lock.host(tmp_path / "b"):
        pass


def test_a_host_without_sys_is_locked_by_its_root(tmp_path: Path) -> None:
    with lock.host(tmp_path), pytest.raises(LockError, match=f"has locked {tmp_path}[)]"), lock.host(tmp_path):
        pass


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(LockError, match=r"cannot lock .*/absent: No such file or directory"),
        lock.host(tmp_path / "absent"),
    ):
        pass
