"""How soon an actuator reacts, and what it uses beside many guests: real processes."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import actuator_page, guests, meter, rootfs
from benchmarks.meter import Footprint
from tests.lab import hoststate
from tests.lab.errors import LabError
from tests.lab.lab import REPOSITORY, TEST_DIRECTORY, Lab
from tests.lab.programs import Program
from tests.programs import BIN, wait_until

_ANSWERS = r"exporter answers, (\d+) samples"
_ENDS_WITH_US = ("/usr/bin/setpriv", "--pdeathsig", "KILL")
_NOWHERE = "test:///nowhere"
REACTION_RULES = """
groups:
  - name: bench
    rules:
      - tune: short
        because: Memory is short.
        when: kvm_memory_available_bytes / kvm_memory_total_bytes < 0.2
        set: {ksm.run: 1}
      - tune: plenty
        because: It is not.
        when: kvm_memory_available_bytes / kvm_memory_total_bytes >= 0.2
        set: {ksm.run: 0}
"""
BUSY_RULES = """
groups:
  - name: bench
    rules:
      - tune: balloons
        because: It is a benchmark.
        when: kvm_domain_info
        set: {balloon.target: kvm_domain_balloon_actual_bytes * 0.9}
      - tune: vcpus
        because: It is a benchmark.
        when: kvm_domain_info
        place: {knob: vcpu.affinity, strategy: spread}
"""
_REACTION_SECONDS = 10.0
_SETTLE_SECONDS = 2.0
_WARM_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Use:
    """What an actuator uses with so many guests: CPU seconds in `seconds`."""

    rules: str
    of: str
    guests: int
    series: int
    seconds: float
    cpu: float
    footprint: Footprint


def reactions(steps: int) -> list[float]:
    """Seconds from each step of the available memory to the write that answers it, at ticks of one second.

    Both programs are real processes on a host of files. The steps come at random moments between ticks.
    """
    chance, found = random.Random(steps), []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        root = rootfs.copied(directory)
        rootfs.set_available(root, 0.5)
        (directory / "rules.yml").write_text(REACTION_RULES)
        (directory / "policy.yml").write_text("limits: {}\n")
        host = ("--path.rootfs", root, "--libvirt.uri", _NOWHERE)
        exporter = stack.enter_context(_running(directory, "kvmtune-exporter", *host))
        actuator = stack.enter_context(
            _running(
                directory,
                "kvmtune-actuator",
                "run",
                "--apply",
                "--interval",
                "1s",
                *host,
                "--scrape.url",
                exporter.metrics_url,
                "--rules",
                directory / "rules.yml",
                "--policy",
                directory / "policy.yml",
                "--state-dir",
                directory / "state",
            )
        )
        actuator.wait_for(_ANSWERS)
        for step in range(steps):
            time.sleep(_SETTLE_SECONDS + chance.random())
            ratio, wanted = (0.5, "0") if step % 2 else (0.1, "1")
            start = time.monotonic()
            rootfs.set_available(root, ratio)
            found.append(_awaited(root, wanted, start))
    return found


def _awaited(root: Path, wanted: str, start: float) -> float:
    while rootfs.ksm_run(root) != wanted:
        if time.monotonic() > start + _REACTION_SECONDS:
            raise LabError(f"there was no write within {_REACTION_SECONDS:g} s")
        time.sleep(0.002)
    return time.monotonic() - start


def use(count: int, seconds: float) -> list[Use]:
    """Actuators beside so many guests, in a dry run at ticks of five seconds.

    One has the simple rules, which have nothing to do there, one looks at all guests at each tick, too; one has the
    autopilot.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        is_root = os.geteuid() == 0
        url, uri = stack.enter_context(_lab(directory, count) if is_root else _page(count))
        (directory / "busy.yml").write_text(BUSY_RULES)
        simple = REPOSITORY / "rules/simple"
        rules = {
            "rules/simple": [simple],
            "and two that look at each guest at each tick": [simple, directory / "busy.yml"],
            "the autopilot": [REPOSITORY / "rules"],
        }
        actuators = []
        for number, paths in enumerate(rules.values()):
            log = directory / str(number)
            log.mkdir()
            flags = ("--interval", "5s", "--libvirt.uri", uri, "--scrape.url", url)
            actuators.append(stack.enter_context(_running(log, "kvmtune-actuator", "run", *flags, "--rules", *paths)))
        series = [int(actuator.wait_for(_ANSWERS)[1]) for actuator in actuators]
        time.sleep(_WARM_SECONDS)
        processes = [meter.tree(actuator.process.pid) for actuator in actuators]
        before, start = [_cpu(pids) for pids in processes], time.monotonic()
        time.sleep(seconds)
        taken = time.monotonic() - start
        return [
            Use(
                rules=what,
                of="paused guests of a lab, through the real exporter" if is_root else "a page, without libvirt",
                guests=count,
                series=series[number],
                seconds=taken,
                cpu=_cpu(processes[number]) - before[number],
                footprint=meter.footprint(processes[number]),
            )
            for number, what in enumerate(rules)
        ]


def _cpu(processes: Iterable[int]) -> float:
    return sum(map(meter.cpu_seconds, processes))


@contextmanager
def _lab(directory: Path, count: int) -> Iterator[tuple[str, str]]:
    """The URL of an exporter that sees so many paused guests, and that of their libvirt."""
    lab = Lab(TEST_DIRECTORY, lambda _: None)
    with hoststate.kept():
        try:
            lab.start(tied=True)
            with (
                guests.population(lab, count),
                _running(directory, "kvmtune-exporter", "--libvirt.uri", lab.uri) as exporter,
            ):
                wait_until(lambda: exporter.has("kvm_libvirt_domains", count), "the exporter sees the guests")
                yield exporter.metrics_url, lab.uri
        finally:
            lab.down()


@contextmanager
def _page(count: int) -> Iterator[tuple[str, str]]:
    with actuator_page.served(count) as url:
        yield url, _NOWHERE


@contextmanager
def _running(directory: Path, name: str, *arguments: str | Path) -> Iterator[Program]:
    """A program that serves on a free port, while the block runs, and never longer than this one."""
    program = Program(
        directory / f"{name}.log", *_ENDS_WITH_US, BIN / name, *arguments, "--web.listen-address", "127.0.0.1:0"
    )
    try:
        assert program.metrics_url  # it serves
        yield program
    finally:
        program.process.terminate()
        program.process.wait()
