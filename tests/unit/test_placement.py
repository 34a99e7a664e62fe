"""Placement: which vCPU may run where, by strategy. Worked examples, then what holds on any host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actuator import placement
from actuator.knobs import KnobError
from actuator.knobs.vcpu import VcpuAffinity
from actuator.placement import HostCpus, Move, Plan, State, Strategy, Vcpu, cost, exclusive, shared
from kvmhost import cpulist
from kvmhost.virtprocess import VirtProcess
from tests.host import fixture, made_of


def host(text: str, **given: str) -> HostCpus:
    """`0,1 2,3 | 4,5 6,7`: two nodes, each of two cores, each of two siblings."""
    nodes = [[cpulist.parse(core) for core in node.split()] for node in text.split("|")]
    return HostCpus(
        cores=tuple(core for cores in nodes for core in cores),
        nodes={node: frozenset[int]().union(*cores) for node, cores in enumerate(nodes)},
        **{name: cpulist.parse(cpus) for name, cpus in given.items()},  # type: ignore[arg-type]
    )


def guests(text: str) -> dict[Vcpu, State]:
    """`a: 0-3 1.0, 4 0.5`: of guest a two vCPUs, with their CPUs and loads. `a exclusive: ...` has a pin class."""
    vcpus = {}
    for line in filter(None, map(str.strip, text.replace(";", "\n").splitlines())):
        head, _, body = line.partition(":")
        name, pin, *refusal = [*head.split(maxsplit=2), "shared"]
        for number, vcpu in enumerate(body.split(", ")):
            cpus, load = vcpu.split()
            vcpus[Vcpu(name, number)] = State(
                load=float(load),
                cpus=cpulist.parse(cpus),
                pin=pin,  # type: ignore[arg-type]
                refusal=refusal[0] if len(refusal) > 1 else None,
            )
    return vcpus


def names(moves: Sequence[Move]) -> dict[str, str]:
    return {f"{move.vcpu.guest}{move.vcpu.number}": cpulist.format(move.cpus) for move in moves}


def planned(strategy: Strategy, on: HostCpus, text: str, select: str = "", **given: object) -> Plan:
    vcpus = guests(text)
    selected = [vcpu for vcpu in vcpus if not select or vcpu.guest in select.split()]
    memory = {guest: dict(enumerate(sizes)) for guest, sizes in given.get("memory", {}).items()}  # type: ignore[attr-defined]
    return placement.plan(strategy, on, vcpus, selected, memory=memory, budget=given.get("budget", 99))  # type: ignore[arg-type]


FOUR = host("0 1 2 3")
SMT = host("0,4 1,5 2,6 3,7")
TWO_NODES = host("0 1 2 3 | 4 5 6 7")


@pytest.mark.parametrize(
    ("on", "vcpus", "select", "moves"),
    [
        # Two busy vCPUs on one CPU: one moves, one stays.
        (FOUR, "a: 0 1; b: 0 1", "", {"a0": "1"}),
        (FOUR, "a: 0 1; b: 0 1", "b", {"b0": "1"}),
        # Apart already.
        (FOUR, "a: 0 1; b: 1 1", "", {}),
        # What may run anywhere is left to the kernel's scheduler.
        (FOUR, "a: 0-3 1; b: 0 1", "a", {}),
        # An idle neighbour is no reason to move.
        (FOUR, "a: 0 1; b: 0 0.05", "a", {}),
        # The least wanted CPU is taken, also when all are wanted, but not for nothing.
        (FOUR, "a: 0 1; b: 0 1; c: 1 .5; d: 2 .2; e: 3 .6", "a", {"a0": "2"}),
        (FOUR, "a: 0 1; b: 0 1; c: 1 1; d: 2 1; e: 3 1", "", {}),
        # Pinned to a CPU that is offline now.
        (FOUR, "a: 7 1", "", {"a0": "0"}),
        # A core of its own is better than a sibling, and a sibling better than nothing.
        (SMT, "a: 0 1; b: 0 1", "", {"a0": "1"}),
        (SMT, "a: 0 1; b: 4 1", "", {"a0": "1"}),
        (host("0,1"), "a: 0 1; b: 0 1", "", {"a0": "1"}),
        # Neither isolated CPUs nor those that the guests' control group may not use.
        (host("0 1 2 3", isolated="1", allowed="0,1,3"), "a: 0 1; b: 0 1", "", {"a0": "3"}),
        # Nor the core of an exclusive guest.
        (SMT, "a: 0 1; b: 0 1; x exclusive: 1 0", "a b", {"a0": "2"}),
        # Who wants most goes first; the scheduler shares what several may use.
        (FOUR, "a: 0 .6; b: 0 .9; c: 0-1 .4", "", {"b0": "2"}),
    ],
)  # fmt: skip
def test_spread(on: HostCpus, vcpus: str, select: str, moves: dict[str, str]) -> None:
    assert names(planned("spread", on, vcpus, select).moves) == moves


def test_spread_minds_where_the_memory_lies() -> None:
    vcpus = "a: 4 1; b: 4 1"
    assert names(planned("spread", TWO_NODES, vcpus, "a").moves) == {"a0": "0"}
    assert names(planned("spread", TWO_NODES, vcpus, "a", memory={"a": (0, 1)}).moves) == {"a0": "5"}


@pytest.mark.parametrize(
    ("on", "vcpus", "moves"),
    [
        # As many on one CPU as it bears, with a fifth left for bursts.
        (FOUR, "a: 0 .4; b: 1 .3; c: 2 .1", {"a0": "1", "c0": "1"}),
        (FOUR, "a: 0 .4; b: 1 .5", {}),
        # Siblings first: the second thread of a core costs least.
        (SMT, "a: 0 .7; b: 1 .7", {"a0": "5"}),
        # What may run everywhere keeps all cores awake.
        (FOUR, "a: 0-3 .4; b: 0-3 .4", {"a0": "0", "b0": "0"}),
        # More than a CPU bears is moved apart.
        (FOUR, "a: 0 1; b: 0 1", {"a0": "1"}),
    ],
)  # fmt: skip
def test_pack(on: HostCpus, vcpus: str, moves: dict[str, str]) -> None:
    assert names(planned("pack", on, vcpus).moves) == moves


@pytest.mark.parametrize(
    ("vcpus", "memory", "moves"),
    [
        # To all CPUs of the node of its memory: from the other one, and from everywhere.
        ("a: 4 1", {"a": (8, 0)}, {"a0": "0-3"}),
        ("a: 0-7 1, 0-7 1", {"a": (0, 8)}, {"a0": "4-7", "a1": "4-7"}),
        # There already, on the larger part, on half of it each, and hardly at work.
        ("a: 0 1", {"a": (8, 0)}, {}),
        ("a: 0-3 1", {"a": (6, 2)}, {}),
        ("a: 0-3 1", {"a": (4, 4)}, {}),
        ("a: 4 .15", {"a": (8, 0)}, {}),
        # A node that is full is worse than memory that is far.
        ("a: 4 1; b: 0 1, 1 1, 2 1, 3 1", {"a": (8, 0), "b": (8, 0)}, {}),
        # On a node without CPUs that it may have.
        ("a: 4 1", {"a": (0, 0, 8)}, {}),
    ],
)  # fmt: skip
def test_numa(vcpus: str, memory: dict[str, tuple[float, ...]], moves: dict[str, str]) -> None:
    assert names(planned("numa", TWO_NODES, vcpus, memory=memory).moves) == moves


ISOLATED = host("0,4 1,5 2,6 3,7", isolated="2-3,6-7")


@pytest.mark.parametrize(
    ("on", "vcpus", "memory", "moves"),
    [
        # A core of its own, of which all others are sent away first.
        (SMT, "x exclusive: 0-7 1; a: 0-7 1; b: 4 1", {}, {"a0": "0,2-4,6-7", "x0": "1"}),
        # Both siblings for two vCPUs; who was there alone goes where others are.
        (host("0,4 1,5"), "x exclusive: 1 0, 1 0; a: 5 1", {}, {"a0": "0,4", "x1": "5"}),
        # Two exclusive guests share no core, though they would fit on one.
        (SMT, "x exclusive: 0-7 1; y exclusive: 0-7 1", {}, {"x0": "0", "y0": "1"}),
        # One that has what it is promised stays; who came near it is sent away.
        (SMT, "x exclusive: 3 1", {}, {}),
        (SMT, "x exclusive: 3 1; a: 7 1; b: 0-3 1", {}, {"a0": "0-2,4-6", "b0": "0-2"}),
        # On the node of its memory.
        (TWO_NODES, "x exclusive: 0-7 1, 0-7 1", {"x": (0, 8)}, {"x0": "4", "x1": "5"}),
        # Isolated CPUs for those whose class it is, and for nobody else.
        (ISOLATED, "x isolated: 0-1 1, 0-1 1, 0-1 1; a: 0-7 1", {}, {"x0": "2", "x1": "6", "x2": "3"}),
        (ISOLATED, "x exclusive: 0-1 1, 0-1 1", {}, {"x0": "0", "x1": "4"}),
    ],
)  # fmt: skip
def test_exclusive(on: HostCpus, vcpus: str, memory: dict[str, tuple[float, ...]], moves: dict[str, str]) -> None:
    """Where who was moved is in the end."""
    case = Case(
        on, guests(vcpus), frozenset("xy"), {guest: dict(enumerate(sizes)) for guest, sizes in memory.items()}, 99
    )
    made: dict[str, str] = {}
    for _, plan, _ in case.carried_out("exclusive"):
        assert plan.refusals == {}
        made |= names(plan.moves)
    assert made == moves


@pytest.mark.parametrize(
    ("strategy", "vcpus", "refusals"),
    [
        ("exclusive", "x exclusive: 0-7 1", {}),
        ("exclusive", "x: 0-7 1", {"x": "its pin class is shared: the policy must say pin: exclusive or isolated"}),
        (
            "exclusive",
            "x exclusive: " + ", ".join(["0-7 1"] * 9),
            {"x": "it needs 9 exclusive CPUs on whole cores, and there are 8"},
        ),
        ("exclusive", "x exclusive: " + ", ".join(["0-7 1"] * 8), {"x": "its cores would leave no CPU to all others"}),
        ("exclusive", "x isolated: 0-7 1", {"x": "it needs 1 isolated CPUs on whole cores, and there are 0"}),
        ("exclusive", "x exclusive paused: 0-7 1", {"x": "vCPU 0 of x must not be moved: paused"}),
        (
            "exclusive",
            "x exclusive: 0-7 1; a shared migrates: 0-7 1",
            {
                "x": "it needs 1 exclusive CPUs on whole cores, and there are 0; "
                "vCPU 0 of a keeps others, since it must not be moved"
            },
        ),
        (
            "exclusive",
            "x exclusive: 0 1; a shared migrates: 4 1",
            {"x": "vCPU 0 of a may run on its CPUs, and must not be moved: migrates"},
        ),
        (
            "exclusive",
            "x exclusive paused: 0 1; a shared migrates: 0-7 1",
            {"x": "vCPU 0 of a may run on its CPUs, and must not be moved: migrates"},
        ),
        ("spread", "x exclusive: 0-7 1", {"x": "its pin class is exclusive: only the strategy exclusive places it"}),
        ("pack", "x shared paused: 0-7 1", {"x": "paused"}),
        ("numa", "x: 0-7 1", {"x": "on which nodes its memory lies is not known"}),
        ("release", "x isolated: 0 1", {"x": "its pin class is isolated: only the strategy exclusive places it"}),
    ],
)
def test_what_cannot_be_placed_says_why(strategy: Strategy, vcpus: str, refusals: dict[str, str]) -> None:
    assert planned(strategy, SMT, vcpus, "x").refusals == refusals


def test_release_gives_all_cpus_that_guests_share() -> None:
    on = host("0,4 1,5 2,6 3,7", isolated="3,7")
    plan = planned("release", on, "a: 0 1; b: 0-7 1; c: 9 0; x exclusive: 1 1", "a b c")
    assert names(plan.moves) == {"a0": "0,2,4,6", "c0": "0,2,4,6"}


def test_room_is_made_over_several_plans_when_the_budget_is_small() -> None:
    vcpus = guests("x exclusive: 0-7 1, 0-7 1; a: 0-7 1; b: 0-7 1; c: 0 1")
    case = Case(SMT, vcpus, frozenset("x"), {}, budget=2)
    assert [names(plan.moves) for _, plan, _ in case.carried_out("exclusive")] == [
        {"a0": "0,2-4,6-7", "b0": "0,2-4,6-7"},
        {"x0": "1", "x1": "5"},
    ]


def test_a_core_is_taken_when_it_is_found_cleared() -> None:
    case = Case(SMT, guests("x exclusive: 0-7 1; a: 0-7 1; b: 4 1"), frozenset("x"), {}, budget=99)
    assert [names(plan.moves) for _, plan, _ in case.carried_out("exclusive")] == [{"a0": "0,2-4,6-7"}, {"x0": "1"}]


@pytest.mark.parametrize(
    ("vcpus", "guest", "cpus", "why"),
    [
        ("x exclusive: 1 1; a: 0 1", "a", "0,2-3", None),
        ("x exclusive: 1 1; a: 0 1", "a", "0-3", "CPU 1 is on a core that x has to itself"),
        ("x exclusive: 1 1; a: 0 1", "a", "5", "CPU 5 is on a core that x has to itself"),
        ("x exclusive: 1 1; a: 0 1", "x", "1,5", None),
        ("x exclusive: 1 1; y exclusive: 2 1", "x", "2", "CPU 2 is on a core that y has to itself"),
        # Who may run on several cores has none to itself yet; nor has one of another class.
        ("x exclusive: 0-1 1; y: 2 1; a: 3 1", "a", "0-2", None),
        ("x exclusive: 1 1; a: 0 1", "a", "99", None),
    ],
)
def test_cpus_of_others(vcpus: str, guest: str, cpus: str, why: str | None) -> None:
    assert placement.trespass(SMT, guests(vcpus), guest, cpulist.parse(cpus)) == why


def test_the_host_is_what_its_kernel_tells(tmp_path: Path) -> None:
    knob = VcpuAffinity(fixture("two-numa-nodes"), VirtProcess("test:///default", readonly=True))
    cores = "0,8 1,9 2,10 3,11 | 4,12 5,13 6,14 7"
    assert knob.host_cpus() == host(cores, isolated="6-7,14")
    limited = {"cpu/online": "0-1", "cpu/isolated": "", "node/online": "0", "node/node0/cpulist": "0-1"}
    files = {f"sys/devices/system/{path}": text for path, text in limited.items()}
    files["sys/fs/cgroup/machine.slice/cpuset.cpus.effective"] = "1"
    knob = VcpuAffinity(made_of(tmp_path, files), VirtProcess("test:///default", readonly=True))
    assert knob.host_cpus() == host("0 1", allowed="1")


def test_a_host_that_lists_no_cpus_places_nothing(tmp_path: Path) -> None:
    knob = VcpuAffinity(made_of(tmp_path, {}), VirtProcess("test:///default", readonly=True))
    with pytest.raises(KnobError, match="the kernel does not list the host's CPUs"):
        knob.host_cpus()


@dataclass(frozen=True)
class Case:
    """A host with guests, and what is asked of the planner."""

    host: HostCpus
    vcpus: Mapping[Vcpu, State]
    selected: frozenset[str]
    memory: Mapping[str, Mapping[int, float]]
    budget: int

    @property
    def movable(self) -> list[Vcpu]:
        return [vcpu for vcpu in self.vcpus if vcpu.guest in self.selected]

    def plan(self, strategy: Strategy) -> Plan:
        return placement.plan(strategy, self.host, self.vcpus, self.movable, memory=self.memory, budget=self.budget)

    def after(self, plan: Plan) -> Case:
        moved = {move.vcpu: replace(self.vcpus[move.vcpu], cpus=move.cpus) for move in plan.moves}
        return replace(self, vcpus={**self.vcpus, **moved})

    def carried_out(self, strategy: Strategy) -> Iterator[tuple[Case, Plan, Case]]:
        """Plan after plan, until one has no moves: what was, the plan, what then is."""
        case = self
        for _ in range(4 * len(self.vcpus) + 4):
            plan = case.plan(strategy)
            if not plan.moves:
                return
            before, case = case, case.after(plan)
            yield before, plan, case
        raise AssertionError("the plans never end")

    def alone(self) -> set[frozenset[int]]:
        """The cores that one guest has to itself, as it was promised."""
        held = exclusive.held(self.host, self.vcpus)
        return {core for core, guest in held.items() if self.users[core] == {guest}}

    @cached_property
    def users(self) -> Mapping[frozenset[int], set[str]]:
        """By core, the guests that may run there."""
        users: dict[frozenset[int], set[str]] = {core: set() for core in self.host.cores}
        for vcpu, state in self.vcpus.items():
            for cpu in self.host.runs_on(state.cpus):
                users[self.host.core_of[cpu]].add(vcpu.guest)
        return users


def generated(nodes: int, cores: int, threads: int, guests: int, seed: int) -> Case:
    """A host of `nodes` with so many `cores` each, and guests, all as a random seed has it."""
    random = Random(seed)
    count = nodes * cores
    by_core = [frozenset(range(core, count * threads, count)) for core in range(count)]
    # Some siblings are offline, as after `echo off > smt/control` on some cores.
    by_core = [frozenset([min(core)]) if random.random() < 0.1 else core for core in by_core]
    of_node = {node: frozenset[int]().union(*by_core[node * cores : (node + 1) * cores]) for node in range(nodes)}
    online = sorted(frozenset[int]().union(*by_core))
    isolated = frozenset[int]().union(*(core for core in by_core if random.random() < 0.15))
    some = [frozenset(random.sample(online, random.randint(1, len(online)))) for _ in range(4)]
    affinities = [frozenset(online), *of_node.values(), *some]
    vcpus: dict[Vcpu, State] = {}
    memory = {}
    for number in range(guests):
        guest = f"g{number}"
        pin = random.choices(placement.PINS, (8, 2, 1))[0]
        refusal = "it is paused" if random.random() < 0.05 else None
        for vcpu in range(random.randint(1, 4)):
            one = frozenset(random.choices([*online, 99999], k=1))
            cpus = one if random.random() < 0.5 else random.choice(affinities)
            load = random.choice((0.0, 0.3, 1.0, random.random()))
            vcpus[Vcpu(guest, vcpu)] = State(load=load, cpus=cpus, pin=pin, refusal=refusal)
        if random.random() < 0.8:
            memory[guest] = {node: random.choice((0.0, 1e9, random.random() * 1e9)) for node in range(nodes + 1)}
    selected = frozenset(f"g{number}" for number in range(guests) if random.random() < 0.7)
    allowed = None if random.random() < 0.7 else frozenset(random.sample(online, random.randint(1, len(online))))
    host = HostCpus(cores=tuple(by_core), nodes={**of_node, nodes: frozenset()}, isolated=isolated, allowed=allowed)
    return Case(host, vcpus, selected, memory, budget=random.choice((1, 3, 20, 1000)))


cases = st.builds(
    generated,
    nodes=st.integers(1, 8),
    cores=st.integers(1, 6),
    threads=st.sampled_from((1, 2, 4)),
    guests=st.integers(0, 12),
    seed=st.integers(0, 2**32),
)
ANY = pytest.mark.parametrize("strategy", placement.STRATEGIES)


def check(strategy: Strategy, before: Case, plan: Plan, after: Case) -> None:
    """What is promised of every plan."""
    assert len(plan.moves) <= before.budget
    assert max(Counter(move.vcpu for move in plan.moves).values(), default=1) == 1
    alone = after.alone()
    for move in plan.moves:
        state = before.vcpus[move.vcpu]
        is_guest_itself = move.sake == move.vcpu.guest
        assert state.refusal is None
        assert move.vcpu.guest in before.selected or (strategy == "exclusive" and not is_guest_itself)
        assert move.cpus
        assert move.cpus != state.cpus
        stays_within = frozenset() if is_guest_itself else before.host.runs_on(state.cpus)
        assert move.cpus <= before.host.pool(state.pin if is_guest_itself else "shared") | stays_within
        if strategy == "exclusive" and is_guest_itself:
            # Whatever of the plan is carried out: nobody else was on that core when it was made.
            assert before.users[before.host.core_of[min(move.cpus)]] <= {move.vcpu.guest}
            assert {before.host.core_of[cpu] for cpu in move.cpus} <= alone
    moved = {move.vcpu.guest for move in plan.moves}
    held = exclusive.held(before.host, before.vcpus)
    # Nobody comes to a core that a guest has to itself, but when that guest leaves it.
    assert {core for core in before.alone() if held[core] not in moved} <= alone
    if strategy in shared.WEIGHTS:
        weights = shared.WEIGHTS[strategy]
        gain = cost.of(before.host, before.vcpus, before.memory, weights) - cost.of(
            after.host, after.vcpus, after.memory, weights
        )
        assert gain >= shared.MIN_GAIN_CPUS * len(plan.moves) - 1e-6


@ANY
@settings(deadline=None)
@given(case=cases)
def test_every_plan_keeps_its_promises_and_the_plans_end(strategy: Strategy, case: Case) -> None:
    for before, plan, after in case.carried_out(strategy):
        check(strategy, before, plan, after)


@ANY
@settings(deadline=None)
@given(case=cases)
def test_the_same_input_gives_the_same_plan(strategy: Strategy, case: Case) -> None:
    other = replace(case, vcpus=dict(reversed(case.vcpus.items())), memory=dict(reversed(case.memory.items())))
    assert case.plan(strategy) == other.plan(strategy)


@settings(deadline=None)
@given(case=cases)
def test_in_the_end_exclusive_guests_are_alone_on_their_cores_or_it_is_said_why(case: Case) -> None:
    for _, _, after in case.carried_out("exclusive"):
        case = after
    refusals = case.plan("exclusive").refusals
    for guest in case.selected - refusals.keys():
        own = [case.host.runs_on(state.cpus) for vcpu, state in case.vcpus.items() if vcpu.guest == guest]
        assert len(frozenset[int]().union(*own)) == len(own)
        assert {case.host.core_of[cpu] for cpus in own for cpu in cpus} <= case.alone()


@ANY
@settings(max_examples=1, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_promises_hold_for_500_guests_on_8_nodes_of_256_cpus(strategy: Strategy, seed: int) -> None:
    case = replace(generated(nodes=8, cores=128, threads=2, guests=500, seed=seed), budget=300)
    plan = case.plan(strategy)
    check(strategy, case, plan, case.after(plan))
