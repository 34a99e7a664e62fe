"""Pressure stall information."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmhost import pressure
from kvmhost.pressure import Pressure
from tests.host import fixture, made_of

SOME = "some avg10=0.31 avg60=0.22 avg300=0.18 total=412993120\n"
FULL = "full avg10=0.00 avg60=0.00 avg300=0.00 total=2000001\n"


@pytest.mark.parametrize(
    ("content", "some_seconds", "full_seconds"),
    [(SOME + FULL, 412.99312, 2.000001), (SOME, 412.99312, None), (FULL, None, 2.000001)],
    ids=["both", "CPU before 5.13", "irq has full only"],
)
def test_totals_in_microseconds_become_seconds(
    tmp_path: Path, content: str, some_seconds: float | None, full_seconds: float | None
) -> None:
    state = pressure.read(made_of(tmp_path, {"proc/pressure/cpu": content}))
    assert state is not None
    assert state.resources == (Pressure(resource="cpu", some_seconds=some_seconds, full_seconds=full_seconds),)


def test_all_resources() -> None:
    state = pressure.read(fixture("ordinary"))
    assert state is not None
    assert [one.resource for one in state.resources] == ["cpu", "io", "memory"]


def test_a_kernel_without_it() -> None:
    assert pressure.read(fixture("old-kernel")) is None


@pytest.mark.parametrize("content", ["", "some", "some total=", "some avg10=0 total=-1", "none avg10=0 total=1"])
def test_a_bad_file_costs_its_own_resource(tmp_path: Path, content: str) -> None:
    fs = made_of(tmp_path, {"proc/pressure/cpu": SOME, "proc/pressure/io": content})
    state = pressure.read(fs)
    assert state is not None
    assert [one.resource for one in state.resources] == ["cpu"]
    assert [Path(fault.path).name for fault in state.faults] == ["io"]


def test_unreadable_is_not_absent(tmp_path: Path) -> None:
    state = pressure.read(made_of(tmp_path, {"proc/pressure/io/file": ""}))
    assert state is not None
    assert (state.resources, len(state.faults)) == ((), 1)
