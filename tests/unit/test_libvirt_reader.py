"""The thread that reads libvirt: what a scrape gets from it while libvirt answers, fails, comes back, or hangs."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.libvirt_reader import LibvirtReader, pause_seconds
from exporter.scrape import Snapshot
from kvmhost.virtprocess import VirtProcess
from tests.unit.test_virt import needs_libvirt

NODE = "<node><domain type='test'><name>web</name><memory>8192</memory><os><type>hvm</type></os></domain></node>"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """What libvirt's test driver reads when it connects; there is none yet."""
    return tmp_path / "node.xml"


@pytest.fixture
def reader(node: Path) -> Iterator[LibvirtReader]:
    """A reader that asks only when it is told to. Its clock stands at 1000."""
    with VirtProcess(f"test://{node}", readonly=True) as virt:
        yield reading(virt, clock=lambda: 1000.0)


def reading(virt: VirtProcess, clock: Callable[[], float]) -> LibvirtReader:
    return LibvirtReader(virt, interval_seconds=0, max_age_seconds=30, clock=clock)


def names(snapshot: Snapshot) -> list[str] | None:
    return None if snapshot.domains is None else [domain.name for domain in snapshot.domains]


def test_before_the_first_answer_there_is_nothing(reader: LibvirtReader) -> None:
    assert reader.snapshot(1000.0) == Snapshot(up=False)


@needs_libvirt
@pytest.mark.parametrize(
    ("now", "shown"),
    [(1000.0, ["web"]), (1030.0, ["web"]), (1030.1, None), (900.0, ["web"])],
    ids=["fresh", "just fresh enough", "too old", "the clock was set back"],
)
def test_domains_are_shown_until_they_are_too_old(
    reader: LibvirtReader, node: Path, now: float, shown: list[str] | None
) -> None:
    node.write_text(NODE)
    reader.read()
    snapshot = reader.snapshot(now)
    assert (snapshot.up, snapshot.read_seconds, names(snapshot)) == (True, 1000.0, shown)


@needs_libvirt
def test_a_failure_keeps_the_last_domains_and_says_so(tmp_path: Path, node: Path) -> None:
    node.write_text(NODE)
    with VirtProcess(f"test://{node}", readonly=True) as virt:
        reader = reading(virt, clock=lambda: 1000.0)
        reader.read()
        virt.close()
        reader.read()
    snapshot = reader.snapshot(1010.0)
    assert (snapshot.up, snapshot.read_seconds, names(snapshot)) == (False, 1000.0, ["web"])


@needs_libvirt
def test_each_change_is_logged_once(reader: LibvirtReader, node: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        reader.read()
    node.write_text("not XML")
    for _ in range(3):
        reader.read()
    node.write_text(NODE)
    for _ in range(3):
        reader.read()
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "WARNING", "INFO"]
    missing, damaged, back = (record.message for record in caplog.records)
    assert missing.startswith("no data of guests from libvirt: cannot connect to test://")
    assert missing != damaged
    assert back == "libvirt answers: active domains: 1"


@pytest.mark.parametrize(
    ("interval_seconds", "hangs", "pause"),
    [(1.0, 0, 1.0), (0.1, 1, 1.0), (0.1, 2, 2.0), (0.1, 3, 4.0), (0.1, 4, 4.0), (0.1, 9999, 4.0), (60.0, 3, 60.0)],
)
def test_a_libvirt_that_hangs_is_asked_less_often(interval_seconds: float, hangs: int, pause: float) -> None:
    assert pause_seconds(interval_seconds, hangs) == pause


@needs_libvirt
def test_neither_an_answer_nor_a_refusal_is_a_hang(reader: LibvirtReader, node: Path) -> None:
    assert reader.read() is False
    node.write_text(NODE)
    assert reader.read() is False


def test_without_the_library_the_log_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: LibvirtReader, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "libvirt.py").write_text("raise ImportError('blocked')\n")
    monkeypatch.syspath_prepend(tmp_path)
    reader.read()
    assert "pip install 'kvmtune[libvirt]'" in caplog.text
    assert reader.snapshot(1000.0) == Snapshot(up=False)


@needs_libvirt
def test_it_asks_again_and_again_in_its_block_and_ends_with_it(node: Path) -> None:
    node.write_text(NODE)
    asked = threading.Semaphore(0)

    def clock() -> float:
        asked.release()
        return 1000.0

    before = threading.active_count()
    with reading(VirtProcess(f"test://{node}", readonly=True), clock) as reader:
        for _ in range(3):
            assert asked.acquire(timeout=30)
        assert names(reader.snapshot(1000.0)) == ["web"]
    assert threading.active_count() == before


@needs_libvirt
def test_libvirt_that_accepts_and_never_answers_delays_neither_a_scrape_nor_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / "socket"))
        daemon.listen()
        daemon.settimeout(30)
        virt = VirtProcess(f"qemu+unix:///system?socket={tmp_path}/socket", readonly=True)
        with reading(virt, clock=lambda: 1000.0) as reader:
            client, _ = daemon.accept()
            assert reader.snapshot(1000.0) == Snapshot(up=False)
        # The process that hung is gone: its end of the connection is closed after what it had asked.
        client.settimeout(30)
        while client.recv(4096):
            pass
        client.close()
