"""Kernel samepage merging, as /sys/kernel/mm/ksm shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmhost import ksm
from kvmhost.fs import HostFS
from kvmhost.ksm import KsmState
from tests.host import fixture, made_of


def state(name: str) -> KsmState:
    found = ksm.read(fixture(name))
    assert found is not None
    return found


def test_a_kernel_without_ksm() -> None:
    assert ksm.read(fixture("no-ksm-directory")) is None


def test_every_file_is_read() -> None:
    ordinary = state("ordinary")
    assert [name for name, value in vars(ordinary).items() if value is None] == []
    assert ordinary.faults == ()
    assert ksm.unknown_files(fixture("ordinary")) == ()


def test_profit_is_signed() -> None:
    assert state("negative-general-profit").general_profit == -70733312


def test_files_of_a_later_kernel_are_none() -> None:
    old = state("old-kernel")
    assert (old.run, old.pages_sharing) == (1, 604311)
    assert (old.general_profit, old.smart_scan, old.advisor_mode, old.advisor_modes) == (None, None, None, ())


@pytest.mark.parametrize(
    ("content", "chosen", "modes"),
    [
        ("[none] scan-time\n", "none", ("none", "scan-time")),
        ("none [scan-time]\n", "scan-time", ("none", "scan-time")),
        ("none scan-time [profit]\n", "profit", ("none", "scan-time", "profit")),
    ],
)
def test_advisor_mode(tmp_path: Path, content: str, chosen: str, modes: tuple[str, ...]) -> None:
    found = ksm.read(made_of(tmp_path, {"sys/kernel/mm/ksm/advisor_mode": content}))
    assert found is not None
    assert (found.advisor_mode, found.advisor_modes, found.faults) == (chosen, modes, ())


@pytest.mark.parametrize("content", ["", "none scan-time", "[none] [scan-time]", "[]", "[none]scan-time"])
def test_advisor_mode_without_one_choice_is_a_fault(tmp_path: Path, content: str) -> None:
    found = ksm.read(made_of(tmp_path, {"sys/kernel/mm/ksm/advisor_mode": content}))
    assert found is not None
    assert (found.advisor_mode, found.advisor_modes) == (None, ())
    assert [fault.reason.partition(",")[0] for fault in found.faults] == [
        "expected words with the chosen one in brackets"
    ]


def test_a_bad_file_costs_its_own_value() -> None:
    malformed = state("malformed-files")
    assert (malformed.pages_to_scan, malformed.run, malformed.pages_sharing) == (1250, None, None)
    assert {Path(fault.path).name for fault in malformed.faults} == {
        "advisor_mode",
        "full_scans",
        "general_profit",
        "pages_shared",
        "pages_sharing",
        "run",
        "sleep_millisecs",
    }


def test_a_file_of_a_kernel_to_come_is_named() -> None:
    assert ksm.unknown_files(fixture("malformed-files")) == ("pages_compressed",)


@pytest.mark.skipif(not Path("/sys/kernel/mm/ksm").exists(), reason="the kernel here has no KSM")
def test_every_file_of_the_kernel_here_is_known() -> None:
    assert ksm.unknown_files(HostFS()) == ()


@pytest.mark.parametrize(
    ("host", "saved_pages", "metadata_bytes"),
    [
        ("ordinary", 604311 + 40221, 64 * (91022 + 604311 + 2104411 + 18230)),
        ("negative-general-profit", 211, 64 * (40 + 211 + 1100231 + 18230)),
        ("ksm-off", 0, 0),
        ("old-kernel", 604311, None),
        ("malformed-files", None, None),
    ],
)
def test_what_merging_saves_and_costs(host: str, saved_pages: int | None, metadata_bytes: int | None) -> None:
    """The kernel keeps 64 bytes for each page that it watches, on 64-bit machines."""
    assert state(host).saved_pages == saved_pages
    assert ksm.metadata_bytes(state(host), 4096) == metadata_bytes


def test_a_damaged_count_of_zero_pages_is_not_0(tmp_path: Path) -> None:
    found = ksm.read(
        made_of(
            tmp_path,
            {f"sys/kernel/mm/ksm/{name}": text for name, text in [("pages_sharing", "5"), ("ksm_zero_pages", "x")]},
        )
    )
    assert found is not None
    assert (found.pages_sharing, found.saved_pages) == (5, None)


@pytest.mark.parametrize(
    ("host", "pid", "cpu_seconds"),
    [("ordinary", 63, 731.20411822), ("64k-pages", 88, 731.20411822), ("old-kernel", 63, None)],
    ids=["ordinary", "another pid", "a kernel that keeps no scheduler times"],
)
def test_cpu_time_of_ksmd(host: str, pid: int, cpu_seconds: float | None) -> None:
    fs = fixture(host)
    assert ksm.ksmd_pid(fs) == pid
    assert ksm.ksmd_cpu_seconds(fs, pid) == cpu_seconds


def test_no_ksmd() -> None:
    assert ksm.ksmd_pid(fixture("no-ksm-directory")) is None
