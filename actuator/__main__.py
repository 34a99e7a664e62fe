"""The command `kvmtune-actuator`. Exit status: 0 done, 1 failed, 2 bad input."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Mapping, Sequence

from actuator import config, daemon, knobs, policy
from actuator.apply import Writer
from actuator.arguments import VERSION, parser
from actuator.engine import Engine
from actuator.knobs import KNOBS, Knob, label
from actuator.ledger import Ledger, LedgerError
from actuator.metrics import Metrics
from actuator.policy import Policy
from actuator.query import LocalQuery
from actuator.reporter import Reporter
from actuator.restore import Restoration, Restorer
from actuator.ruleset import RuleSet
from actuator.scrape import ScrapeError, Scraper
from actuator.store import Store
from actuator.yamltree import InvalidConfig, Problem
from kvmhost.fs import HostFS
from kvmhost.units import format_seconds
from kvmhost.virtprocess import VirtProcess
from kvmweb.server import WebError, serve

OK, FAILED, BAD_INPUT = 0, 1, 2


log = logging.getLogger("kvmtune-actuator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parser({"run": _run, "check": _check, "restore": _restore}).parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    try:
        return int(options.command(options))
    except InvalidConfig as error:
        print(error, file=sys.stderr)
        print(f"problems: {len(error.problems)}; nothing was done", file=sys.stderr)
        return BAD_INPUT
    except ScrapeError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except (LedgerError, WebError) as error:
        print(error, file=sys.stderr)
        return FAILED


def _run(options: argparse.Namespace) -> int:
    rules, limits = _load(options)
    ledger = Ledger(options.state_dir) if options.apply else None
    metrics = Metrics(VERSION, dry_run=not options.apply)
    if ledger:
        metrics.changed.set_function(lambda: len(ledger.owned))
    store = Store(rules.window_seconds)
    with VirtProcess(options.libvirt_uri, readonly=not options.apply) as virt:
        on_host = knobs.connect(HostFS(options.path_rootfs), virt, time.time)
        engine = Engine(
            rules,
            limits,
            scraper=Scraper(options.scrape_url, store),
            store=store,
            query=LocalQuery(store),
            knobs=on_host,
            writer=Writer(on_host, ledger, options.drift_backoff) if ledger else None,
            observer=Reporter(metrics, _print, verbose=options.verbose),
        )
        signals = daemon.Signals()
        clock = daemon.Clock()
        with serve(
            options.web_listen_address,
            metrics.registry,
            title="kvmtune-actuator",
            version=VERSION,
            summary="Turns PromQL rules into bounded, verified, reversible changes of this host's knobs.",
        ) as url:
            _greet(options, rules, ledger, url)
            try:
                daemon.run(engine, metrics, signals, clock, options.interval, lambda: _reload(options, engine, metrics))
            finally:
                status = _put_back(on_host, ledger) if ledger and options.on_stop == "restore" else OK
    return status


def _greet(options: argparse.Namespace, rules: RuleSet, ledger: Ledger | None, url: str) -> None:
    mode = "applies its decisions" if options.apply else "dry run: nothing is written, --apply acts"
    _print(f"kvmtune-actuator {VERSION}, {mode}")
    _print(
        f"{len(rules.tunes)} tuning rules on {options.scrape_url} every {format_seconds(options.interval)}; "
        f"own metrics on {url}metrics"
    )
    if ledger and ledger.owned:
        _print(f"{len(ledger.owned)} values are still changed from an earlier run; they are put back at the end")
    for line, problem in ledger.damaged if ledger else ():
        log.warning("%s:%d is skipped: %s", ledger.path if ledger else "", line, problem)


def _reload(options: argparse.Namespace, engine: Engine, metrics: Metrics) -> None:
    try:
        rules, limits = _load(options)
    except InvalidConfig as error:
        metrics.reload_success.set(0)
        log.error("the rules on disk are refused, the last good ones stay in force:\n%s", error)  # noqa: TRY400
        return
    engine.reload(rules, limits)
    metrics.reload_success.set(1)
    log.info("reloaded: %d tuning rules", len(rules.tunes))


def _load(options: argparse.Namespace) -> tuple[RuleSet, Policy]:
    """Rules and policy; `InvalidConfig` with the problems of both."""
    rules, limits = RuleSet(()), Policy()
    problems: list[Problem] = []
    try:
        rules = config.load(options.rules)
    except InvalidConfig as error:
        problems += error.problems
    try:
        limits = policy.load(options.policy)
    except InvalidConfig as error:
        problems += error.problems
    if problems:
        raise InvalidConfig(problems)
    return rules, limits


def _check(options: argparse.Namespace) -> int:
    rules, _ = _load(options)
    print(f"no problems (groups: {len(rules.groups)}, tuning rules: {len(rules.tunes)})")
    return OK


def _restore(options: argparse.Namespace) -> int:
    ledger = Ledger(options.state_dir)
    with VirtProcess(options.libvirt_uri, readonly=False) as virt:
        return _put_back(knobs.connect(HostFS(options.path_rootfs), virt, time.time), ledger)


def _put_back(on_host: Mapping[str, Knob], ledger: Ledger) -> int:
    if not ledger.owned:
        _print("nothing to restore: no value is changed")
        return OK
    restorer = Restorer(on_host, ledger, daemon.Clock(), time.sleep, _print_restoration)
    return OK if restorer.run() else FAILED


def _print_restoration(restoration: Restoration) -> None:
    owned = restoration.owned
    original = KNOBS[owned.knob].unit.format(owned.original) if owned.knob in KNOBS else owned.original
    detail = f" ({restoration.detail})" if restoration.detail else ""
    _print(f"restore: {label(owned.target)} {owned.knob} {original}: {restoration.result}{detail}")


def _print(line: str) -> None:
    with contextlib.suppress(
        OSError, UnicodeError
    ):  # a reader or terminal that is gone must not keep us from restoring
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
