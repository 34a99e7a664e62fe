"""The ledger: what is owned after which records, and what survives a crash."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from actuator.knobs import HOST, Target, Value
from actuator.ledger.ledger import Ledger, LedgerError, doubts, read
from actuator.ledger.records import Intent, Outcome, Owned, Record, Released, decode, encode
from actuator.ledger.standing import Settings, owned

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


def by(rule: str, number: int, before: int, after: int) -> list[Record]:
    """A rule's write that was carried out."""
    return [replace(intent(number, before, after), rule=rule), outcome(number, after)]


@pytest.mark.parametrize(
    ("records", "changes"),
    [
        (by("a", 1, 0, 5), [("a", 0)]),
        # What a rule found is what was there before its first write.
        ([*by("a", 1, 0, 5), *by("a", 2, 5, 6)], [("a", 0)]),
        ([*by("a", 1, 0, 5), *by("b", 2, 5, 6)], [("a", 0), ("b", 5)]),
        # A rule that has put back what it found has changed nothing.
        ([*by("a", 1, 0, 5), *by("b", 2, 5, 6), *by("b", 3, 6, 5)], [("a", 0)]),
        ([*by("a", 1, 0, 5), *by("a", 2, 5, 0)], []),
        # One that writes again takes over from those that came after it.
        ([*by("a", 1, 0, 5), *by("b", 2, 5, 6), *by("a", 3, 6, 7)], [("a", 0)]),
        # Only what was carried out counts as put back.
        ([*by("a", 1, 0, 5), intent(2, 5, 0), outcome(2, None, "failed")], [("a", 0), ("r", 5)]),
        ([*by("a", 1, 0, 5), replace(intent(2, 5, 0), rule="a"), outcome(2, 3, "partial")], [("a", 0)]),
    ],
)
def test_whose_doing_a_value_is(records: list[Record], changes: list[tuple[str, Value]]) -> None:
    (mine,) = owned(records).values()
    assert [(change.rule, change.before) for change in mine.changes] == changes


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
        (b'{"kind":"intent","id":1,"ti\n', "Unterminated string"),
        (b"hello", "Expecting value"),
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
    (doubt,) = ledger.doubts
    assert doubt.startswith(f"{file}:2: ")
    assert problem in doubt
    assert doubt.endswith(": what this record changed is not known")
    assert doubts(tmp_path, read(tmp_path)) == [doubt]
    ledger.append(outcome(1, 1))
    ledger.close()
    assert damage in file.read_bytes()
    again = Ledger(tmp_path)
    assert [mine.written for mine in again.owned.values()] == [(1,)]
    again.close()


