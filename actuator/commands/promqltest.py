"""The command `kvmtune-actuator promqltest`: scripts in, a line for each, an exit status out."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from actuator.commands.flags import Subparsers
from actuator.data.store import StoreFullError
from actuator.promqltest.runner import Outcome, Verdict, run
from actuator.promqltest.script import ScriptError
from kvmhost import textfile


def add(subparsers: Subparsers) -> None:
    """`promqltest`."""
    parser = subparsers.add_parser(
        "promqltest",
        help="run scripts in Prometheus' promqltest format against the embedded evaluator",
        description="Runs scripts in the format of Prometheus' promql/promqltest (load, clear, eval) against the\n"
        "evaluator that answers the rules. Prints for each file how many cases passed, failed and are out of\n"
        "scope: native histograms, annotations and what a rule may not use. Example of a script:\n\n"
        "  load 1m\n"
        '      errors_total{domain="web"} 0+30x10\n\n'
        "  eval instant at 10m rate(errors_total[5m])\n"
        '      {domain="web"} 0.5',
        epilog="Exit status: 0 no case failed, 1 one did, 2 a file is unreadable or not a script.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="scripts, by convention *.test")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="also name what is out of scope, and on which lines"
    )
    parser.set_defaults(command=run_files)


def run_files(options: argparse.Namespace) -> int:
    """Run ``options.files``; status 0 if no case failed, 1 if one did, 2 if a file is not a script."""
    total: Counter[Outcome] = Counter()
    unreadable = 0
    for file in options.files:
        try:
            verdicts = run(textfile.read_text(file))
        except (OSError, UnicodeDecodeError, ScriptError, StoreFullError) as error:
            print(f"{file}: {error}", file=sys.stderr)
            unreadable += 1
            continue
        outcomes = Counter(verdict.outcome for verdict in verdicts)
        total.update(outcomes)
        print(f"{file}: {_summary(outcomes)}")
        for line in _details(file, verdicts, verbose=options.verbose):
            print(line)
    if len(options.files) > 1:
        print(f"total: {_summary(total)}{f', {unreadable} unreadable' if unreadable else ''}")
    return 2 if unreadable else int(total["failed"] > 0)


def _summary(outcomes: Counter[Outcome]) -> str:
    return f"{outcomes['passed']} passed, {outcomes['failed']} failed, {outcomes['out of scope']} out of scope"


def _details(file: Path, verdicts: list[Verdict], *, verbose: bool) -> Iterator[str]:
    for verdict in verdicts:
        if verdict.outcome == "failed":
            yield f"{file}:{verdict.line}: {verdict.text}\n    {verdict.reason}"
    if verbose:
        beyond: dict[str, list[str]] = {}
        for verdict in verdicts:
            if verdict.outcome == "out of scope":
                beyond.setdefault(verdict.reason, []).append(str(verdict.line))
        for reason, lines in sorted(beyond.items()):
            yield f"    out of scope: {reason}: {len(lines)}, line {', '.join(lines)}"
