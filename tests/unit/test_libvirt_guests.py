"""What a scrape may show of libvirt's guests, after the updates that came before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from kvmhost.domains import Balloon, Domain, DomainConfig
from kvmhost.libvirt.guests import Guests
from kvmhost.libvirt.messages import Calls, Update
from kvmhost.libvirt.snapshot import Snapshot
from kvmhost.virtconnection import Guest

MAX_AGE_SECONDS = 30.0

WEB = Guest(uuid="uuid-web", id=1, name="web")
DB = Guest(uuid="uuid-db", id=2, name="db")
LISTED = Update(read_seconds=1000, guests={WEB: "running", DB: "paused"})


def config(guest: Guest, title: str = "") -> DomainConfig:
    return DomainConfig(name=guest.name, uuid=guest.uuid, virt_type="kvm", title=title)


def balloon(read_seconds: float, actual_bytes: int = 1) -> Balloon:
    return Balloon(read_seconds=read_seconds, actual_bytes=actual_bytes)


KNOWN = replace(
    LISTED,
    configs={WEB: config(WEB), DB: config(DB)},
    balloons={WEB: balloon(1000), DB: balloon(990)},
    unread={DB: "stopped"},
)


def snapshot(*updates: Update, now: float = 1000.0) -> Snapshot:
    guests = Guests()
    for update in updates:
        guests.apply(update)
    return guests.snapshot(now, MAX_AGE_SECONDS)


def domains(*updates: Update, now: float = 1000.0) -> Mapping[str, Domain]:
    return {domain.name: domain for domain in snapshot(*updates, now=now).domains or ()}


def test_before_the_first_update_there_is_nothing() -> None:
    assert snapshot() == Snapshot(up=False)


def test_a_guest_is_shown_when_its_configuration_is_known() -> None:
    half_known = replace(LISTED, configs={WEB: config(WEB)})
    shown = snapshot(half_known)
    assert (shown.up, shown.read_seconds, shown.listed) == (True, 1000, 2)
    assert shown.domains == (Domain(id=1, state="running", config=config(WEB)),)


def test_what_an_update_does_not_tell_has_not_changed() -> None:
    moved = replace(LISTED, read_seconds=1001, guests={WEB: "paused"}, balloons={WEB: balloon(1001, 2)})
    assert domains(KNOWN, moved) == {
        "web": Domain(id=1, state="paused", config=config(WEB), balloon=balloon(1001, 2)),
    }
    renamed = replace(LISTED, configs={WEB: config(WEB, "new")})
    assert domains(KNOWN, renamed)["web"].config.title == "new"
    assert domains(KNOWN, renamed)["db"].config.title == ""


def test_what_has_not_changed_is_the_same_object() -> None:
    """So that its metrics need not be rendered again."""
    guests = Guests()
    guests.apply(KNOWN)
    before = guests.snapshot(1000, MAX_AGE_SECONDS).domains or ()
    guests.apply(replace(LISTED, read_seconds=1001))
    after = guests.snapshot(1001, MAX_AGE_SECONDS).domains or ()
    for old, new in zip(before, after, strict=True):
        assert (new.config is old.config, new.balloon is old.balloon) == (True, True)


@pytest.mark.parametrize(
    ("now", "listed", "balloons"),
    [
        (1000, True, {"web", "db"}),
        (1020, True, {"web", "db"}),
        (1020.1, True, {"web"}),
        (1030, True, {"web"}),
        (1030.1, False, set()),
        (900, True, {"web", "db"}),
    ],
    ids=[
        "fresh",
        "just fresh enough",
        "a balloon is too old",
        "the list is just fresh enough",
        "too old",
        "clock back",
    ],
)
def test_what_is_too_old_is_withheld(now: float, listed: bool, balloons: set[str]) -> None:
    shown = snapshot(KNOWN, now=now)
    assert (shown.domains is not None, shown.listed is not None, bool(shown.unread)) == (listed, listed, listed)
    assert {domain.name for domain in shown.domains or () if domain.balloon != Balloon()} == balloons


@pytest.mark.parametrize(
    "update",
    [
        Update(problem="libvirtd is down"),
        replace(LISTED, problem="libvirtd is down"),
    ],
    ids=["from a new process", "from one that has listed before"],
)
def test_a_problem_keeps_what_is_known(update: Update) -> None:
    shown = snapshot(KNOWN, update, now=1010)
    assert (shown.up, shown.read_seconds) == (False, 1000)
    assert {domain.name for domain in shown.domains or ()} == {"web", "db"}


def test_a_late_answer_counts_while_there_is_a_problem() -> None:
    late = replace(LISTED, problem="libvirtd is down", balloons={WEB: balloon(1005, 7)})
    assert domains(KNOWN, late)["web"].balloon.actual_bytes == 7


def test_a_new_process_that_lists_the_guests_need_not_read_them_first() -> None:
    assert domains(KNOWN, replace(LISTED, read_seconds=1010))["web"].balloon == balloon(1000)


def test_a_guest_that_was_started_again_is_another_one() -> None:
    again = WEB._replace(id=9)
    assert domains(KNOWN, replace(LISTED, guests={again: "running"})) == {}


def test_a_process_that_ended_is_told() -> None:
    guests = Guests()
    guests.process_started()
    guests.apply(KNOWN)
    guests.failed()
    shown = guests.snapshot(1000, MAX_AGE_SECONDS)
    assert (shown.up, shown.processes, shown.read_seconds) == (False, 1, 1000)
    assert shown.domains is not None


def test_counts_add_up() -> None:
    update = replace(LISTED, calls={"list": Calls(count=1, seconds=0.5), "xml": Calls(failures=1)}, connections=1)
    shown = snapshot(update, replace(update, hanging=frozenset({WEB})))
    assert shown.calls == {"list": Calls(count=2, seconds=1.0), "xml": Calls(failures=2), "balloon": Calls()}
    assert (shown.connections, shown.calls_hanging) == (2, 1)
