"""Rules that say where threads of guests may run, on real guests. The witnesses: the scheduler's affinities, and virsh.

On machines with one NUMA node the strategy `numa` has nothing to do; tests/scenarios has it on a model.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import wait_until

from .guests import Guest
from .lab import Lab
from .programs import Programs
from .specs import GuestSpec
from .witnesses import thread_cpus, vcpu_cpus

EXCLUSIVE = """<metadata><kvmtune:policy xmlns:kvmtune="urn:kvmtune:policy:1" pin="exclusive"/></metadata>"""
ALONE, LEFT, RIGHT = SPECS = [
    GuestSpec(name="kvmtune-lab-alone", about=EXCLUSIVE),
    GuestSpec(name="kvmtune-lab-left", iothreads=1),
    GuestSpec(name="kvmtune-lab-right"),
]
ALL = os.sched_getaffinity(0)
OURS = '{domain=~"kvmtune-lab-[a-z]+"}'

pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="placement takes two CPUs")


@pytest.fixture(scope="module")
def booted_three(lab: Lab) -> Iterator[list[Guest]]:
    guests = lab.boot(*SPECS)
    yield guests
    for guest in guests:
        lab.destroy(guest.name)


@pytest.fixture
def three(lab: Lab, booted_three: list[Guest]) -> Iterator[tuple[Guest, ...]]:
    """Idle guests that may run anywhere."""
    yield tuple(booted_three)
    for guest in booted_three:
        lab.virsh("vcpupin", guest.name, "0", ",".join(map(str, ALL)))
        guest.command("idle")


def place(strategy: str, domains: str, more: str = "") -> str:
    return f"""
        - tune: {strategy}
          because: "a test"
          when: kvm_domain_info{{domain=~"{domains}"}}
          every: 1s
          place: {{knob: vcpu.affinity, strategy: {strategy}{more}}}
    """


def literal(knob: str, cpus: str, domain: str, name: str = "literal") -> str:
    return f"""
        - tune: {name}
          because: "a test"
          when: kvm_domain_info{{domain="{domain}"}}
          every: 1s
          set: {{{knob}: {cpus}}}
    """


def test_an_exclusive_guest_shares_its_cpu_with_nobody(lab: Lab, three: tuple[Guest, ...], kvmtune: Programs) -> None:
    alone, left, right = three
    for guest in three:
        guest.command("busy")
    actuator = kvmtune.acting(place("exclusive", alone.name))
    wait_until(lambda: len(vcpu_cpus(lab, alone)) == 1, "it has a CPU", 60)
    (own,) = vcpu_cpus(lab, alone)
    assert [vcpu_cpus(lab, guest) & {own} for guest in (left, right)] == [set(), set()]

    # Nobody is put there by another rule, not even by a list that says so.
    everything = (
        place("exclusive", alone.name) + place("release", left.name) + literal("vcpu.affinity", f"{own}", right.name)
    )
    kvmtune.write_rules(everything)
    actuator.process.send_signal(signal.SIGHUP)
    actuator.wait_for(
        rf"literal: {right.name}/vcpu 0 vcpu.affinity .*CPU {own} is on a core that {alone.name} has to itself"
    )
    assert [vcpu_cpus(lab, guest) for guest in three] == [{own}, ALL - {own}, ALL - {own}]

    assert actuator.end(signal.SIGTERM) == 0
    assert [vcpu_cpus(lab, guest) for guest in three] == [ALL, ALL, ALL]


def test_qemus_own_threads_keep_off_an_exclusive_guests_cpu_too(
    lab: Lab, three: tuple[Guest, ...], kvmtune: Programs
) -> None:
    alone, left, _ = three
    lab.virsh("vcpupin", alone.name, "0", "1")
    actuator = kvmtune.acting(literal("emulator.affinity", "0-1", left.name))
    actuator.wait_for(rf"literal: {left.name} emulator.affinity .*CPU 1 is on a core that {alone.name} has to itself")
    assert thread_cpus(lab, left, "") == ALL


def test_spread_parts_busy_guests_and_pack_brings_them_together(
    lab: Lab, three: tuple[Guest, ...], kvmtune: Programs
) -> None:
    _, left, right = three
    both = f"{left.name}|{right.name}"
    for guest in (left, right):
        lab.virsh("vcpupin", guest.name, "0", "0")
        guest.command("busy")
    wanted = "rate(kvm_domain_vcpu_cpu_seconds_total[5s]) + rate(kvm_domain_vcpu_delay_seconds_total[5s])"
    actuator = kvmtune.acting(place("spread", both, f", load: '{wanted}'"))
    wait_until(lambda: vcpu_cpus(lab, left).isdisjoint(vcpu_cpus(lab, right)), "they are apart", 90)
    for guest in (left, right):
        guest.command("idle")

    # Each wants a third of a CPU, and other guests nothing: that much is said for them, since no guest is so even.
    nothing = "kvm_domain_vcpu_cpu_seconds_total * 0"
    third = f'kvm_domain_vcpu_cpu_seconds_total{{domain=~"{both}"}} * 0 + 0.33'
    kvmtune.write_rules(place("pack", both, f", load: '{third} or {nothing}'"))
    actuator.process.send_signal(signal.SIGHUP)
    wait_until(lambda: vcpu_cpus(lab, left) == vcpu_cpus(lab, right), "they are on one CPU", 60)
    assert len(vcpu_cpus(lab, left)) == 1
    assert actuator.end(signal.SIGTERM) == 0
    assert [vcpu_cpus(lab, guest) for guest in (left, right)] == [{0}, {0}]


def test_release_gives_all_cpus_back(lab: Lab, three: tuple[Guest, ...], kvmtune: Programs) -> None:
    _, left, right = three
    for guest in (left, right):
        lab.virsh("vcpupin", guest.name, "0", "1")
    actuator = kvmtune.acting(place("release", f"{left.name}|{right.name}"))
    wait_until(lambda: vcpu_cpus(lab, left) == vcpu_cpus(lab, right) == ALL, "they may run anywhere")
    assert actuator.end(signal.SIGTERM) == 0
    assert [vcpu_cpus(lab, guest) for guest in (left, right)] == [{1}, {1}]


def test_numa_says_that_it_takes_nodes(three: tuple[Guest, ...], kvmtune: Programs) -> None:
    if len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) > 1:
        pytest.skip("this machine has some")
    kvmtune.acting(place("numa", three[1].name)).wait_for("this host has one NUMA node, which holds all memory")


@pytest.mark.parametrize(
    ("knob", "thread", "virsh"),
    [("emulator.affinity", "", "emulatorpin"), ("iothread.affinity", "IO iothread", "iothreadinfo")],
)
def test_other_threads_are_pinned_and_put_back(
    lab: Lab, three: tuple[Guest, ...], kvmtune: Programs, knob: str, thread: str, virsh: str
) -> None:
    left = three[1]
    actuator = kvmtune.acting(literal(knob, "1", left.name))
    wait_until(lambda: thread_cpus(lab, left, thread) == {1}, "the thread is pinned")
    assert lab.virsh(virsh, left.name).split()[-1] == "1"  # libvirt's own records say so, too
    assert vcpu_cpus(lab, left) == ALL
    assert actuator.end(signal.SIGTERM) == 0
    assert thread_cpus(lab, left, thread) == ALL


def test_a_cpu_that_is_not_there_is_refused(lab: Lab, three: tuple[Guest, ...], kvmtune: Programs) -> None:
    left = three[1]
    targets = {"vcpu": "/vcpu 0", "emulator": "", "iothread": "/iothread 1"}
    rules = [literal(f"{thread}.affinity", "'0,999'", left.name, name=thread) for thread in targets]
    actuator = kvmtune.acting("".join(rules))
    for thread, rest in targets.items():
        told = rf"refused +{thread}: {left.name}{rest} {thread}.affinity .*this host has no online CPU 999"
        actuator.wait_for(told)
    assert vcpu_cpus(lab, left) == thread_cpus(lab, left, "") == thread_cpus(lab, left, "IO iothread") == ALL
