"""`kvmtune-actuator test`: do rules act as their tests expect?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from actuator.commands.flags import DEFAULT_RULES, FAILED, OK, RULES_HELP, Subparsers, add_policy
from actuator.commands.terminal import say
from actuator.rules import config, policy
from actuator.rules.policy import Policy
from actuator.rules.ruleset import RuleSet
from actuator.ruletest import TestFile, Verdict, load, run
from actuator.ruletest.runner import told
from actuator.ruletest.testfile import files
from kvmhost.units import format_seconds
from kvmhost.yamltree import InvalidConfig, Problem

_EXAMPLE = """\
Runs the *.test.yml of directories, or test files, on simulated hosts: nothing
of this machine is read or changed. An example, for a rule in ksm.yml:

  rule_files: [ksm.yml]
  evaluation_interval: 5s
  tests:
    - name: a shortage starts KSM after 15 seconds
      host: {knobs: {ksm.run: 0}}
      input_series:
        - series: kvm_memory_available_bytes
          values: 1e9x12
      expect:
        - {at: 10s, decisions: none}
        - {at: 15s, setpoints: {ksm.run: 1}}

docs/testing-rules.md explains it. Exit status: 0 all passed, 1 one failed, 2 bad input.
"""


def add(subparsers: Subparsers) -> None:
    """`test`."""
    parser = subparsers.add_parser(
        "test",
        help="run the unit tests of rules: what a simulated host shows, and what the rules make of it",
        description=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[DEFAULT_RULES], metavar="PATH",
        help=f"test files, or directories of rules with *.test.yml beside them {RULES_HELP}",
    )  # fmt: skip
    parser.add_argument(
        "--require-tests", action="store_true", help="fail if there is a tuning rule that no test makes act"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="also print each test with all its decisions")
    add_policy(parser)
    parser.set_defaults(command=test)


def test(options: argparse.Namespace) -> int:
    """Run them; `InvalidConfig` if one of the files is wrong."""
    tested, names = _load(options)
    verdicts = [(file, run(file, case)) for file in tested for case in file.cases]
    for file, verdict in verdicts:
        for line in _report(file, verdict, verbose=options.verbose):
            say(line)
    failed = sum(bool(verdict.failures) for _, verdict in verdicts)
    untested = names - {rule for _, verdict in verdicts for rule in verdict.acted}
    say(f"tests passed: {len(verdicts) - failed}, failed: {failed} (test files: {len(tested)}, rules: {len(names)})")
    if untested:
        say(f"untested rules (no test makes them act): {', '.join(sorted(untested))}")
    return FAILED if failed or (untested and options.require_tests) else OK


def _load(options: argparse.Namespace) -> tuple[list[TestFile], set[str]]:
    """The test files, and the names of all tuning rules that there are; `InvalidConfig` with all problems."""
    problems: list[Problem] = []
    found: list[TestFile] = []
    names: set[str] = set()
    promises = Policy()
    try:
        promises = policy.load(options.policy)
    except InvalidConfig as error:
        problems += error.problems
    for path in options.paths:
        of_path = files(path)
        try:
            if path.is_dir() and (config.rule_files(path) or not of_path):
                names |= _names(config.load([path]))
        except InvalidConfig as error:
            problems += error.problems
        for file in of_path:
            try:
                found.append(load(file, promises))
            except InvalidConfig as error:
                problems += error.problems
    if problems:
        raise InvalidConfig(problems)
    return found, names.union(*(_names(file.rules) for file in found))


def _names(rules: RuleSet) -> set[str]:
    """Those that are to be tested."""
    return {tune.name for tune in rules.tunes if tune.mode != "off"}


def _report(file: TestFile, verdict: Verdict, *, verbose: bool) -> Iterator[str]:
    if verbose:
        yield f"{'FAILED' if verdict.failures else 'passed'} {file.path}:{verdict.case.line}: {verdict.case.name}"
        yield from (f"    {told(decision)}" for decision in verdict.decisions if decision.outcome != "unchanged")
    for failure in verdict.failures:
        yield f"{file.path}:{failure.line}: {verdict.case.name}: at {format_seconds(failure.at)}"
        yield f"    expected: {failure.expected}"
        yield f"    got:      {failure.got}"
        yield from (f"      {line}" for line in failure.context)
