"""The ledger: what is owned after which records, and what survives a crash."""

import json
from pathlib import Path

import pytest

from actuator.knobs import HOST, Target, Value
from actuator.ledger import Intent, Ledger, LedgerError, Outcome, Owned, Record, Released, decode, encode, owned

GUEST: Target = (("domain", "web-1"),)


def intent(
    number: int, before: Value, after: Value, knob: str = "ksm.run", target: Target = HOST, identity: str = ""
) -> Intent:
    return Intent(
        id=number, time=1.5, knob=knob, target=target, identity=identity, before=before, after=after, rule="r", because="b"
    )  # fmt: skip


def outcome(number: int, value: Value | None, result: str = "ok") -> Outcome:
    return Outcome(id=number, time=2.5, result=result, value=value)  # type: ignore[arg-type]


def released(knob: str = "ksm.run", target: Target = HOST) -> Released:
    return Released(time=3.5, knob=knob, target=target, reason="restored")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], []),
        # Killed before or after the write, nobody knows: both values may be there.
        ([intent(1, 0, 1)], [(0, (0, 1))]),
        ([intent(1, 0, 1), outcome(1, 1)], [(0, (1,))]),
        # The original is what was there before the first write.
        ([intent(1, 0, 1), outcome(1, 1), intent(2, 1, 2)], [(0, (1, 2))]),
        ([intent(1, 0, 1), outcome(1, 1), intent(2, 1, 2), outcome(2, 2)], [(0, (2,))]),
        # A write that failed may still have had its effect; one that fell short may go on.
        ([intent(1, 0, 9), outcome(1, None, "failed")], [(0, (0, 9))]),
        ([intent(1, 0, 9), outcome(1, 4, "partial")], [(0, (4, 9))]),
        ([intent(1, 0, 1), outcome(1, 1), released()], []),
        # After a release, what is there then is the new original.
        ([intent(1, 0, 1), released(), intent(2, 7, 8)], [(7, (7, 8))]),
        # A new guest of an old name is another guest.
        (
            [intent(1, 1, 2, "balloon.target", GUEST, "old"), intent(2, 5, 6, "balloon.target", GUEST, "new")],
            [(5, (5, 6))],
        ),
        # The outcome of an intent that is not the last changes nothing.
        ([intent(1, 0, 1), intent(2, 1, 2), outcome(1, 1)], [(0, (1, 2))]),
    ],
)
def test_what_is_owned(records: list[Record], expected: list[tuple[Value, tuple[Value, ...]]]) -> None:
    assert [(mine.original, mine.written) for mine in owned(records).values()] == expected


@pytest.mark.parametrize("record", [intent(1, "0-1", "0", "vcpu.affinity", GUEST, "u"), outcome(1, 7), released()])
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert decode(encode(record)) == record


def test_a_new_process_sees_what_the_last_one_wrote(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "state")
    for record in (intent(1, 0, 1), outcome(1, 1), intent(2, 100, 200, "ksm.pages_to_scan")):
        first.append(record)
    seen = first.owned
    first.close()
    second = Ledger(tmp_path / "state")
    assert second.owned == seen
    assert list(second.owned) == [("ksm.run", HOST), ("ksm.pages_to_scan", HOST)]
    assert isinstance(second.owned["ksm.run", HOST], Owned)
    assert second.next_id == 3
    second.close()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (b'{"kind":"intent","id":1,"ti', "Unterminated string"),
        (b"\x00\xff\xfe\n", "codec can't decode"),
        (b'{"kind":"note","text":"hello"}\n', "not a record of the ledger"),
        (b"[1,2]\n", "not a record of the ledger"),
        (b'{"kind":"released","time":1}\n', "with other fields"),
        (b'{"kind":"released","time":1,"knob":"k","target":7,"reason":"r"}\n', "target"),
        (b'{"kind":"released","time":1,"knob":"k","target":[7],"reason":"r"}\n', "target"),
        (b'{"kind":"released","time":"now","knob":"k","target":[],"reason":"r"}\n', "time cannot be"),
        (b'{"kind":[]}\n', "not a record of the ledger"),
        (b"[" * 100_000 + b"\n", "recursion"),
    ],
)
def test_damaged_lines_are_named_kept_and_skipped(tmp_path: Path, damage: bytes, problem: str) -> None:
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(encode(intent(1, 0, 1)) + damage)
    ledger = Ledger(tmp_path)
    ((line, told),) = ledger.damaged
    assert line == 2
    assert problem in told
    ledger.append(outcome(1, 1))
    ledger.close()
    assert damage in file.read_bytes()
    again = Ledger(tmp_path)
    assert [mine.written for mine in again.owned.values()] == [(1,)]
    again.close()


def test_only_one_at_a_time(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    with pytest.raises(LedgerError, match="another kvmtune-actuator is at work"):
        Ledger(tmp_path)
    first.close()
    Ledger(tmp_path).close()


def test_a_person_can_read_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(intent(1, 0, 1))
    ledger.close()
    (line,) = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert json.loads(line)["kind"] == "intent"
    assert json.loads(line)["before"] == 0


def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="choose another --state-dir"):
        Ledger(tmp_path / "file" / "state")
