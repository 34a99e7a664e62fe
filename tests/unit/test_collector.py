"""The wrapper around collectors: none can cost another, or the scrape."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric

from exporter import collectors
from exporter.collector import Collectors
from exporter.collectors import all_collectors
from exporter.scrape import Collect, Scrape, Snapshot
from kvmhost.fs import HostError, HostFS
from tests.host import FIXTURES, public_directory, unprivileged

Sample = tuple[str, tuple[str, ...]]


def healthy(_: Scrape) -> Iterator[Metric | HostError]:
    yield GaugeMetricFamily("healthy", "", 1)


def partly(_: Scrape) -> Iterator[Metric | HostError]:
    yield HostError("/sys/run", "Is a directory")
    yield GaugeMetricFamily("partly", "", 2)


def refused(_: Scrape) -> Iterator[Metric | HostError]:
    yield GaugeMetricFamily("before", "", 3)
    raise HostError("/proc/stat", "Permission denied", "be root")


def defective(_: Scrape) -> Iterator[Metric | HostError]:
    yield GaugeMetricFamily("early", "", 4)
    raise ZeroDivisionError


def wrapped(collect: Collect, clock: Callable[[], float] = lambda: 0.0) -> Collectors:
    scrape = Scrape(fs=HostFS("/nonexistent"), now=0.0, libvirt=Snapshot(up=False))
    return Collectors({"under_test": collect, "healthy": healthy}, lambda: scrape, clock)


def samples(wrapper: Collectors) -> dict[Sample, float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for metric in wrapper.collect()
        for sample in metric.samples
    }


@pytest.mark.parametrize(
    ("collect", "still_there", "success"),
    [(healthy, "healthy", 1), (partly, "partly", 0), (refused, "before", 0), (defective, "early", 0)],
)
def test_a_failure_costs_only_what_failed(collect: Collect, still_there: str, success: float) -> None:
    found = samples(wrapped(collect))
    assert (still_there, ()) in found
    assert ("healthy", ()) in found
    assert found["kvm_collector_success", ("under_test",)] == success
    assert found["kvm_collector_success", ("healthy",)] == 1


def test_failed_scrapes_are_counted() -> None:
    wrapper = wrapped(refused)
    for failures in (1, 2, 3):
        found = samples(wrapper)
        assert found["kvm_collector_failures_total", ("under_test",)] == failures
        assert found["kvm_collector_failures_total", ("healthy",)] == 0


def test_the_duration_is_that_of_the_reading() -> None:
    ticks = count()
    found = samples(wrapped(healthy, clock=lambda: float(next(ticks) ** 2)))
    assert found["kvm_collector_duration_seconds", ("under_test",)] == 1 - 0
    assert found["kvm_collector_duration_seconds", ("healthy",)] == 9 - 4


def test_a_failure_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    errors = iter([(), ("a",), ("a",), ("a", "b"), ("b",), (), ()])

    def varying(_: Scrape) -> Iterator[Metric | HostError]:
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
        scrape = Scrape(fs=HostFS(root), now=0.0, libvirt=Snapshot(up=False))
        with unprivileged():
            found = samples(Collectors(all_collectors(), lambda: scrape, lambda: 0.0))
    assert ("kvm_ksm_pages_scanned_total", ()) in found
    assert ("kvm_ksm_full_scans_total", ()) not in found
    assert found["kvm_collector_success", ("ksm",)] == 0
    assert f"{secret}: Permission denied; run as a user or group that may read it" in caplog.text


def test_every_collector_has_its_own_module() -> None:
    modules = {path.stem for path in Path(collectors.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(all_collectors()) == modules
