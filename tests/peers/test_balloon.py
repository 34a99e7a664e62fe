"""The rules of the peers that move balloons decide what the peers decide, at each step of random hosts.

But for two things, which hold for every rule (`promised`), and those that the head of each file names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import trunc

from hypothesis import assume, given, settings
from hypothesis import strategies as some

from actuator.knobs.balloon import floor_above
from tests.peers.actuator import Actuator, Samples, of_guests
from tests.peers.balloonpeers import MIB, Guest, Guests, Mom, Proxmox, Qmemman, Senpai, Squeezed

TOTAL = 64 * 1024 * MIB


def promised(guest: Guest, target: float) -> int:
    """What a balloon makes of a target: it leaves to its guest what it uses and a margin, and moves in whole MiB, never
    farther than it should."""
    lowest = min(floor_above(guest.used), guest.maximum)
    goal = min(max(target, lowest), guest.maximum)
    if (target - guest.actual) * (goal - guest.actual) <= 0:
        return guest.actual
    return int(goal) if goal in (lowest, guest.maximum) else guest.actual + trunc((goal - guest.actual) / MIB) * MIB


def moved(guests: Guests, targets: Mapping[str, float]) -> dict[str, int]:
    """The sizes of those that such targets move."""
    sizes = {name: promised(guests[name], target) for name, target in targets.items()}
    return {name: size for name, size in sizes.items() if size != guests[name].actual}


def written(actuator: Actuator, now: float, samples: Samples) -> dict[str, int]:
    """The sizes that the rules ask for."""
    decisions = actuator.step(now, samples)
    assert actuator.faults == {}
    return {dict(one.target)["domain"]: int(one.after or 0) for one in decisions if one.outcome == "written"}


def after(guests: Guests, sizes: Mapping[str, int]) -> dict[str, Guest]:
    """The guests when their balloons have moved."""
    return {name: replace(guest, actual=sizes.get(name, guest.actual)) for name, guest in guests.items()}


mebibytes = some.integers


@some.composite
def guests_of(draw: some.DrawFn) -> dict[str, Guest]:
    found = {}
    for number in range(draw(some.integers(1, 5))):
        maximum = draw(mebibytes(512, 8192))
        least = draw(mebibytes(256, maximum))
        actual = draw(some.one_of(some.sampled_from([least, maximum]), mebibytes(256, maximum)))
        found[f"guest{number}"] = Guest(actual=actual * MIB, maximum=maximum * MIB, used=0, unused=0, least=least * MIB)
    return found


@some.composite
def loads(draw: some.DrawFn, guests: Guests) -> dict[str, Guest]:
    """The guests at work: each uses some of its memory, and of the rest some holds nothing at all."""
    found = {}
    for name, guest in guests.items():
        used = int(guest.actual * draw(some.floats(0.05, 0.9)))
        unused = int((guest.actual - used) * draw(some.one_of(some.floats(0.1, 1.0), some.floats(0.0, 0.1))))
        found[name] = replace(guest, used=used, unused=unused, rss=int(guest.actual * draw(some.floats(0.5, 1.1))))
    return found


RATIOS = some.one_of(some.floats(0.01, 0.5), some.floats(0.02, 0.08), some.sampled_from([0.05, 0.19, 0.2, 0.21]))


@settings(max_examples=30)
@given(guests=guests_of(), data=some.data())
def test_mom(guests: dict[str, Guest], data: some.DataObject) -> None:
    oracle = Mom()
    with Actuator("mom-balloon") as actuator:
        for index in range(data.draw(some.integers(1, 14))):
            guests = data.draw(loads(guests))
            free = int(TOTAL * data.draw(RATIOS))
            host = {
                "kvm_memory_total_bytes": TOTAL,
                "kvm_memory_free_bytes": free - 5,
                "kvm_memory_buffers_bytes": 2,
                "kvm_memory_cached_bytes": 3,
            }
            expected = moved(guests, oracle.step(TOTAL, free, guests))
            got = written(actuator, index * 15, of_guests(guests) | host)
            assert (index, got) == (index, expected)
            guests = after(guests, got)


@settings(max_examples=50)
@given(guests=guests_of(), data=some.data())
def test_proxmox(guests: dict[str, Guest], data: some.DataObject) -> None:
    """Where the peer goes through its guests four times at most (at the last nothing moves), and does not waver."""
    oracle = Proxmox()
    with Actuator("proxmox-balloon") as actuator:
        for index in range(data.draw(some.integers(1, 5))):
            guests = data.draw(loads(guests))
            available = int(TOTAL * data.draw(some.one_of(some.floats(0.1, 0.3), some.floats(0.195, 0.205))))
            targets = oracle.step(TOTAL, available, guests)
            assume(oracle.rounds <= 4 and not oracle.wavered)
            host = {"kvm_memory_total_bytes": TOTAL, "kvm_memory_available_bytes": available}
            got = written(actuator, index * 10, of_guests(guests) | host)
            assert (index, got) == (index, moved(guests, targets))
            guests = after(guests, got)


@settings(max_examples=40)
@given(guests=guests_of(), data=some.data())
def test_qmemman(guests: dict[str, Guest], data: some.DataObject) -> None:
    """What guests should gain they get as far as it is free, in proportion."""
    oracle = Qmemman()
    with Actuator("qmemman") as actuator:
        for index in range(data.draw(some.integers(1, 5))):
            guests = data.draw(loads(guests))
            free = data.draw(mebibytes(-200, 6000)) * MIB
            targets = oracle.step(free, guests)
            assume(oracle.rounds <= 2)
            gains = sum(max(target - guests[name].actual, 0) for name, target in targets.items())
            part = min(max((free - 50 * MIB) / gains, 0), 1) if gains else 0
            wanted = {
                name: min(target, guests[name].actual + (target - guests[name].actual) * part)
                for name, target in targets.items()
            }
            untouched = sum(max(guest.actual - guest.rss, 0) for guest in guests.values())
            host = {"kvm_memory_available_bytes": free + untouched + 350 * MIB}
            got = written(actuator, index * 5, of_guests(guests) | host)
            assert (index, got) == (index, moved(guests, wanted))
            guests = after(guests, got)


@settings(max_examples=40)
@given(guests=guests_of(), data=some.data())
def test_squeezed(guests: dict[str, Guest], data: some.DataObject) -> None:
    oracle = Squeezed(keep=(1024 + 64) * MIB, inaccuracy=MIB)
    with Actuator("squeezed") as actuator:
        for index in range(data.draw(some.integers(1, 6))):
            guests = data.draw(loads(guests))
            free = data.draw(mebibytes(0, 16000)) * MIB
            targets = oracle.step(free, guests, index * 5)
            assume(not oracle.stuck)
            untouched = sum(max(guest.actual - guest.rss, 0) for guest in guests.values())
            got = written(actuator, index * 5, of_guests(guests) | {"kvm_memory_available_bytes": free + untouched})
            assert (index, got) == (index, moved(guests, targets))
            guests = after(guests, got)


def test_squeezed_leaves_out_who_does_not_move() -> None:
    """It should shrink and does not: after five seconds what there is is divided among the others."""
    stays = Guest(actual=4096 * MIB, maximum=4096 * MIB, used=512 * MIB, unused=0, least=1024 * MIB, rss=4096 * MIB)
    guests = {"stays": stays, "moves": replace(stays, maximum=8192 * MIB)}
    oracle = Squeezed(keep=(1024 + 64) * MIB, inaccuracy=MIB)
    asked = []
    with Actuator("squeezed", follows=False) as actuator:
        for index in range(6):
            free = 2048 * MIB + stays.actual - guests["moves"].actual
            targets = oracle.step(free, guests, index * 5)
            got = written(actuator, index * 5, of_guests(guests) | {"kvm_memory_available_bytes": 2048 * MIB})
            assert got.get("moves") == moved(guests, targets).get("moves")
            asked.append("stays" in targets)
            assert not (oracle.stuck and "stays" in got)
            guests["moves"] = replace(guests["moves"], actual=got.get("moves", guests["moves"].actual))
    assert asked == [True, True, False, False, False, False]


@settings(max_examples=30)
@given(waits=some.lists(some.integers(0, 30), min_size=1, max_size=40))
def test_senpai(waits: list[int]) -> None:
    """A guest that waits for its disk so often in each second."""
    oracle = Senpai()
    guest = Guest(actual=4096 * MIB, maximum=8192 * MIB, used=512 * MIB, unused=512 * MIB, major_faults=1000)
    with Actuator("senpai-psi") as actuator:
        for second, faults in enumerate(waits):
            guest = replace(guest, major_faults=guest.major_faults + faults)
            limit = oracle.step(guest.major_faults * 1000, guest.actual, guest.maximum)
            expected = {} if limit is None else moved({"guest": guest}, {"guest": limit})
            got = written(actuator, second, of_guests({"guest": guest}))
            assert (second, got) == (second, expected)
            guest = replace(guest, actual=got.get("guest", guest.actual))
