"""`kvmtune-actuator status`: is an actuator at work here, and what does it do?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import datetime

from actuator.commands.flags import FAILED, OK, Subparsers, add_state
from actuator.console import status as statuses
from actuator.console.status import RuleStatus, Status
from actuator.decision import shown
from actuator.knobs import label
from kvmhost.units import format_seconds


def add(subparsers: Subparsers) -> None:
    """`status`."""
    parser = subparsers.add_parser(
        "status",
        help="tell whether an actuator is at work, and what it does",
        description="Tells whether an actuator is at work with this state directory: its last tick, rules, what is "
        "changed now, and its last decisions. It asks nobody; the actuator writes this to status.json at each tick.",
        epilog="Exit status: 0 it is at work (a pause is told), 1 it does not run or is stuck.",
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="for a person, or for a program: status.json "
        "with `problem`, empty while all is well (default: %(default)s)",
    )  # fmt: skip
    add_state(parser)
    parser.set_defaults(command=print_status)


def print_status(options: argparse.Namespace) -> int:
    """Print it; the exit status says whether all is well."""
    found, why_not = statuses.look(options.state_dir)
    if options.output == "json":
        print(statuses.as_json(found, problem=why_not))
    elif found is None:
        print(f"no actuator is at work: {why_not}")
    else:
        print("\n".join(report(found, why_not, time.monotonic())))
    return FAILED if why_not else OK


def report(status: Status, problem: str, monotonic: float) -> Iterator[str]:
    """The lines for a person (pure)."""
    mode = "applies its decisions" if status.mode == "apply" else "dry run"
    if problem:
        yield f"no actuator is at work: {problem}"
        yield "As it was at its last tick:"
    started = f"{datetime.fromtimestamp(status.started):%F %T}"
    yield f"kvmtune-actuator {status.version}, {mode}, pid {status.pid}, since {started}"
    yield f"last tick   {_tick(status, monotonic)}"
    yield f"data        {_data(status)}"
    yield f"paused      {status.paused.text.removeprefix('paused ') if status.paused else 'no'}"
    yield f"rules       {len(status.rules)}"
    yield from map(_rule, (rule for rule in status.rules if _is_of_note(rule)))
    yield f"changed     {len(status.changed) or 'nothing'}"
    for changed in status.changed:
        original, now = (shown(changed.knob, value) for value in (changed.original, changed.now))
        since = f"{datetime.fromtimestamp(changed.since):%F %T}"
        yield f"  {label(changed.target)} {changed.knob} {original} -> {now}, by {changed.rule} at {since}"
    yield f"quarantine  {len(status.quarantined) or 'nothing'}"
    for held in status.quarantined:
        yield f"  {held.rule} leaves {label(held.target)} {held.knob} alone: {held.reason}"
    yield f"decisions   {'the last ones; `kvmtune-actuator explain NAME` tells more' if status.decisions else 'none'}"
    yield from (f"  {decision.line}" for decision in status.decisions)


def _tick(status: Status, monotonic: float) -> str:
    tick = status.tick
    if tick is None:
        return "none yet"
    ago = format_seconds(max(round(monotonic - tick.monotonic), 0))
    times = f"{ago} ago, took {_short(tick.seconds)}, {_short(tick.lag_seconds)} late"
    failed = f"; it failed: {tick.error}" if tick.error else ""
    return f"{times}, every {format_seconds(status.interval_seconds)}{failed}"


def _data(status: Status) -> str:
    if not status.data_error:
        return "all there"
    age = status.data_age_seconds
    last = "never there yet" if age is None else f"last there {format_seconds(round(age))} ago"
    return f"{last}: {status.data_error}"


def _is_of_note(rule: RuleStatus) -> bool:
    return bool(rule.active or rule.pending or rule.faults or rule.mode in ("off", "dry-run"))


def _rule(rule: RuleStatus) -> str:
    states = [f"{count} {name}" for count, name in ((rule.active, "active"), (rule.pending, "pending")) if count]
    mode = [f"mode {rule.mode}"] if rule.mode in ("off", "dry-run") else []
    faults = [f"cannot decide: {fault}" for fault in rule.faults]
    return f"  {rule.name}: {', '.join(states + mode + faults)}"


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"
