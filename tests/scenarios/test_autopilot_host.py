"""The autopilot's rules for hugepages, CPUs and the host in closed loops: what they do, that they stop, and when.

The autopilot's rules with the shipped policy; what they write moves the model, and what the model shows
is what they see next.
"""

from __future__ import annotations

from random import Random

import pytest

from actuator.simulated.simulatedhost import Fixture
from actuator.simulated.simulatedhost import Guest as Declared
from kvmhost.domains import DeclaredPolicy
from tests.scenarios.closedloop import CpuHost, Loop, MemoryHost, PagesHost, Pool, Vcpu, one_node, pins, written
from tests.scenarios.model import TWO_NODES

MINUTE = 60.0
GUEST_MIB = 4096
PAGES = GUEST_MIB // 2


def pool_of(guests: int, spare_pages: int = 0) -> PagesHost:
    """A host of 64 GiB with so many guests of 4 GiB, all on hugepages."""
    host = PagesHost(pools={0: Pool(guests * PAGES + spare_pages)})
    assert all(host.start(f"g{number}", GUEST_MIB) for number in range(guests))
    return host


# Hugepages


def test_the_next_guest_finds_its_pages() -> None:
    """Each start takes the reserve, and the pool gets it anew, as long as the host has memory to spare."""
    host = pool_of(1)
    with Loop(host, ["hugepages"], tick_seconds=15.0) as loop:
        for number in range(1, 5):
            loop.run(6 * MINUTE)
            assert host.start(f"next-{number}", GUEST_MIB)
        assert host.failed_starts == []
        assert loop.reversals() == 0


def test_a_pool_never_starves_the_host() -> None:
    """However many guests come: the pool ends where the host keeps 30 % of what is not in it."""
    host = pool_of(1)
    host.others_mib = 20480
    with Loop(host, ["hugepages"], tick_seconds=15.0) as loop:
        for number in range(6):
            host.start(f"next-{number}", GUEST_MIB)
            loop.run(6 * MINUTE)
            assert host.available_ratio >= 0.30
        assert host.failed_starts != []
        assert loop.reversals() == 0


@pytest.mark.parametrize("others_mib", [8192, 32768, 40960, 48000])
@pytest.mark.parametrize("spare_pages", [0, 6000])
def test_at_constant_use_a_pool_goes_one_way_and_stops(others_mib: int, spare_pages: int) -> None:
    host = pool_of(2, spare_pages)
    host.others_mib = min(others_mib, host.available_mib + host.others_mib - 256)
    with Loop(host, ["hugepages"], tick_seconds=15.0) as loop:
        loop.run(42 * MINUTE)
        assert loop.reversals() == 0
        settled = len(loop.moves)
        loop.run(11 * MINUTE)
        assert len(loop.moves) == settled


def test_a_short_host_takes_back_what_is_free_and_gives_it_again_only_with_memory_to_spare() -> None:
    host = pool_of(2, spare_pages=6000)
    host.others_mib = 40000
    with Loop(host, ["hugepages"], tick_seconds=15.0) as loop:
        loop.run(10 * MINUTE)
        assert host.available_ratio == pytest.approx(0.17, abs=0.01)
        assert {rule for rule, _ in written(loop.moves)} == {"hugepages_return_when_short"}
        assert host.pools[0].nr >= host.pools[0].used
        host.others_mib = 36000  # 28 %: not short any more, and nothing to spare
        before = host.pools[0].nr
        loop.run(10 * MINUTE)
        assert host.pools[0].nr == before


def test_what_guests_left_behind_goes_back_after_half_an_hour_where_memory_is_wanted() -> None:
    host = pool_of(4)
    host.others_mib = 38000
    with Loop(host, ["hugepages"], tick_seconds=15.0) as loop:
        host.stop("g0")
        host.stop("g1")
        loop.run(29 * MINUTE)
        assert loop.moves == []
        loop.run(2 * MINUTE)
        assert written(loop.moves) == [("hugepages_return_unused", 3 * PAGES)]
        assert host.start("again", GUEST_MIB)


def test_a_pool_for_guests_to_come_is_left_alone() -> None:
    """Nobody uses it yet: an operator made it at boot, when its pages could be had."""
    host = PagesHost(pools={0: Pool(8000)}, others_mib=38000)  # 20 % of the rest is available
    with Loop(host, ["hugepages"], tick_seconds=15.0) as loop:
        loop.run(40 * MINUTE)
        assert loop.moves == []


def test_a_host_without_hugepages_gets_none_and_no_rule_complains() -> None:
    host = PagesHost(pools={0: Pool(0)})
    with Loop(host, ["hugepages"], tick_seconds=15.0) as loop:
        loop.run(5 * MINUTE)
        assert loop.moves == []
        assert [rule for rule in loop.faults if rule.startswith("hugepages")] == []


# CPUs


