"""The keeper of the process that watches libvirt: it follows it, replaces it, and never waits for it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from kvmhost.libvirt.messages import Settings
from kvmhost.libvirt.reader import LibvirtReader
from kvmhost.libvirt.snapshot import Snapshot
from tests.programs import wait_until
from tests.unit.test_virt import needs_libvirt

LONG_SECONDS = 30.0
NODE = "<node><domain type='test'><name>web</name><memory>8192</memory><os><type>hvm</type></os></domain></node>"


class Log(logging.Handler):
    """What is logged, for who waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._records: SimpleQueue[str] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self._records.put(f"{record.levelname} {record.getMessage()}")

    def next(self) -> str:
        return self._records.get(timeout=LONG_SECONDS)

    @property
    def is_empty(self) -> bool:
        return self._records.empty()


@pytest.fixture
def log() -> Iterator[Log]:
    handler, logger = Log(), logging.getLogger("kvmhost.libvirt.journal")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """What libvirt's test driver reads when it connects."""
    path = tmp_path / "node.xml"
    path.write_text(NODE)
    return path


def reading(uri: str, hang_seconds: float = LONG_SECONDS) -> LibvirtReader:
    settings = Settings(uri=uri, rootfs=Path("/nonexistent"), interval_seconds=0.05, stats_interval_seconds=0.05)
    return LibvirtReader(settings, max_age_seconds=1e12, hang_seconds=hang_seconds, restart_seconds=0.05)


def child() -> int:
    """PID of the only child process of this one that reads libvirt; in `make test-lab` there are others."""
    tasks = Path("/proc/self/task").glob("*/children")
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    (pid,) = [pid for pid in children if b"kvmhost.libvirt.watch" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return pid


def names(snapshot: Snapshot) -> list[str] | None:
    return None if snapshot.domains is None else [domain.name for domain in snapshot.domains]


def test_before_the_first_answer_there_is_nothing() -> None:
    assert reading("test:///default").snapshot(1000.0) == Snapshot(up=False)


@needs_libvirt
def test_it_follows_libvirt_while_its_block_runs(node: Path, log: Log) -> None:
    before = threading.active_count()
    with reading(f"test://{node}") as reader:
        assert log.next() == "INFO libvirt answers: active domains: 1"
        snapshot = reader.snapshot(0.0)
        assert (snapshot.up, names(snapshot), snapshot.connections, snapshot.processes) == (True, ["web"], 1, 1)
        pid = child()
    assert not Path(f"/proc/{pid}").exists()
    assert threading.active_count() <= before


@needs_libvirt
def test_a_guest_is_looked_at_again_on_request(node: Path) -> None:
    """At an interval of an hour, nothing else brings a new update."""
    settings = Settings(uri=f"test://{node}", rootfs=node.parent, interval_seconds=3600, stats_interval_seconds=3600)
    with LibvirtReader(settings, max_age_seconds=1e12) as reader:
        wait_until(lambda: names(reader.snapshot(0.0)) == ["web"], "it is known")
        before = reader.snapshot(0.0).read_seconds
        reader.look_again("5b0f3c52-7a52-4b7c-9d0e-6f1f1f8f0a01")
        wait_until(lambda: reader.snapshot(0.0).read_seconds != before, "it was looked at again")


@needs_libvirt
def test_each_change_is_logged_once(node: Path, log: Log) -> None:
    node.write_text("not XML")
    with reading(f"test://{node}"):
        assert log.next().startswith("WARNING no data of guests from libvirt: cannot connect to test://")
        node.write_text(NODE)
        assert log.next() == "INFO libvirt answers: active domains: 1"
        assert log.is_empty


def test_without_the_library_the_log_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    (tmp_path / "libvirt.py").write_text("raise ImportError('blocked')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with reading("test:///default") as reader:
        assert "pip install 'kvmtune[libvirt]'" in log.next()
        assert (reader.snapshot(0.0).up, reader.snapshot(0.0).processes) == (False, 1)


@needs_libvirt
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_is_replaced_and_what_is_known_is_kept(
    node: Path, log: Log, number: signal.Signals
) -> None:
    with reading(f"test://{node}", hang_seconds=3) as reader:
        assert log.next().startswith("INFO")
        wait_until(lambda: names(reader.snapshot(0.0)) == ["web"], "its configuration is read")
        first = child()
        os.kill(first, number)
        assert log.next().startswith("WARNING no data of guests from libvirt: ")
        assert names(reader.snapshot(0.0)) == ["web"]
        assert log.next().startswith("INFO libvirt answers")
        assert child() != first
        assert reader.snapshot(0.0).processes == 2


@needs_libvirt
def test_libvirt_that_accepts_and_never_answers_delays_neither_a_scrape_nor_the_end(tmp_path: Path, log: Log) -> None:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / "socket"))
        daemon.listen()
        daemon.settimeout(LONG_SECONDS)
        with reading(f"qemu+unix:///system?socket={tmp_path}/socket") as reader:
            client, _ = daemon.accept()
            assert reader.snapshot(1000.0) == Snapshot(up=False, processes=1)
        # The process that hung is gone: its end of the connection is closed after what it had asked.
        client.settimeout(LONG_SECONDS)
        while client.recv(4096):
            pass
        client.close()


@needs_libvirt
def test_libvirt_that_never_answers_is_given_up_and_tried_again(tmp_path: Path, log: Log) -> None:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / "socket"))
        daemon.listen()
        daemon.settimeout(LONG_SECONDS)
        with reading(f"qemu+unix:///system?socket={tmp_path}/socket", hang_seconds=1):
            clients = [daemon.accept()[0] for _ in range(2)]
            assert "did not answer for 1.05 s; is libvirtd stopped?" in log.next()
        for client in clients:
            client.close()


@needs_libvirt
def test_processes_that_are_replaced_leave_nothing_behind(node: Path, log: Log) -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = held()
    with reading(f"test://{node}"):
        assert log.next().startswith("INFO")
        during = held()
        for _ in range(3):
            os.kill(child(), signal.SIGKILL)
            assert [log.next().split()[0], log.next().split()[0]] == ["WARNING", "INFO"]
        assert held() == during
    assert held() == before
