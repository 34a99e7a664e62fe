"""What is wrong with one guest, with libvirt or on the host costs the rest nothing: real faults, and an actuator at work.

Three rules hold all along: each guest's balloon is to have a target, its vCPUs are to run on CPU 1, and ksmd is to sleep
for 30 ms. A test that undoes one of these sees whether the actuator does it again: so it is still at work.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import strace
from tests.programs import run, wait_until

from . import packages, programs
from .faults import beside, killed_daemon, slow_migration, stopped
from .guests import Guest
from .hoststate import KSM
from .lab import CACHE, TEST_DIRECTORY, Lab
from .programs import Program, Programs, series
from .specs import GuestSpec, small

MIB = 2**20
TARGET_MIB = 224
PATIENCE_SECONDS = 25.0

RULES = """
groups:
  - name: g
    rules:
      - tune: balloons
        because: "It is a test."
        when: kvm_domain_balloon_actual_bytes
        set:
          balloon.target: clamp(kvm_domain_balloon_actual_bytes, TARGET, TARGET)
      - tune: pins
        because: "It is a test."
        when: kvm_domain_balloon_actual_bytes
        set:
          vcpu.affinity: "1"
      - tune: ksmd
        because: "It is a test."
        when: kvm_ksm_run
        set:
          ksm.sleep_millisecs: 30
"""
POLICY = """
limits: {}
blast_radius: {share: SHARE, at_least: 1}
guests:
  - {match: "*", min_guarantee: 16MiB}
"""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Guests, an exporter and an actuator that acts."""

    lab: Lab
    started: Programs
    exporter: Program
    actuator: Program
    rules: Path
    policy: Path
    healthy: Guest
    victim: Guest

    @property
    def ledger(self) -> Path:
        return self.started.directory / "state/ledger.jsonl"

    def actual_mib(self, guest: Guest) -> int:
        return int(self.lab.virsh("dommemstat", guest.name).split("actual ")[1].split()[0]) // 1024

    def others_are_tuned(self) -> None:
        """The healthy guest and the host: what someone else has changed is set again, once the back-off has passed."""
        self.lab.virsh("setmem", self.healthy.name, "256MiB")
        self.host_is_tuned()
        self.is_tuned(self.healthy)

    def host_is_tuned(self) -> None:
        (KSM / "sleep_millisecs").write_text("50")
        wait_until(lambda: (KSM / "sleep_millisecs").read_text() == "30\n", "ksmd sleeps for 30 ms", PATIENCE_SECONDS)

    def is_tuned(self, guest: Guest, mib: int = TARGET_MIB) -> None:
        wait_until(lambda: abs(self.actual_mib(guest) - mib) <= 1, f"{guest.name} has {mib} MiB", PATIENCE_SECONDS)

    def aim(self, mib: int) -> None:
        """Have the balloons at another target."""
        self.rules.write_text(RULES.replace("TARGET", str(mib * MIB)))
        self.reload()

    def at_once(self, share: str) -> None:
        """Bound the guests that a rule may touch in one tick."""
        self.policy.write_text(POLICY.replace("SHARE", share))
        self.reload()

    def reload(self) -> None:
        told = self.actuator.output.count("reloaded")
        self.actuator.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.actuator.output.count("reloaded") > told, "the rules are read")

    @contextmanager
    def on_its_way(self, guest: Guest) -> Iterator[None]:
        """Within the block, the actuator does not run, and at its end the guest's balloon is to be set."""
        with stopped(self.actuator.process.pid):
            self.lab.virsh("setmem", guest.name, "256MiB")
            wait_until(lambda: self.actual_mib(guest) == 256, "it has all of its memory", PATIENCE_SECONDS)
            yield

    def told(self, pattern: str) -> None:
        self.actuator.wait_for(pattern)


