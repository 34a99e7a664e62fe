"""Rules that place vCPUs, at work on a model of a host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actuator.rules import config, policy
from actuator.rules.ruleset import RuleSet
from tests.scenarios.model import TWO_NODES, Guest, Host, Run


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, cpus=TWO_NODES)


def rule(place: str, when: str = "group by (domain) (kvm_domain_vcpu_cpu_seconds_total)") -> RuleSet:
    return config.loads(f"""
groups:
  - name: g
    rules:
      - tune: placed
        because: b
        when: {when}
        every: 10s
        place: {{knob: vcpu.affinity, {place}}}
""")


def pins(host: Host) -> dict[str, str]:
    return {name: guest.pins for name, guest in host.guests.items()}


def test_numa_brings_vcpus_to_their_memory(host: Host) -> None:
    host.guests = {"near": Guest(pins="0-3", busy=1.0), "far": Guest(pins="0-3", busy=1.0, node=1)}
    with Run(host, rules=rule("strategy: numa")) as run:
        run.tick(10)
        assert pins(host) == {"near": "0-3", "far": "4-7"}
        run.restore()
        assert pins(host) == {"near": "0-3", "far": "0-3"}


def test_an_exclusive_guest_gets_a_core_and_the_others_leave_it(host: Host) -> None:
    host.guests = {"rt": Guest(pins="0-7", node=1), "a": Guest(pins="0-7"), "b": Guest(pins="5")}
    promises = policy.loads("guests: [{match: rt, pin: exclusive}]")
    when = 'kvm_domain_balloon_actual_bytes{domain="rt"} > 0'
    with Run(host, rules=rule("strategy: exclusive, budget: 1", when), promises=promises) as run:
        run.tick()
        assert pins(host) == {"rt": "0-7", "a": "0-5", "b": "5"}
        run.tick(2)
        assert pins(host) == {"rt": "6", "a": "0-5", "b": "5"}
        assert {decision.outcome for decision in run.tick(10)} <= {"settled"}


def test_isolated_cpus_are_for_guests_of_that_class(host: Host) -> None:
    host.cpus = replace(TWO_NODES, isolated=frozenset({6, 7}))
    host.guests = {"rt": Guest(pins="0-5"), "a": Guest(pins="0-5")}
    promises = policy.loads("guests: [{match: rt, pin: isolated}]")
    with Run(host, rules=rule("strategy: exclusive"), promises=promises) as run:
        run.tick(4)
        assert pins(host) == {"rt": "6", "a": "0-5"}


@pytest.mark.parametrize(
    ("when", "faults"),
    [
        ("group by (domain) (kvm_domain_vcpu_cpu_seconds_total)", ()),
        (
            'kvm_domain_vcpu_cpu_seconds_total{domain=~"a|b"} >= 0',
            (
                "a: its pin class is shared: the policy must say pin: exclusive or isolated",
                "b: its pin class is shared: the policy must say pin: exclusive or isolated",
            ),
        ),
    ],
)
def test_a_rule_that_names_guests_is_told_which_of_them_share_cpus(
    host: Host, when: str, faults: tuple[str, ...]
) -> None:
    """One that names none has the policy say it: also where guests came one after the other."""
    host.guests = {"a": Guest(pins="0-7")}
    with Run(host, rules=rule("strategy: exclusive", when)) as run:
        found = set[str]()
        for _ in range(6):
            run.tick()
            found.update(run.faults["placed"])
            host.guests["b"] = Guest(pins="0-7")
        assert found == set(faults)


def test_a_rule_that_names_no_guest_is_not_about_those_with_cores_of_their_own(host: Host) -> None:
    host.guests = {"rt": Guest(pins="0", busy=1.0), "a": Guest(pins="0", busy=1.0)}
    promises = policy.loads("guests: [{match: rt, pin: exclusive}]")
    with Run(host, rules=rule("strategy: release"), promises=promises) as run:
        run.tick(4)
        assert pins(host) == {"rt": "0", "a": "2-7"}
        assert run.faults["placed"] == ()


ALONE = """
      - tune: alone
        because: b
        when: kvm_domain_vcpu_cpu_seconds_total{domain="rt"} >= 0
        every: 10s
        place: {knob: vcpu.affinity, strategy: exclusive}
"""
LITERAL = """
      - tune: literal
        because: b
        when: kvm_domain_vcpu_cpu_seconds_total{{domain="a"}} >= 0
        every: 10s
        set: {{vcpu.affinity: {cpus}}}
        priority: {priority}
