"""The model of hosts with balloons keeps its books: no memory comes from nowhere, and none is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actuator.rules import config, policy
from benchmarks.policies import balloon_workloads
from benchmarks.policies.balloon_engine import ModelLibvirt
from benchmarks.policies.balloon_model import QEMU_MIB, Guests, Host, Workload
from benchmarks.policies.balloon_run import run
from benchmarks.policies.balloon_workloads import KINDS, make

SECONDS = 120
TOLERANCE_MIB = 1e-6


def column(*values: float) -> np.ndarray:
    return np.array(values, float)


def workload(
    demand: list[float], *, maximum: float = 4096, driver: float = 600, swap: float = 1024, total: float = 8192
) -> Workload:
    """One guest whose demand is as given, second by second, on a host that uses 512 MiB itself."""
    seconds = len(demand)
    return Workload(
        name="one guest",
        total=total,
        swap=512,
        guests=Guests(
            maximum=column(maximum),
            least=column(256),
            start=column(maximum),
            driver=column(driver),
            period=column(5),
            lag=column(0),
            swap=column(swap),
            hot=column(0),
        ),
        own=np.full(seconds, 512.0),
        demand=np.array(demand, float)[:, None],
        files=np.full((seconds, 1), 300.0),
        mute=np.zeros((seconds, 1), bool),
        steps=(),
        is_constant=np.ones(seconds, bool),
    )


def passed(host: Host, seconds: int) -> Host:
    for _ in range(seconds):
        host.pass_second()
    return host


def check_books(host: Host) -> None:
    """What must hold in every second."""
    guests = host.workload.guests
    for amounts in (host.held, host.swapped, host.cache, host.touched):
        assert (amounts >= -TOLERANCE_MIB).all()
    assert (host.actual <= guests.maximum + TOLERANCE_MIB).all()
    assert (host.touched <= host.actual + TOLERANCE_MIB).all()
    assert (host.held + host.swapped <= host.workload.demand[host.second] + TOLERANCE_MIB).all()
    assert (host.held + host.cache <= host.actual + TOLERANCE_MIB).all()
    # Whatever is not available is the host's own, or with a QEMU process, or was swapped out of one.
    used = host.own + float(host.rss.sum()) - host.host_swapped
    assert host.available == pytest.approx(max(host.workload.total - used, 0.005 * host.workload.total))


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 10**6),
    targets=st.lists(st.floats(0.1, 1.0), min_size=6, max_size=6),
)
def test_whatever_balloons_are_asked_for_the_books_are_right(kind: str, seed: int, targets: list[float]) -> None:
    host = Host(make(kind, 6, seed, 900))
    for second in range(SECONDS):
        if second % 20 == 0:
            shares = np.roll(targets, second // 20)
            host.target = np.maximum(shares * host.workload.guests.maximum, 128)
        host.pass_second()
        check_books(host)


def test_the_same_seed_gives_the_same_workload_and_another_seed_another() -> None:
    one, same, other = make("mix", 8, 3), make("mix", 8, 3), make("mix", 8, 4)
    assert (one.demand == same.demand).all() and one.total == same.total
    assert one.demand.shape != other.demand.shape or (one.demand != other.demand).any()


@pytest.mark.parametrize("kind", list(KINDS))
def test_at_its_peak_a_workload_needs_what_its_kind_says_of_the_host(kind: str) -> None:
    load = make(kind, 20, 1)
    needed = load.demand.sum(1) + load.guests.hot.sum() + 20 * QEMU_MIB + load.own
    assert 0.4 < needed.max() / load.total < (1.2 if kind == "shortage" else 0.95)


def test_a_balloon_moves_as_fast_as_its_driver() -> None:
    host = passed(Host(workload([500.0] * 30, driver=20)), 10)
    host.target = column(3000)
    passed(host, 5)
    assert host.actual[0] == pytest.approx(4096 - 5 * 20)


def test_a_driver_that_does_nothing_moves_nothing() -> None:
    host = Host(workload([500.0] * 30, driver=0))
    host.target = column(1000)
    assert passed(host, 20).actual[0] == 4096


def test_inflating_takes_cache_before_it_makes_the_guest_swap() -> None:
    host = passed(Host(workload([1000.0] * 200)), 100)
    assert host.cache[0] == pytest.approx(300)
    host.target = column(1000 + 24 + 0.025 * 4096 + 100)
    passed(host, 20)
    assert host.cache[0] < 110
    assert host.swapped[0] == 0
    host.target = column(1000)
    passed(host, 20)
    assert host.swapped[0] > 0
    assert host.shortfall[0] == pytest.approx(host.swapped[0], abs=20)


def test_the_host_gets_back_what_was_touched_and_not_more() -> None:
    host = passed(Host(workload([1000.0] * 200)), 50)
    before = host.available
    host.target = column(2500)  # all of it untouched
    assert passed(host, 20).available == pytest.approx(before)
    host.target = column(1300)  # 100 MiB of cache are less now
    passed(host, 20)
    assert host.available > before + 50


def test_a_guest_whose_swap_is_full_kills_a_program() -> None:
    load = workload([500.0] * 20 + [3500.0] * 80, swap=256)
    host = Host(load)
    host.target = column(1000)
    passed(host, 90)
    assert host.guest_kills >= 1
    assert host.demand[0] < 3500


def test_a_host_whose_swap_is_full_kills_a_guest() -> None:
    host = Host(workload([500.0] * 20 + [3500.0] * 80, total=2500))
    passed(host, 90)
    assert host.host_kills >= 1


def test_a_step_that_a_balloon_leaves_no_room_for_is_met_when_the_balloon_gives_way() -> None:
    host = Host(workload([500.0] * 20 + [1500.0] * 80))
    host.target = column(1000)
    passed(host, 30)
    assert host.shortfall[0] == host.could_grow[0] > 0
    assert host.swap_out[0] > 0
    host.target = column(2000)
    passed(host, 15)
    assert host.shortfall[0] == host.swapped[0] == 0


def test_a_report_is_as_old_as_its_period_and_its_lag() -> None:
    load = make("lag", 8, 1)
    host = passed(Host(load), 100)
    ages = host.time - host.report.time
    assert (ages >= load.guests.lag).all()
    assert (ages <= load.guests.lag + load.guests.period + 1).all()


def test_the_knob_sees_what_the_model_has() -> None:
    host = passed(Host(make("steps", 4, 1)), 10)
    domains = ModelLibvirt(host).domains()
    assert [round((domain.balloon.actual_bytes or 0) / 2**20) for domain in domains] == host.actual.round().tolist()
    assert all(domain.balloon.usable_bytes for domain in domains)


def test_rules_that_do_nothing_leave_everything_as_it_is() -> None:
    rules = config.loads("groups: [{name: none, rules: [{record: nothing, expr: kvm_memory_available_bytes}]}]")
    score = run(make("constant", 4, 1, 900), rules, policy.load()).score
    assert score.writes == score.reversals == score.turns == 0


def test_what_is_drawn_is_one_step_of_one_guest() -> None:
    assert balloon_workloads.drawn("step").steps == ((400, 0),)
