"""`python -m benchmarks.policies.pinning`: what the placement rules make of real guests on wrong and on right CPUs.

Work is what the guests count themselves. Who says how long a vCPU waited is the kernel (/proc/PID/task/TID/schedstat).
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import yaml

from actuator.rules.config import DEFAULT_LOAD
from benchmarks import circumstances, meter
from benchmarks.arguments import count
from benchmarks.circumstances import say
from benchmarks.policies import pinning_page, quick
from benchmarks.policies.pinning_page import KERNEL, RULES, WRONG, Arm, Run
from tests.lab import hoststate, programs
from tests.lab.errors import LabError
from tests.lab.guests import Guest
from tests.lab.lab import REPOSITORY, TEST_DIRECTORY, Lab
from tests.lab.programs import Program, Programs
from tests.lab.specs import GuestSpec

PAGE = REPOSITORY / "docs/benchmarks/pinning.md"
_FASTER = 10
_EVERYWHERE = "0-1"
# A loop that counts, and tells how far it is when it is asked.
_START = "sh rm -f /count; (i=0; trap 'echo $i >/count' USR1; {loop}) & echo $! >/worker"
_BUSY = "while :; do i=$((i+1)); done"
_BURSTY = "while :; do j=0; while test $j -lt 3000; do j=$((j+1)); i=$((i+1)); done; sleep 0.1; done"
_COUNT = "sh rm -f /count; kill -USR1 $(cat /worker); until test -s /count; do sleep 0.05; done; cat /count"
_STOP = "sh kill $(cat /worker); wait"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Guests with one vCPU each: what they do, by name, and the wrong CPUs that some start on."""

    name: str
    about: str
    does: Mapping[str, str]
    wrong: Mapping[str, str] = field(default_factory=dict)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Where no pin is wrong there is nothing to leave as it is."""
        return (RULES, WRONG, KERNEL) if self.wrong else (RULES, KERNEL)


SCENARIOS = (
    Scenario(
        name="two on one",
        about="two busy guests, both pinned to CPU 0",
        does={"a": _BUSY, "b": _BUSY},
        wrong={"a": "0", "b": "0"},
    ),
    Scenario(
        name="three on one",
        about="three busy guests, all pinned to CPU 0",
        does={"a": _BUSY, "b": _BUSY, "c": _BUSY},
        wrong={"a": "0", "b": "0", "c": "0"},
    ),
    Scenario(
        name="busy and idle, free",
        about="a busy guest, two that work in bursts, and an idle one; none is pinned",
        does={"a": _BUSY, "b": _BURSTY, "c": _BURSTY},
    ),
)
_NAMES = ("a", "b", "c", "idle")


def main() -> int:
    """Measure, print the page, and write it if asked."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))  # so that the lab ends, too
    started, load = time.time(), circumstances.load()
    try:
        runs = measured(options.rounds, options.seconds)
    except LabError as error:
        print(f"pinning: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    facts = circumstances.machine() | {
        "run": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, "
        f"{(time.time() - started) / 60:.0f} minutes",
        "load average": f"{load} before, {circumstances.load()} after",
    }
    command = f"python -m benchmarks.policies.pinning --rounds {options.rounds} --seconds {options.seconds} --write"
    about = {scenario.name: scenario.about for scenario in SCENARIOS}
    page = pinning_page.markdown(facts, about, runs, command=command, seconds=options.seconds, faster=_FASTER)
    print(page)
    if options.write:
        PAGE.write_text(page)
    return 0


def measured(rounds: int, seconds: float) -> list[Run]:
    """All rounds of all scenarios on guests of a lab; in each round their arms in an order of its own."""
    runs = []
    with hoststate.kept(), _lab() as lab, tempfile.TemporaryDirectory(prefix="kvmtune-pinning-") as directory:
        guests = dict(zip(_NAMES, lab.boot(*(GuestSpec(name=f"pinning-{name}") for name in _NAMES)), strict=True))
        rules = rules_in(Path(directory))
        with programs.running(Path(directory), lab.uri) as kvmtune:
            exporter = kvmtune.exporter("--libvirt.stats-interval", "1s")
            for number in range(rounds):
                for scenario in SCENARIOS:
                    for arm in Random(number).sample(scenario.arms, len(scenario.arms)):
                        runs.append(_run(lab, guests, kvmtune, exporter, rules, scenario, arm, seconds))
                        say(f"round {number + 1}, {runs[-1].line}")
    return runs


