"""What records come to: also after they were made into few, and of any part of a file."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from actuator.knobs import HOST, Target
from actuator.ledger.ledger import _records
from actuator.ledger.records import Cleared, Connected, Held, Intent, Kept, Outcome, Record, Released, decode, encode
from actuator.ledger.standing import Standing

GUEST: Target = (("domain", "web-1"),)

VALUES = st.integers(0, 3)
KNOBS = st.sampled_from(["ksm.run", "sysctl.vm.swappiness"])
TARGETS = st.sampled_from([HOST, GUEST])
RULES = st.sampled_from(["a", "b"])
TEXTS = st.sampled_from(["", "x"])
IDS = st.integers(1, 6)
TIMES = st.integers(0, 50).map(float)

RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        Intent,
        id=IDS, time=TIMES, knob=KNOBS, target=TARGETS, identity=TEXTS, before=VALUES, after=VALUES, rule=RULES,
        because=TEXTS, trial=TEXTS, setting=st.sampled_from(["", "vm.swappiness"]), is_detour=st.booleans(),
    ),
    st.builds(Outcome, id=IDS, time=TIMES, result=st.sampled_from(["ok", "partial"]), value=VALUES),
    st.builds(Outcome, id=IDS, time=TIMES, result=st.just("failed"), value=st.none()),
    st.builds(Released, time=TIMES, knob=KNOBS, target=TARGETS, reason=TEXTS, until=st.sampled_from([0.0, 1000.0])),
    st.builds(
        Held,
        time=TIMES, rule=RULES, digest=TEXTS, knob=KNOBS, target=TARGETS, identity=TEXTS, before=VALUES, verdict=TEXTS,
        is_reverted=st.booleans(),
    ),
    st.builds(Cleared, time=TIMES, rule=RULES, knob=KNOBS, target=TARGETS, reason=TEXTS),
    st.builds(Connected, time=TIMES, uri=st.sampled_from(["qemu:///system", "test:///default"])),
)  # fmt: skip
MANY = st.lists(RECORDS, max_size=40)


def come_to(records: list[Record]) -> Standing:
    standing = Standing()
    for record in records:
        standing.take(record)
    return standing


@given(MANY, MANY)
@settings(max_examples=300, deadline=None)
def test_few_records_come_to_the_same_as_many_whatever_follows(before: list[Record], after: list[Record]) -> None:
    few = list(come_to(before).records())
    assert [decode(encode(record)) for record in few] == few
    made, plain = come_to([*few, *after]), come_to([*before, *after])
    assert made == plain
    assert list(made.owned) == list(plain.owned)
    assert list(made.records()) == list(plain.records())


@given(MANY, st.data())
@settings(max_examples=100, deadline=None)
def test_any_part_of_a_file_is_read(records: list[Record], data: st.DataObject) -> None:
    """As a kill or a full disk leaves it: what is whole counts, and at most one line is damaged."""
    lines = [encode(record) for record in records]
    whole = b"".join(lines)
    part = whole[: data.draw(st.integers(0, len(whole)))]
    read = [record for _, _, record in _records(part)]
    damaged = [record for record in read if isinstance(record, str)]
    good = [record for record in read if not isinstance(record, str)]
    assert len(damaged) <= 1
    assert good == records[: len(good)]
    assert sum(map(len, lines[: len(good)])) >= len(part) - max(map(len, lines), default=0)


def test_what_is_over_is_left_out() -> None:
    standing = come_to([Released(time=5, knob="ksm.run", target=HOST, reason="drifted", until=10)])
    assert len(standing.hands_off) == 1
    standing.take(Outcome(id=9, time=10, result="ok", value=1))
    assert come_to(list(standing.records())).hands_off == {}


# What is kept for the next boot.

PERSISTED = Intent(
    id=1, time=1, knob="sysctl.vm.swappiness", target=HOST, identity="", before=60, after=10, rule="a", because="b",
    setting="vm.swappiness",
)  # fmt: skip
OTHER = replace(PERSISTED, id=2, before=10, after=30, rule="other", setting="")
KEPT = Kept(setting="vm.swappiness", value=10, original=60, rule="a", because="b")


def ok(intent: Intent) -> list[Record]:
    return [intent, Outcome(id=intent.id, time=intent.time, result="ok", value=intent.after)]


def kept(*records: Record) -> list[Kept]:
    return list(come_to(list(records)).settings.values())


def test_a_value_is_kept_once_it_was_written() -> None:
    assert kept(PERSISTED) == []
    assert kept(PERSISTED, Outcome(id=1, time=2, result="failed", value=None)) == []
    assert kept(*ok(PERSISTED)) == [KEPT]
    assert kept(*ok(PERSISTED), Released(time=3, knob=PERSISTED.knob, target=HOST, reason="restored")) == []


def test_of_a_write_that_fell_short_the_next_boot_makes_all() -> None:
    assert kept(PERSISTED, Outcome(id=1, time=2, result="partial", value=33)) == [KEPT]


def test_a_rule_that_does_not_persist_leaves_what_another_keeps() -> None:
    standing = come_to([*ok(PERSISTED), *ok(OTHER)])
    assert list(standing.settings.values()) == [KEPT]
    # After a boot it may be either.
    assert standing.owned[PERSISTED.knob, HOST].ours == (30, 10)


def test_what_a_rule_has_taken_back_is_not_kept() -> None:
    below = ok(replace(OTHER, id=1, before=60, after=20))
    above = ok(replace(PERSISTED, id=2, before=20, after=10))
    assert [one.value for one in kept(*below, *above)] == [10]
    assert kept(*below, *above, *ok(replace(PERSISTED, id=3, before=10, after=20))) == []
    # But it is, if only the last of several writes was taken back.
    further = ok(replace(PERSISTED, id=3, before=10, after=5))
    assert [one.value for one in kept(*below, *above, *further, *ok(replace(PERSISTED, id=4, before=5, after=10)))] == [
        10
    ]


def test_a_detour_changes_nobodys_doing() -> None:
    mine = ok(replace(PERSISTED, knob="ksm.run", before=0, after=1, setting=""))
    detour = replace(PERSISTED, id=2, knob="ksm.run", before=1, after=2, rule="b", setting="", is_detour=True)
    (on,) = come_to([*mine, detour]).owned.values()
    assert (on.original, on.written, on.is_on_detour) == (0, (1, 2), True)
    assert [change.rule for change in on.changes] == ["a"]
    (back,) = come_to([*mine, detour, Outcome(id=2, time=2, result="ok", value=1)]).owned.values()
    assert (back.original, back.written, back.is_on_detour) == (0, (1,), False)
