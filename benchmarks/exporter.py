"""`make bench-exporter`: what kvmtune-exporter costs, next to its peers and to the floor, in one run."""

from __future__ import annotations

import argparse
import gc
import os
import re
import signal
import sys
import time
from collections.abc import Sequence

from benchmarks import circumstances, guests, measure, peers, report
from benchmarks.arguments import count, counts
from benchmarks.circumstances import say
from benchmarks.peers import Exporter
from benchmarks.results import FLOOR, SUBJECT, Round, Summary, goals, summary
from tests.lab import hoststate
from tests.lab.errors import LabError
from tests.lab.lab import REPOSITORY, TEST_DIRECTORY, Lab

PAGE = REPOSITORY / "docs/benchmarks/exporter.md"

_DESCRIPTION = """\
Measures kvmtune-exporter, two exporters of the distribution and the least that
is possible, in turns, against paused guests under a libvirtd of their own:
latency of a scrape, CPU time of all that is involved, memory. Says which goals
are met. Needs root. Nothing is installed, and nothing is left behind.
"""
_EPILOG = """\
Results go to standard output, progress to standard error.

Examples:
  make bench-exporter BENCH="--guests 10 --rounds 2"
  make bench-exporter BENCH=--write

Keep the machine quiet meanwhile, and without other guests: the result says how
far it was. A large spread between rounds (in brackets) asks for another run.

Exit status: 0 measured, whatever became of the goals; 1 the lab or a program
failed; 2 bad input.
"""


def main() -> int:
    options = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))  # so that the lab and all else ends
    gc.disable()  # no pause of ours in a latency
    try:
        page = _bench(options)
    except LabError as error:
        print(f"bench-exporter: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print(page)
    if options.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page)
        say(f"written to {PAGE.relative_to(REPOSITORY)}")
    return 0


def _bench(options: argparse.Namespace) -> str:
    lab = Lab(TEST_DIRECTORY, say)
    say("waiting for other lab runs on this machine, if there are any")
    # Whoever has the host's knobs has the directory of test labs, too. The bench does not touch the knobs.
    with hoststate.kept():
        programs = peers.exporters()
        started, load = time.time(), circumstances.load()
        try:
            lab.start(tied=True)
            summaries = [
                one for count in options.guests for one in _at(count, lab, programs, options.rounds, options.scrapes)
            ]
            facts = _facts(lab, programs) | {
                "run": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, "
                f"{(time.time() - started) / 60:.0f} minutes, {options.rounds} rounds of "
                f"{options.scrapes} scrapes each, plain and with gzip",
                "load average": f"{load} before, {circumstances.load()} after",
                "used by others meanwhile": "; ".join(
                    f"at {one.guests} guests {one.others_cores:.2f} CPUs, {one.others_guests} guests"
                    for one in summaries
                    if one.program == SUBJECT
                ),
            }
        finally:
            lab.down()
    return report.markdown(facts, summaries, goals(summaries), command=circumstances.command("bench-exporter"))


def _at(count: int, lab: Lab, programs: Sequence[Exporter], rounds: int, scrapes: int) -> list[Summary]:
    """All programs at one number of guests."""
    say(f"{count} guests: starting")
    with guests.population(lab, count) as population:
        if others := guests.others(population):
            say(f"there are {others} guests of others on this machine: exporters that look into /proc see them, too")
        found: dict[str, list[Round]] = {name: [] for name in (*(program.name for program in programs), FLOOR)}
        for number in range(1, rounds + 1):
            interval_seconds = 5.0
            for program in programs:
                say(f"{count} guests, round {number} of {rounds}: {program.name}")
                one = measure.exporter(program, lab, population, scrapes)
                if program.fast:
                    one = measure.less(one, program.fast, lab, population)
                if one.slow:
                    interval_seconds = one.slow.seconds
                found[program.name].append(one)
            say(f"{count} guests, round {number} of {rounds}: {FLOOR}")
            found[FLOOR].append(measure.floor(lab, population, scrapes, interval_seconds))
    return [summary(one) for one in found.values()]


def _facts(lab: Lab, programs: Sequence[Exporter]) -> dict[str, str]:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libvirt = re.findall(r"^(?:Using library|Running hypervisor): (.*)$", lab.virsh("version"), re.MULTILINE)
    return {
        **circumstances.machine(f", {memory_gib:.0f} GiB, no KVM needed"),
        "libvirt and QEMU": ", ".join(libvirt),
        **{program.name: program.version for program in programs},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-exporter",
        usage='make bench-exporter [BENCH="OPTIONS"]',
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--guests", type=counts, default=(10, 50, 150, 300), metavar="N,...",
        help="numbers of guests to measure at; 300 take 4 GiB and two minutes (default: 10,50,150,300)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=count, default=5, metavar="N",
        help="how often each program gets its turn at each number of guests (default: 5)",
    )  # fmt: skip
    parser.add_argument(
        "--scrapes", type=count, default=25, metavar="N",
        help="scrapes of each kind in a round; with the rounds they should make 100 for a p95 (default: 25)",
    )  # fmt: skip
    parser.add_argument(
        "--write", action="store_true", help=f"write the results to {PAGE.relative_to(REPOSITORY)}, too",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
