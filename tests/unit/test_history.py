"""The journal of decisions: what is kept of it, and that it never stands in the way."""

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actuator.console import history
from actuator.console.history import NAME, Entry, Event, Faults, History, Noted, decode, encode, read
from actuator.decision import Decision
from tests.disks import full_disk

GUEST = (("domain", "web-1"),)
WRITTEN = Decision(
    time=1.5, rule="r", knob="balloon.target", target=GUEST, outcome="written", before=2**30, after=2**29, because="Why.", value=0.25
)  # fmt: skip
ENTRIES: list[Entry] = [
    WRITTEN,
    replace(
        WRITTEN, knob="vcpu.affinity", outcome="refused", before="0-3", after=None, value=None, detail="it migrates"
    ),
    replace(WRITTEN, value=math.inf),
    replace(WRITTEN, value=-math.inf, target=(*GUEST, ("vcpu", "0"))),
    Faults(time=2, rule="r", faults=("no data", "two setpoints")),
    Faults(time=3, rule="r", faults=()),
    Event(time=4, what="started", detail="version 0"),
]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_read_as_it_was_written(entry: Entry, dry_run: bool, tmp_path: Path) -> None:
    History(tmp_path / "state", dry_run=dry_run).note(entry)
    assert read(tmp_path / "state") == (Noted(entry, dry_run),)
    # Any program can read it: JSON has no infinite numbers.
    json.loads((tmp_path / "state" / NAME).read_text(), parse_constant=pytest.fail)


@given(st.builds(Decision, time=st.floats(0, 1e9), rule=st.text(), knob=st.text(), target=st.lists(st.tuples(st.text(), st.text())).map(tuple), outcome=st.just("failed"), detail=st.text()))  # fmt: skip
def test_any_text_is_one_line(decision: Decision) -> None:
    line = encode(Noted(decision, dry_run=False))
    assert line.count(b"\n") == 1
    assert decode(line) == Noted(decision, dry_run=False)


def test_no_history_is_an_empty_one(tmp_path: Path) -> None:
    assert read(tmp_path) == ()


GOOD = json.loads(encode(Noted(WRITTEN, dry_run=False)))


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"decision","dry_run":fal',
        b"null",
        b"[1]",
        b"\xff\x00",
        b"[" * 100_000,
        *(
            json.dumps({**GOOD, **wrong}).encode()
            for wrong in (
                {"kind": "intent"},
                {"dry_run": 0},
                {"time": 1e300},
                {"time": "now"},
                {"time": True},
                {"target": [["domain"]]},
                {"value": "much"},
                {"outcome": None},
            )
        ),
    ],
)
def test_a_line_that_is_torn_or_foreign_is_skipped(line: bytes, tmp_path: Path) -> None:
    kept = History(tmp_path, dry_run=False)
    kept.note(ENTRIES[0])
    with (tmp_path / NAME).open("ab") as file:
        file.write(line)  # without its end
    kept.note(ENTRIES[4])
    assert [noted.entry for noted in read(tmp_path)] == [ENTRIES[0], ENTRIES[4]]


def test_it_is_bounded_and_keeps_what_is_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_BYTES", 2000)
    # A dry run beside one that acts: both write, and either may set the file aside.
    both = (History(tmp_path, dry_run=False), History(tmp_path, dry_run=True))
    for number in range(100):
        both[number % 2].note(replace(WRITTEN, time=number))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * 2000 + 500
    times = [noted.entry.time for noted in read(tmp_path)]
    assert times == list(range(100 - len(times), 100))
    assert len(times) >= 5
    assert [noted.entry.time for noted in read(tmp_path, newest_bytes=800)] == times[-len(read(tmp_path, 800)) :]


def test_a_full_disk_is_told_once_and_when_it_is_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = History(tmp_path, dry_run=False)
    with caplog.at_level(logging.INFO):
        with full_disk(0):
            for entry in ENTRIES:
                kept.note(entry)
        for entry in ENTRIES:
            kept.note(entry)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / NAME} cannot be written: File too large; the rules go on without it "
        "(--state-dir names another place)",
        f"{tmp_path / NAME} is written again",
    ]
    assert len(read(tmp_path)) == len(ENTRIES)


def test_a_place_that_cannot_be_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file")
    kept = History(tmp_path / "state", dry_run=True)
    for entry in ENTRIES:
        kept.note(entry)
    assert len(caplog.records) == 1


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """Its directory belongs to the service's user; root writes there, too, as in `restore`."""
    other = tmp_path / "other"
    other.write_text("as it was")
    (tmp_path / NAME).symlink_to(other)
    History(tmp_path, dry_run=False).note(Event(time=1, what="reloaded", detail=""))
    assert other.read_text() == "as it was"
