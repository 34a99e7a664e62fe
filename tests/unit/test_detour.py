"""Unmerging on the way to another value: what the ledger knows of `ksm.run`, whenever it ends."""

import shutil
from pathlib import Path

import pytest

from actuator.knobs import HOST
from actuator.ledger.records import Intent
from actuator.ledger.records import encode as encode_record
from tests.unit.written import RUN, Host, host

__all__ = ["host"]  # the fixture

SHARING = ("ksm.max_page_sharing", HOST)


@pytest.fixture
def merged(host: Host) -> Host:
    """256 pages may share one, and some do; KSM runs since a rule has started it."""
    root = host.ksm.parents[3]
    ordinary = Path(__file__).parents[1] / "hosts/ordinary/proc"
    for name in ("meminfo", "self/auxv"):
        (root / "proc" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ordinary / name, root / "proc" / name)
    host.set(RUN, 1)
    return host


def test_a_detour_that_led_back_is_nobodys_change(merged: Host) -> None:
    assert merged.set(SHARING, 64) == ""
    assert (merged.file("max_page_sharing"), merged.file("run")) == ("64", "1")
    merged.writer.settle(merged.now)
    assert merged.ledger.owned[RUN].written == (1,)
    assert [(record.knob, record.after) for record in merged.records if isinstance(record, Intent)] == [
        ("ksm.run", 1),
        ("ksm.max_page_sharing", 64),
        ("ksm.run", 2),
    ]
    assert sorted(merged.restore()) == [("ksm.max_page_sharing", "restored"), ("ksm.run", "restored")]
    assert (merged.file("max_page_sharing"), merged.file("run")) == ("256", "0")


def test_a_detour_of_a_value_that_is_not_ours_leaves_it_so(merged: Host) -> None:
    merged.restore()
    assert merged.file("run") == "0"
    (merged.ksm / "run").write_text("1\n")
    merged.set(SHARING, 64)
    merged.writer.settle(merged.now)
    assert list(merged.ledger.owned) == [SHARING]
    assert merged.restore() == [("ksm.max_page_sharing", "restored")]
    assert (merged.file("run"), list(merged.ledger.owned)) == ("1", [])


def killed_on_the_way(host: Host, run: int) -> None:
    """The actuator and the process that unmerges, with `run` as it was left."""
    before = host.file("run")
    host.set(SHARING, 64)
    (host.ksm / "run").write_text(f"{run}\n")
    kept = []
    for record in host.records:
        kept.append(record)
        if isinstance(record, Intent) and record.is_detour:
            assert str(record.before) == before
            break
    host.ledger.path.write_bytes(b"".join(encode_record(record) for record in kept))  # type: ignore[arg-type]
    host.restart()


@pytest.mark.parametrize("run", [2, 0, 1])
def test_a_kill_on_the_way_does_not_lose_what_run_was_first(merged: Host, run: int) -> None:
    """2 as it was left, 0 as the kernel leaves it when it ends the process for want of memory, 1 put back by it."""
    killed_on_the_way(merged, run)
    live = merged.knobs[RUN[0]].live()[HOST]
    assert merged.writer.obstacle(RUN, live, merged.now) is None
    merged.restore()
    assert (merged.file("run"), merged.file("max_page_sharing"), merged.ledger.owned) == ("0", "256", {})


@pytest.mark.parametrize("run", [2, 0, 1])
def test_a_kill_on_the_way_leaves_no_run_that_nobody_knows_of(merged: Host, run: int) -> None:
    merged.restore()
    (merged.ksm / "run").write_text("1\n")
    killed_on_the_way(merged, run)
    merged.restore()
    assert (merged.file("run"), merged.file("max_page_sharing"), merged.ledger.owned) == ("1", "256", {})


def test_who_sets_run_to_what_it_never_was_on_the_way_is_someone_else(merged: Host) -> None:
    merged.set(RUN, 0)
    merged.set(RUN, 1)
    (merged.ksm / "run").write_text("2\n")
    obstacle = merged.writer.obstacle(RUN, merged.knobs[RUN[0]].live()[HOST], merged.now)
    assert obstacle is not None
    assert obstacle.outcome == "drifted"
