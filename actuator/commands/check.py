"""`kvmtune-actuator check`: are rule files and policy right, and will they do what they seem to say?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from actuator.commands.flags import (
    DEFAULT_RULES,
    FAILED,
    OK,
    RULES_HELP,
    Subparsers,
    add_policy,
    positive_seconds,
    server_url,
)
from actuator.commands.loading import read
from actuator.lint import Subject, lint
from kvmhost.yamltree import InvalidConfig
from kvmweb.arguments import checked

_DESCRIPTION = """\
Reads rule files and the policy, and names all that is wrong with file, line and
column. What is certain is an error: a metric that nobody exports, a window that
never holds two samples, a rule that can never act. What may be meant is told as
a warning: rules that get in each other's way, a label that a metric does not
have, limits that change nothing.

  kvmtune-actuator check /etc/kvmtune/rules
  kvmtune-actuator check --strict --interval 1s rules/

docs/rules.md lists the checks.
"""


def add(subparsers: Subparsers) -> None:
    """`check`."""
    parser = subparsers.add_parser(
        "check",
        help="check rule files and the policy; names every error and every doubt at once",
        description=_DESCRIPTION,
        epilog="Exit status: 0 no errors, 1 warnings with --strict, 2 errors.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "rules", nargs="*", type=Path, default=[DEFAULT_RULES], metavar="PATH",
        help=f"rule files or directories of *.yml {RULES_HELP}",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit with status 1 if there are warnings")
    parser.add_argument(
        "--interval", type=checked(positive_seconds), default=5.0, metavar="DURATION",
        help="time between two ticks, as of `run`; with --query.url, at which the server scrapes (default: 5s)",
    )  # fmt: skip
    parser.add_argument(
        "--query.url", dest="query_url", type=checked(server_url), metavar="URL",
        help="check them for `run --query.url`: what only a server can evaluate is no error then; it is not asked",
    )  # fmt: skip
    add_policy(parser)
    parser.set_defaults(command=check)


def check(options: argparse.Namespace) -> int:
    """Say what is wrong; returns the exit status, or raises `InvalidConfig` if anything certainly is."""
    for_server = bool(options.query_url)
    rules, limits = read(options, for_server=for_server)
    found = lint(Subject(rules, limits, options.interval, for_server))
    warnings = [finding.problem for finding in found if not finding.is_error]
    for warning in warnings:
        print(warning, file=sys.stderr)
    if errors := [finding.problem for finding in found if finding.is_error]:
        raise InvalidConfig(errors)
    what = f"warnings: {len(warnings)}" if warnings else "no problems"
    print(f"{what} (groups: {len(rules.groups)}, tuning rules: {len(rules.tunes)})")
    return FAILED if warnings and options.strict else OK
