"""The process that talks to libvirt: it answers, it can be killed, and it never outlives us. No daemon is needed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kvmhost.virt import VirtError, VirtTimeout, VirtUnavailable, read_domains
from kvmhost.virtprocess import VirtProcess
from tests.unit.test_virt import needs_libvirt

LONG_S = 30.0
URI = "test:///default"


@pytest.fixture
def virt() -> Iterator[VirtProcess]:
    with VirtProcess(URI, readonly=True) as process:
        yield process


# What the child runs.


def pid(conn: Any) -> int:
    return os.getpid()


def look_up(conn: Any, name: str) -> str:
    return str(conn.lookupByName(name).name())


def hang(conn: Any, fifo: str) -> None:
    """Says through the fifo that it runs, and never returns."""
    Path(fifo).write_text("running")
    threading.Event().wait()


def print_pid_and_hang(conn: Any) -> None:
    print(os.getpid(), flush=True)
    threading.Event().wait()


def print_loudly(conn: Any) -> str:
    print("x" * 100_000)
    return "done"


def megabytes(conn: Any, count: int) -> bytes:
    return bytes(count << 20)


def fail(conn: Any) -> None:
    raise ValueError("no such thing")


class StubbornError(Exception):
    """Pickles, but cannot be made again from its pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail_stubbornly(conn: Any) -> None:
    raise StubbornError(1, 2)


def return_a_lock(conn: Any) -> Any:
    return threading.Lock()


