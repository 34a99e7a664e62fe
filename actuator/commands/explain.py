"""`kvmtune-actuator explain`: what was decided on a rule, a knob or a guest, and why."""

from __future__ import annotations

import argparse
import difflib
import sys
import time
from pathlib import Path

from actuator import promql, statefile
from actuator.commands.flags import BAD_INPUT, DEFAULT_RULES, FAILED, OK, Subparsers, add_state, positive_seconds
from actuator.console import explain as explaining
from actuator.console import history, status
from actuator.console.explain import Facts
from actuator.console.status import Status
from actuator.data.printable import printable
from actuator.ledger import ledger, release
from actuator.ledger.ledger import LedgerError
from actuator.ledger.standing import Standing
from actuator.rules import config, defaults
from actuator.rules.ruleset import Tune
from kvmhost.yamltree import InvalidConfig
from kvmweb.arguments import checked

_DESCRIPTION = """\
Tells of a rule, a knob or a guest what was decided when, on which numbers, what
was refused and why, what is changed now, and what is in quarantine.

  kvmtune-actuator explain ksm.pages_to_scan
  kvmtune-actuator explain web-1 --since 2h
  kvmtune-actuator explain ksm_scan_faster --last 5

It reads the history that the actuator keeps, and asks nobody. A dry run keeps
it, too.
"""


def add(subparsers: Subparsers) -> None:
    """`explain`."""
    parser = subparsers.add_parser(
        "explain",
        help="tell what was decided on a rule, a knob or a guest, and why",
        description=_DESCRIPTION,
        epilog="Exit status: 0 done, 1 the history cannot be read, 2 there is no rule, knob or guest of this name.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a rule, a knob, a guest or host, for instance ksm.run")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--last", type=checked(_count), default=20, metavar="N", help="show the last N decisions (default: %(default)s)"
    )
    shown.add_argument(
        "--since", dest="since_seconds", type=checked(positive_seconds), metavar="DURATION",
        help="show all of this long, as 2h",
    )  # fmt: skip
    parser.add_argument(
        "--rules", nargs="+", type=Path, metavar="PATH",
        help=f"where a rule's text is (default: what the actuator read, or {defaults.CONFIG / defaults.RULES})",
    )  # fmt: skip
    add_state(parser)
    parser.set_defaults(command=explain)


def explain(options: argparse.Namespace) -> int:
    """Print what there is to say; returns the exit status."""
    directory: Path = options.state_dir
    try:
        noted = history.read(directory)
    except OSError as error:
        _tell(statefile.cannot("read", directory / history.NAME, error))
        return FAILED
    found, why_idle = status.look(directory)
    standing = _standing(directory)
    left_alone = list(release.held_back(standing, time.time()))
    facts = Facts(noted, standing.owned, left_alone, found, why_idle, _tunes(options.rules, found))
    known = explaining.names(facts)
    if options.name not in known:
        close = difflib.get_close_matches(options.name, known, n=3)
        similar = f" (did you mean {' or '.join(close)}?)" if close else ""
        _tell(f"no rule, knob or guest {options.name!r} is known here{similar}")
        if not noted:
            _tell(f"nothing has been decided yet: {why_idle or 'the actuator waits for a rule that holds'}")
        return BAD_INPUT
    now = time.time()
    since = None if options.since_seconds is None else now - options.since_seconds
    last = options.last if since is None else sys.maxsize
    for line in explaining.explain(facts, options.name, last=last, since=since):
        print(printable(line))
    return OK


def _standing(directory: Path) -> Standing:
    try:
        standing = ledger.read(directory)
    except LedgerError as error:
        _tell(f"what is changed or left alone now is not known: {error}")
        return Standing()
    for doubt in ledger.doubts(directory, standing):
        _tell(doubt)
    return standing


def _tunes(paths: list[Path] | None, found: Status | None) -> dict[str, Tune]:
    """The rules' texts. Those that a running actuator has read may be elsewhere, or changed since: that is said."""
    places = paths or ([Path(path) for path in found.rules_from] if found else [DEFAULT_RULES])
    try:
        return {tune.name: tune for tune in config.load(places, promql.compile_for_server).tunes}
    except InvalidConfig as error:
        _tell(f"the texts of the rules are not shown (--rules says where they are): {error.problems[0]}")
        return {}


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError(f"{text!r} is not a number of decisions: write for instance 20")
    return int(text)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
