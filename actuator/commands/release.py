"""`kvmtune-actuator release`: has what is held back tried again."""

from __future__ import annotations

import argparse
import sys
import time

from actuator import statefile
from actuator.commands.flags import BAD_INPUT, FAILED, OK, Subparsers, add_state
from actuator.commands.terminal import say
from actuator.ledger import ledger, release


def add(subparsers: Subparsers) -> None:
    """`release`."""
    parser = subparsers.add_parser(
        "release",
        help="have rules try again what they leave alone: after a failed verify, or a change by someone else",
        description="Without a name, lists what rules leave alone and why. With names of rules, knobs or guests, ends "
        "that for all that has one of these names. A running actuator takes it in at its next tick, else the next "
        "one does when it starts.",
        epilog="example: kvmtune-actuator release web-1",
    )
    parser.add_argument("names", nargs="*", metavar="RULE|KNOB|GUEST", help="as the list has it")
    add_state(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """List or ask; returns the exit status."""
    now = time.time()
    standing = ledger.read(options.state_dir)
    for doubt in ledger.doubts(options.state_dir, standing):
        print(doubt, file=sys.stderr)
    held_back = list(release.held_back(standing, now))
    known = {name for record, _ in held_back for name in release.names(record)}
    if unknown := [name for name in options.names if name not in known]:
        print(f"nothing is left alone by the name of {', '.join(unknown)}", file=sys.stderr)
        print(f"there is: {', '.join(sorted(known)) or 'nothing'}", file=sys.stderr)
        return BAD_INPUT
    meant = [one for one in held_back if not options.names or set(options.names) & set(release.names(one[0]))]
    for _, what in meant:
        say(what)
    if not options.names:
        if not meant:
            say("nothing is left alone")
        return OK
    try:
        release.ask(options.state_dir, [record for record, _ in meant], now)
    except OSError as error:
        print(f"cannot ask for it in {options.state_dir}: {error.strerror}; {statefile.hint(error)}", file=sys.stderr)
        return FAILED
    say("it is released at the actuator's next tick, or when one starts")
    return OK