def kill_own_process(conn: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lose_the_connection_once(conn: Any, marker: str) -> str:
    if not Path(marker).exists():
        Path(marker).touch()
        conn.close()
    return str(conn.getType())


# Their results.


@needs_libvirt
def test_a_call_gets_the_connection_and_returns_the_result(virt: VirtProcess) -> None:
    assert virt.call(look_up, "test", timeout_s=LONG_S) == "test"
    assert [domain.name for domain in virt.call(read_domains, timeout_s=LONG_S)] == ["test"]


@needs_libvirt
def test_the_process_and_its_connection_stay(virt: VirtProcess) -> None:
    pids = {virt.call(pid, timeout_s=LONG_S) for _ in range(3)}
    assert len(pids) == 1
    assert os.getpid() not in pids


@needs_libvirt
def test_large_results_and_printing_do_no_harm(virt: VirtProcess) -> None:
    assert len(virt.call(megabytes, 20, timeout_s=LONG_S)) == 20 << 20
    assert virt.call(print_loudly, timeout_s=LONG_S) == "done"


@needs_libvirt
def test_a_libvirt_error_has_code_and_hint_and_is_not_printed(
    virt: VirtProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(VirtError, match="Domain not found") as caught:
        virt.call(look_up, "nobody", timeout_s=LONG_S)
    assert (caught.value.code, caught.value.hint) == (42, "it was shut down or migrated meanwhile")
    assert capfd.readouterr().err == ""


@needs_libvirt
def test_other_errors_come_back_as_they_are(virt: VirtProcess) -> None:
    with pytest.raises(ValueError, match="no such thing") as caught:
        virt.call(fail, timeout_s=LONG_S)
    assert "in fail" in caught.value.__notes__[0]


@needs_libvirt
def test_an_error_that_cannot_be_sent_comes_back_as_text(virt: VirtProcess) -> None:
    with pytest.raises(VirtError, match="StubbornError: 1 and 2"):
        virt.call(fail_stubbornly, timeout_s=LONG_S)


@needs_libvirt
def test_what_cannot_be_pickled_is_an_error_and_no_more(virt: VirtProcess) -> None:
    before = virt.call(pid, timeout_s=LONG_S)
    with pytest.raises(Exception, match="pickle"):
        virt.call(lambda conn: conn, timeout_s=LONG_S)
    with pytest.raises(TypeError, match="cannot pickle"):
        virt.call(return_a_lock, timeout_s=LONG_S)
    assert virt.call(pid, timeout_s=LONG_S) == before


@needs_libvirt
def test_a_lost_connection_is_made_anew(tmp_path: Path, virt: VirtProcess) -> None:
    assert virt.call(lose_the_connection_once, str(tmp_path / "lost"), timeout_s=LONG_S) == "TEST"


def test_without_the_library_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libvirt.py").write_text("raise ImportError('blocked')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with VirtProcess(URI, readonly=True) as virt:
        for _ in range(2):
            with pytest.raises(VirtUnavailable, match=r"missing \(blocked\); .*apt install libvirt-dev"):
                virt.call(pid, timeout_s=LONG_S)


def test_an_unknown_daemon_is_an_error(tmp_path: Path) -> None:
    with (
        VirtProcess(f"qemu+unix:///system?socket={tmp_path}/none", readonly=True) as virt,
        pytest.raises(VirtUnavailable),
    ):
        virt.call(pid, timeout_s=LONG_S)


# Its end.


def wait_for_end_of(process: int) -> None:
    """Returns when the process (any, not only a child of ours) has ended; fails after a long time."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], LONG_S)[0], f"process {process} is still there"
    finally:
        os.close(handle)


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = str(tmp_path / "running")
    os.mkfifo(path)
    return path


@needs_libvirt
def test_a_call_that_hangs_is_killed_and_the_next_one_works(virt: VirtProcess) -> None:
    before = virt.call(pid, timeout_s=LONG_S)
    with pytest.raises(VirtTimeout, match=r"test:///default did not answer within 0.2 s"):
        virt.call(print_pid_and_hang, timeout_s=0.2)
    wait_for_end_of(before)
    assert virt.call(pid, timeout_s=LONG_S) != before


@needs_libvirt
def test_a_stopped_process_is_killed_too(virt: VirtProcess) -> None:
    stopped = virt.call(pid, timeout_s=LONG_S)
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(VirtTimeout):
        virt.call(pid, timeout_s=0.2)
    wait_for_end_of(stopped)


@needs_libvirt
def test_a_call_waits_no_longer_than_its_timeout_for_another(fifo: str) -> None:
    with VirtProcess(URI, readonly=True) as virt, ThreadPoolExecutor(1) as pool:
        hung = pool.submit(virt.call, hang, fifo, timeout_s=LONG_S)
        Path(fifo).read_text()
        with pytest.raises(VirtTimeout, match=r"busy with another call for 0.1 s"):
            virt.call(pid, timeout_s=0.1)
        virt.close()
        with pytest.raises(VirtUnavailable):
            hung.result()


@needs_libvirt
def test_a_process_that_dies_in_a_call_is_an_error_and_is_replaced(virt: VirtProcess) -> None:
    with pytest.raises(VirtUnavailable, match="ended with its process; the next call starts a new one"):
        virt.call(kill_own_process, timeout_s=LONG_S)
    virt.call(pid, timeout_s=LONG_S)


@needs_libvirt
def test_a_process_that_dies_between_calls_is_replaced_unnoticed(virt: VirtProcess) -> None:
    victim = virt.call(pid, timeout_s=LONG_S)
    os.kill(victim, signal.SIGKILL)
    os.waitid(os.P_PID, victim, os.WEXITED | os.WNOWAIT)
    assert virt.call(pid, timeout_s=LONG_S) != victim


@needs_libvirt
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_only_the_parent_ends_it(virt: VirtProcess, number: signal.Signals) -> None:
    before = virt.call(pid, timeout_s=LONG_S)
    os.kill(before, number)
    assert virt.call(pid, timeout_s=LONG_S) == before


@needs_libvirt
def test_close_ends_it_for_good() -> None:
    virt = VirtProcess(URI, readonly=True)
    child = virt.call(pid, timeout_s=LONG_S)
    virt.close()
    wait_for_end_of(child)
    with pytest.raises(VirtUnavailable, match="is closed"):
        virt.call(pid, timeout_s=LONG_S)
    virt.close()


PARENT = """
import sys
from tests.unit import test_virtprocess as ours
virt = ours.VirtProcess(ours.URI, readonly=True)
if sys.argv[1] == "idle":
    print(virt.call(ours.pid, timeout_s=ours.LONG_S), flush=True)
    sys.stdin.read()
virt.call(ours.print_pid_and_hang, timeout_s=ours.LONG_S)
"""


@needs_libvirt
@pytest.mark.parametrize("doing", ["idle", "in a call"])
def test_it_ends_without_a_word_when_its_parent_is_killed(doing: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, doing],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as parent:
        assert parent.stdout
        assert parent.stderr
        child = int(parent.stdout.readline())
        parent.kill()
        wait_for_end_of(child)
        assert parent.stderr.read() == ""


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@needs_libvirt
def test_hung_calls_leave_nothing_behind(virt: VirtProcess) -> None:
    virt.call(pid, timeout_s=LONG_S)
    before = open_files(), threading.active_count()
    for _ in range(3):
        with pytest.raises(VirtTimeout):
            virt.call(print_pid_and_hang, timeout_s=0.2)
    virt.call(pid, timeout_s=LONG_S)
    assert (open_files(), threading.active_count()) == before
