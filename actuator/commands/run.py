"""`kvmtune-actuator run`: evaluates the rules until it is stopped."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence

from actuator import daemon, knobs, lint
from actuator.apply import Writer
from actuator.commands import data
from actuator.commands.flags import (
    BAD_INPUT,
    OK,
    VERSION,
    Subparsers,
    add_data,
    add_host,
    add_rules,
    positive_seconds,
)
from actuator.commands.loading import load
from actuator.commands.restore import await_guests, opened, put_back
from actuator.commands.terminal import say
from actuator.console.board import Board
from actuator.console.history import Event, History
from actuator.data.store import Store
from actuator.engine import Engine
from actuator.knobs import Libvirt
from actuator.ledger.ledger import Ledger, LedgerError
from actuator.metrics import Metrics
from actuator.protection import lock_memory, spare_from_oom_killer
from actuator.reporter import Reporter
from actuator.rules.policy import Policy
from actuator.rules.ruleset import RuleSet
from actuator.servicemanager import ServiceManager
from kvmhost.bulkhead import Bulkhead
from kvmhost.fs import HostFS
from kvmhost.units import duration_seconds, format_seconds
from kvmhost.yamltree import InvalidConfig, Problem
from kvmweb.arguments import add_web_flags, checked, web_flags
from kvmweb.page import of_registry
from kvmweb.server import serve

# A rule may act now on what it has seen for long: balloons must be known as they are then.
_MOST_LIBVIRT_SECONDS = 5.0

log = logging.getLogger("kvmtune-actuator")

_OF_ANY_HOST = "proc/meminfo"

# Of rules and policy, while the actuator is at work: a thousand rules take two.
_READ_SECONDS = 10.0

# Longer than any call of a knob takes. Between two of them, the service manager is told that a restore goes on.
_RESTORE_STEP_SECONDS = 30.0


def add(subparsers: Subparsers) -> None:
    """`run`."""
    parser = subparsers.add_parser(
        "run",
        help="evaluate the rules until stopped (a dry run without --apply)",
        description="Scrapes the exporter, evaluates the rules at each interval and prints a line for each decision.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--apply", action="store_true", help="write to the host; without it, only say what would be done"
    )
    add_rules(parser)
    add_data(parser).add_argument(
        "--query.max-age", dest="query_max_age", type=checked(duration_seconds), default=90.0, metavar="DURATION",
        help="a rule whose data on the server are older decides nothing; at least the interval at which the server "
        "scrapes the exporter (default: 1m30s)",
    )  # fmt: skip
    parser.add_argument(
        "--interval",
        type=checked(positive_seconds),
        default=5.0,
        metavar="DURATION",
        help="time between two ticks (default: 5s)",
    )
    parser.add_argument(
        "--on-stop", choices=("restore", "keep"), default="restore",
        help="what becomes of changed values at a clean stop (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--drift-backoff", type=checked(duration_seconds), default=600.0, metavar="DURATION",
        help="how long to leave a value alone that someone else has changed (default: 10m)",
    )  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="also print decisions that changed nothing")
    parser.add_argument(
        "--mlockall", action="store_true",
        help="keep own memory from being swapped out, so that ticks come in time on a host that swaps; takes "
        "CAP_IPC_LOCK, or LimitMEMLOCK=infinity in the unit",
    )  # fmt: skip
    add_host(parser)
    add_web_flags(parser, "127.0.0.1:9753")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Tick until a signal; returns the exit status."""
    if problem := data.misfit(options):
        print(problem, file=sys.stderr)
        return BAD_INPUT
    if not (there := options.path_rootfs / _OF_ANY_HOST).exists():
        print(f"there is no {there}: --path.rootfs names where /proc and /sys are", file=sys.stderr)
        return BAD_INPUT
    rules, limits = _load(options)
    _protect(options)
    with opened(options) if options.apply else contextlib.nullcontext() as ledger:
        return _run(options, rules, limits, ledger)


