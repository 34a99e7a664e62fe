"""Dividing a host's memory: the peers' examples, and what holds for all guests, needs and budgets."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from actuator.plans.allocation import IDLE_TAX, MAX_SHARES, MIN_SHARES, STRATEGIES, Guest, allocate, divide

GIB = 2**30
MIB = 2**20


def guest(size: float, *, need: float = 0, floor: float = 0, ceiling: float = 64, shares: float = 1) -> Guest:
    """Sizes in GiB."""
    size, need, floor, ceiling = (int(mark * GIB) for mark in (size, need, floor, ceiling))
    return Guest(size=size, floor=floor, ceiling=ceiling, need=need, shares=shares)


def deaf_to(deadband: float, guest: Guest) -> Guest:
    return replace(guest, deadband=int(deadband * GIB))


# Proxmox VE's manual, "Automatic Memory Allocation": 9 GB for a database with 3000 shares and three web servers.
PROXMOX = {name: guest(2, need=2, floor=2, ceiling=16, shares=1000) for name in ("http1", "http2", "http3")}
PROXMOX["database"] = guest(2, need=2, floor=2, ceiling=16, shares=3000)

# squeezed: all guests at one ratio (target - dynamic_min) / (dynamic_max - dynamic_min).
SQUEEZED = {"small": guest(2, need=1, floor=1, ceiling=2), "large": guest(8, need=2, floor=2, ceiling=8)}

# qmemman: what is left goes to the guests in proportion to what they prefer, which is need here.
QMEMMAN = {"web": guest(2, need=2, ceiling=8), "mail": guest(1, need=1, ceiling=8)}

TWO_IDLE = {"idle": guest(8, need=1, floor=0.5, ceiling=8), "busy": guest(8, need=7, floor=0.5, ceiling=8)}


@pytest.mark.parametrize(
    ("by", "guests", "total", "sizes"),
    [
        ("shares", PROXMOX, 8 + 9, {"http1": 3.5, "http2": 3.5, "http3": 3.5, "database": 6.5}),
        # The ceiling of one is the gain of the others.
        ("shares", {**PROXMOX, "database": guest(2, need=2, floor=2, ceiling=5, shares=3000)}, 8 + 9, {"http1": 4, "http2": 4, "http3": 4, "database": 5}),
        ("range", SQUEEZED, 10, {"small": 2, "large": 8}),
        ("range", SQUEEZED, 6.5, {"small": 1.5, "large": 5}),
        ("range", SQUEEZED, 3, {"small": 1, "large": 2}),
        # Below the floors nothing goes.
        ("range", SQUEEZED, 2, {"small": 1, "large": 2}),
        ("demand", QMEMMAN, 9, {"web": 6, "mail": 3}),
        # Too little for all needs: those who need little have it, the others are equal (max-min fairness).
        ("demand", {"a": guest(8, need=1), "b": guest(8, need=4), "c": guest(8, need=8)}, 9, {"a": 1, "b": 4, "c": 4}),
        ("demand", {"a": guest(8, need=1), "b": guest(8, need=4), "c": guest(8, need=8)}, 7, {"a": 1, "b": 3, "c": 3}),
        ("demand", {"a": guest(8, need=8), "b": guest(8, need=8, shares=3)}, 8, {"a": 2, "b": 6}),
        # With equal shares the idle guest is taxed: 1 / (1 + 4 * 3) is below 1 / (7 + 4 * 1), so it gives first.
        ("idle", TWO_IDLE, 16 - 4, {"idle": 4, "busy": 8}),
        ("idle", TWO_IDLE, 16 - 6, {"idle": 2.75, "busy": 7.25}),
        # As long as any memory is idle, nobody gives what it needs.
        ("idle", TWO_IDLE, 16 - 8, {"idle": 1, "busy": 7}),
        ("idle", TWO_IDLE, 16 - 10, {"idle": 1, "busy": 5}),
        # Who has no shares gives first, and gets last.
        ("shares", {"a": guest(4, shares=0), "b": guest(4)}, 6, {"a": 2, "b": 4}),
        ("shares", {"a": guest(4, shares=0, ceiling=8), "b": guest(4, ceiling=8)}, 13, {"a": 5, "b": 8}),
        # More shares keep more idle memory.
        ("idle", {"gold": guest(8, need=1, shares=2), "iron": guest(8, need=1)}, 7.5, {"gold": 4.75, "iron": 2.75}),
    ],
)  # fmt: skip
def test_what_each_should_have_of_all_there_is(
    by: str, guests: dict[str, Guest], total: float, sizes: dict[str, float]
) -> None:
    assert {name: size / GIB for name, size in divide(guests, int(total * GIB), by).items()} == pytest.approx(sizes)


@pytest.mark.parametrize(
    ("guests", "free", "sizes"),
    [
        # The host gains, and nobody grows.
        ({"a": guest(4, need=1), "b": guest(2, need=1)}, 3, {"a": 1.5, "b": 1.5}),
        # A guest in need is granted what there is; what the other frees for it has to come back first.
        ({"a": guest(4, need=1), "b": guest(2, need=3)}, 0, {"a": 3, "b": 2}),
        ({"a": guest(3, need=1), "b": guest(2, need=3)}, -1, {"a": 3, "b": 3}),
        ({"a": guest(4, need=1), "b": guest(2, need=3)}, -0.5, {"a": 3.5, "b": 2.5}),
        # Several in need share what there is in proportion to what they lack.
        ({"a": guest(4, need=1), "b": guest(2, need=3), "c": guest(2, need=4)}, -0.75, {"a": 1.75, "b": 2.25, "c": 2.5}),
        # Nobody lacks anything and there is nothing to give: no moves, however uneven they are.
        ({"a": guest(4, need=1), "b": guest(2, need=2)}, 0, {"a": 4, "b": 2}),
        # The host has some to give: who has least for its need gets it, and nobody shrinks.
        ({"a": guest(4, need=1), "b": guest(2, need=2)}, -1, {"a": 4, "b": 3}),
        # All moves together are within the deadbands together, or not; or a guest in need lacks more than its own.
        ({"a": deaf_to(0.5, guest(4, need=1)), "b": deaf_to(0.5, guest(2, need=2))}, 1, {"a": 4, "b": 2}),
        ({"a": deaf_to(0.5, guest(4, need=1)), "b": deaf_to(0.5, guest(2, need=2))}, 1.5, {"a": 2.5, "b": 2}),
        ({"a": deaf_to(0.5, guest(4, need=1)), "b": deaf_to(0.1, guest(2, need=2.25))}, -0.25, {"a": 4, "b": 2.25}),
        # What does not respond keeps what it has, and the host's gain comes from the others.
        ({"a": guest(4, need=1), "b": replace(guest(9, need=1), responds=False)}, 1, {"a": 3}),
        ({"b": replace(guest(9, need=1), responds=False)}, 1, {}),
        ({}, 1, {}),
        # A guest above its ceiling gives, one below its floor gets what there is.
        ({"a": guest(4, need=1, ceiling=3), "b": guest(1, need=1, floor=2)}, 0, {"a": 3, "b": 1}),
        ({"a": guest(3, need=1, ceiling=3), "b": guest(1, need=1, floor=2)}, -1, {"a": 3, "b": 2}),
    ],
)  # fmt: skip
def test_what_is_asked_now(guests: dict[str, Guest], free: float, sizes: dict[str, float]) -> None:
    assert {name: size / GIB for name, size in allocate(guests, int(free * GIB), "demand").items()} == pytest.approx(
        sizes
    )


@pytest.mark.parametrize(
    ("marks", "problem"),
    [
        ({"floor": 2, "ceiling": 1}, "the floor 2 is not between 0 and the ceiling 1"),
        ({"floor": -1, "ceiling": 1}, "the floor -1 is not between 0 and the ceiling 1"),
        ({"floor": 0, "ceiling": 1, "shares": -1.0}, "-1 shares: write 0, or from 1e-06 to 1e+15"),
        ({"floor": 0, "ceiling": 1, "shares": float("nan")}, "nan shares: write 0, or from 1e-06 to 1e+15"),
    ],
)
def test_marks_that_contradict_each_other_are_refused(marks: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("+", r"\+")):
        Guest(size=1, need=1, **marks)  # type: ignore[arg-type]


@some.composite
def guests_of_any_kind(draw: some.DrawFn) -> Guest:
    low, high = sorted(draw(some.tuples(some.integers(0, 2**40), some.integers(0, 2**40))))
    size = draw(some.integers(low, high) | some.integers(0, 2**40))
    shares = draw(some.just(0.0) | some.floats(MIN_SHARES, MAX_SHARES) | some.floats(0.1, 10))
    need, responds = draw(some.integers(0, 2**41)), draw(some.integers(0, 9)) > 0
    deadband = draw(some.just(0) | some.integers(0, size))
    return Guest(size=size, floor=low, ceiling=high, need=need, shares=shares, deadband=deadband, responds=responds)


def exact(guests: dict[int, Guest]) -> dict[int, Guest]:
    """Without deadbands, which may hold back a move of one for what another does."""
    return {name: replace(guest, deadband=0) for name, guest in guests.items()}


ANY_GUESTS = some.lists(guests_of_any_kind(), min_size=1, max_size=8).map(lambda guests: dict(enumerate(guests)))
ANY_FREE = some.integers(-(2**42), 2**42) | some.integers(-(2**30), 2**30)
ANY_STRATEGY = some.sampled_from(sorted(STRATEGIES))


@given(ANY_GUESTS, ANY_FREE, ANY_STRATEGY)
def test_nobody_is_sent_below_its_floor_or_above_its_ceiling(guests: dict[int, Guest], free: int, by: str) -> None:
    for name, size in allocate(guests, free, by).items():
        assert size >= min(guests[name].floor, guests[name].size)
        assert size <= max(guests[name].ceiling, guests[name].size)


@given(ANY_GUESTS, ANY_FREE, ANY_STRATEGY)
def test_no_more_is_granted_than_the_host_may_give(guests: dict[int, Guest], free: int, by: str) -> None:
    grants = [size - guests[name].size for name, size in allocate(guests, free, by).items()]
    assert sum(grant for grant in grants if grant > 0) <= max(-free, 0)


@given(ANY_GUESTS, ANY_FREE, ANY_STRATEGY)
def test_the_host_gains_what_it_asked_for_if_the_guests_can_give_it(
    guests: dict[int, Guest], free: int, by: str
) -> None:
    goals = divide(guests, sum(guest.size for guest in guests.values()) - free, by)
    most = sum(guest.size - guest.floor for guest in guests.values())
    least = sum(guest.size - guest.ceiling for guest in guests.values())
    gained = sum(guests[name].size - goal for name, goal in goals.items())
    assert abs(gained - min(max(free, least), most)) <= 2 * len(guests)


@given(ANY_GUESTS, ANY_FREE, ANY_STRATEGY, some.data())
def test_who_needs_more_gets_no_less_and_the_others_no_more(
    guests: dict[int, Guest], free: int, by: str, data: some.DataObject
) -> None:
    guests = exact(guests)
    name = data.draw(some.sampled_from(sorted(guests)))
    more = replace(guests[name], need=guests[name].need + data.draw(some.integers(0, 2**40)))
    before, after = allocate(guests, free, by), allocate({**guests, name: more}, free, by)
    for other, size in after.items():
        tolerance = 2 * len(guests)  # whole bytes
        assert size >= before[other] - tolerance if other == name else size <= before[other] + tolerance


@given(ANY_GUESTS, ANY_FREE, some.integers(0, 2**40), ANY_STRATEGY)
def test_a_shorter_host_leaves_nobody_more(guests: dict[int, Guest], free: int, more: int, by: str) -> None:
    before, after = allocate(exact(guests), free, by), allocate(exact(guests), free + more, by)
    assert all(size <= before[name] + 2 * len(guests) for name, size in after.items())


@given(ANY_GUESTS, ANY_FREE, ANY_STRATEGY)
def test_who_does_not_respond_is_not_there(guests: dict[int, Guest], free: int, by: str) -> None:
    responding = {name: guest for name, guest in guests.items() if guest.responds}
    assert allocate(guests, free, by) == allocate(responding, free, by)


@given(ANY_GUESTS, ANY_FREE, ANY_STRATEGY)
def test_the_order_of_guests_does_not_matter(guests: dict[int, Guest], free: int, by: str) -> None:
    turned = dict(reversed(guests.items()))
    plan, other = allocate(exact(guests), free, by), allocate(exact(turned), free, by)
    assert all(abs(other[name] - size) <= 2 * len(guests) for name, size in plan.items())


@given(ANY_GUESTS, ANY_FREE, ANY_STRATEGY, some.lists(some.integers(1, 4), min_size=1, max_size=8))
def test_at_constant_demand_nobody_turns_around(guests: dict[int, Guest], free: int, by: str, paces: list[int]) -> None:
    # Each tick, each balloon goes a part of its way, each at its own pace; what the guests give, the host has.
    whole = sum(guest.size for guest in guests.values()) - free
    paths: dict[int, list[int]] = {name: [guest.size] for name, guest in guests.items()}
    for tick in range(24):
        plan = allocate(guests, sum(guest.size for guest in guests.values()) - whole, by)
        for name, goal in plan.items():
            part = paces[(tick + name) % len(paces)]
            size = guests[name].size
            guests[name] = replace(guests[name], size=goal if part == 1 else size + (goal - size) // part)
            paths[name].append(guests[name].size)
    tolerance = 4 * len(guests)  # whole bytes
    for path in paths.values():
        rises = [after > before + tolerance for before, after in pairwise(path) if abs(after - before) > tolerance]
        assert len(set(rises)) <= 1


@given(ANY_GUESTS, ANY_FREE, ANY_STRATEGY, some.lists(some.floats(-1, 1), min_size=1, max_size=9))
def test_noise_within_the_deadbands_moves_nothing(
    guests: dict[int, Guest], free: int, by: str, noise: list[float]
) -> None:
    settled = {
        name: replace(guest, size=goal, need=guest.floor, deadband=goal // 100, responds=True)
        for (name, guest), goal in zip(guests.items(), divide(guests, free, by).values(), strict=True)
    }
    # A plan is in whole bytes, so each guest may be one off.
    room = sum(guest.deadband for guest in settled.values()) - 2 * len(settled)
    assume(room > 0)
    for part in noise:
        assert allocate(settled, int(part * room), by) == {name: guest.size for name, guest in settled.items()}


@given(ANY_GUESTS, ANY_FREE, ANY_STRATEGY)
def test_needs_that_change_within_what_each_has_move_nothing(guests: dict[int, Guest], free: int, by: str) -> None:
    settled = {
        name: replace(guest, size=goal, need=guest.floor, deadband=0, responds=True)
        for (name, guest), goal in zip(guests.items(), divide(guests, free, by).values(), strict=True)
    }
    for need in (0.0, 0.5, 1.0):
        noisy = {name: replace(guest, need=int(guest.size * need)) for name, guest in settled.items()}
        for name, size in allocate(noisy, 0, by).items():
            assert abs(size - settled[name].size) <= 2 * len(guests)


def revoked(guests: dict[int, Guest], amount: int) -> dict[int, int]:
    """What ESX Server's min-funding revocation leaves, page after page: from the lowest adjusted shares-per-page ratio."""
    sizes = {name: guest.size for name, guest in guests.items()}

    def ratio(name: int) -> float:
        active = min(guests[name].need, sizes[name])
        return guests[name].shares / (active + (sizes[name] - active) / (1 - IDLE_TAX))

    for _ in range(amount):
        sizes[min((name for name in sizes if sizes[name] > guests[name].needed), key=ratio)] -= 1
    return sizes


@given(
    some.lists(some.tuples(some.integers(1, 60), some.integers(0, 60), some.floats(0.5, 4)), min_size=1, max_size=5),
    some.data(),
)
def test_idle_memory_is_taken_as_esx_server_takes_it(raw: list[tuple[int, int, float]], data: some.DataObject) -> None:
    guests = {
        name: Guest(size=need + idle, floor=0, ceiling=200, need=need, shares=shares)
        for name, (need, idle, shares) in enumerate(raw)
    }
    amount = data.draw(some.integers(0, sum(idle for _, idle, _ in raw)))
    plan = allocate(guests, amount, "idle")
    assert all(abs(size - plan[name]) <= 2 for name, size in revoked(guests, amount).items())
