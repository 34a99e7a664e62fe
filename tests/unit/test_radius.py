"""How many guests a rule may write to in one tick: moves in, what is held back out."""

import pytest

from actuator.knobs import Target
from actuator.plans.plan import Setpoint
from actuator.plans.radius import Move, Radius, held_back


def move(
    guest: str, after: int, *, rule: str = "r", knob: str = "balloon.target", planned: bool = False, of: int = 4
) -> Move:
    setpoint = Setpoint(rule, knob, target(guest), after, "b", None, is_planned=planned)
    return Move(setpoint, before=100, after=after, guests=of)


def target(guest: str) -> Target:
    return (("domain", guest),)


def held(moves: list[Move], radius: Radius) -> dict[str, str]:
    return {dict(key[2])["domain"]: held.outcome for key, held in held_back(moves, radius).items()}


HALF = Radius(share=0.5, at_least=1)


@pytest.mark.parametrize(
    ("radius", "guests", "most"),
    [
        (Radius(), 4, 8),
        (Radius(), 16, 8),
        (Radius(), 17, 8),
        (Radius(), 100, 50),
        (Radius(share=0.0, at_least=1), 100, 1),
        (Radius(share=1.0), 100, 100),
    ],
)
def test_a_share_of_many_guests_and_so_many_in_any_case(radius: Radius, guests: int, most: int) -> None:
    assert radius.of(guests) == most


def test_within_the_radius_nothing_is_held_back() -> None:
    assert held([move("a", 90), move("b", 90)], HALF) == {}


def test_beyond_it_the_whole_rule_is_stopped() -> None:
    moves = [move("a", 90), move("b", 90), move("c", 90), move("d", 90, rule="other")]
    assert held(moves, HALF) == {"a": "refused", "b": "refused", "c": "refused"}
    ((_, first), *_) = held_back(moves, HALF).items()
    assert first.detail == (
        "the rule would write to 3 of 4 guests at once, and the policy's blast_radius is 2: "
        "bound it, as by topk(2, ...), or raise blast_radius"
    )


def test_a_guest_with_many_vcpus_is_one_guest() -> None:
    moves = [move("a", cpu, knob="vcpu.affinity") for cpu in range(8)]
    assert held(moves, HALF) == {}


def test_of_a_plan_the_largest_moves_are_made_first_and_decreases_before_all() -> None:
    moves = [
        move("a", 190, planned=True),
        move("b", 95, planned=True),
        move("c", 120, planned=True),
        move("d", 60, planned=True),
    ]
    assert held(moves, HALF) == {"a": "waiting", "c": "waiting"}


def test_of_a_placement_the_first_moves_are_made_first() -> None:
    setpoints = [Setpoint("r", "vcpu.affinity", target(guest), "1", "b", None, is_planned=True) for guest in "abcd"]
    assert held([Move(setpoint, "0", "1", 4) for setpoint in setpoints], HALF) == {"c": "waiting", "d": "waiting"}
