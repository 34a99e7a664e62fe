"""Four real guests on a host made small, under each balloon policy: `python -m benchmarks.policies.balloon_guests`.

As root. The guests are those of the lab, emulated; what their programs hold is a file in memory that grows by commands
of the host and waits for memory when there is none. All times of the rules are divided by five, and the demand changes
five times as often, so that a few minutes show what takes half an hour; all sizes of the peers' rules are divided by
four, as the host is. It has less than its guests can touch in the end: under a policy that takes too little, the
largest one is killed before the host stands still. Use a machine that is idle.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

from benchmarks import circumstances
from benchmarks.arguments import count
from benchmarks.circumstances import say
from benchmarks.policies import balloon_guests_page, quick
from benchmarks.policies.balloon_guests_page import Seen
from benchmarks.policies.balloon_policies import AUTOPILOT, RULES
from tests.lab import hoststate
from tests.lab.errors import LabError
from tests.lab.guests import Guest
from tests.lab.lab import REPOSITORY, TEST_DIRECTORY, Lab
from tests.lab.programs import Program, running
from tests.lab.smallhost import available_bytes, small_host
from tests.lab.specs import usual

PAGE = REPOSITORY / "docs/benchmarks/balloon-guests.md"
MIB = 2**20
GUESTS, GUEST_MIB = 4, 768
FASTER, SMALLER = 5, 4
RESERVE_RATIO = 0.05
_PHASE_SECONDS = 20.0
_LEAST_MIB, _MOST_MIB = 40, 560
_SUM_MIB = 1100
_WARM_MIB = 280
_CONFIGURED_MIB = 256  # what Proxmox and squeezed take for the least
_KEEPS_MIB = 24  # what a guest's kernel needs free beside its programs
_BALLOON_SECONDS = 60.0
_LEFT_MIB = 48  # with less, a host without swap reads its own programs from disk again and again, and stands still
_HOLD_SECONDS = 90.0  # it waits 30 s for memory


def rules(name: str) -> str:
    """The rules of a policy for a host that is so much faster, and for peers as much smaller."""
    text = quick.faster(RULES[name].rules, FASTER)
    if name != AUTOPILOT:
        text = re.sub(r"\b(?!1048576\b)\d{7,}\b", lambda found: str(int(found[0]) // SMALLER), text)
        # A MiB is the grain of balloons, and not a size of the host. What makes the host small is none of its memory.
        text = text.replace("kvm_memory_total_bytes", "(kvm_memory_total_bytes - kvm_memory_hugetlb_bytes)")
    return text


def plan(seed: int, seconds: float) -> list[tuple[int, ...]]:
    """What the programs of each guest hold, for two phases each."""
    chance, found = random.Random(seed), []
    for _ in range(max(int(seconds / _PHASE_SECONDS / 2), 1)):
        wanted = [chance.uniform(_LEAST_MIB, _MOST_MIB) for _ in range(GUESTS)]
        scale = min(1.0, _SUM_MIB / sum(wanted))
        found.append(tuple(int(one * scale) for one in wanted))
    return found


class Round:
    """One policy at work for a while. `bases`: what each guest uses with nothing to do."""

    def __init__(self, lab: Lab, guests: Sequence[Guest], bases: Mapping[str, float]) -> None:
        self._lab = lab
        self._guests = guests
        self._bases = bases
        self._wants = dict.fromkeys(bases, 0)
        self.seen = Seen()

    def run(self, name: str, demands: Sequence[tuple[int, ...]]) -> Seen:
        """Each guest goes through its phases, under a policy; returns what was seen."""
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            programs = stack.enter_context(running(directory, self._lab.uri))
            pool = stack.enter_context(ThreadPoolExecutor(GUESTS))
            (directory / "rules.yml").write_text(rules(name))
            (directory / "policy.yml").write_text(quick.policy(FASTER, RULES[name].policy))
            exporter = programs.exporter("--libvirt.stats-interval", "1s")
            files = (directory / "rules.yml", "--policy", directory / "policy.yml")
            programs.actuator(exporter, *files, "--apply")
            while any(self._lack(guest, exporter.scrape())[1] is None for guest in self._guests):
                time.sleep(0.2)  # the exporter has not asked libvirt yet
            for wants in demands:
                waits = []
                for guest, want in zip(self._guests, wants, strict=True):
                    self._wants[guest.name] = want
                    waits.append(pool.submit(_hold, guest, want))
                self._watch(exporter, waits, is_constant=False)
                self._watch(exporter, waits, is_constant=True)
                met = [wait.result() for wait in waits]
                self.seen.waits += [seconds for seconds in met if seconds is not None]
                self.seen.failed += met.count(None)
        return self.seen

    def _watch(self, exporter: Program, waits: Sequence[Future[float | None]], *, is_constant: bool) -> None:
        """One phase, and as long as a guest waits for its memory."""
        end = time.monotonic() + _PHASE_SECONDS
        while time.monotonic() < end or not all(wait.done() for wait in waits):
            next_look = time.monotonic() + 1
            try:
                self._look(exporter.scrape(), is_constant=is_constant)
            except OSError:
                self.seen.look({}, -1.0, is_constant=is_constant)  # the host has not even memory for a scrape
            time.sleep(max(0.0, next_look - time.monotonic()))

    def _look(self, page: Mapping[str, float], *, is_constant: bool) -> None:
        total = page["kvm_memory_total_bytes"] - page["kvm_memory_hugetlb_bytes"]
        spare = page["kvm_memory_available_bytes"] - RESERVE_RATIO * total
        lacks = {guest.name: self._lack(guest, page) for guest in self._guests}
        self.seen.look(lacks, spare / MIB, is_constant=is_constant)

    def _lack(self, guest: Guest, page: Mapping[str, float]) -> tuple[float, float | None]:
        """What a guest lacks that its balloon could give it, and the balloon's size; one that is gone lacks all."""
        wants = self._bases[guest.name] + self._wants[guest.name] + _KEEPS_MIB
        labels = f'{{domain="{guest.name}",uuid="{guest.uuid}"}}'
        has, actual = (page.get(f"kvm_domain_balloon_{name}_bytes{labels}") for name in ("available", "actual"))
        if has is None or actual is None:
            return wants, None
        return max(min(wants - has / MIB, GUEST_MIB - actual / MIB), 0.0), actual / MIB


