"""The wrapper around collectors: none can cost another, or the scrape."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from exporter import collectors
from exporter.collector import Collectors
from exporter.collectors import all_collectors
from exporter.scrape import Collect, Scrape
from exporter.table import Family
from kvmhost.fs import HostError, HostFS
from kvmhost.guests import GuestsSample
from kvmhost.libvirt.snapshot import Snapshot
from tests.host import FIXTURES, public_directory, unprivileged
from tests.lines import samples_of
from tests.programs import wait_until


def family(name: str) -> Family:
    return Family(name, "gauge", "", f"{name} 1")


def healthy(_: Scrape) -> Iterator[Family | HostError]:
    yield family("healthy")


def partly(_: Scrape) -> Iterator[Family | HostError]:
    yield HostError("/sys/run", "Is a directory")
    yield family("partly")


def refused(_: Scrape) -> Iterator[Family | HostError]:
    yield family("before")
    raise HostError("/proc/stat", "Permission denied", "be root")


def defective(_: Scrape) -> Iterator[Family | HostError]:
    yield family("early")
    raise ZeroDivisionError


def wrapped(collect: Collect, clock: Callable[[], float] = lambda: 0.0) -> Collectors:
    return Collectors({"under_test": collect, "healthy": healthy}, clock)


def scrape_of(root: Path) -> Scrape:
    return Scrape(fs=HostFS(root), now=0.0, libvirt=Snapshot(up=False), guests=GuestsSample())


def samples(wrapper: Collectors, root: Path = Path("/nonexistent"), within_seconds: float = 60) -> dict[str, float]:
    """What a scrape shows, as `name` or `name{label values}`."""
    found = wrapper.collect(scrape_of(root), within_seconds=within_seconds)
    return samples_of(found)


@pytest.mark.parametrize(
    ("collect", "still_there", "success"),
    [(healthy, "healthy", 1), (partly, "partly", 0), (refused, "before", 0), (defective, "early", 0)],
)
def test_a_failure_costs_only_what_failed(collect: Collect, still_there: str, success: float) -> None:
    found = samples(wrapped(collect))
    assert still_there in found
    assert "healthy" in found
    assert found["kvm_collector_success{under_test}"] == success
    assert found["kvm_collector_success{healthy}"] == 1


def test_failed_scrapes_are_counted() -> None:
    wrapper = wrapped(refused)
    for failures in (1, 2, 3):
        found = samples(wrapper)
        assert found["kvm_collector_failures_total{under_test}"] == failures
        assert found["kvm_collector_failures_total{healthy}"] == 0


def test_the_duration_is_that_of_the_reading() -> None:
    ticks = count()
    found = samples(wrapped(healthy, clock=lambda: float(next(ticks) ** 2)))
    assert found["kvm_collector_duration_seconds{under_test}"] == 1 - 0
    assert found["kvm_collector_duration_seconds{healthy}"] == 9 - 4


def test_a_failure_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    errors = iter([(), ("a",), ("a",), ("a", "b"), ("b",), (), ()])

    def varying(_: Scrape) -> Iterator[Family | HostError]:
        for path in next(errors):
            yield HostError(path, "unreadable")

    wrapper = wrapped(varying)
    for _ in range(7):
        samples(wrapper)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "collector under_test: a: unreadable"),
        ("WARNING", "collector under_test: b: unreadable"),
        ("INFO", "collector under_test: reads everything again"),
    ]


def test_a_defect_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    samples(wrapped(defective))
    assert "ZeroDivisionError" in caplog.text
    assert "in defective" in caplog.text


def test_a_file_that_this_user_may_not_read_costs_its_metric(caplog: pytest.LogCaptureFixture) -> None:
    with public_directory() as path:
        root = shutil.copytree(FIXTURES / "ksm-off", path / "host")
        secret = root / "sys/kernel/mm/ksm/full_scans"
        secret.chmod(0)
        with unprivileged():
            found = samples(Collectors(all_collectors(), lambda: 0.0), root)
    assert "kvm_ksm_pages_scanned_total" in found
    assert "kvm_ksm_full_scans_total" not in found
    assert found["kvm_collector_success{ksm}"] == 0
    assert f"{secret}: Permission denied; run as a user or group that may read it" in caplog.text


def test_every_collector_has_its_own_module() -> None:
    modules = {path.stem for path in Path(collectors.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(all_collectors()) == modules


def test_one_that_does_not_return_costs_itself_and_is_back_when_it_does(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    end = threading.Event()

    def hanging(_: Scrape) -> Iterator[Family | HostError]:
        end.wait()
        yield family("late")

    wrapper = wrapped(hanging)
    for _ in range(2):
        found = samples(wrapper, within_seconds=0.1)
        assert "late" not in found
        assert found["kvm_collector_success{under_test}"] == 0
        assert "kvm_collector_duration_seconds{under_test}" not in found
    end.set()
    wait_until(lambda: "late" in samples(wrapper), "it is back")
    assert [record.message for record in caplog.records if "under_test" in record.message] == [
        "collector under_test: does not return: its metrics are missing until it does",
        "collector under_test: reads everything again",
    ]