@pytest.fixture(scope="module")
def site(lab: Lab, booted: list[Guest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("actuator-faults")
    rules, policy = directory / "rules.yml", directory / "policy.yml"
    rules.write_text(RULES.replace("TARGET", str(TARGET_MIB * MIB)))
    policy.write_text(POLICY.replace("SHARE", "100%"))
    before = (KSM / "sleep_millisecs").read_text()
    with programs.running(directory, lab.uri) as started:
        exporter = started.exporter("--path.rootfs", lab.root)
        actuator = started.actuator(
            exporter, rules, "--apply", "--policy", policy, "--drift-backoff", "1s", "--path.rootfs", lab.root
        )
        healthy, victim = booted[:2]
        site = Site(
            lab=lab, started=started, exporter=exporter, actuator=actuator, rules=rules, policy=policy,
            healthy=healthy, victim=victim,
        )  # fmt: skip
        for guest in (healthy, victim):
            site.is_tuned(guest)
        yield site
    (KSM / "sleep_millisecs").write_text(before)


@pytest.fixture(autouse=True)
def the_loop_goes_on(site: Site) -> Iterator[None]:
    """Whatever the test does, most ticks come in time, none of them fails, and at the end all is tuned again."""
    ticks, began = site.actuator.scrape()["kvmtune_actuator_ticks_total"], time.monotonic()
    yield
    passed = time.monotonic() - began
    assert site.actuator.scrape()["kvmtune_actuator_ticks_total"] - ticks > passed / 2
    assert "this tick failed" not in site.actuator.output
    assert "a defect of kvmtune" not in site.actuator.output
    for guest in (site.healthy, site.victim):
        site.is_tuned(guest)


def test_a_guest_whose_qemu_is_stopped_is_left_alone_and_the_others_are_tuned(site: Site) -> None:
    with ExitStack() as stack:
        with site.on_its_way(site.victim):
            stack.enter_context(stopped(site.lab.qemu_pid(site.victim)))
        site.told(f"refused +balloons: {site.victim.name} balloon.target .*stopped by a signal")
        site.others_are_tuned()


def test_a_guest_that_is_paused_is_left_alone_and_the_others_are_tuned(site: Site) -> None:
    with site.on_its_way(site.victim):
        site.lab.virsh("suspend", site.victim.name)
    try:
        site.told(f"refused +balloons: {site.victim.name} balloon.target .*the guest is paused")
        site.others_are_tuned()
        assert site.actual_mib(site.victim) == 256
    finally:
        site.lab.virsh("resume", site.victim.name)


def test_a_guest_that_uses_more_than_the_target_is_not_squeezed(site: Site) -> None:
    site.victim.command("fill 110 random")
    try:
        time.sleep(2.5)  # its report, each second
        site.aim(64)
        wait_until(lambda: site.actual_mib(site.healthy) < 150, "the idle one lends", PATIENCE_SECONDS)
        time.sleep(3)  # by now the other one has given what it can
        memory = site.victim.meminfo()
        used_mib = site.actual_mib(site.victim) - memory["MemAvailable"] // MIB
        assert used_mib > 110
        assert site.actual_mib(site.victim) >= used_mib + 10
        assert memory["MemAvailable"] > 8 * MIB
    finally:
        site.aim(TARGET_MIB)
        site.victim.command("free")


def test_a_libvirtd_that_is_stopped_costs_its_guests_and_not_the_host(site: Site) -> None:
    with stopped(site.lab.daemon_pid()):
        for _ in range(6):  # longer than it takes to give the connection up
            site.host_is_tuned()
    site.others_are_tuned()


def test_a_libvirtd_that_is_killed_and_started_again_is_found_again(site: Site) -> None:
    with killed_daemon(site.lab):
        site.host_is_tuned()
    site.others_are_tuned()


def test_guests_that_vanish_and_those_that_ignore_their_balloons_cost_themselves_only(site: Site) -> None:
    with site.lab.crowd(small(5, prefix="passing"), paused=False) as passing:
        wait_until(lambda: all(pinned(site.lab, guest) for guest in passing), "they are pinned", PATIENCE_SECONDS)
        site.told("refused +balloons: passing-1 balloon.target 16 MiB .*balloon driver")
        for guest in passing:
            os.kill(site.lab.qemu_pid(guest), signal.SIGKILL)
        wait_until(lambda: not any("passing-" in name for name in site.lab.guest_names()), "libvirt has seen it")
        site.others_are_tuned()


def pinned(lab: Lab, guest: Guest) -> bool:
    return "1" in lab.virsh("vcpupin", guest.name).split()[-1:]


def test_a_guest_that_migrates_is_not_touched_and_the_others_are_tuned(site: Site) -> None:
    destination = Lab(TEST_DIRECTORY / "destination")
    destination.start(tied=True)
    (mover,) = site.lab.boot(GuestSpec(name="mover", memory_mib=160))
    try:
        mover.command("fill 80 random")
        site.aim(160)  # what it has
        with slow_migration(site.lab, mover, destination):
            site.aim(TARGET_MIB - 84)
            site.told("failed +balloons: mover balloon.target .*libvirt is migrating")
            site.is_tuned(site.healthy, TARGET_MIB - 84)
            site.host_is_tuned()
            assert site.actual_mib(mover) == 160
    finally:
        site.aim(TARGET_MIB)
        site.lab.destroy("mover")
        destination.down()


@strace.needed
def test_a_guest_that_vanishes_between_intent_and_write_is_told_of_and_forgotten(site: Site) -> None:
    with slow_ledger(site), site.lab.crowd(small(1, prefix="fleeting"), paused=False) as (guest,):
        wait_until(lambda: guest.name in site.ledger.read_text(), "it is about to write", PATIENCE_SECONDS)
        os.kill(site.lab.qemu_pid(guest), signal.SIGKILL)
        wait_until(lambda: guest.name not in site.lab.guest_names(), "libvirt has seen it")
    site.told("failed +pins: fleeting-1/vcpu 0 vcpu.affinity .*(gone|no domain|not running)")
    site.others_are_tuned()


@contextmanager
def slow_ledger(site: Site) -> Iterator[None]:
    """The disk takes its time with each record."""
    ledger = site.started.directory / "state/ledger.jsonl"
    pid = site.actuator.process.pid
    command = (
        "strace",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        ledger,
        "-e",
        "inject=fsync:delay_enter=2000000",
        "-p",
        str(pid),
    )
    with subprocess.Popen(command) as tracer:
        try:
            yield
        finally:
            tracer.terminate()


def test_a_rule_that_would_touch_most_guests_at_once_is_stopped_before_its_first_write(site: Site) -> None:
    site.at_once("50%")
    try:
        with ExitStack() as stack:
            state = ("--state-dir", site.ledger.parent)
            run("kvmtune-actuator", "pause", "--because", "all are to be there first", *state)
            many = stack.enter_context(site.lab.crowd(small(5, prefix="many"), paused=False))
            balloons = {series("kvm_domain_balloon_actual_bytes", domain=one.name, uuid=one.uuid) for one in many}
            wait_until(lambda: balloons <= site.exporter.scrape().keys(), "all are told of", PATIENCE_SECONDS)
            run("kvmtune-actuator", "resume", *state)
            site.told("refused +pins: many-1/vcpu 0 vcpu.affinity .*at once")
            site.others_are_tuned()
            assert not any(pinned(site.lab, guest) for guest in many)
            assert "written     pins: many-" not in site.actuator.output
    finally:
        site.at_once("100%")


def test_another_tuner_that_starts_beside_us_is_named(site: Site) -> None:
    ksmtuned = packages.unpacked("ksmtuned", CACHE) / "usr/sbin/ksmtuned"
    with beside(site.lab, ksmtuned):
        # The exporter looks for it twice a minute.
        wait_until(lambda: "ksmtuned runs on this host, too" in site.actuator.output, "it is named", 60)
        site.others_are_tuned()
