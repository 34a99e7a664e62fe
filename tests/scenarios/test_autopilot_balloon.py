"""What the autopilot's balloon rules promise, on hosts that are made up: the real engine and knob, and a model of the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from actuator.promql.labels import make
from actuator.rules import policy
from actuator.simulated.simulation import Simulation
from benchmarks.policies import balloon_workloads
from benchmarks.policies.balloon_engine import Actuator
from benchmarks.policies.balloon_model import Host, Workload
from benchmarks.policies.balloon_run import RESERVE_RATIO, run
from tests.scenarios.closedloop import autopilot

RULES = autopilot("memory", "balloon")
POLICY = policy.load()
SECONDS = 900
START = 1_800_000_000.0


@pytest.mark.parametrize("seed", range(3))
def test_at_constant_demand_nobody_turns_around_and_nobody_lacks_what_the_host_has(seed: int) -> None:
    score = run(balloon_workloads.make("constant", 8, 200 + seed, SECONDS), RULES, POLICY).score
    assert score.reversals == score.turns == 0
    assert score.shortfall_free == pytest.approx(0, abs=0.1)
    assert score.kills == score.below == 0


@pytest.mark.parametrize("seed", range(3))
def test_on_a_host_that_is_nearly_full_nobody_turns_around_and_no_more_than_hot_cache_is_short(seed: int) -> None:
    load = balloon_workloads.make("tight", 8, 200 + seed, SECONDS)
    score = run(load, RULES, POLICY).score
    assert score.reversals == score.turns == 0
    assert score.shortfall <= 0.05 * float(load.guests.hot.sum()) / 1024 * SECONDS
    assert score.kills == score.swap == 0


@pytest.mark.parametrize("kind", ["step", "burst"])
def test_a_step_is_answered_within_two_ticks_and_met_within_half_a_minute(kind: str) -> None:
    done = run(balloon_workloads.drawn(kind), RULES, POLICY)
    assert done.score.first_write <= 10
    assert done.score.step_worst <= 30
    assert done.score.kills == done.score.reversals == 0


def test_the_host_keeps_its_reserve_while_guests_take_steps_together() -> None:
    score = run(balloon_workloads.make("together", 8, 201, 1100), RULES, POLICY).score
    assert score.below <= 30
    assert score.host_swap == 0


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_what_some_guests_have_just_given_up_others_need_not_wait_for(seed: int) -> None:
    """When only what is idle for a minute goes, the mean is 17 to 36 s."""
    score = run(balloon_workloads.make("trade", 8, seed, SECONDS), RULES, POLICY).score
    assert score.step_mean <= 10
    assert score.kills == score.reversals == score.below == 0


def test_nobody_falls_below_what_it_used_and_a_tenth_of_that() -> None:
    host = Host(balloon_workloads.make("shortage", 8, 202, SECONDS), START)
    with Actuator(host, RULES, POLICY) as actuator:
        for second in range(SECONDS - 1):
            if second % 5 == 0:
                asked = host.target.copy()
                used = host.actual - host.report.usable
                actuator.tick()
                shrunk = host.target < np.minimum(asked, host.actual) - 1
                assert (host.target[shrunk] >= 1.1 * used[shrunk] - 2).all()
            host.pass_second()


def test_a_guest_that_does_not_answer_is_not_moved_and_the_others_carry_on() -> None:
    load = balloon_workloads.make("tight", 8, 203, SECONDS)
    load.mute[100:, 0] = True
    host = Host(load, START)
    with Actuator(host, RULES, POLICY) as actuator:
        for second in range(SECONDS - 1):
            if second % 5 == 0:
                decisions = actuator.tick()
                if second > 150:
                    written = {dict(one.target)["domain"] for one in decisions if one.outcome == "written"}
                    assert "guest-0" not in written
            host.pass_second()
    assert host.available > 0.5 * RESERVE_RATIO * load.total


def test_data_that_are_old_move_nobody() -> None:
    load = silent_from(balloon_workloads.make("steps", 8, 204, SECONDS), 60)
    host = Host(load, START)
    moved = []
    with Actuator(host, RULES, POLICY) as actuator:
        for second in range(300):
            if second % 5 == 0:
                moved += [(second, one) for one in actuator.tick() if one.outcome == "written"]
            host.pass_second()
    assert [second for second, _ in moved if second > 100] == []


def silent_from(load: Workload, second: int) -> Workload:
    """None of its guests answers after that."""
    mute = load.mute.copy()
    mute[second:] = True
    return replace(load, mute=mute)


def test_of_many_guests_no_more_than_half_move_in_a_tick() -> None:
    host = Host(balloon_workloads.make("together", 40, 205, 1100), START)
    most = 0
    with Actuator(host, RULES, POLICY) as actuator:
        for second in range(600):
            if second % 5 == 0:
                decisions = actuator.tick()
                assert [one.detail for one in decisions if one.reason == "blast radius"] == []
                most = max(most, sum(one.outcome == "written" for one in decisions))
            host.pass_second()
    assert 8 < most <= 3 * 20


def test_on_a_host_without_guests_the_rules_wait_for_some() -> None:
    """And do not complain about their own arithmetic."""
    host = ("total", "available", "hugetlb")
    row = [(make({"__name__": f"kvm_memory_{name}_bytes"}), 16e9) for name in host]
    with Simulation(RULES, POLICY) as simulation:
        simulation.feed(START, row)
        simulation.tick(START)
        (fault,) = simulation.faults["balloon_give_now"]
    assert fault.startswith("waits for data of ")