def _run(
    lab: Lab,
    guests: Mapping[str, Guest],
    kvmtune: Programs,
    exporter: Program,
    rules: Path,
    scenario: Scenario,
    arm: Arm,
    seconds: float,
) -> Run:
    """One arm: its pins, the programs (in a dry run where the rules must not act), the work of `seconds`."""
    pins = dict.fromkeys(guests, _EVERYWHERE) | (dict(scenario.wrong) if arm != KERNEL else {})
    for name, cpus in pins.items():
        lab.virsh("vcpupin", guests[name].name, "0", cpus)
    working = {name: guests[name] for name in scenario.does}
    threads = [_vcpu_thread(lab.qemu_pid(guest)) for guest in working.values()]
    for name, guest in working.items():
        guest.command(_START.format(loop=scenario.does[name]))
    policy = rules.with_name("policy.yml")
    acts = ("--apply",) if arm == RULES else ()
    actuator = kvmtune.actuator(exporter, rules, "--policy", policy, *acts, interval="500ms")
    ours = [exporter.process.pid, actuator.process.pid]
    at = [(0.0, *_state(working, threads, ours))]
    try:
        began = time.monotonic()
        for until in (seconds / 2, seconds):
            time.sleep(max(began + until - time.monotonic(), 0.0))
            at.append((time.monotonic() - began, *_state(working, threads, ours)))
    finally:
        actuator.end(signal.SIGTERM)
        for guest in working.values():
            guest.command(_STOP)
    moves = re.findall(r"^.*\bwritten +vcpu_.*$", actuator.output, re.MULTILINE)
    for line in moves:
        say(line)
    return pinning_page.run(scenario.name, arm, at, moves=len(moves))


def _state(
    working: Mapping[str, Guest], threads: Sequence[Path], ours: Sequence[int]
) -> tuple[tuple[int, ...], float, float]:
    """What each guest has counted, the seconds that their vCPUs waited, and the CPU seconds of the programs."""
    waited = sum(int(thread.read_text().split()[1]) for thread in threads) / 1e9
    cpu = sum(meter.cpu_seconds(pid) for first in ours for pid in meter.tree(first))
    return tuple(int(guest.command(_COUNT)) for guest in working.values()), waited, cpu


def _vcpu_thread(pid: int) -> Path:
    """The kernel's account of the thread of the only vCPU of a QEMU."""
    tasks = Path(f"/proc/{pid}/task").glob("*/comm")
    (thread,) = [comm.with_name("schedstat") for comm in tasks if comm.read_text().startswith("CPU 0/")]
    return thread


def rules_in(directory: Path) -> Path:
    """The group `cpu` of the autopilot and the shipped policy, so many times as fast, in this directory."""
    document = yaml.safe_load(quick.RULES.read_text())
    for place in (rule["place"] for group in document["groups"] for rule in group["rules"] if "place" in rule):
        place.setdefault("load", DEFAULT_LOAD)  # as it is without, so that it can be made faster, too
    rules = directory / "cpu.yml"
    rules.write_text(quick.rules(yaml.safe_dump(document), _FASTER, "cpu"))
    rules.with_name("policy.yml").write_text(quick.policy(_FASTER))
    return rules


@contextmanager
def _lab() -> Iterator[Lab]:
    lab = Lab(TEST_DIRECTORY, say)
    lab.start(tied=True)
    try:
        yield lab
    finally:
        lab.down()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.policies.pinning",
        description="As root: measures the work of real guests with and without the placement rules.",
        allow_abbrev=False,
    )
    parser.add_argument("--rounds", type=count, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--seconds", type=count, default=60, metavar="N", help="seconds of each arm (default: 60)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(REPOSITORY)}, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
