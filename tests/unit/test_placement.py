"""Spreading contended vCPUs: who moves where, and who stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actuator.knobs import Target
from actuator.placement import spread
from kvmhost import cpulist

CPUS = frozenset(range(4))


def vcpu(name: str) -> Target:
    return (("domain", name), ("vcpu", "0"))


@pytest.mark.parametrize(
    ("affinity", "demand", "movable", "moves"),
    [
        # Two busy vCPUs on one CPU: one moves, one stays.
        ({"a": "0", "b": "0"}, {"a": 1.0, "b": 1.0}, "ab", {"a": "1"}),
        ({"a": "0", "b": "0"}, {"a": 1.0, "b": 1.0}, "b", {"b": "1"}),
        # Apart already.
        ({"a": "0", "b": "1"}, {"a": 1.0, "b": 1.0}, "ab", {}),
        # What may run anywhere is left to the kernel's scheduler.
        ({"a": "0-3", "b": "0"}, {"a": 1.0, "b": 1.0}, "a", {}),
        # An idle neighbour is no reason to move.
        ({"a": "0", "b": "0"}, {"a": 1.0, "b": 0.05}, "a", {}),
        # The least wanted CPU is taken, also when all are wanted.
        ({"a": "0", "b": "0", "c": "1", "d": "2", "e": "3"}, {"a": 1, "b": 1, "c": 0.5, "d": 0.2, "e": 0.6}, "a", {"a": "2"}),
        ({"a": "0", "b": "0", "c": "1", "d": "2", "e": "3"}, dict.fromkeys("abcde", 1.0), "ab", {}),
        # Pinned to a CPU that is offline now.
        ({"a": "7"}, {"a": 1.0}, "a", {"a": "0"}),
        ({"a": "0"}, {"a": 1.0}, "gone", {}),
    ],
)  # fmt: skip
def test_spread(affinity: dict[str, str], demand: dict[str, float], movable: str, moves: dict[str, str]) -> None:
    names = [movable] if movable == "gone" else movable
    told = spread(
        [vcpu(name) for name in names],
        {vcpu(name): value for name, value in demand.items()},
        {vcpu(name): cpulist.parse(cpus) for name, cpus in affinity.items()},
        CPUS,
    )
    assert {dict(target)["domain"]: cpulist.format(cpus) for target, cpus in told.items()} == moves


placements = st.dictionaries(
    st.integers(0, 30).map(lambda number: vcpu(str(number))),
    st.tuples(st.floats(0, 1), st.frozensets(st.integers(0, 3), min_size=1)),
)


@given(placements)
def test_what_it_moved_stays(guests: dict[Target, tuple[float, frozenset[int]]]) -> None:
    demand = {target: wanted for target, (wanted, _) in guests.items()}
    affinity = {target: cpus for target, (_, cpus) in guests.items()}
    for _ in range(len(guests) + 1):
        moves = spread(affinity, demand, affinity, CPUS)
        if not moves:
            break
        affinity = {**affinity, **moves}
    assert spread(affinity, demand, affinity, CPUS) == {}
