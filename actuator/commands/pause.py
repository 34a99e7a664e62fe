"""`kvmtune-actuator pause` and `resume`: have the running actuator write nothing for a while."""

from __future__ import annotations

import argparse
import sys
import time

from actuator import statefile
from actuator.commands.flags import FAILED, OK, Subparsers, add_state, positive_seconds
from actuator.console import pause as pauses
from actuator.console import status
from actuator.console.pause import Pause
from actuator.data.printable import printable
from kvmweb.arguments import checked

_DESCRIPTION = """\
Has the running actuator write nothing from its next tick on, not even to put
something back; what is changed stays as it is. It goes on evaluating its rules,
and tells what it would do. This lasts until `resume`, or as long as --for says,
also over restarts. Stopping the actuator still puts everything back.

  kvmtune-actuator pause --for 2h --because "the host is being upgraded"
"""


def add(subparsers: Subparsers) -> None:
    """`pause` and `resume`."""
    parser = subparsers.add_parser(
        "pause",
        help="have the running actuator write nothing for a while",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--for", dest="for_seconds", type=checked(positive_seconds), metavar="DURATION",
        help="end by itself after this long (default: at `resume`)",
    )  # fmt: skip
    parser.add_argument("--because", default="", metavar="TEXT", help="why, for those who look at it later")
    add_state(parser)
    parser.set_defaults(command=pause)
    parser = subparsers.add_parser(
        "resume", help="end a pause", description="Ends a pause: from its next tick on, the actuator acts again."
    )
    add_state(parser)
    parser.set_defaults(command=resume)


def pause(options: argparse.Namespace) -> int:
    """Put a pause in force, in place of another."""
    now = time.time()
    until = None if options.for_seconds is None else now + options.for_seconds
    begun = Pause(since=now, until=until, because=printable(options.because))
    try:
        pauses.begin(options.state_dir, begun)
    except OSError as error:
        print(statefile.cannot("write", options.state_dir / pauses.NAME, error), file=sys.stderr)
        return FAILED
    there = pauses.read(options.state_dir, now)
    print(begun.text if there == begun or there is None else there.text)
    _, why_idle = status.look(options.state_dir)
    print(f"no actuator is at work now: {why_idle}" if why_idle else "nothing is written from its next tick on")
    return OK


def resume(options: argparse.Namespace) -> int:
    """End it."""
    try:
        found = pauses.read(options.state_dir, time.time())
        pauses.end(options.state_dir)
    except OSError as error:
        print(statefile.cannot("remove", options.state_dir / pauses.NAME, error), file=sys.stderr)
        return FAILED
    print("the pause is over" if found else "nothing was paused")
    return OK
