"""`kvmtune-actuator init`: a configuration to begin with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from actuator.commands.flags import FAILED, OK, Subparsers
from actuator.rules import defaults

_DESCRIPTION = """\
Writes the rules that ship, with their tests, and the policy to a directory,
to be changed there. What is there already is left as it is: a policy.yml, or
a directory rules, even if it is empty.

  kvmtune-actuator init              # into /etc/kvmtune
  kvmtune-actuator test              # do the rules there do what they should?
  kvmtune-actuator run               # a dry run with them
"""


def add(subparsers: Subparsers) -> None:
    """`init`."""
    parser = subparsers.add_parser(
        "init",
        help="write the rules and the policy that ship to a directory, to be changed there",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "directory", nargs="?", type=Path, default=defaults.CONFIG, metavar="DIR", help="(default: %(default)s)"
    )
    parser.set_defaults(command=init)


def init(options: argparse.Namespace) -> int:
    """Write them; returns the exit status."""
    try:
        for path in defaults.copy(options.directory):
            print(path)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; run as root, or name a directory of yours", file=sys.stderr)
        return FAILED
    return OK
