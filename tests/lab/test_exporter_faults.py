"""The exporter never hangs, and what is wrong with one guest costs that guest only: real faults, scraped all along.

While the tests of this module run, the exporter is scraped 20 times a second (2 with a crowd), in bursts of 50 at once, and by a reader
that takes a byte a second (see `load`). Each fault is one test; the last one is about all scrapes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.programs import wait_until

from . import load, programs
from .faults import Door, killed_daemon, stopped
from .guests import Guest
from .lab import TEST_DIRECTORY, Lab
from .load import Load
from .processes import Footprint, footprint
from .programs import Program, series
from .specs import GuestSpec, small

MAX_AGE_SECONDS = 10.0
FLAGS = ("--libvirt.max-age", f"{MAX_AGE_SECONDS:.0f}s", "--libvirt.stats-interval", "2s")
# The guest reports each second and is asked each other one; up to three times in a row, libvirt may be busy with what
# the other clients here ask of it.
FRESH_SECONDS = 9.0
RECOVERED_SECONDS = 10.0
# To start 300, as for the figures in docs/exporter.md, takes two minutes.
CROWD = int(os.environ.get("KVMTUNE_LAB_CROWD", "60"))

AGE = "kvm_domain_balloon_stats_age_seconds"
CPU = "kvm_domain_process_cpu_seconds_total"


def balloon(guest: Guest) -> str:
    return series("kvm_domain_balloon_actual_bytes", domain=guest.name, uuid=guest.uuid)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A host with guests, an exporter, and those who scrape it."""

    lab: Lab
    door: Door
    exporter: Program
    scrapes: Load
    healthy: Guest  # has booted; nothing is ever wrong with it
    others: list[Guest]  # 25 that run, small ones

    def value(self, metric: str, guest: Guest, **labels: str) -> float | None:
        """The value now of a guest's series; None if it is not there."""
        return self.exporter.scrape().get(series(metric, domain=guest.name, uuid=guest.uuid, **labels))

    def withheld(self, guests: list[Guest]) -> bool:
        """Whether nothing is said of these balloons."""
        scraped = self.exporter.scrape()
        return not any(balloon(guest) in scraped for guest in guests)

    def told(self, guests: list[Guest]) -> bool:
        """Whether the size of each of these balloons is told, and is the right one."""
        scraped = self.exporter.scrape()
        return [scraped.get(balloon(guest)) for guest in guests] == [guest.spec.memory_mib * 2**20 for guest in guests]

    def fresh(self) -> bool:
        """Whether what is told of the healthy guest is new."""
        age = self.value(AGE, self.healthy)
        return age is not None and age < FRESH_SECONDS

    def recovered(self) -> bool:
        return self.told(self.others) and self.fresh() and self.exporter.has("kvm_libvirt_up", 1)

    def settled(self) -> Footprint:
        """The least that the exporter has of each within two seconds: what scrapes add comes and goes."""
        seen = [footprint(self.exporter.process.pid) for _ in during(2.0, pause_seconds=0.02)]
        return Footprint(
            processes=min(each.processes for each in seen),
            threads=min(each.threads for each in seen),
            descriptors=min(each.descriptors for each in seen),
        )


