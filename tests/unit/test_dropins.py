"""Drop-in files: what is in them, and whose they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actuator.ledger.dropins import SYSCTL, TMPFILES, DropIns
from actuator.ledger.records import Kept

SWAP = Kept("vm.swappiness", 10, 60, "swap_less", "Guests must not\nbe swapped.")
POOL = Kept("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", 512, 0, "pool", "Guests need it.")


def keep(root: Path, *kept: Kept) -> str:
    return DropIns(root).keep({one.setting: one for one in kept})


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def test_sysctls_and_other_files_have_their_own(tmp_path: Path) -> None:
    assert keep(tmp_path, POOL, SWAP) == ""
    assert lines(tmp_path / SYSCTL) == ["vm.swappiness = 10"]
    assert lines(tmp_path / TMPFILES) == [f"w {POOL.setting} - - - - 512"]
    assert "# swap_less: Guests must not be swapped. It was 60.\n" in (tmp_path / SYSCTL).read_text()
    assert (tmp_path / SYSCTL).stat().st_mode & 0o777 == 0o644


def test_with_nothing_to_keep_there_is_none(tmp_path: Path) -> None:
    keep(tmp_path, SWAP, POOL)
    assert keep(tmp_path, POOL) == ""
    assert not (tmp_path / SYSCTL).exists()
    assert keep(tmp_path) == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_where_nothing_was_ever_kept_nothing_is_made(tmp_path: Path) -> None:
    assert keep(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_what_is_as_it_should_be_is_not_written(tmp_path: Path) -> None:
    keep(tmp_path, SWAP)
    before = (tmp_path / SYSCTL).stat().st_ino
    keep(tmp_path, SWAP)
    assert (tmp_path / SYSCTL).stat().st_ino == before


def test_what_was_edited_is_written_anew(tmp_path: Path) -> None:
    keep(tmp_path, SWAP)
    with (tmp_path / SYSCTL).open("a") as file:
        file.write("vm.dirty_ratio = 1\n")
    keep(tmp_path, SWAP)
    assert lines(tmp_path / SYSCTL) == ["vm.swappiness = 10"]


@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_not_ours_is_left_alone_and_named(tmp_path: Path, is_link: bool) -> None:
    path = tmp_path / SYSCTL
    path.parent.mkdir(parents=True)
    if is_link:
        keep(tmp_path / "elsewhere", SWAP)
        path.symlink_to(tmp_path / "elsewhere" / SYSCTL)
    else:
        path.write_text("# mine\nvm.swappiness = 1\n")
    before = path.read_text()
    assert keep(tmp_path, SWAP) == f"{path} is not ours, so nothing is kept for the next boot: rename it"
    assert keep(tmp_path) == ""
    assert (path.read_text(), path.is_symlink()) == (before, is_link)


def test_one_that_cannot_be_written_does_not_cost_the_other(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/sysctl.d").write_text("")
    assert keep(tmp_path, SWAP, POOL) == (
        f"{tmp_path / SYSCTL} cannot be written, so the next boot will not set what rules have set: File exists"
    )
    assert lines(tmp_path / TMPFILES) == [f"w {POOL.setting} - - - - 512"]


@pytest.mark.parametrize(
    "foreign",
    [
        replace(SWAP, setting="kernel.core_pattern", value="|/var/lib/kvmtune/x"),
        replace(SWAP, setting="/etc/ld.so.preload"),
        replace(SWAP, value="10\nkernel.core_pattern = x"),
    ],
    ids=["another sysctl", "another file", "more than a number"],
)
def test_whoever_can_write_the_ledger_does_not_decide_what_a_boot_sets(tmp_path: Path, foreign: Kept) -> None:
    assert "it is left out" in keep(tmp_path, foreign)
    assert list(tmp_path.iterdir()) == []


def test_words_of_a_rule_stay_in_their_comment(tmp_path: Path) -> None:
    keep(tmp_path, replace(SWAP, rule="a\nkernel.core_pattern = x", original="6\nkernel.x = 1"))
    assert lines(tmp_path / SYSCTL) == ["vm.swappiness = 10"]