"""


def literal(cpus: str, also: str = "", priority: int = 0) -> RuleSet:
    return config.loads("groups:\n  - name: g\n    rules:" + LITERAL.format(cpus=cpus, priority=priority) + also)


@pytest.mark.parametrize(
    ("cpus", "becomes", "why"),
    [
        ("2-3", "2-3", ""),
        ("0-7", "0-1", "CPU 6 is isolated (isolcpus): only guests with pin: isolated are given it"),
        ("3-4", "0-1", "CPU 4 is on a core that rt has to itself"),
        ("5", "0-1", "CPU 5 is on a core that rt has to itself"),
        ("9", "0-1", "this host has no online CPU 9"),
    ],
)
def test_a_cpu_list_keeps_off_the_cpus_of_others(host: Host, cpus: str, becomes: str, why: str) -> None:
    host.cpus = replace(TWO_NODES, isolated=frozenset({6}))
    host.guests = {"a": Guest(pins="0-1")}
    promises = policy.loads("guests: [{match: rt, pin: exclusive}]")
    if cpus != "0-7":
        host.guests["rt"] = Guest(pins="4")
    with Run(host, rules=literal(cpus), promises=promises) as run:
        told = [decision.detail for decision in run.tick(3) if decision.outcome in ("refused", "written")]
        assert (host.guests["a"].pins, set(told)) == (becomes, {why})


@pytest.mark.parametrize(("pin", "becomes"), [("isolated", "6"), ("exclusive", "0-1")])
def test_isolated_cpus_can_be_listed_for_guests_of_that_class(host: Host, pin: str, becomes: str) -> None:
    host.cpus = replace(TWO_NODES, isolated=frozenset({6, 7}))
    host.guests = {"a": Guest(pins="0-1")}
    with Run(host, rules=literal("6"), promises=policy.loads(f"guests: [{{match: a, pin: {pin}}}]")) as run:
        run.tick(3)
        assert host.guests["a"].pins == becomes


def test_a_list_that_is_refused_is_in_no_other_rules_way(host: Host) -> None:
    """Though it has the higher priority: an exclusive guest gets its core, and who was there does not come back."""
    host.guests = {"rt": Guest(pins="0-7"), "a": Guest(pins="0-7")}
    promises = policy.loads("guests: [{match: rt, pin: exclusive}]")
    with Run(host, rules=literal("2-7", ALONE, priority=1), promises=promises) as run:
        run.tick(10)
        assert pins(host) == {"rt": "0", "a": "2-7"}
        run.engine.reload(literal("0-7", ALONE, priority=1), promises)
        run.tick(10)
        assert pins(host) == {"rt": "0", "a": "2-7"}
    assert run.decisions[-1].rule == "literal"
    assert run.decisions[-1].detail == "CPU 0-1 is on a core that rt has to itself"


def test_nobody_is_put_back_onto_a_core_that_a_guest_has_to_itself_by_now(host: Host) -> None:
    host.guests = {"rt": Guest(pins="0-7"), "a": Guest(pins="0-7")}
    promises = policy.loads("guests: [{match: rt, pin: exclusive}]")
    while_short = 'kvm_domain_vcpu_cpu_seconds_total{domain="a"} and on () kvm_memory_available_bytes < 4 * 2^30'
    text = ("groups:\n  - name: g\n    rules:" + LITERAL.format(cpus="4-7", priority=0)).replace(
        'kvm_domain_vcpu_cpu_seconds_total{domain="a"} >= 0', while_short
    )
    host.available = 2048
    with Run(host, rules=config.loads(text + "        on_clear: restore\n" + ALONE), promises=promises) as run:
        run.tick(6)
        assert pins(host) == {"rt": "0", "a": "4-7"}
        host.available = 8192
        run.tick(6)
        assert pins(host) == {"rt": "0", "a": "4-7"}
        assert run.decisions[-1].detail == "CPU 0-1 is on a core that rt has to itself"
        del host.guests["rt"]
        run.tick(6)
        assert pins(host) == {"a": "0-7"}


def test_release_undoes_pins_and_names_whom_it_leaves(host: Host) -> None:
    host.guests = {"a": Guest(pins="0"), "b": Guest(pins="0", refusal="the guest migrates")}
    with Run(host, rules=rule("strategy: release")) as run:
        run.tick(4)
        assert pins(host) == {"a": "0-7", "b": "0"}
        assert run.faults["placed"] == ("b: the guest migrates",)


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("strategy: spread, load: kvm_gone", "kvm_gone: no vCPU has a load"),
        ("strategy: spread, load: 'kvm_domain_vcpu_cpu_seconds_total{domain=\"b\"}'", "the load of a/vcpu 0 is not known"),
        ("strategy: numa, memory: kvm_gone", "a: on which nodes its memory lies is not known; b: on which nodes its memory lies is not known"),
    ],
)  # fmt: skip
def test_without_its_data_nothing_is_placed(host: Host, place: str, fault: str) -> None:
    host.guests = {name: Guest(pins="0", busy=1.0, node=1) for name in "ab"}
    with Run(host, rules=rule(place)) as run:
        run.tick(4)
        assert "; ".join(run.faults["placed"]) == fault
        assert host.guests["a"].pins == "0"


def test_numa_needs_nodes(tmp_path: Path) -> None:
    host = Host(tmp_path, guests={"a": Guest(pins="0", busy=1.0)})
    with Run(host, rules=rule("strategy: numa")) as run:
        run.tick(2)
        assert run.faults["placed"] == ("this host has one NUMA node, which holds all memory",)
