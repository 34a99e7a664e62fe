"""KSM's part of `make bench-policies`: the autopilot next to its peers, on the real kernel."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import circumstances
from benchmarks.arguments import count
from benchmarks.circumstances import say
from benchmarks.policies import ksm_results, quick
from benchmarks.policies.ksm_load import MIB
from benchmarks.policies.ksm_mixes import DIFFERENT, MIXES, schedule
from benchmarks.policies.ksm_policies import POLICIES, SCALE
from benchmarks.policies.ksm_run import Trace, run
from tests.lab import hoststate
from tests.lab.lab import REPOSITORY

PAGES = REPOSITORY / "docs/benchmarks"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    started, load = time.time(), circumstances.load()
    runs: dict[tuple[str, str], list[Trace]] = {(mix, policy): [] for mix in options.mixes for policy in POLICIES}
    with hoststate.kept():
        for number in range(1, options.rounds + 1):
            for mix in options.mixes:
                say(f"ksm: round {number} of {options.rounds}, {mix}")
                seed = options.seed + number if mix in DIFFERENT else options.seed
                for policy in POLICIES:
                    events = schedule(mix, seed)
                    runs[mix, policy].append(run(policy, events, options.seconds, options.rules, host_scale=SCALE))
    facts = circumstances.machine() | {
        "run": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, "
        f"{(time.time() - started) / 60:.0f} minutes, seed {options.seed}",
        "load average": f"{load} before, {circumstances.load()} after",
    }
    scored = ksm_results.scores(runs)
    command = circumstances.command("bench-policies", "ksm")
    page = ksm_results.markdown(facts, scored, command=command, seconds=options.seconds, rounds=options.rounds)
    print(page)
    if options.write:
        (PAGES / "ksm.md").write_text(page)
        for mix in options.mixes:
            _draw(mix, {policy: runs[mix, policy][-1] for policy in POLICIES}, PAGES / f"ksm-{mix}.svg")
    return 0


def _draw(mix: str, traces: dict[str, Trace], file: Path) -> None:
    """What each policy saved and what ksmd used for it, in the last round."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    saved, cpu = figure.subplots(2, 1, sharex=True)
    for policy, trace in traces.items():
        minutes = [look.seconds * SCALE / 60 for look in trace]
        style = {"linewidth": 2.5 if policy == "autopilot" else 1.0}
        saved.plot(minutes, [look.saved_bytes * SCALE / MIB / 1024 for look in trace], label=policy, **style)
        cpu.plot(minutes, [look.cpu_seconds * SCALE for look in trace], **style)
    saved.set_ylabel("saved, GiB")
    cpu.set_ylabel("ksmd, CPU seconds so far")
    cpu.set_yscale("symlog", linthresh=10)
    cpu.set_xlabel(f"minutes of a host {SCALE} times as large and slow as this run")
    saved.set_title(f"{mix}: {MIXES[mix][0]}", loc="left")
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(file, metadata={"Date": None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies.ksm", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=count, default=5, metavar="N", help="turns of each policy (default: 5)")
    parser.add_argument("--seconds", type=count, default=15, metavar="N", help="length of a run (default: 15)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the mixes (default: 1)")
    parser.add_argument("--rules", type=Path, default=quick.RULES, metavar="FILE", help="the autopilot's rules")
    parser.add_argument(
        "--mixes", nargs="+", choices=MIXES, default=list(MIXES), metavar="MIX", help=f"of {', '.join(MIXES)}"
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/ksm.md and its plots")
    return parser


if __name__ == "__main__":
    sys.exit(main())