def _hold(guest: Guest, mib: int) -> float | None:
    """Have its programs hold so much; returns the seconds that it took, or None if there never was the memory."""
    began = time.monotonic()
    try:
        guest.command("free")
        text = f"sh head -c 1048575 /dev/urandom >/block && repeat /block {mib}"
        guest.command(text, timeout_seconds=_HOLD_SECONDS)
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
        guests = lab.boot(*(replace(spec, current_mib=_CONFIGURED_MIB) for spec in usual(GUESTS, memory_mib=GUEST_MIB)))
        bases = {guest.name: _base(guest) for guest in guests}
        stack.enter_context(small_host(room_mib * MIB))
        for index in range(number):
            for name in random.Random(seed + index).sample(names, len(names)):
                say(f"round {index + 1} of {number}: {name}")
                _prepare(lab, guests)
                began = time.monotonic()
                with _oom_daemon(lab, guests):
                    seen = Round(lab, guests, bases).run(name, plan(seed + index, seconds))
                seen.kills = sum(_is_killed(lab, guest, time.monotonic() - began) for guest in guests)
                yield name, seen


def _prepare(lab: Lab, guests: Sequence[Guest]) -> None:
    """All guests as they were: with all their memory, of which they have touched the same part."""
    for guest in guests:
        if guest.name not in lab.guest_names():
            lab.virsh("start", guest.name)
        guest.wait_ready()
    for guest in guests:
        # The kernel is to kill guests rather than what the benchmark itself needs.
        Path(f"/proc/{lab.qemu_pid(guest)}/oom_score_adj").write_text("500")
        guest.command("free")
    for size_mib in (_CONFIGURED_MIB, GUEST_MIB):
        for guest in guests:
            lab.virsh("setmem", guest.name, f"{size_mib}MiB")
        deadline = time.monotonic() + _BALLOON_SECONDS
        while any(f"actual {size_mib * 1024}\n" not in lab.virsh("dommemstat", guest.name) for guest in guests):
            if time.monotonic() > deadline:
                raise LabError(f"the balloons of the guests do not get to {size_mib} MiB")
            time.sleep(0.1)
    with ThreadPoolExecutor(GUESTS) as pool:
        if None in pool.map(lambda guest: _hold(guest, _WARM_MIB), guests):
            raise LabError(f"a guest cannot use {_WARM_MIB} MiB before a run: give the host more --room")
    for guest in guests:
        guest.command("free")


