"""Four real guests on a host made small, under each balloon policy: `python -m benchmarks.policies.balloon_guests`.

As root. The guests are those of the lab, emulated; what their programs hold is a file in memory that grows by commands
of the host and waits for memory when there is none. All times of the rules are divided by five, and the demand changes
five times as often, so that a few minutes show what takes half an hour. The host has less than its guests can touch in
the end: under a policy that takes too little, the kernel may kill one, and the run ends. Use a machine that is idle.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

from benchmarks import circumstances
from benchmarks.arguments import count
from benchmarks.circumstances import say
from benchmarks.policies.balloon_policies import RULES, Source
from benchmarks.report import table
from kvmhost.units import duration_seconds, format_seconds
from tests.lab import hoststate
from tests.lab.errors import LabError
from tests.lab.guests import Guest
from tests.lab.lab import REPOSITORY, TEST_DIRECTORY, Lab
from tests.lab.programs import running
from tests.lab.smallhost import small_host
from tests.lab.specs import GuestSpec

PAGE = REPOSITORY / "docs/benchmarks/balloon-guests.md"
MIB = 2**20
GUESTS, GUEST_MIB = 4, 768
FASTER = 5
RESERVE_RATIO = 0.05
_PHASE_SECONDS = 24.0
_LEAST_MIB, _MOST_MIB = 40, 560
_SUM_MIB = 1100
_MOVE_MIB = 8
_KEEPS_MIB = 24  # what a guest's kernel needs free beside its programs


@dataclass
class Seen:
    """What was seen of one policy in one round, each second. Sizes are MiB."""

    below: int = 0
    seconds: int = 0
    short: float = 0.0
    short_free: float = 0.0
    reversals: int = 0
    turns: int = 0
    waits: list[float] = field(default_factory=list)
    failed: int = 0


def faster(text: str) -> str:
    """Rules with all durations divided, and with the host's memory without what hugepages make it smaller by."""

    def divided(found: re.Match[str]) -> str:
        return f"{found[1]}{format_seconds(duration_seconds(found[2]) / FASTER)}{found[3]}"

    text = re.sub(r"\b((?:for|every|interval): )(\d+[smh])()", divided, text)
    text = re.sub(r"(\[)(\d+[smh])(\])", divided, text)
    if "kvm_memory_hugetlb_bytes" not in text:
        text = text.replace("kvm_memory_total_bytes", "(kvm_memory_total_bytes - kvm_memory_hugetlb_bytes)")
    return text


def phases(seed: int, seconds: float) -> list[tuple[int, ...]]:
    """What the programs of each guest hold in each phase: every other phase is as the one before."""
    chance, found = random.Random(seed), []
    for _ in range(max(int(seconds / _PHASE_SECONDS / 2), 1)):
        wanted = [chance.uniform(_LEAST_MIB, _MOST_MIB) for _ in range(GUESTS)]
        scale = min(1.0, _SUM_MIB / sum(wanted))
        found += [tuple(int(one * scale) for one in wanted)] * 2
    return found


