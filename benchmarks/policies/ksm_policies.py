"""Who steers KSM in the benchmark: fixed speeds, the kernel's advisor, the peers, and kvmtune's autopilot.

All times are `SCALE` times as short as in real life, and the memory is as much smaller: ksmd is as fast to both as
on a host of some 15 GiB in ten minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from benchmarks.policies import quick
from kvmhost.units import format_seconds
from tests.lab import programs
from tests.lab.hoststate import KSM, ksm
from tests.peers.ksmpeers import Files, Harvester, Ksmtuned, KubeVirt, Memory, Mom

SCALE = 40
AUTOPILOT = "autopilot"
FULL = "full speed"
_TICK_SECONDS = 5.0


class Adjust(Protocol):
    """A peer's decision: what it makes of the memory, written into KSM's `files`."""

    def step(self, memory: Memory, files: Files) -> None: ...


class Blind:
    """ksmtuned as Debian ships it: its pattern finds no QEMU, so that its guests seem to hold nothing."""

    def __init__(self) -> None:
        self._script = Ksmtuned()

    def step(self, memory: Memory, files: Files) -> None:
        self._script.step(Memory(**asdict(memory) | {"rss": 0}), files)


PEERS: dict[str, tuple[float, type[Adjust]]] = {
    "ksmtuned, as Debian ships it": (60.0, Blind),
    "ksmtuned": (60.0, Ksmtuned),
    "KubeVirt": (180.0, KubeVirt),
    "Harvester": (60.0, Harvester),
    "MOM": (15.0, Mom),
}
"""Seconds between two decisions in real life, and what decides. Tests hold rules/peers/*.yml to the same classes."""

FIXED: dict[str, dict[str, str]] = {
    FULL: {"sleep_millisecs": "0", "pages_to_scan": "10000", "run": "1"},
    "kernel's defaults": {"run": "1"},
    "kernel's advisor": {
        "advisor_target_scan_time": str(200 // SCALE), "advisor_mode": "scan-time", "run": "1",
    },
}  # fmt: skip
"""What is written once."""

POLICIES = (FULL, AUTOPILOT, *(name for name in FIXED if name != FULL), *PEERS)


def write(files: dict[str, str]) -> None:
    """Set files of KSM's."""
    for name, value in files.items():
        (KSM / name).write_text(value)


def files() -> Files:
    """What those that all policies set read now."""
    return Files(**{name: ksm(name) for name in vars(Files())})


class Peer:
    """A peer at work: asked at each look, it decides when it is time."""

    def __init__(self, name: str) -> None:
        seconds, decides = PEERS[name]
        self._every = seconds / SCALE
        self._decides = decides()
        self._next = 0.0

    def look(self, now: float, memory: Memory) -> None:
        """Decide, if it is time; `now` is in seconds since the run began."""
        if now < self._next:
            return
        self._next = now + self._every
        before, wanted = files(), files()
        self._decides.step(memory, wanted)
        write({name: str(value) for name, value in vars(wanted).items() if value != getattr(before, name)})


@contextmanager
def autopilot(directory: Path, rules: Path) -> Iterator[programs.Program]:
    """The exporter and the actuator with these rules, as fast as the rest."""
    (directory / "policy.yml").write_text(quick.policy(SCALE))
    (directory / "rules.yml").write_text(quick.rules(rules.read_text(), SCALE, "ksm"))
    with programs.running(directory, "test:///default") as started:
        exporter = started.exporter()
        flags = ("--policy", directory / "policy.yml", "--apply")
        actuator = started.actuator(
            exporter, directory / "rules.yml", *flags, interval=format_seconds(_TICK_SECONDS / SCALE)
        )
        actuator.wait_for("the exporter answers")
        yield actuator
