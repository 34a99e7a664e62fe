"""Which targets a rule's results select, and which of two rules wins."""

import math

import pytest

from actuator.knobs import HOST, Live, Target
from actuator.plans.plan import Setpoint, literal, numbers, select, settle_conflicts
from actuator.promql.labels import Labels
from actuator.promql.types import Sample
from actuator.rules.rule import Agreeing, Instance

GUEST = ("domain",)
VCPU = ("domain", "vcpu")
JOB = ("job", "kvmtune")


def guest(name: str, vcpu: str | None = None) -> Target:
    return (("domain", name),) if vcpu is None else (("domain", name), ("vcpu", vcpu))


GUESTS = {guest("a"): Live(value=1, identity="u-a"), guest("b"): Live(value=2, identity="u-b")}
VCPUS = {guest(name, vcpu): Live(value="0", identity=f"u-{name}") for name in "ab" for vcpu in "01"}
ONE_HOST = {HOST: Live(value=100)}


def instance(*labels: tuple[str, str]) -> Instance:
    return Instance(labels=labels, pending_since=0, seen=0, value=1)


@pytest.mark.parametrize(
    ("labels", "keys", "live", "selected"),
    [
        ((), (), ONE_HOST, [HOST]),
        ((JOB,), (), ONE_HOST, [HOST]),
        ((("domain", "a"),), GUEST, GUESTS, [guest("a")]),
        ((("domain", "a"), ("uuid", "u-a")), GUEST, GUESTS, [guest("a")]),
        ((("domain", "a"), ("uuid", "another")), GUEST, GUESTS, []),
        ((("domain", "gone"),), GUEST, GUESTS, []),
        # A result that names no guest never means all guests.
        ((JOB,), GUEST, GUESTS, []),
        ((("domain", "a"),), VCPU, VCPUS, [guest("a", "0"), guest("a", "1")]),
        ((("domain", "a"), ("vcpu", "1")), VCPU, VCPUS, [guest("a", "1")]),
        ((("vcpu", "1"),), VCPU, VCPUS, []),
    ],
)
def test_labels_select_targets(
    labels: Labels, keys: tuple[str, ...], live: dict[Target, Live], selected: list[Target]
) -> None:
    assert list(select(labels, keys, live)) == selected


@pytest.mark.parametrize(
    ("of", "samples", "values", "fault"),
    [
        # A number for the guest of the instance, another guest's left alone.
        (instance(("domain", "a")), [("a", 7.0), ("b", 8.0)], {guest("a"): 7.0}, None),
        # The host is the instance: each guest that the setpoint names.
        (instance(JOB), [("a", 7.0), ("b", 8.0)], {guest("a"): 7.0, guest("b"): 8.0}, None),
        # A plain number goes to the instance's guest.
        (instance(("domain", "b")), [(None, 9.0)], {guest("b"): 9.0}, None),
        (instance(JOB), [(None, 9.0)], {}, "the result has no label 'domain', so it selects no target"),
        (instance(("domain", "a")), [], {}, "the setpoint has no value"),
        (instance(("domain", "a")), [("b", 8.0)], {}, "the setpoint has no value"),
        (instance(("domain", "gone")), [(None, 8.0)], {}, "no such target here: domain=gone"),
        (instance(("domain", "a")), [("a", math.nan)], {}, "the setpoint for a is nan"),
        (instance(("domain", "a")), [("a", math.inf)], {}, "the setpoint for a is inf"),
        (instance(("domain", "a")), [("a", 7.0), (None, 8.0)], {}, "two setpoints for a: 7.0 and 8.0"),
    ],
)
def test_setpoints_of_guests(
    of: Instance, samples: list[tuple[str | None, float]], values: dict[Target, float], fault: str | None
) -> None:
    results = [Sample((("domain", name),) if name else (), value) for name, value in samples]
    wanted = numbers(of, Agreeing(results, "domain"), GUEST, GUESTS)
    assert wanted.values == values
    assert wanted.faults == ((fault,) if fault else ())
    assert numbers(of, Agreeing(results, ""), GUEST, GUESTS) == wanted


@pytest.mark.parametrize("domain", ["a", "b", "gone", None])
@pytest.mark.parametrize("vcpu", ["0", "1", "9", None])
@pytest.mark.parametrize("more", [(), (("uuid", "other"),), (("job", "x"),)])
def test_labels_select_the_targets_that_they_agree_with(
    domain: str | None, vcpu: str | None, more: tuple[tuple[str, str], ...]
) -> None:
    named = [(name, value) for name, value in (("domain", domain), ("vcpu", vcpu)) if value]
    expected = [
        target
        for target, live in VCPUS.items()
        if domain and all(pair in target for pair in named) and dict(more).get("uuid", live.identity) == live.identity
    ]
    assert list(select((*named, *more), VCPU, VCPUS)) == expected


def test_a_literal_goes_to_every_target_of_the_instance() -> None:
    wanted = literal(instance(("domain", "a")), "0-1", VCPU, VCPUS)
    assert wanted.values == {guest("a", "0"): "0-1", guest("a", "1"): "0-1"}
    assert literal(instance(JOB), "0-1", VCPU, VCPUS).faults != ()


def setpoint(rule: str, priority: int, target: Target = HOST) -> Setpoint:
    return Setpoint(rule, "ksm.run", target, 1.0, "b", 0.1, priority=priority)


def test_the_higher_priority_wins_then_the_first() -> None:
    low, high, late = setpoint("low", 0), setpoint("high", 5), setpoint("late", 5)
    other = setpoint("other", 0, guest("a"))
    assert settle_conflicts([low, other, high, late]) == ((high, other), (late, low))
