"""The lab itself: its guests are real, and it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.programs import wait_until

from . import hoststate, smallhost
from .guests import Guest, GuestError
from .hoststate import KSM, ksm
from .lab import REPOSITORY, TEST_DIRECTORY, Lab
from .processes import command_lines
from .programs import Programs
from .specs import GuestSpec

MIB = 2**20


def balloon(lab: Lab, guest: Guest) -> dict[str, int]:
    """What libvirt says of the balloon: KiB, and last-update in seconds of unix time."""
    rows = (line.split() for line in lab.virsh("dommemstat", guest.name).splitlines())
    return {name: int(value) for name, value in rows}


def fresh(lab: Lab, guest: Guest) -> bool:
    return time.time() - balloon(lab, guest)["last_update"] < 3


def test_guests_answer(guests: list[Guest]) -> None:
    for guest in guests:
        assert guest.wait_ready() > 0
        assert 180 * MIB < guest.meminfo()["MemTotal"] < 256 * MIB


def test_an_unknown_command_is_an_error_that_names_the_known_ones(guests: list[Guest]) -> None:
    with pytest.raises(GuestError, match="'dance' is none of ping, meminfo"):
        guests[0].command("dance")


@pytest.mark.parametrize("content", ["random", "same", "zero"])
def test_a_fill_takes_memory_and_free_gives_it_back(guests: list[Guest], content: str) -> None:
    guest = guests[0]
    empty = guest.meminfo()
    guest.command(f"fill 60 {content}")
    full = guest.meminfo()
    assert full["Shmem"] - empty["Shmem"] == pytest.approx(60 * MIB, abs=2 * MIB)
    assert full["MemAvailable"] < empty["MemAvailable"] - 40 * MIB  # which the guest's kernel knows only roughly
    guest.command("fill 20")  # the whole load, not a further one
    assert guest.meminfo()["Shmem"] - empty["Shmem"] == pytest.approx(20 * MIB, abs=2 * MIB)
    guest.command("free")
    assert guest.meminfo()["Shmem"] == pytest.approx(empty["Shmem"], abs=2 * MIB)


def test_a_fill_that_would_end_in_a_panic_is_refused(guests: list[Guest]) -> None:
    with pytest.raises(GuestError, match="MiB are available"):
        guests[0].command("fill 250")


def test_balloon_statistics_arrive(lab: Lab, guests: list[Guest]) -> None:
    for guest in guests:
        wait_until(partial(fresh, lab, guest), "fresh statistics", 5)
        assert balloon(lab, guest)["available"] * 1024 == guest.meminfo()["MemTotal"]


def test_setmem_moves_the_guest_itself(lab: Lab, guests: list[Guest]) -> None:
    guest = guests[0]
    before = guest.meminfo()["MemTotal"]
    lab.virsh("setmem", guest.name, "192MiB")
    wait_until(lambda: guest.meminfo()["MemTotal"] == before - 64 * MIB, "64 MiB fewer in the guest")


def test_a_busy_guest_takes_a_cpu(lab: Lab, guests: list[Guest]) -> None:
    def cpu_seconds(during_seconds: float) -> float:
        def total() -> int:
            return int(lab.virsh("domstats", "--cpu-total", guests[0].name).split("cpu.time=")[1].split()[0])

        start = total()
        time.sleep(during_seconds)
        return (total() - start) / 1e9

    wait_until(lambda: cpu_seconds(1) < 0.3, "it is idle")
    guests[0].command("busy")
    wait_until(lambda: cpu_seconds(1) > 0.3, "it is busy")  # its half of a CPU, if all else here is busy
    guests[0].command("idle")
    wait_until(lambda: cpu_seconds(1) < 0.3, "it is idle again")


def test_ksm_merges_the_guests(guests: list[Guest]) -> None:
    for guest in guests:
        guest.command("fill 40 same")
    before = ksm("pages_sharing")
    (KSM / "pages_to_scan").write_text("5000")
    (KSM / "run").write_text("1")
    wait_until(lambda: (ksm("pages_sharing") - before) * os.sysconf("SC_PAGE_SIZE") > 30 * MIB, "pages are merged", 60)


def test_special_guests(lab: Lab) -> None:
    spec = GuestSpec(name="special", memory_mib=128, vcpus=2, pins={0: "0", 1: "0"}, share_pages=False, balloon=False)
    (guest,) = lab.boot(spec)
    xml = lab.virsh("dumpxml", guest.name)
    assert "<nosharepages/>" in xml
    assert "<memballoon model='none'/>" in xml
    assert "<vcpupin vcpu='1' cpuset='0'/>" in xml
    assert guest.command("sh nproc").strip() == "2"
    lab.destroy(guest.name)
    assert guest.name not in lab.guest_names()


def test_the_exporter_sees_the_guests(kvmtune: Programs, guests: list[Guest]) -> None:
    exporter = kvmtune.exporter()
    for guest in guests:
        series = f'kvm_domain_balloon_actual_bytes{{domain="{guest.name}",uuid="{guest.uuid}"}}'
        wait_until(partial(exporter.has, series, 256 * MIB), series)
    assert exporter.end(signal.SIGTERM) == 0


def test_a_small_host_is_small_for_a_while() -> None:
    before = smallhost.available_bytes()
    wanted = before * 3 // 4
    with smallhost.small_host(wanted):
        assert smallhost.available_bytes() == pytest.approx(wanted, rel=0.05)
    assert smallhost.available_bytes() == pytest.approx(before, rel=0.05)


SMALL_LAB = """
from tests.lab.specs import GuestSpec
from tests.lab.lab import Lab
lab = Lab(Path({directory!r}))
lab.start(tied={tied})
lab.boot(GuestSpec(name="short-lived"))
"""


@pytest.mark.parametrize("tied", [True, False])
def test_a_lab_leaves_nothing_behind_even_if_its_maker_is_killed(tied: bool) -> None:
    lab = Lab(TEST_DIRECTORY / "short-lived")
    mounts = Path("/proc/mounts").read_text()
    with killed_at_the_end(SMALL_LAB, directory=str(lab.directory), tied=tied):
        assert lab.guest_names() == ["short-lived"]
        assert processes_with("guest=short-lived,debug-threads=on")
    if tied:
        wait_until(lambda: not lab.processes(), "the kernel has ended it")
    lab.down()
    assert not processes_with("guest=short-lived,debug-threads=on")
    assert not lab.processes()
    assert Path("/proc/mounts").read_text() == mounts
    assert not lab.run.exists()
    assert not lab.directory.exists()


HOLDER = """
from tests.lab import hoststate
keeping = hoststate.kept(Path({note!r}))
keeping.__enter__()
"""


def test_knobs_return_when_their_holder_is_killed(tmp_path: Path) -> None:
    (KSM / "pages_to_scan").write_text("123")
    before = hoststate.read()
    with killed_at_the_end(HOLDER, note=str(tmp_path / "note")):
        for name, value in (
            ("run", "2"),
            ("pages_to_scan", "777"),
            ("max_page_sharing", "64"),
            ("advisor_mode", "scan-time"),
        ):
            (KSM / name).write_text(value)
        Path("/proc/sys/vm/swappiness").write_text("7")
        Path("/proc/sys/vm/dirty_bytes").write_text(str(100 * MIB))
        smallhost.shrink(smallhost.available_bytes() * 3 // 4)
        assert len(hoststate.changes(before, hoststate.read())) > 5
    wait_until(lambda: hoststate.changes(before, hoststate.read()) == [], "the keeper restores")


EXPORTER = """
from tests.lab.programs import Programs
exporter = Programs(Path({directory!r}), {uri!r}).exporter()
"""


def test_programs_end_with_a_test_run_that_is_killed(lab: Lab, tmp_path: Path) -> None:
    with killed_at_the_end(EXPORTER, directory=str(tmp_path), uri=lab.uri):
        assert processes_with(lab.uri)
    wait_until(lambda: not processes_with(lab.uri), "the exporter is gone")


@contextmanager
def killed_at_the_end(program: str, **values: object) -> Iterator[None]:
    """Within the block, a Python process has carried out `program` and lives; at its end, it gets kill -9."""
    text = "from pathlib import Path\n" + program.format(**values) + "print('ready', flush=True)\ninput()\n"
    pipe = subprocess.PIPE
    with subprocess.Popen((sys.executable, "-c", text), cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout
            assert "ready\n" in iter(process.stdout.readline, "")
            yield
        finally:
            process.kill()


def processes_with(argument: str) -> list[int]:
    return [pid for pid, arguments in command_lines() if argument in arguments]
