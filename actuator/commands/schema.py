"""`kvmtune-actuator schema`: what an editor needs to know of rule files and of the policy."""

from __future__ import annotations

import argparse

from actuator.commands.flags import OK, Subparsers
from actuator.rules import schema


def add(subparsers: Subparsers) -> None:
    """`schema`."""
    parser = subparsers.add_parser(
        "schema",
        help="print the JSON Schema of rule files, or of the policy, for an editor",
        description="Prints the JSON Schema of rule files, or of the policy. Editors with a YAML language server "
        "complete and check a file by it, with this line at its top: # yaml-language-server: $schema=FILE",
    )
    parser.add_argument("file", nargs="?", choices=tuple(schema.FILES), default="rules", help="(default: %(default)s)")
    parser.set_defaults(command=print_schema)


def print_schema(options: argparse.Namespace) -> int:
    """Print it."""
    print(schema.text(options.file), end="")
    return OK