def loop_of(host: CpuHost, guests: dict[str, Declared] | None = None) -> Loop:
    return Loop(host, ["cpu"], Fixture(cpus=host.cpus, guests=guests or {}))


def test_busy_vcpus_on_one_cpu_are_parted_and_set_free_three_minutes_later() -> None:
    host = CpuHost(one_node(4), {"a": Vcpu(1.0, "0"), "b": Vcpu(1.0, "0"), "pinned": Vcpu(0.5, "2")})
    with loop_of(host) as loop:
        loop.run(1.5 * MINUTE)
        assert pins(loop.moves) == [("vcpu_spread_contended", "a", "1")]
        loop.run(3 * MINUTE)
        assert pins(loop.moves[1:]) == [("vcpu_release", "a", "0-3")]
        loop.run(5 * MINUTE)
        assert len(loop.moves) == 2
        assert host.vcpus["pinned"].cpus == "2"


@pytest.mark.parametrize("count", [2, 5])
def test_free_vcpus_are_left_to_the_kernel(count: int) -> None:
    """Also where there are more of them than CPUs, so that all wait."""
    host = CpuHost(one_node(2), {f"g{number}": Vcpu(1.0, "0-1") for number in range(count)})
    with loop_of(host) as loop:
        loop.run(5 * MINUTE)
        assert loop.moves == []


@pytest.mark.parametrize("seed", range(2))
def test_at_constant_load_moves_come_to_an_end(seed: int) -> None:
    """At most two for each vCPU, one to another CPU and one to all; none twice to the same CPUs."""
    random = Random(seed)
    vcpus = {f"g{number}": Vcpu(random.choice((0.1, 0.5, 1.0)), str(random.randrange(2))) for number in range(6)}
    host = CpuHost(one_node(4), vcpus)
    with loop_of(host) as loop:
        loop.run(8 * MINUTE)
        moves = pins(loop.moves)
        assert len(moves) == len(set(moves))
        settled = len(moves)
        loop.run(5 * MINUTE)
        assert len(loop.moves) == settled


def test_a_load_that_comes_and_goes_makes_no_pin_come_and_go() -> None:
    """Once free, a vCPU is not pinned again, whatever it does."""
    host = CpuHost(one_node(2), {"a": Vcpu(1.0, "0"), "b": Vcpu(1.0, "0")})
    with loop_of(host) as loop:
        loop.run(5 * MINUTE)
        moved = len(loop.moves)
        for _ in range(3):
            for vcpu in host.vcpus.values():
                vcpu.wants = 1.1 - vcpu.wants
            loop.run(3 * MINUTE)
        assert len(loop.moves) == moved


def test_vcpus_go_to_the_node_of_their_memory_and_stay() -> None:
    host = CpuHost(TWO_NODES, {"far": Vcpu(1.0, "0-3", node=1), "near": Vcpu(1.0, "0-3", node=0)})
    with loop_of(host) as loop:
        loop.run(10 * MINUTE)
        assert pins(loop.moves) == [("vcpu_follow_memory", "far", "4-7")]


def test_the_policy_says_who_has_cores_of_its_own() -> None:
    host = CpuHost(TWO_NODES, {"rt": Vcpu(1.0, "0-7", node=1), "a": Vcpu(1.0, "0-7"), "b": Vcpu(0.2, "0-7")})
    with loop_of(host, {"rt": Declared(declared=DeclaredPolicy(pin="exclusive"))}) as loop:
        loop.run(3 * MINUTE)
        assert host.vcpus["rt"].cpus == "4"
        assert {host.vcpus[name].cpus for name in "ab"} == {"0-3,6-7"}
        settled = len(loop.moves)
        loop.run(3 * MINUTE)
        assert len(loop.moves) == settled
        assert [rule for rule in loop.faults if rule.startswith("vcpu")] == []


# The host


def test_what_is_set_while_memory_is_short_is_as_it_was_after_it() -> None:
    host = MemoryHost()
    before = dict(host.sysctls)
    with Loop(host, ["host"]) as loop:
        loop.run(2 * MINUTE)
        assert loop.moves == []
        host.available_ratio = 0.08
        loop.run(2 * MINUTE)
        assert host.sysctls == {"swappiness": 10, "dirty_ratio": 10, "dirty_background_ratio": 3}
        host.available_ratio = 0.13  # between both thresholds: as it is
        loop.run(2 * MINUTE)
        assert len(loop.moves) == 3
        host.available_ratio = 0.15
        loop.run(1 * MINUTE)
        assert host.sysctls == before


def test_memory_that_sways_around_one_threshold_moves_nothing_to_and_fro() -> None:
    host = MemoryHost()
    with Loop(host, ["host"]) as loop:
        for _ in range(20):
            host.available_ratio = 0.09
            loop.run(1 * MINUTE)
            host.available_ratio = 0.13
            loop.run(1 * MINUTE)
        assert loop.reversals() == 0
        assert len(loop.moves) == 3
