"""The whole loop on real guests and the real kernel: the simple rules, with their times divided by ten.

The witnesses share no code with kvmtune: /sys, virsh, the scheduler's own affinity, the guest's own /proc/meminfo.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvmhost.units import duration_seconds, format_seconds
from tests.programs import run, wait_until

from .guests import Guest
from .lab import Lab
from .processes import command_lines
from .programs import Program, Programs
from .smallhost import ROOM_BYTES, ballast, small_host
from .specs import GuestSpec

TOP = Path(__file__).parents[2]
KSM = Path("/sys/kernel/mm/ksm")
MIB = 2**20

# Both vCPUs on CPU 0; large, so that their memory makes the difference between a short host and an ample one.
SPECS = [GuestSpec(name=f"kvmtune-lab-{name}", memory_mib=1024, pins={0: "0"}) for name in ("idle", "full")]


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[tuple[Guest, Guest]]:
    """Two guests: one with nothing to do, one that is full of memory."""
    idle, full = lab.boot(*SPECS)
    yield idle, full
    for spec in SPECS:
        lab.destroy(spec.name)


@pytest.fixture
def idle(pair: tuple[Guest, Guest], lab: Lab) -> Iterator[Guest]:
    """The idle one; at the end as it was at the start."""
    yield pair[0]
    for guest in pair:
        lab.virsh("setmem", guest.name, f"{guest.spec.memory_mib}MiB")
        lab.virsh("vcpupin", guest.name, "0", "0")
        guest.command("idle")
        guest.command("free")


@pytest.fixture
def full(pair: tuple[Guest, Guest], idle: Guest) -> Guest:
    """The full one."""
    return pair[1]


def tenth(found: re.Match[str]) -> str:
    return f"{found[1]}: {format_seconds(duration_seconds(found[2]) / 10)}"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The simple rules and the shipped policy, ten times as fast."""
    directory = tmp_path / "rules"
    directory.mkdir()
    for file in (TOP / "rules/simple").glob("*.yml"):
        text = re.sub(r"\b(for|every): (\w+)", tenth, file.read_text())
        (directory / file.name).write_text(text.replace("[1m]", "[10s]"))
    policy = (TOP / "actuator/rules/policy.yml").read_text()
    (tmp_path / "policy").write_text(re.sub(r"writes_per_minute: \d+", "writes_per_minute: 600", policy))
    return directory


@contextmanager
def shortage() -> Iterator[None]:
    """A host on which 4 % of the memory outside of hugepage pools is available."""
    with small_host(ROOM_BYTES), ballast(0.04):
        yield


def ksm(file: str) -> int:
    return int((KSM / file).read_text())


def actual_mib(lab: Lab, guest: Guest) -> int:
    (kib,) = re.findall(r"^actual (\d+)", lab.virsh("dommemstat", guest.name), re.MULTILINE)
    return int(kib) // 1024


def vcpu_affinity(guest: Guest) -> set[int]:
    """The kernel's word on where the thread of the guest's only vCPU may run."""
    (pid,) = [pid for pid, arguments in command_lines() if guest.uuid in arguments]
    (thread,) = [
        int(comm.parent.name)
        for comm in Path(f"/proc/{pid}/task").glob("*/comm")
        if comm.read_text().startswith("CPU 0/")
    ]
    return os.sched_getaffinity(thread)


def start(kvmtune: Programs, rules: Path, *flags: str) -> Program:
    """The exporter, and the actuator on `rules`."""
    exporter = kvmtune.exporter("--libvirt.stats-interval", "1s")
    return kvmtune.actuator(exporter, rules, "--policy", rules.parent / "policy", *flags)


def only(rules: Path, *names: str) -> None:
    """Keep these rule files, and the records that all use."""
    for file in rules.iterdir():
        if file.stem not in ("host", *names):
            file.unlink()


def test_a_shortage_starts_ksm_and_its_end_slows_it_down(
    idle: Guest, full: Guest, kvmtune: Programs, rules: Path
) -> None:
    only(rules, "ksm")
    for guest in (idle, full):
        guest.command("fill 300 same")
    before = ksm("pages_sharing")
    rate = ksm("pages_to_scan")
    with shortage():
        actuator = start(kvmtune, rules, "--apply")
        wait_until(lambda: ksm("run") == 1, "KSM runs")
        wait_until(lambda: ksm("pages_to_scan") > 4 * rate, "pages_to_scan is raised")
        wait_until(lambda: (ksm("pages_sharing") - before) * 4096 > 200 * MIB, "most of 300 MiB is merged", 120)
    wait_until(lambda: ksm("pages_to_scan") == 100, "pages_to_scan decays to the policy's floor", 120)
    assert ksm("run") == 1
    assert (ksm("pages_sharing") - before) * 4096 > 200 * MIB
    assert actuator.end(signal.SIGTERM) == 0
    assert (ksm("run"), ksm("pages_to_scan")) == (0, rate)