@contextmanager
def _oom_daemon(lab: Lab, guests: Sequence[Guest]) -> Iterator[None]:
    """Within the block the largest guest is killed when hardly any memory is left, as systemd-oomd does."""
    processes = [Path(f"/proc/{lab.qemu_pid(guest)}") for guest in guests]
    ended = Event()

    def watch() -> None:
        while not ended.wait(0.1):
            if available_bytes() < _LEFT_MIB * MIB:
                sizes = {_rss_pages(process): process for process in processes}
                with suppress(ProcessLookupError):
                    os.kill(int(sizes[max(sizes)].name), signal.SIGKILL)
                ended.wait(2.0)  # its memory comes back

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield
        finally:
            ended.set()
    watching.result()


def _rss_pages(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1])
    except OSError:
        return 0


def _is_killed(lab: Lab, guest: Guest, run_seconds: float) -> bool:
    """Whether the host's kernel has killed it, or its own kernel died and it booted anew."""
    return guest.name not in lab.guest_names() or guest.wait_ready() < run_seconds


def _base(guest: Guest) -> float:
    fields = guest.meminfo()
    return (fields["MemTotal"] - fields["MemAvailable"]) / MIB


def main() -> int:
    """Print the page, and write it if asked to."""
    options = _parser().parse_args()
    started, load = time.time(), circumstances.load()
    signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))
    names = [name for name in RULES if name in options.policies.split(",")]
    found: dict[str, list[Seen]] = {name: [] for name in names}
    try:
        for name, seen in rounds(names, options.seconds, options.room, options.seed, options.rounds):
            found[name].append(seen)
            say(f"{name}: {seen}")
    except LabError as error:
        print(f"balloon_guests: {error}", file=sys.stderr)
        return 1
    facts = circumstances.machine(f"; {GUESTS} emulated guests of {GUEST_MIB} MiB, {options.room} MiB for them") | {
        "run": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, "
        f"{(time.time() - started) / 60:.0f} minutes",
        "seeds": ", ".join(str(options.seed + index) for index in range(options.rounds)),
        "load average": f"{load} before, {circumstances.load()} after",
    }
    method = {
        "seconds": options.seconds,
        "phase": _PHASE_SECONDS,
        "warm": _WARM_MIB,
        "left": _LEFT_MIB,
        "faster": FASTER,
        "smaller": SMALLER,
        "stands": options.room * SMALLER / 1024,
    }
    command = circumstances.command("bench-policies", "balloon_guests")
    page = balloon_guests_page.markdown(facts, found, command=command, reserve=RESERVE_RATIO, method=method)
    print(page)
    if options.write:
        PAGE.write_text(page)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies.balloon_guests", description=__doc__)
    parser.add_argument("--rounds", type=count, default=5, metavar="N", help="of all policies (default: 5)")
    parser.add_argument(
        "--seconds", type=float, default=80.0, help=f"of a policy in a round, in phases of {_PHASE_SECONDS:g} (80)"
    )
    parser.add_argument("--room", type=count, default=1500, metavar="MIB", help="that the host has left (1500)")
    parser.add_argument("--seed", type=int, default=1, help="of the demand in the first round (1)")
    parser.add_argument("--policies", default=",".join(RULES), help=f"some of {', '.join(RULES)} (default: all)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(REPOSITORY)}, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
