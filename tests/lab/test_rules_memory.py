"""Rules that move balloons, on real guests. The witnesses: virsh, and the guest's own /proc/meminfo."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.programs import wait_until

from .faults import stopped
from .guests import Guest
from .lab import Lab
from .programs import Program, Programs, series
from .specs import GuestSpec
from .witnesses import actual_mib, sizes_mib

GUARANTEE = """<metadata><kvmtune:policy xmlns:kvmtune="urn:kvmtune:policy:1" min_guarantee="300MiB"/></metadata>"""
MIB = 2**20
SIZE_MIB = 384
IDLE, FULL, GUARANTEED, DEAF = SPECS = [
    GuestSpec(name="kvmtune-lab-idle", memory_mib=SIZE_MIB),
    GuestSpec(name="kvmtune-lab-full", memory_mib=SIZE_MIB),
    GuestSpec(name="kvmtune-lab-guaranteed", memory_mib=SIZE_MIB, about=GUARANTEE),
    GuestSpec(name="kvmtune-lab-deaf", memory_mib=SIZE_MIB, balloon_driver=False),
]
POLICY = f"limits: {{balloon.target: {{deadband: 2%}}}}\nguests: [{{match: {IDLE.name}, min_guarantee: 160MiB}}, {{match: {FULL.name}, shares: 10}}]"
FLOORS = {IDLE.name: 160, GUARANTEED.name: 300}
ONCE = "every: 1h\n          "
OURS = '{domain=~"kvmtune-lab-[a-z]+"}'
BUDGET_MIB = 1300
"""For all four, of which the deaf one keeps what it has."""


@pytest.fixture(scope="module")
def booted_four(lab: Lab) -> Iterator[dict[str, Guest]]:
    guests = {guest.name: guest for guest in lab.boot(*SPECS)}
    yield guests
    for name in guests:
        lab.destroy(name)


@pytest.fixture
def four(lab: Lab, booted_four: dict[str, Guest]) -> Iterator[dict[str, Guest]]:
    """The guests, empty and of their full size."""
    yield booted_four
    for guest in booted_four.values():
        lab.virsh("setmem", guest.name, f"{SIZE_MIB}MiB")
        guest.command("free")
    wait_until(lambda: {sizes_mib(lab)[spec.name] for spec in SPECS} == {SIZE_MIB}, "all have their size again")


def shrink(*guests: GuestSpec, to: str, name: str = "shrink", more: str = "") -> str:
    """A rule; one of another name begins anew when it is loaded in its place."""
    domains = "|".join(guest.name for guest in guests)
    return f"""
        - tune: {name}
          because: "a test"
          when: kvm_domain_balloon_actual_bytes{{domain=~"{domains}"}} > 0
          set: {{balloon.target: {to}}}
          {more}
    """


def await_looks(actuator: Program, looks: int) -> None:
    """So many decisions of the rule to leave all as it is: by then it knows what the guests use."""
    unchanged = series("kvmtune_actuator_decisions_total", knob="balloon.target", outcome="unchanged", rule="shrink")
    wait_until(lambda: actuator.scrape().get(unchanged, 0) >= looks, "the actuator has looked at the guests")


class Watch:
    """The sizes of all guests as they were seen, one after the other, in MiB."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._moved = time.monotonic()
        self.seen: list[dict[str, int]] = []

    def look(self) -> dict[str, int]:
        sizes = sizes_mib(self._lab)
        now = {spec.name: sizes[spec.name] for spec in SPECS}
        if self.seen[-1:] != [now]:
            self._moved = time.monotonic()
        self.seen.append(now)
        return now

    def is_at_rest(self) -> bool:
        """Whether nobody has moved for longer than it takes to report a size, and to plan by that."""
        self.look()
        return time.monotonic() - self._moved > 5

    def totals(self) -> list[int]:
        return [sum(sizes.values()) for sizes in self.seen]

    def turns(self, name: str) -> int:
        """How often the guest changed its direction."""
        moves = [after > before for before, after in pairwise(sizes[name] for sizes in self.seen) if after != before]
        return sum(before != after for before, after in pairwise(moves))