@pytest.fixture(scope="module")
def site(lab: Lab, booted: list[Guest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("faults")
    door = Door(lab)
    with ExitStack() as stack:
        others = stack.enter_context(lab.crowd(small(25), paused=False))
        started = stack.enter_context(programs.running(directory, door.uri))
        # On one machine there are two hosts here, once a guest migrates: this exporter sees the processes of its own.
        exporter = started.exporter(*FLAGS, "--path.rootfs", lab.root)
        scrapes = stack.enter_context(load.on(exporter.metrics_url, directory / "scrapes"))
        site = Site(
            lab=lab, door=door, exporter=exporter, scrapes=scrapes, healthy=booted[0], others=others
        )  # fmt: skip
        wait_until(site.recovered, "all guests are told of")
        yield site


@pytest.fixture(autouse=True)
def nothing_left(site: Site, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """After each test all is told again, and the exporter has no thread, process or descriptor more than before."""
    before = site.settled()
    began = time.monotonic()
    yield
    scrapes = site.scrapes.since(began)
    with capsys.disabled():
        print(f"\n{request.node.name}: {scrapes}", end=" ")
    assert scrapes.failed == []
    wait_until(site.recovered, "all is told again", RECOVERED_SECONDS)
    wait_until(lambda: site.settled().within(before), f"no more than {before}; it is {site.settled()}")


def during(seconds: float, *, pause_seconds: float = 0.5) -> Iterator[float]:
    """Seconds since the start, every `pause_seconds`."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        yield passed
        time.sleep(pause_seconds)


def others_are_answered(lab: Lab, guest: Guest) -> bool:
    """Whether another client of libvirtd gets within six seconds all that it asks of the guest."""
    began = time.monotonic()
    lab.virsh("dominfo", guest.name)
    lab.virsh("dommemstat", guest.name)
    lab.virsh("domstats", guest.name)
    return time.monotonic() - began < 6.0


def test_in_calm_all_is_told(site: Site) -> None:
    for _ in during(8.0):
        assert site.recovered()


@pytest.mark.parametrize("count", [1, 25])
def test_stopped_qemus_cost_themselves_only(site: Site, count: int) -> None:
    victims, well = site.others[:count], site.others[count:]
    with stopped(*(site.lab.qemu_pid(guest) for guest in victims)):
        for passed in during(MAX_AGE_SECONDS + 8.0):
            assert site.fresh()
            assert site.told(well)
            assert others_are_answered(site.lab, site.healthy)
            if passed > MAX_AGE_SECONDS + 4.0:
                assert site.withheld(victims)
                assert site.value("kvm_domain_process_stopped", victims[0]) == 1
                assert site.value("kvm_domain_balloon_unread_info", victims[0], reason="stopped") == 1
                assert site.value(CPU, victims[0]) is not None
    wait_until(site.recovered, "the victims are back", RECOVERED_SECONDS)


def test_a_libvirtd_that_is_stopped_costs_what_only_it_knows(site: Site) -> None:
    with stopped(site.lab.daemon_pid()):
        guests_are_told_from_proc_alone(site, 20.0)
    wait_until(site.recovered, "libvirt's data is back", RECOVERED_SECONDS)


def test_a_libvirtd_that_takes_connections_and_never_answers_costs_what_only_it_knows(site: Site) -> None:
    with site.door.mute():
        guests_are_told_from_proc_alone(site, 20.0)
    wait_until(site.recovered, "libvirt's data is back", RECOVERED_SECONDS)


def guests_are_told_from_proc_alone(site: Site, seconds: float) -> None:
    for passed in during(seconds):
        assert site.value(CPU, site.healthy) is not None
        if passed > MAX_AGE_SECONDS + 4.0:
            assert site.exporter.has("kvm_libvirt_up", 0)
            assert site.withheld([site.healthy, *site.others])


def test_a_libvirtd_that_is_killed_and_started_again_is_found_again(site: Site) -> None:
    with killed_daemon(site.lab):
        pass
    wait_until(site.recovered, "libvirt's data is back", RECOVERED_SECONDS)


def test_guests_that_vanish_vanish_from_the_page(site: Site) -> None:
    passing = small(10, prefix="passing")
    for way in ("destroy", "kill"):
        with site.lab.crowd(passing) as guests:
            wait_until(lambda guests=guests: site.told(guests), "they are told of", RECOVERED_SECONDS)
            if way == "kill":
                for guest in guests:
                    os.kill(site.lab.qemu_pid(guest), signal.SIGKILL)
                wait_until(
                    lambda: not any("passing-" in name for name in site.lab.guest_names()), "libvirt has seen it"
                )
        wait_until(lambda: not any("passing-" in series for series in site.exporter.scrape()), "they are gone", 5)


def test_a_paused_guest_is_paused_and_its_neighbours_are_not(site: Site) -> None:
    (paused, *rest) = site.others
    site.lab.virsh("suspend", paused.name)
    try:
        wait_until(lambda: site.value("kvm_domain_state", paused, state="paused") == 1, "it is paused", 5)
        assert site.value("kvm_domain_state", rest[0], state="running") == 1
        for _ in during(5.0):
            assert site.fresh()
            assert site.told(rest)
    finally:
        site.lab.virsh("resume", paused.name)
    wait_until(lambda: site.value("kvm_domain_state", paused, state="running") == 1, "it runs", 5)


def test_a_guest_that_migrates_leaves_the_page(site: Site) -> None:
    destination = Lab(TEST_DIRECTORY / "destination")
    destination.start(tied=True)
    try:
        (mover,) = site.lab.boot(GuestSpec(name="mover", memory_mib=128))
        wait_until(lambda: site.told([mover]), "it is told of", RECOVERED_SECONDS)
        moved = site.lab.migrate(mover, destination)
        assert moved.wait_ready(10.0) > 0
        wait_until(lambda: not any('"mover"' in series for series in site.exporter.scrape()), "it has left", 5)
        assert site.fresh()
    finally:
        destination.down()


def test_of_a_crowd_all_is_told(site: Site) -> None:
    with ExitStack() as crowded:
        # A scrape of 300 guests takes 50 ms of a CPU, and asking libvirt about them all each other second half of one.
        site.scrapes.pace(2)
        crowded.callback(site.scrapes.pace, load.PER_SECOND)
        with site.scrapes.aside():  # for two minutes, the CPUs have nothing but QEMUs to start
            crowd = crowded.enter_context(site.lab.crowd(small(CROWD - len(site.others), prefix="crowd")))
        wait_until(lambda: site.told(crowd), "all are told of", RECOVERED_SECONDS)
        for _ in during(15.0):
            assert site.recovered()
        with site.scrapes.aside():
            crowded.close()


# On two quiet CPUs all scrapes of 25 guests took less than 200 ms, and of all, with the bursts at 300 guests, 99 in 100.
# This machine may be busy, and a hang takes seconds.
FAST_RATIO = 0.8


def test_none_of_all_scrapes_failed_and_few_took_longer_than_200_ms(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    scrapes = site.scrapes.since()
    with capsys.disabled():
        print(f"\nall: {scrapes}", end=" ")
    assert scrapes.failed == []
    assert scrapes.fast_ratio >= FAST_RATIO
