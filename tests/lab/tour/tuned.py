"""4.2: tuned. Its profiles, and one of the operator's own that a rule has it apply."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import hoststate
from tests.lab.programs import Program, Programs
from tests.lab.tunedhost import TunedHost, tuned_host

from .stage import Say, Stage, exporter, quietly_running
from .story import Chapter, Step, Unit, Watch

DIRTY_RATIO = Path("/proc/sys/vm/dirty_ratio")
FOUND, WANTED = 30, 20
"""In percent: what the guide's host had, by the profile virtual-guest, and what its own profile sets."""

_PROFILE = f"[main]\nsummary=For hosts of KVM guests\n[sysctl]\nvm.dirty_ratio={WANTED}\n"
_WATCH = (
    Watch(what="active profile", expr="kvm_tuned_profile_info", unit=Unit.WORD, label="active"),
    Watch(what="vm.dirty_ratio, percent", expr='kvm_sysctl_value{name="vm.dirty_ratio"}', unit=Unit.COUNT),
    Watch(what="the host is as the profile says", expr="kvm_tuned_profile_verified", unit=Unit.COUNT, drawn=False),
)


def show(directory: Path, say: Say) -> Chapter:
    """On a host with the real tuned; `directory` is an empty one."""
    scratch, files = directory / "scratch", directory / "programs"
    scratch.mkdir()
    files.mkdir()
    with (
        _as_in_the_guide(),
        tuned_host(scratch) as host,
        quietly_running(files, "test:///default") as started,
    ):
        stage = Stage(started, _fresh(started, host), say, "--path.rootfs", host.root)
        stage.wait_for("kvm_tuned_up == 1", "tuned answers")
        steps = _steps(stage, host)
    return Chapter(
        number="4.2",
        title="tuned: a profile for the host",
        steps=steps,
        read_on="[tuned as a knob](knobs.md#tuned)",
    )


def _steps(stage: Stage, host: TunedHost) -> tuple[Step, ...]:
    with stage.step(
        "what tuned has",
        "Is it running, which profiles are there, which one is active, and which does it recommend for this machine?",
        "tuned-adm list",
        "tuned-adm active",
        "tuned-adm recommend",
    ):
        profiles = re.findall(r"^- (\S+)", _tuned_adm(host, "list"), re.MULTILINE)
        stage.show("\n".join(textwrap.wrap(f"profiles: {', '.join(profiles)}", 100, break_on_hyphens=False)))
        for command in ("active", "recommend"):
            stage.show(f"$ tuned-adm {command}\n{_tuned_adm(host, command)}")
        stage.show(f"$ kvmtune-actuator query kvm_tuned_profile_info\n{stage.query('kvm_tuned_profile_info')}")

    with stage.step(
        "a profile of our own",
        f"The tour begins with vm.dirty_ratio={FOUND}, as the guide does. The profile kvm-os sets {WANTED}: who writes "
        "must wait for the disk once that part of memory is dirty. A rule has tuned switch to it, and would take it back if the kernel did not show it.",
        "mkdir /etc/tuned/kvm-os; editor /etc/tuned/kvm-os/tuned.conf",
        "tuned-adm profile kvm-os; cat /proc/sys/vm/dirty_ratio",
        watch=_WATCH,
    ) as doing:
        profile = host.root / "etc/tuned/kvm-os"
        profile.mkdir()
        (profile / "tuned.conf").write_text(_PROFILE)
        stage.rule("tuned.yml")
        stage.wait_for(f'kvm_sysctl_value{{name="vm.dirty_ratio"}} == {WANTED}', "the profile is applied")
        stage.look_through(_fresh(stage.programs, host))
        verified = 'kvm_tuned_profile_verified == 1 and on (instance) kvm_tuned_profile_info{active="kvm-os"}'
        stage.wait_for(verified, "tuned has verified it")
        doing.remarks.append(f"{DIRTY_RATIO} says {DIRTY_RATIO.read_text().strip()}.")

    with stage.step("back again", "Stopping the actuator has tuned switch to the profile that it found.", watch=_WATCH):
        stage.stop()
        stage.wait_for(f'kvm_sysctl_value{{name="vm.dirty_ratio"}} == {FOUND}', "the profile before is applied")
        stage.look_through(_fresh(stage.programs, host))
        stage.wait_for('kvm_tuned_profile_info{active="lab"}', "tuned says so")
    return tuple(stage.steps)


def _fresh(started: Programs, host: TunedHost) -> Program:
    """An exporter that has looked at tuned just now: it does so when it starts, and then every half minute."""
    return exporter(started, "--path.rootfs", host.root)


def _tuned_adm(host: TunedHost, command: str) -> str:
    return host.output("/usr/bin/python3", "-Es", "/usr/sbin/tuned-adm", command)


@contextmanager
def _as_in_the_guide() -> Iterator[None]:
    """Within the block, vm.dirty_ratio is what the guide's host had."""
    before = {path: value for path, value in hoststate.read().items() if "/dirty_" in path}
    try:
        DIRTY_RATIO.write_text(str(FOUND))
        yield
    finally:
        hoststate.restore(before)