def use(guest: Guest, mib: int) -> None:
    """Have so much of the guest's memory in use, at once."""
    guest.command(f"sh dd if=/dev/zero of=/load/fill bs=1M count={mib} 2>/dev/null")


def divide(by: str, more_need: str = "") -> str:
    return f"""
        - tune: divide
          because: "a test"
          when: kvm_memory_available_bytes >= 0
          every: 1s
          allocate:
            knob: balloon.target
            free: sum(kvm_domain_balloon_actual_bytes{OURS}) - {BUDGET_MIB} * 2^20
            need: {more_need} kvm_domain_memory_used_bytes{OURS} * 1.2 or kvm_domain_balloon_actual_bytes{OURS} / 2
            by: {by}
    """


@pytest.mark.parametrize("by", ["idle", "demand"])  # the others differ in arithmetic: tests/unit/test_allocation.py
def test_memory_is_divided(lab: Lab, four: dict[str, Guest], kvmtune: Programs, by: str) -> None:
    full = four[FULL.name]
    use(full, 150)
    watch = Watch(lab)
    actuator = kvmtune.acting(divide(by), policy=POLICY)
    wait_until(lambda: watch.look()[IDLE.name] < SIZE_MIB, "the idle guest gives", 60)
    wait_until(watch.is_at_rest, "the guests come to rest", 60)
    assert abs(watch.totals()[-1] - BUDGET_MIB) <= 16  # the deadbands, and whole MiB
    assert [watch.turns(spec.name) for spec in SPECS] == [0, 0, 0, 0]

    if by == "idle":  # the others are the same in this
        frees_come_before_grants(kvmtune, actuator, watch)
    for sizes in watch.seen:
        assert {name: sizes[name] for name in FLOORS if sizes[name] < FLOORS[name]} == {}
        assert sizes[DEAF.name] == SIZE_MIB
    assert f"{DEAF.name} balloon.target" in actuator.output
    assert "the balloon driver in the guest does not answer" in actuator.output
    assert actuator.end(signal.SIGTERM) == 0
    wait_until(lambda: set(watch.look().values()) == {SIZE_MIB}, "stopping gives all back")


def frees_come_before_grants(kvmtune: Programs, actuator: Program, watch: Watch) -> None:
    """One guest comes to need more: another gives it first, and all together never have more than the budget."""
    began = len(watch.seen)
    small = watch.look()[FULL.name]
    need = f"kvm_domain_balloon_maximum_bytes{{domain='{FULL.name}'}} * 0.8 or"
    kvmtune.write_rules(divide("idle", need))
    actuator.process.send_signal(signal.SIGHUP)
    wait_until(lambda: watch.look()[FULL.name] > small + 5, "the guest in need grows", 60)
    wait_until(watch.is_at_rest, "the guests come to rest again", 60)
    assert max(watch.totals()[began:]) <= BUDGET_MIB + 1
    assert max(watch.turns(spec.name) for spec in SPECS) <= 1


def test_a_guest_keeps_what_it_uses_and_a_margin_and_one_without_driver_all(
    lab: Lab, four: dict[str, Guest], kvmtune: Programs
) -> None:
    full = four[FULL.name]
    use(full, 200)
    used_mib = SIZE_MIB - full.meminfo()["MemAvailable"] // MIB
    actuator = kvmtune.acting(shrink(FULL, DEAF, to="kvm_domain_balloon_actual_bytes * 0.1"))
    actuator.wait_for(rf"written +shrink: {FULL.name} .*not below \S+ MiB, what the guest uses plus a margin")
    actuator.wait_for(rf"refused +shrink: {DEAF.name} .*the balloon driver in the guest does not answer")
    watch = Watch(lab)
    wait_until(watch.is_at_rest, "the guests come to rest", 60)
    assert used_mib * 1.1 - 8 <= watch.seen[-1][FULL.name] <= used_mib * 1.1 + 40
    assert watch.seen[-1][DEAF.name] == SIZE_MIB


