"""`kvmtune-actuator top`: host, knobs, guests and decisions, live in a terminal."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress

from actuator.commands.data import misfit, source
from actuator.commands.flags import BAD_INPUT, OK, Subparsers, add_data, add_state, positive_seconds
from actuator.data.store import Store
from actuator.top.feed import WINDOW_SECONDS, Feed
from kvmweb.arguments import checked

_DESCRIPTION = """\
Shows the host's memory and pressure, the knobs that were moved with their course
over the last minutes, the guests, and the last decisions. q or Ctrl-C ends it.

  kvmtune-actuator top
  kvmtune-actuator top --once > now.txt

Host and guests come from the exporter, also while no actuator is at work; knobs
and decisions from what the actuator keeps in its state directory, a dry run's,
too. Rates are those between the last two scrapes.
"""


def add(subparsers: Subparsers) -> None:
    """`top`."""
    parser = subparsers.add_parser(
        "top",
        help="show host, knobs, guests and decisions live",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--once", action="store_true", help="print one frame, after two scrapes")
    parser.add_argument(
        "--interval", type=checked(positive_seconds), default=2.0, metavar="DURATION",
        help="time between two frames (default: 2s)",
    )  # fmt: skip
    add_data(parser)
    add_state(parser)
    parser.set_defaults(command=top)


def top(options: argparse.Namespace) -> int:
    """Show frames until the operator has seen enough."""
    from actuator.top import screen  # here, since the other commands need not wait until rich is loaded

    if problem := misfit(options):
        print(problem, file=sys.stderr)
        return BAD_INPUT
    feed = Feed(*source(options, Store(WINDOW_SECONDS)), options.state_dir, options.query_url or options.scrape_url)
    # So that the terminal is left as it was; what a script starts in the background may ignore the first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        screen.run(feed.look, options.interval, once=options.once)
    return OK
