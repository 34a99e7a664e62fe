"""What becomes of a setpoint under its limits: a table of (wanted, now, limits) -> verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actuator.knobs import KNOBS, Live
from actuator.plans.guard import Verdict, judge
from actuator.rules.limits import Amount, Limits

PAGES, RUN, SLEEP, BALLOON, PIN = (
    KNOBS[name] for name in ("ksm.pages_to_scan", "ksm.run", "ksm.sleep_millisecs", "balloon.target", "vcpu.affinity")
)
MIB = 2**20


def verdict(
    wanted: float | str,
    live: Live,
    *limits: Limits,
    knob: type = PAGES,
    writes: tuple[float, ...] = (),
    now: float = 1000.0,
) -> Verdict:
    return judge(wanted, live, knob, limits, writes=writes, now=now)


@pytest.mark.parametrize(
    ("wanted", "live", "limits", "expected"),
    [
        (150.0, Live(value=100), [], Verdict("write", 150)),
        (150.4, Live(value=100), [], Verdict("write", 150)),
        (100.0, Live(value=100), [], Verdict("unchanged")),
        (100.4, Live(value=100), [], Verdict("unchanged")),
        # The tightest limit of policy and rule counts.
        (900, Live(value=100), [Limits(max=500), Limits(max=300)], Verdict("write", 300, "not above 300, the upper limit")),
        (1, Live(value=100), [Limits(min=50), Limits(min=70)], Verdict("write", 70, "not below 70, the lower limit")),
        (900, Live(value=100, high=200), [Limits(max=500)], Verdict("write", 200, "not above 200, the knob's highest")),
        (
            400,
            Live(value=100),
            [Limits(step=Amount(ratio=0.5)), Limits(step=Amount(absolute=80))],
            Verdict("write", 150, "on the way to 400, one step at a time"),
        ),
        (10, Live(value=100), [Limits(step=Amount(absolute=30))], Verdict("write", 70, "on the way to 10, one step at a time")),
        # A limit already reached, or one beyond the value, is where it ends: never a write in the other direction.
        (900, Live(value=300), [Limits(max=300)], Verdict("limit", None, "not above 300, the upper limit")),
        (900, Live(value=400), [Limits(max=300)], Verdict("limit", None, "not above 300, the upper limit")),
        (104, Live(value=100), [Limits(deadband=Amount(ratio=0.05))], Verdict("deadband", None, "104 is close enough")),
        (105, Live(value=100), [Limits(deadband=Amount(ratio=0.05))], Verdict("write", 105)),
        (5, Live(value=100, refusal="the guest is paused"), [], Verdict("refused", None, "the guest is paused", "untouchable")),
    ],
)  # fmt: skip
def test_numbers(wanted: float, live: Live, limits: list[Limits], expected: Verdict) -> None:
    assert verdict(wanted, live, *limits) == expected


def test_a_switch_has_no_distance() -> None:
    tight = Limits(step=Amount(ratio=0.1), deadband=Amount(absolute=5))
    assert verdict(1.0, Live(value=0, low=0, high=1), tight, knob=RUN) == Verdict("write", 1)
    assert verdict(2.0, Live(value=0, low=0, high=1), tight, knob=RUN).ruling == "refused"


def test_a_step_can_leave_zero() -> None:
    assert verdict(50.0, Live(value=0), Limits(step=Amount(ratio=1.0))).value == 1


@pytest.mark.parametrize(
    ("wanted", "live", "expected"),
    [
        # Coarse knobs are rounded toward the present value: never farther than was decided.
        (100.2 * MIB, Live(value=200 * MIB), Verdict("write", 101 * MIB)),
        (
            10 * MIB,
            Live(value=200 * MIB, low=64 * MIB + 1, low_because="its floor"),
            Verdict("write", 64 * MIB + 1, "not below 64 MiB, its floor"),
        ),
        (900 * MIB, Live(value=200 * MIB, high=256 * MIB), Verdict("write", 256 * MIB, "not above 256 MiB, the knob's highest")),
        # A rule's `max` is no way to take a guest below its floor.
        (900 * MIB, Live(value=50 * MIB, low=64 * MIB, high=32 * MIB), Verdict("refused", None, "it must not go below 64 MiB, the knob's lowest, nor above 32 MiB, the knob's highest", "contradiction")),
        # Below its floor already: a decrease stops, and does not become an increase.
        (10 * MIB, Live(value=50 * MIB, low=64 * MIB), Verdict("limit", None, "not below 64 MiB, the knob's lowest")),
    ],
)  # fmt: skip
def test_balloons(wanted: float, live: Live, expected: Verdict) -> None:
    assert verdict(wanted, live, knob=BALLOON) == expected


@pytest.mark.parametrize(
    ("wanted", "live", "ruling"),
    [
        ("1", Live(value="0", cpus=frozenset({0, 1})), "write"),
        ("0", Live(value="0", cpus=frozenset({0, 1})), "unchanged"),
        ("1-2", Live(value="0", cpus=frozenset({0, 1})), "refused"),
        ("1", Live(value="0"), "refused"),
    ],
)
def test_cpu_lists(wanted: str, live: Live, ruling: str) -> None:
    assert verdict(wanted, live, knob=PIN).ruling == ruling


@pytest.mark.parametrize(
    ("writes", "now", "ruling"),
    [
        ((), 1000, "write"),
        ((941, 950, 999), 1000, "budget"),
        ((940, 950, 999), 1000, "write"),
    ],
)
def test_writes_are_spaced(writes: tuple[float, ...], now: float, ruling: str) -> None:
    budget = Limits(writes_per_minute=3)
    assert verdict(7, Live(value=100), budget, writes=writes, now=now).ruling == ruling


sizes = st.integers(0, 2**40)
amounts = st.none() | st.builds(Amount, ratio=st.floats(0, 2)) | st.builds(Amount, absolute=sizes)


@given(wanted=st.floats(-1e12, 1e12), value=sizes, low=sizes, room=sizes, step=amounts, deadband=amounts)
def test_a_write_is_always_within_bounds_and_in_the_wanted_direction(
    wanted: float, value: int, low: int, room: int, step: Amount | None, deadband: Amount | None
) -> None:
    high = low + room
    told = verdict(wanted, Live(value=value, low=low, high=high), Limits(step=step, deadband=deadband), knob=BALLOON)
    if told.value is not None:
        assert isinstance(told.value, int)
        assert min(low, value) <= told.value <= max(high, value)
        assert (told.value > value) == (wanted > value)
        if step is not None:
            assert abs(told.value - value) <= max(step.of(value), MIB)