def _run(options: argparse.Namespace, rules: RuleSet, limits: Policy, ledger: Ledger | None) -> int:
    metrics = Metrics(VERSION, dry_run=not options.apply)
    if ledger:
        metrics.changed.set_function(lambda: len(ledger.owned))
        metrics.ledger_bytes.set_function(lambda: ledger.size_bytes)
    store = Store(rules.window_seconds)
    source, query = data.source(options, store)
    with Libvirt(
        options.libvirt_uri,
        options.path_rootfs,
        time.time,
        readonly=not options.apply,
        interval_seconds=min(options.interval, _MOST_LIBVIRT_SECONDS),
    ) as libvirt:
        if ledger:
            ledger.connect(libvirt.uri)
        on_host = knobs.connect(HostFS(options.path_rootfs), libvirt, time.time)
        history = History(options.state_dir, dry_run=not options.apply)
        reporter = Reporter(
            metrics,
            say,
            verbose=options.verbose,
            source="the server" if options.query_url else "the exporter",
            note=history.note,
        )
        writer = Writer(on_host, ledger, options.drift_backoff) if ledger else None
        engine = Engine(
            rules,
            limits,
            source=source,
            store=store,
            query=query,
            knobs=on_host,
            writer=writer,
            observer=reporter,
        )
        metrics.quarantined.set_function(lambda: engine.aftermath.quarantined_targets)
        signals = daemon.Signals()
        clock = daemon.Clock()
        if writer:
            metrics.drifted.set_function(lambda: writer.drifted_targets(clock()))
        began = clock()
        metrics.data_age.set_function(lambda: clock() - (engine.decided_as_of or began))
        with (
            ServiceManager(os.environ) as manager,
            serve(
                web_flags(options),
                of_registry(metrics.registry),
                title="kvmtune-actuator",
                version=VERSION,
                summary="Turns PromQL rules into bounded, verified, reversible changes of this host's knobs.",
                ready=reporter.waits_for,
            ) as urls,
        ):
            _greet(options, rules, ledger, urls)
            board = Board(
                options.state_dir,
                engine,
                reporter,
                ledger,
                history,
                version=VERSION,
                interval_seconds=options.interval,
                rules_from=tuple(str(path.absolute()) for path in options.rules),
                started=clock(),
            )

            reading = Bulkhead[str]("rules", stall_seconds=_READ_SECONDS, most_at_once=1)

            def reload() -> None:
                detail = _reload(lambda: _read_again(options, reading), engine, metrics)
                history.note(Event(time=clock(), what="reloaded", detail=detail))

            try:
                daemon.run(
                    engine,
                    metrics,
                    signals,
                    clock,
                    options.interval,
                    reload,
                    manager,
                    lambda: _status(engine, ledger, reporter),
                    board,
                )
            finally:
                manager.stopping("puts back what it has changed" if ledger else "ends")
                status = OK
                if ledger and options.on_stop == "restore":
                    if ledger.owned_of_guests:
                        await_guests(libvirt)  # who has had to do with none of them yet begins to read only now
                    status = put_back(on_host, ledger, history, lambda: manager.extend(_RESTORE_STEP_SECONDS))
                elif ledger:
                    # The next boot sets only what was read back. What went wrong, the next start reads back.
                    with contextlib.suppress(LedgerError):
                        engine.settle(clock())
                board.stopped(clock())
    return status


def _protect(options: argparse.Namespace) -> None:
    """`ProtectionError`."""
    if options.apply:
        spare_from_oom_killer()
    if options.mlockall:
        lock_memory()


def _status(engine: Engine, ledger: Ledger | None, reporter: Reporter) -> str:
    """One line for `systemctl status`."""
    mode = f"applies, {len(ledger.owned)} values changed" if ledger else "dry run"
    waits = reporter.waits_for()
    notes = [f"waits: {waits}"] if waits else []
    notes += [engine.executor.paused] if engine.executor.paused else []
    return "; ".join([mode, f"{len(engine.rules.tunes)} tuning rules", *notes])


def _greet(options: argparse.Namespace, rules: RuleSet, ledger: Ledger | None, urls: Sequence[str]) -> None:
    mode = "applies its decisions" if options.apply else "dry run: nothing is written, --apply acts"
    say(f"kvmtune-actuator {VERSION}, {mode}")
    say(
        f"{len(rules.tunes)} tuning rules on {options.query_url or options.scrape_url} "
        f"every {format_seconds(options.interval)}; own metrics on {', '.join(f'{url}metrics' for url in urls)}"
    )
    say(f"rules: {', '.join(map(str, options.rules))}; policy: {options.policy}")
    if rules.left_to_server:
        say(f"the server must have these recording rules: {', '.join(rules.left_to_server)}")
    if ledger and ledger.owned:
        say(f"{len(ledger.owned)} values are still changed from an earlier run; they are put back at the end")


def _load(options: argparse.Namespace) -> tuple[RuleSet, Policy]:
    """Rules and policy. `check` says what may be wrong with them; here is told only what will never be there."""
    rules, limits = load(options, for_server=bool(options.query_url))
    missing = () if options.query_url else lint.unknown(rules)
    if missing:
        log.info("the exporter of this version has no %s: `kvmtune-actuator check` says where", ", ".join(missing))
    return rules, limits


def _read_again(options: argparse.Namespace, reading: Bulkhead[str]) -> tuple[RuleSet, Policy]:
    """The same while values are changed: a file system that does not answer must not keep us from putting them back."""
    found = reading.run([("rules", lambda: _load(options))]).results.get("rules")
    if found is None:
        why = f"rules and policy cannot be read within {format_seconds(_READ_SECONDS)}: does their file system answer?"
        raise InvalidConfig([Problem(str(options.rules[0]), 1, 1, why)])
    return found


def _reload(read: Callable[[], tuple[RuleSet, Policy]], engine: Engine, metrics: Metrics) -> str:
    """Take in rules and policy anew; returns what came of it."""
    try:
        rules, limits = read()
    except InvalidConfig as error:
        metrics.reload_success.set(0)
        log.error("rules or policy on disk are refused, the last good ones stay in force:\n%s", error)  # noqa: TRY400
        return f"refused, the last good rules and policy stay in force: {error}"
    engine.reload(rules, limits)
    metrics.reload_success.set(1)
    log.info("reloaded: %d tuning rules", len(rules.tunes))
    return f"{len(rules.tunes)} tuning rules"