class Round:
    """One policy at work for a while. `bases`: what each guest uses with nothing to do."""

    def __init__(self, lab: Lab, guests: Sequence[Guest], bases: Mapping[str, float]) -> None:
        self._lab = lab
        self._guests = guests
        self._bases = bases
        self._wants = dict.fromkeys(bases, 0)
        self._last: dict[str, tuple[float, int, int]] = {}
        self.seen = Seen()

    def run(self, source: Source, plan: Sequence[tuple[int, ...]]) -> Seen:
        """Each guest goes through its phases; returns what was seen."""
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            programs = stack.enter_context(running(directory, self._lab.uri))
            pool = stack.enter_context(ThreadPoolExecutor(GUESTS))
            rules = directory / "rules.yml"
            rules.write_text(faster(source.rules))
            policy = re.sub(r"writes_per_minute: \d+", "writes_per_minute: 600", source.policy.read_text())
            (directory / "policy.yml").write_text(policy)
            exporter = programs.exporter("--libvirt.stats-interval", "1s")
            programs.actuator(exporter, rules, "--policy", directory / "policy.yml", "--apply")
            waiting: dict[str, Future[float | None]] = {}
            for number, wants in enumerate(plan):
                end = time.monotonic() + _PHASE_SECONDS
                if number == 0 or wants != plan[number - 1]:
                    self._collect(waiting)
                    for guest, want in zip(self._guests, wants, strict=True):
                        self._wants[guest.name] = want
                        waiting[guest.name] = pool.submit(_hold, guest, want)
                while time.monotonic() < end:
                    self._look(exporter.scrape(), is_constant=number > 0 and wants == plan[number - 1])
                    time.sleep(max(0.0, min(1.0, end - time.monotonic())))
            self._collect(waiting)
        return self.seen

    def _collect(self, waiting: dict[str, Future[float | None]]) -> None:
        for future in waiting.values():
            seconds = future.result()
            if seconds is None:
                self.seen.failed += 1
            else:
                self.seen.waits.append(seconds)
        waiting.clear()

    def _look(self, page: Mapping[str, float], *, is_constant: bool) -> None:
        total = page["kvm_memory_total_bytes"] - page["kvm_memory_hugetlb_bytes"]
        spare = page["kvm_memory_available_bytes"] - RESERVE_RATIO * total
        self.seen.seconds += 1
        self.seen.below += spare < 0
        short = 0.0
        for guest in self._guests:
            has, actual = (_of(page, guest, f"kvm_domain_balloon_{name}_bytes") for name in ("available", "actual"))
            lacks = self._bases[guest.name] + self._wants[guest.name] + _KEEPS_MIB - has
            short += max(min(lacks, GUEST_MIB - actual), 0.0)
            self._turn(guest.name, actual, is_constant=is_constant)
        self.seen.short += short
        self.seen.short_free += min(short, max(spare / MIB, 0.0))

    def _turn(self, guest: str, actual: float, *, is_constant: bool) -> None:
        """Count a move against the last one of that guest; with the demand the same since, it is a reversal."""
        size, direction, was_constant = self._last.get(guest, (actual, 0, 0))
        moved = 0 if abs(actual - size) < _MOVE_MIB else 1 if actual > size else -1
        if not moved:
            return
        if direction and moved != direction:
            self.seen.turns += 1
            self.seen.reversals += bool(is_constant and was_constant)
        self._last[guest] = (actual, moved, int(is_constant))


def _of(page: Mapping[str, float], guest: Guest, metric: str) -> float:
    labels = f'{{domain="{guest.name}",uuid="{guest.uuid}"}}'
    return page.get(metric + labels, GUEST_MIB * MIB) / MIB


def _hold(guest: Guest, mib: int) -> float | None:
    """Have its programs hold so much; returns the seconds that it took, or None if there never was the memory."""
    began = time.monotonic()
    guest.command("free")
    try:
        guest.command(f"sh head -c 1048575 /dev/urandom >/block && repeat /block {mib}")
    except LabError:
        return None
    return time.monotonic() - began


def rounds(names: Sequence[str], seconds: float, room_mib: int, seed: int, number: int) -> Iterator[tuple[str, Seen]]:
    """Each policy in turn, with the same demand; in each round another. As root."""
    with ExitStack() as stack:
        stack.enter_context(hoststate.kept())
        lab = Lab(TEST_DIRECTORY, say)
        stack.callback(lab.down)
        lab.start(tied=True)
        specs = [GuestSpec(name=f"kvmtune-lab-{index + 1}", memory_mib=GUEST_MIB) for index in range(GUESTS)]
        guests = lab.boot(*specs)
        bases = {guest.name: _base(guest) for guest in guests}
        stack.enter_context(small_host(room_mib * MIB))
        for index in range(number):
            for name in names:
                say(f"round {index + 1} of {number}: {name}")
                for guest in guests:
                    guest.command("free")
                    lab.virsh("setmem", guest.name, f"{GUEST_MIB}MiB")
                yield name, Round(lab, guests, bases).run(RULES[name], phases(seed + index, seconds))


