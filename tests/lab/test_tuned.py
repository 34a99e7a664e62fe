"""The real tuned on a real message bus: what the exporter says of it, and rules that have it switch its profile."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.tuning_reader import TuningReader
from kvmhost.dbus import Bus, BusError, system_bus
from kvmhost.fs import HostFS
from kvmhost.tuned import Profile, Tuned, profile
from tests.host import unprivileged
from tests.programs import wait_until

from .programs import Program, Programs
from .tunedhost import TunedHost, tuned_host

PROFILE = Profile(active="lab", mode="manual")
UNANSWERED = Tuned(up=False, profile=PROFILE, check=None, ksm_masked=False)
EXPIRE = Path("/proc/sys/vm/dirty_expire_centisecs")


@contextmanager
def reading(host: TunedHost) -> Iterator[TuningReader]:
    """A reader that looks when it is told to, and lets tuned verify its profile each time."""
    bus = Bus(system_bus({}, host.root))
    try:
        yield TuningReader(HostFS(host.root), bus, check_seconds=0, clock=lambda: 1000.0)
    finally:
        bus.close()


def look(reader: TuningReader) -> Tuned:
    tuned = reader.read().tuned
    assert tuned
    return tuned


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TunedHost]:
    with tuned_host(tmp_path_factory.mktemp("tuned")) as host:
        yield host


@pytest.fixture
def reader(host: TunedHost) -> Iterator[TuningReader]:
    with reading(host) as reader:
        yield reader


def test_what_tuned_says(host: TunedHost, reader: TuningReader) -> None:
    tuned = look(reader)
    assert (tuned.up, tuned.profile, tuned.ksm_masked) == (True, PROFILE, False)
    assert tuned.check
    assert tuned.check.verified
    assert (host.root / "usr/lib/tuned" / tuned.check.recommended).is_dir()
    assert reader.read().tuners == {"tuned"}


def test_a_setting_that_someone_changed(reader: TuningReader) -> None:
    EXPIRE.write_text(str(int(EXPIRE.read_text()) + 100))
    assert look(reader).check
    assert look(reader).check.verified is False


def test_ksm_that_a_profile_has_masked(host: TunedHost, reader: TuningReader) -> None:
    host.output("bash", "-c", ". /usr/lib/tuned/functions; disable_ksm || true")
    assert look(reader).ksm_masked
    host.output("rm", "/var/lib/tuned/ksm-masked")
    assert not look(reader).ksm_masked


@pytest.mark.parametrize(
    ("program", "complaint"),
    [("tuned", "com.redhat.tuned did not answer profile_mode within 5 s"), ("bus", "it does not answer")],
)
def test_a_program_that_hangs_delays_nobody_for_long(
    host: TunedHost, reader: TuningReader, program: str, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    host.signal("STOP", program)
    try:
        began = time.monotonic()
        assert look(reader) == UNANSWERED
        assert time.monotonic() - began < 9  # one call of 5 s, not two
    finally:
        host.signal("CONT", program)
    assert caplog.text.endswith(f"{complaint}\n")
    assert look(reader).up


def test_tuned_ends_and_is_started_again(
    host: TunedHost, reader: TuningReader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert look(reader).up
    host.signal("KILL", "tuned")
    wait_until(lambda: look(reader) == UNANSWERED, "tuned is gone")
    wait_until(lambda: look(reader).up, "tuned is back")
    assert [(record.levelname, record.message) for record in caplog.records][-2:] == [
        (
            "WARNING",
            "tuned does not answer, so its profile is what its files say, and not verified:"
            " nobody on the message bus has the name com.redhat.tuned: start that service",
        ),
        ("INFO", "tuned answers again"),
    ]


def test_without_polkit_tuned_tells_root_only(host: TunedHost) -> None:
    bus = Bus(host.bus)
    with unprivileged(), pytest.raises(BusError, match="Unauthorized; run as root, or install polkit"):
        profile(bus)
    bus.close()


def test_the_exporter_shows_it(host: TunedHost, tmp_path: Path) -> None:
    flags = ("--web.listen-address=127.0.0.1:0", f"--path.rootfs={host.root}", "--libvirt.uri=test:///default")
    program = Program(tmp_path / "exporter.log", "kvmtune-exporter", *flags)
    try:
        wait_until(lambda: program.has("kvm_tuned_up", 1), "the exporter reads tuned")
        series = program.scrape()
    finally:
        assert program.end(signal.SIGTERM) == 0
    assert series["kvm_tuned_profile_verified"] == 1
    assert series['kvm_tuner_active{tuner="tuned"}'] == 1
    assert series['kvm_tuner_active{tuner="ksmtuned"}'] == 0
    assert any(name.startswith('kvm_tuned_profile_info{active="lab",') for name in series)


FASTER = """
    - tune: writeback
      because: "a test"
      when: kvm_memory_available_bytes > 0
      every: 1s
      set: {tuned.profile: lab-faster}
"""


def test_a_rule_has_it_switch_and_stopping_has_it_switch_back(host: TunedHost, kvmtune_alone: Programs) -> None:
    before = int(EXPIRE.read_text())
    profile_of = host.root / "etc/tuned/active_profile"
    directory = host.root / "etc/tuned/lab-faster"
    directory.mkdir()
    (directory / "tuned.conf").write_text(f"[sysctl]\nvm.dirty_expire_centisecs={before // 2}\n")
    actuator = kvmtune_alone.acting(FASTER, "--path.rootfs", host.root)
    actuator.wait_for("written +writeback: host tuned.profile lab -> lab-faster")
    wait_until(lambda: int(EXPIRE.read_text()) == before // 2, "the kernel has what the profile says")
    ledger = kvmtune_alone.directory / "state/ledger.jsonl"
    wait_until(lambda: "tuned has verified it" in ledger.read_text(), "tuned has verified it")
    assert actuator.end(signal.SIGTERM) == 0
    assert (int(EXPIRE.read_text()), profile_of.read_text()) == (before, "lab\n")


def test_a_profile_that_there_is_not_is_refused_with_those_that_there_are(
    host: TunedHost, kvmtune_alone: Programs
) -> None:
    actuator = kvmtune_alone.acting(FASTER.replace("lab-faster", "fastest"), "--path.rootfs", host.root)
    actuator.wait_for(r"refused +writeback: .*this host does not have fastest, only auto, off, .*\blab\b.*virtual-host")


def test_without_tuned_the_rule_says_what_to_do(kvmtune_alone: Programs, tmp_path: Path) -> None:
    for there in ("proc", "sys"):
        (tmp_path / there).symlink_to(f"/{there}")
    actuator = kvmtune_alone.acting(FASTER, "--path.rootfs", tmp_path)
    actuator.wait_for("rule writeback: cannot ask tuned for its profile: .*; tuned was never set up here: install it")