@pytest.mark.parametrize("cut", [1, 5, 9, 60])
def test_a_record_that_a_crash_has_cut_short_was_never_made(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "ledger.jsonl"
    whole = encode(intent(1, 0, 1))
    file.write_bytes(whole + encode(outcome(1, 1))[:cut])
    assert doubts(tmp_path, read(tmp_path)) == []
    ledger = Ledger(tmp_path)
    assert ledger.doubts == []
    assert file.read_bytes() == whole
    assert ledger.size_bytes == len(whole)
    ledger.close()


def test_only_one_at_a_time_and_who_it_is(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    with pytest.raises(
        LedgerError, match=f"another kvmtune-actuator is at work .pid {os.getpid()} has locked {tmp_path}"
    ):
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
    with pytest.raises(LedgerError, match="Not a directory; give another --state-dir"):
        Ledger(tmp_path / "file" / "state")


# Written anew.


def used(directory: Path, writes: int = 30, long_bytes: int = 2000) -> Ledger:
    """One target of ours, and many others that were ours for a while."""
    ledger = Ledger(directory, long_bytes=long_bytes)
    ledger.append(intent(1, 0, 1))
    ledger.append(outcome(1, 1))
    for number in range(2, writes):
        ledger.append(intent(number, 100, 200, "ksm.pages_to_scan"))
        ledger.append(outcome(number, 200))
        ledger.append(released("ksm.pages_to_scan"))
    return ledger


def test_it_does_not_grow_and_keeps_what_matters(tmp_path: Path) -> None:
    ledger = used(tmp_path, writes=200)
    size = ledger.path.stat().st_size
    assert size == ledger.size_bytes < 2500
    assert [(mine.original, mine.written) for mine in ledger.owned.values()] == [(0, (1,))]
    assert ledger.next_id == 200
    before = ledger.owned
    ledger.close()
    again = Ledger(tmp_path)
    assert (again.owned, again.next_id) == (before, 200)
    again.close()


def test_the_last_long_one_is_there_to_be_read(tmp_path: Path) -> None:
    used(tmp_path, writes=7).close()
    assert (tmp_path / "ledger.jsonl.old").read_bytes().startswith(encode(intent(1, 0, 1)))


def test_one_that_is_long_at_the_start_is_written_anew(tmp_path: Path) -> None:
    used(tmp_path, long_bytes=10**9).close()
    again = Ledger(tmp_path, long_bytes=2000)
    assert again.size_bytes < 1000
    assert list(again.owned) == [("ksm.run", HOST)]
    again.close()


def test_what_matters_may_be_long(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, long_bytes=2000)
    inodes = set()
    for number in range(1, 101):
        ledger.append(intent(number, 0, 1, "balloon.target", (("domain", f"web-{number}"),)))
        ledger.append(outcome(number, 1))
        inodes.add(ledger.path.stat().st_ino)
    assert len(ledger.owned) == 100
    assert len(inodes) < 10
    ledger.close()


def test_damaged_lines_are_kept_beside_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(b"hello\n" + encode(intent(1, 0, 1)) + b"\x00torn")
    Ledger(tmp_path, long_bytes=10).close()
    assert (tmp_path / "ledger.jsonl.damaged").read_bytes() == b"hello\n\x00torn\n"
    assert "ledger.jsonl.damaged now: 2" in caplog.text
    again = Ledger(tmp_path)
    assert again.doubts == [f"{again.path}.damaged has damaged records: what these changed is not known"]
    assert list(again.owned) == [("ksm.run", HOST)]
    again.close()


def test_where_it_cannot_be_written_anew_the_old_one_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "ledger.jsonl.new").mkdir()  # stands in the way, as a full disk would
    ledger = used(tmp_path)
    assert "cannot be written anew, and goes on growing: Is a directory" in caplog.text
    assert caplog.text.count("goes on growing") < 4
    assert len(ledger.path.read_bytes().splitlines()) == 2 + 3 * 28
    assert list(ledger.owned) == [("ksm.run", HOST)]
    ledger.close()


@pytest.mark.parametrize("step", ["link", "open", "write", "fsync", "rename"])
def test_an_end_at_any_step_leaves_one_that_is_whole(tmp_path: Path, step: str) -> None:
    """A process that ends itself in the middle of it, as kill -9 would."""
    script = f"""
import os, pathlib, sys
from tests.unit.test_ledger import used
real = os.open
def last(name, function):
    def call(*arguments, **named):
        if {step!r} == name and (name != "open" or str(arguments[0]).endswith(".new")):
            if name in ("write", "fsync") and ".new" not in os.readlink(f"/proc/self/fd/{{arguments[0]}}"):
                return function(*arguments, **named)
            os._exit(9)
        return function(*arguments, **named)
    return call
for name in ("open", "write", "fsync"):
    setattr(os, name, last(name, getattr(os, name)))
os.link = last("link", os.link)
os.rename = last("rename", os.rename)
used(pathlib.Path(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 9
    ledger = Ledger(tmp_path)
    assert [(mine.original, mine.written) for key, mine in ledger.owned.items() if key[0] == "ksm.run"] == [(0, (1,))]
    assert ledger.doubts == []
    ledger.close()


# Whose guests they are.

LENT = intent(1, 1024, 512, "balloon.target", GUEST, "uuid")


def test_guests_are_those_of_the_libvirt_that_it_was_connected_to(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.connect("qemu:///session")
    ledger.append(intent(1, 0, 1))
    assert ledger.libvirt == ""  # the host is that of any
    ledger.append(replace(LENT, id=2))
    ledger.append(replace(LENT, id=3, before=512, after=256))
    ledger.close()
    assert (tmp_path / "ledger.jsonl").read_text().count("qemu:///session") == 1
    assert read(tmp_path).libvirt == "qemu:///session"


def test_it_does_not_take_guests_of_another_libvirt_while_one_has_something_to_get_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.connect("qemu:///session")
    ledger.append(LENT)
    with pytest.raises(LedgerError, match=re.escape(
        "has changes to guests of qemu:///session, and to qemu:///system they would be gone: put them back by "
        f"'kvmtune-actuator restore --state-dir {tmp_path}', which asks qemu:///session"
    )):  # fmt: skip
        ledger.connect("qemu:///system")
    ledger.connect("qemu:///session")
    ledger.append(released("balloon.target", GUEST))
    ledger.connect("qemu:///system")
    ledger.append(replace(LENT, id=2))
    assert ledger.libvirt == "qemu:///system"
    ledger.close()


def test_guests_of_an_earlier_version_are_taken_for_those_of_this_libvirt(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(LENT)
    ledger.connect("qemu:///system")
    assert read(tmp_path).libvirt == "qemu:///system"
    assert [mine.original for mine in ledger.owned_of_guests.values()] == [1024]
    ledger.close()


# Written by earlier versions.


def test_one_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text(
        '{"kind":"intent","id":7,"time":1.5,"knob":"ksm.run","target":[],"identity":"","before":0,"after":1,"rule":"r","because":"b"}\n'
        '{"kind":"outcome","id":7,"time":1.5,"result":"ok","value":1,"detail":""}\n'
        '{"kind":"intent","id":8,"time":1.5,"knob":"ksm.x","target":[["domain","a"]],"identity":"u","before":0,"after":1,"rule":"r","because":"b"}\n'
        '{"kind":"released","time":2.5,"knob":"ksm.x","target":[["domain","a"]],"reason":"drifted: someone else set it to 3"}\n'
    )
    ledger = Ledger(tmp_path)
    assert ledger.doubts == []
    assert [(mine.original, mine.written) for mine in ledger.owned.values()] == [(0, (1,))]
    ledger.close()


# What the next boot sets.


class Boot:
    """Looks at the file when it is told what to keep."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "ledger.jsonl"
        self.told: list[tuple[list[object], int]] = []
        self.problem = ""

    def keep(self, settings: Settings) -> str:
        values: list[object] = [kept.value for kept in settings.values()]
        self.told.append((values, len(self.file.read_bytes().splitlines())))
        return self.problem


def test_the_next_boot_never_sets_what_the_ledger_knows_nothing_of(tmp_path: Path) -> None:
    boot = Boot(tmp_path)
    ledger = Ledger(tmp_path, boot)
    ledger.append(replace(intent(1, 60, 10), setting="vm.swappiness"))
    ledger.append(outcome(1, 10))
    ledger.append(released())
    # Brought in line at the start, then between intent and outcome, and before it is let go of.
    assert boot.told == [([], 0), ([10], 1), ([], 2)]
    ledger.close()


def test_it_is_brought_in_line_at_the_start(tmp_path: Path) -> None:
    boot = Boot(tmp_path)
    ledger = Ledger(tmp_path)
    ledger.append(replace(intent(1, 60, 10), setting="vm.swappiness"))
    ledger.append(outcome(1, 10))
    ledger.close()
    Ledger(tmp_path, boot).close()
    assert boot.told == [([10], 2)]


def test_an_etc_that_cannot_be_written_costs_the_value_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boot = Boot(tmp_path)
    boot.problem = "/etc cannot be written"
    ledger = Ledger(tmp_path, boot)
    ledger.append(replace(intent(1, 60, 10), setting="vm.swappiness"))
    ledger.append(outcome(1, 10))
    assert caplog.messages == ["/etc cannot be written"]
    assert ledger.boot_problem == "/etc cannot be written"
    assert list(ledger.owned) == [("ksm.run", HOST)]
    ledger.close()