def _base(guest: Guest) -> float:
    fields = guest.meminfo()
    return (fields["MemTotal"] - fields["MemAvailable"]) / MIB


def main() -> int:
    """Print a table."""
    options = _parser().parse_args()
    started, load = time.time(), circumstances.load()
    signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))
    names = [name for name in RULES if name in options.policies.split(",")]
    found: dict[str, list[Seen]] = {}
    try:
        for name, seen in rounds(names, options.seconds, options.room, options.seed, options.rounds):
            found.setdefault(name, []).append(seen)
    except LabError as error:
        print(f"balloon_guests: {error}", file=sys.stderr)
        return 1
    facts = circumstances.machine(f"; {GUESTS} emulated guests of {GUEST_MIB} MiB, {options.room} MiB for them") | {
        "run": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, "
        f"{(time.time() - started) / 60:.0f} minutes",
        "load average": f"{load} before, {circumstances.load()} after",
    }
    sections = (
        _INTRODUCTION.format(command=circumstances.command("bench-policies", "balloon_guests")),
        table(("", ""), facts.items()),
        table(_HEAD, (_row(name, seen) for name, seen in found.items())),
        _METHOD.format(seconds=options.seconds, phase=_PHASE_SECONDS, faster=FASTER, reserve=RESERVE_RATIO),
    )
    page = "\n".join(sections)
    print(page)
    if options.write:
        PAGE.write_text(page)
    return 0


_INTRODUCTION = """\
# Balloon policies on real guests

The policies of [balloon.md](balloon.md), each alone, in turns, on four real guests of a host that is too small for all
of them at once. This page is written by

```sh
{command}
```
"""
_METHOD = """\
## How it is measured

- **A run** takes {seconds:g} seconds in phases of {phase:g}; in every other one the demand stays as it was. What a
  guest's programs hold is a file in its memory, which grows by commands of the host, and waits for memory when there is
  none.
- **All times of the rules are divided by {faster}**, of all policies, and the demand changes as much more often.
- **Short** is what guests lack of what their programs want; **while free** counts only while the host had more than its
  reserve of {reserve:.0%}. **Reversals** are turns of a balloon's target at constant demand, **turns** all of them.
  **Step met** is from a step of demand until the guest has it.
- The exporter and the actuator are the real ones, on a real libvirtd; the host is made small by hugepages.
"""
_HEAD = (
    "policy", "rounds:", "reversals:", "turns:", "short while free, GiB s:", "short, GiB s:", "below reserve:",
    "step met, median:", "worst:", "not met:",
)  # fmt: skip


def _row(name: str, seen: Sequence[Seen]) -> tuple[str, ...]:
    waits = [wait for one in seen for wait in one.waits]
    return (
        name, str(len(seen)), str(sum(one.reversals for one in seen)), str(sum(one.turns for one in seen)),
        f"{fmean(one.short_free for one in seen) / 1024:.1f}", f"{fmean(one.short for one in seen) / 1024:.1f}",
        f"{sum(one.below for one in seen) / sum(one.seconds for one in seen):.0%}",
        f"{median(waits):.1f} s" if waits else "–", f"{max(waits, default=0.0):.1f} s",
        str(sum(one.failed for one in seen)),
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies.balloon_guests", description=__doc__)
    parser.add_argument("--rounds", type=count, default=3, metavar="N", help="of all policies (default: 3)")
    parser.add_argument(
        "--seconds", type=float, default=192.0, help=f"of a policy in a round, in phases of {_PHASE_SECONDS:g} (192)"
    )
    parser.add_argument("--room", type=count, default=2200, metavar="MIB", help="that the host has left (2200)")
    parser.add_argument("--seed", type=int, default=1, help="of the demand in the first round (1)")
    parser.add_argument("--policies", default=",".join(RULES), help=f"some of {', '.join(RULES)} (default: all)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(REPOSITORY)}, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