def test_what_a_guest_does_not_give_in_time_is_not_taken_later(
    lab: Lab, four: dict[str, Guest], kvmtune: Programs
) -> None:
    """Its driver is gone for a while: the moment that it is back, it would do what it was told."""
    idle = four[IDLE.name]
    stay = shrink(IDLE, to="kvm_domain_balloon_actual_bytes")
    actuator = kvmtune.acting(stay, policy=POLICY)
    await_looks(actuator, 12)
    idle.command("sh rmmod virtio_balloon")
    kvmtune.write_rules(shrink(IDLE, to="kvm_domain_balloon_actual_bytes * 0.6", name="once", more=ONCE))
    actuator.process.send_signal(signal.SIGHUP)
    actuator.wait_for(rf"written +once: {IDLE.name} balloon.target 384 MiB -> 231 MiB")
    actuator.wait_for(rf"fell short +once: {IDLE.name} .*asked for 231 MiB, it reads 384 MiB; it stays there")
    idle.command("sh insmod /modules/*-virtio_balloon.ko")
    before = idle.meminfo()["MemFree"]
    time.sleep(5)
    assert actual_mib(lab, idle) == SIZE_MIB
    assert idle.meminfo()["MemFree"] > before - 20 * MIB


def test_a_guest_that_comes_to_need_its_memory_gets_it_back(
    lab: Lab, four: dict[str, Guest], kvmtune: Programs
) -> None:
    """It fills up just before, and its balloon takes what is left: the report by which that was decided is a bit old."""
    full = four[FULL.name]
    actuator = kvmtune.acting(shrink(FULL, to="kvm_domain_balloon_actual_bytes"))
    await_looks(actuator, 12)
    lab.virsh("dommemstat", FULL.name, "--period", "60", "--live")  # the next report is a minute away
    time.sleep(1)  # one that was on its way is there
    at = reported(lab, full)
    use(full, 250)
    assert reported(lab, full) == at
    kvmtune.write_rules(shrink(FULL, to="kvm_domain_balloon_actual_bytes * 0.1", name="once", more=ONCE))
    actuator.process.send_signal(signal.SIGHUP)
    actuator.wait_for(rf"written +once: {FULL.name} ")
    lab.virsh("dommemstat", FULL.name, "--period", "1", "--live")
    actuator.wait_for(rf"fell short +once: {FULL.name} .*: the guest needs its memory by now, .*; it is undone")
    wait_until(lambda: actual_mib(lab, full) == SIZE_MIB, "it gets back what was taken")
    assert full.command("ping")


def reported(lab: Lab, guest: Guest) -> str:
    """When the guest has last told of its memory."""
    (time_,) = re.findall(r"^last_update (\d+)", lab.virsh("dommemstat", guest.name), re.MULTILINE)
    return str(time_)


def test_a_guest_of_which_there_is_no_fresh_word_is_left_alone_and_the_others_are_not(
    lab: Lab, four: dict[str, Guest], kvmtune: Programs
) -> None:
    idle, full = four[IDLE.name], four[FULL.name]
    fresh = "require_fresh: {kvm_domain_balloon_stats_age_seconds: 5s}"
    actuator = kvmtune.acting(shrink(IDLE, FULL, to="kvm_domain_balloon_actual_bytes", more=fresh), policy=POLICY)
    await_looks(actuator, 12)
    with stopped(lab.qemu_pid(full)):
        actuator.wait_for(rf"refused +shrink: {FULL.name} .*")
        kvmtune.write_rules(
            shrink(IDLE, FULL, to="kvm_domain_balloon_maximum_bytes - 64 * 2^20", name="once", more=fresh)
        )
        actuator.process.send_signal(signal.SIGHUP)
        actuator.wait_for(rf"written +once: {IDLE.name} balloon.target 384 MiB -> 320 MiB")
        time.sleep(3)
        assert not re.search(rf"written +once: {FULL.name}", actuator.output)
    wait_until(lambda: actual_mib(lab, full) < SIZE_MIB, "it is back", 60)
    assert actuator.end(signal.SIGTERM) == 0
    assert (actual_mib(lab, idle), actual_mib(lab, full)) == (SIZE_MIB, SIZE_MIB)
