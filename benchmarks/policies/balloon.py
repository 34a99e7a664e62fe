"""Every balloon policy on every workload of the model: `python -m benchmarks.policies.balloon`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from actuator.rules import config, policy
from benchmarks import circumstances
from benchmarks.arguments import count
from benchmarks.circumstances import say
from benchmarks.policies import balloon_page, balloon_workloads
from benchmarks.policies.balloon_page import Measured
from benchmarks.policies.balloon_policies import RULES
from benchmarks.policies.balloon_run import Run, Score, run

DOCS = Path(__file__).parents[2] / "docs/benchmarks"
PAGE = DOCS / "balloon.md"
_SEEDS = (501, 502)
"""Not those that the rules were tuned on, but for what the page tells."""
_LARGE = (("mix", 500), ("steps", 60), ("bursts", 60), ("mix", 60), ("trade", 60))

Job = tuple[str, str, int, int, int]
"""Policy, kind of workload, guests, seed and seconds."""


def jobs(seeds: Sequence[int], guests: Sequence[int], kinds: Sequence[str], seconds: int) -> Iterator[Job]:
    """What to run: each kind with each seed and number of guests; without numbers, 8 guests, and a few larger hosts."""
    sizes = [(kind, size) for kind in kinds for size in guests or (8,)]
    sizes += [large for large in _LARGE if not guests and large[0] in kinds]
    for kind, size in sizes:
        for seed in seeds if size < 60 else seeds[:1]:
            for name in RULES:
                yield name, kind, size, seed, seconds


def measured(job: Job) -> Measured:
    """Run one."""
    name, kind, guests, seed, seconds = job
    workload = balloon_workloads.make(kind, guests, seed, seconds)
    source = RULES[name]
    score = run(workload, config.loads(source.rules), policy.load(source.policy)).score
    return Measured(name, kind, guests, seed, score)


def drawn(kind: str) -> dict[str, Run]:
    """Every policy on what is drawn."""
    workload = balloon_workloads.drawn(kind)
    return {
        name: run(workload, config.loads(source.rules), policy.load(source.policy)) for name, source in RULES.items()
    }


def main() -> int:
    """Print the page, and write it if asked to."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))
    started, load = time.time(), circumstances.load()
    todo = list(jobs(options.seeds, options.guests, options.kinds, options.seconds))
    done: list[Measured] = []
    if options.raw and options.raw.exists():
        done = [_read(line) for line in options.raw.read_text().splitlines()]
        known = {(one.policy, one.kind, one.guests, one.seed) for one in done}
        todo = [job for job in todo if job[:4] not in known]
    with ProcessPoolExecutor(options.jobs) as pool:
        for future in as_completed([pool.submit(measured, job) for job in todo]):
            one = future.result()
            done.append(one)
            say(f"{len(done)}: {one.policy}, {one.kind}, {one.guests} guests, seed {one.seed}")
            if options.raw:
                with options.raw.open("a") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
    facts = circumstances.machine() | {
        "run": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, "
        f"{(time.time() - started) / 60:.0f} minutes",
        "seeds": ", ".join(str(seed) for seed in sorted({one.seed for one in done})),
        "load average": f"{load} before, {circumstances.load()} after",
    }
    page = balloon_page.markdown(facts, done)
    print(page)
    if options.write:
        PAGE.write_text(page)
        for kind in ("step", "burst"):
            picture = balloon_page.picture(kind, balloon_workloads.drawn(kind), drawn(kind))
            (DOCS / f"balloon-{kind}.svg").write_text(picture)
        say(f"written to {PAGE}")
    return 0


def _read(line: str) -> Measured:
    found = json.loads(line)
    return Measured(**{**found, "score": Score(**found["score"])})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies.balloon", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(_SEEDS), help="of the workloads (501 502)")
    parser.add_argument(
        "--guests", type=count, nargs="+", default=[], help="numbers of guests (8, and some of 60, 500)"
    )
    kinds = list(balloon_workloads.KINDS)
    parser.add_argument("--kinds", nargs="+", default=kinds, choices=kinds, metavar="KIND", help=", ".join(kinds))
    parser.add_argument("--seconds", type=count, default=1500, help="of each workload, 900 at least (1500)")
    parser.add_argument("--jobs", type=count, default=1, help="side by side (1)")
    parser.add_argument("--raw", type=Path, help="keep results in this file, and run only what it lacks")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and its pictures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