def test_an_idle_guest_lends_memory_down_to_its_floor_and_gets_it_back_when_it_needs_it(
    lab: Lab, idle: Guest, full: Guest, kvmtune: Programs, rules: Path
) -> None:
    only(rules, "balloon")
    full.command("fill 700 random")
    used_mib = idle.spec.memory_mib - idle.meminfo()["MemAvailable"] // MIB
    floor_mib = max(128, int(used_mib * 1.1))
    with shortage():
        actuator = start(kvmtune, rules, "--apply")
        sizes: list[int] = []

        def settled() -> bool:
            sizes.append(actual_mib(lab, idle))
            return len(sizes) > 50 and len(set(sizes[-50:])) == 1

        wait_until(lambda: actual_mib(lab, idle) < 300, "the idle guest has lent most of its memory", 120)
        wait_until(settled, "its balloon comes to rest", 120)
        assert min(sizes) >= floor_mib
        assert actual_mib(lab, full) == full.spec.memory_mib

        available_mib = idle.meminfo()["MemAvailable"] // MIB
        # With 15 % or more the rule leaves it alone, and `fill` leaves 16 MiB.
        idle.command(f"fill {available_mib - 18}")
        wait_until(
            lambda: idle.meminfo()["MemAvailable"] // MIB > 45, "it gets memory, although the host is short", 120
        )
        idle.command("sh head -c 23m /dev/zero >/load/more")  # with what is filled, more than it had in all
    wait_until(lambda: actual_mib(lab, idle) == idle.spec.memory_mib, "with memory to spare, it has all of it", 120)
    assert idle.meminfo()["MemAvailable"] // MIB > 700
    idle.command("sh rm /load/more")
    assert actuator.end(signal.SIGTERM) == 0


class Knobs:
    """What the actuator may touch, as the kernel and virsh tell it."""

    def __init__(self, lab: Lab, *guests: Guest) -> None:
        self._lab = lab
        self._guests = guests

    def read(self) -> tuple[object, ...]:
        files = [ksm(file) for file in ("run", "pages_to_scan", "sleep_millisecs")]
        balloons = [actual_mib(self._lab, guest) for guest in self._guests]
        return (*files, *balloons, *(frozenset(vcpu_affinity(guest)) for guest in self._guests))


@pytest.fixture(scope="module")
def trouble(pair: tuple[Guest, Guest]) -> Iterator[tuple[Guest, Guest]]:
    """Everything that the rules act on, to the end: a short host, a guest with memory to spare, two vCPUs on one CPU."""
    idle, full = pair
    full.command("fill 700 random")
    for guest in pair:
        guest.command("busy")
    with shortage():
        yield idle, full


def has_touched_all(lab: Lab, idle: Guest, full: Guest) -> bool:
    apart = vcpu_affinity(idle).isdisjoint(vcpu_affinity(full))
    return ksm("run") == 1 and ksm("pages_to_scan") > 100 and actual_mib(lab, idle) < 900 and apart


def test_a_dry_run_writes_nothing_at_all(
    lab: Lab, trouble: tuple[Guest, Guest], kvmtune: Programs, rules: Path
) -> None:
    knobs = Knobs(lab, *trouble)
    before = knobs.read()
    seen = set()
    actuator = start(kvmtune, rules)

    def would_touch_all() -> bool:
        seen.add(knobs.read())
        written = re.findall(r"would write \w+: \S+(?: 0)? (\S+) ", actuator.output)
        return {"ksm.run", "ksm.pages_to_scan", "balloon.target", "vcpu.affinity"} <= set(written)

    wait_until(would_touch_all, "it says what it would do to every knob", 120)
    assert actuator.end(signal.SIGTERM) == 0
    assert seen == {before}
    assert not (kvmtune.directory / "state/ledger.jsonl").exists()


def test_stopping_restores_every_knob(lab: Lab, trouble: tuple[Guest, Guest], kvmtune: Programs, rules: Path) -> None:
    knobs = Knobs(lab, *trouble)
    before = knobs.read()
    actuator = start(kvmtune, rules, "--apply")
    wait_until(lambda: has_touched_all(lab, *trouble), "every knob is touched", 120)
    assert actuator.end(signal.SIGTERM) == 0
    assert knobs.read() == before


def test_after_kill_9_restore_puts_everything_back_but_what_someone_else_changed(
    lab: Lab, trouble: tuple[Guest, Guest], kvmtune: Programs, rules: Path
) -> None:
    knobs = Knobs(lab, *trouble)
    before = knobs.read()
    rate = ksm("pages_to_scan")
    actuator = start(kvmtune, rules, "--apply")
    wait_until(lambda: has_touched_all(lab, *trouble), "every knob is touched", 120)
    assert actuator.end(signal.SIGKILL) == -signal.SIGKILL
    state = ("--state-dir", kvmtune.directory / "state")
    other = run("kvmtune-actuator", "run", "--apply", "--rules", rules, *state, "--libvirt.uri", "test:///default")
    assert other.returncode == 1
    assert (
        f"has changes to guests of {lab.uri}, and to test:///default they would be gone: put them back by"
        in other.stderr
    )
    (KSM / "pages_to_scan").write_text("777")
    restored = kvmtune.restore()
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert ksm("pages_to_scan") == 777
    assert f"ksm.pages_to_scan {rate}: left alone (someone else set it to 777" in restored.stdout
    (KSM / "pages_to_scan").write_text(str(rate))
    assert knobs.read() == before
