"""`kvmtune-actuator query`: one expression, asked of a live exporter or of a server."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import time as clock
from collections.abc import Callable
from contextlib import closing

from actuator import promql
from actuator.commands.data import misfit, scraper, server
from actuator.commands.flags import BAD_INPUT, FAILED, OK, Subparsers, add_data, positive_seconds
from actuator.data.formats import FORMATS
from actuator.data.promapi import BadExpressionError
from actuator.data.query import LocalQuery, QueryError
from actuator.data.result import Result
from actuator.data.scrape import ScrapeError, Scraper
from actuator.data.store import Store
from actuator.promql import Expr, PromqlError
from actuator.promql.labels import NAME, get
from actuator.promql.nodes import Range, Subquery, walk
from kvmhost.units import duration_seconds
from kvmweb.arguments import checked

_DESCRIPTION = """\
Evaluates an expression as the rules would, and prints its result.

  kvmtune-actuator query 'kvm_ksm_pages_sharing / kvm_ksm_pages_shared'
  kvmtune-actuator query 'topk(3, kvm_domain_memory_rss_bytes)' --output json

A rate needs samples over time:

  kvmtune-actuator query 'rate(kvm_domain_vcpu_delay_seconds_total[1m])' --for 30s

The same of a server that has scraped the exporter all along:

  kvmtune-actuator query --query.url http://prometheus:9090 'rate(kvm_domain_vcpu_delay_seconds_total[1m])'
"""


def add(subparsers: Subparsers) -> None:
    """`query`."""
    parser = subparsers.add_parser(
        "query",
        help="evaluate a PromQL expression on a live exporter or a server",
        description=_DESCRIPTION,
        epilog="Exit status: 0 a result (an empty one is told on stderr), 1 the query or scrape failed, 2 the "
        "expression or a flag is wrong.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("expression", metavar="EXPR", help="in PromQL; quote it for the shell")
    parser.add_argument(
        "-o", "--output", choices=tuple(FORMATS), default="table",
        help="a table, the data of Prometheus' HTTP API, or what `promtool query instant` prints "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--for", dest="for_seconds", type=checked(duration_seconds), default=0.0, metavar="DURATION",
        help="scrape the exporter for this long first, for rate() and the like; Ctrl-C ends it early (default: once)",
    )  # fmt: skip
    parser.add_argument(
        "--interval", type=checked(positive_seconds), default=5.0, metavar="DURATION",
        help="time between two scrapes (default: 5s)",
    )  # fmt: skip
    add_data(parser)
    parser.set_defaults(command=query)


def query(options: argparse.Namespace) -> int:
    """Print the result of `options.expression`, and what there is to say of it on stderr; returns the exit status."""
    if options.query_url and options.for_seconds:
        _tell("--for is for an exporter; a server has samples over time already: leave it out")
        return BAD_INPUT
    if problem := misfit(options):
        _tell(problem)
        return BAD_INPUT
    try:
        result = _of_server(options) if options.query_url else _of_exporter(options)
    except PromqlError as error:
        _tell(pointed(options.expression, str(error)))
        return BAD_INPUT
    except (QueryError, ScrapeError) as error:
        is_expression = isinstance(error.__cause__, BadExpressionError)
        _tell(pointed(options.expression, str(error.__cause__)) if is_expression else str(error))
        return BAD_INPUT if is_expression else FAILED
    text = FORMATS[options.output](result)
    if text:
        encoding = sys.stdout.encoding if sys.stdout else "ascii"
        print(text.encode(encoding, "replace").decode(encoding))  # JSON can hold halves of characters
    return OK


def _of_server(options: argparse.Namespace) -> Result:
    with closing(server(options)) as asked:
        result = asked.result(options.expression, clock.time())
    if not result.series and result.value_type != "string":
        _tell("empty result: nothing matches, or nothing fulfils the condition")
    return result


def _of_exporter(options: argparse.Namespace) -> Result:
    expr = promql.compile(options.expression)
    store = Store(options.for_seconds + 300.0)
    now = sample(scraper(options, store), options.for_seconds, options.interval, clock.time, clock.sleep, _tell)
    asked = LocalQuery(store)
    result = asked.result(expr, now)
    if not result.series and expr.value_type != "string":
        _tell(f"empty result: {_why_empty(expr, store, asked, now)}")
    return result


def sample(
    exporter: Scraper,
    for_seconds: float,
    interval_seconds: float,
    now: Callable[[], float],
    sleep: Callable[[float], None],
    tell: Callable[[str], None],
) -> float:
    """Scrape now, and until `for_seconds` have passed; returns the time of the last scrape (unix seconds).

    A scrape that fails is a gap, as it is for the rules; ScrapeError if the last one does. Ctrl-C ends it early.
    """
    started = time = now()
    count = 1 + int(for_seconds / interval_seconds)
    result = exporter.scrape(time)
    try:
        for number in range(1, count):
            tell(f"scrape {number} of {count}: {result.error or f'{result.samples} samples'}")
            sleep(max(started + number * interval_seconds - now(), 0.0))
            time = now()
            result = exporter.scrape(time)
    except KeyboardInterrupt:
        tell("stopped early; the result is of what there is")
    if not result.ok:
        raise ScrapeError(result.error)
    return time


def _why_empty(expr: Expr, store: Store, asked: LocalQuery, now: float) -> str:
    if asked.present(expr, now):
        return "the data are there, and nothing in them fulfils the condition"
    known = {get(series.labels, NAME) for series in store.select(())}
    missing = sorted(expr.metric_names - known)
    if missing:
        return "; ".join(f"there is no {name}{_similar(name, known)}" for name in missing)
    if any(isinstance(node, Range | Subquery) for node in walk(expr.root)):
        return "a range needs samples over time: add for instance --for 30s, or shorten --interval"
    return "nothing matches"


def _similar(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def pointed(expression: str, message: str) -> str:
    """The message, and below it the place in the expression if it names one, as `1:5: parse error` does."""
    place = re.search(r"\b(\d{1,6}):(\d{1,6}): parse error", message)
    lines = expression.split("\n")
    if place is None or not 0 < int(place[1]) <= len(lines):
        return f"{message}\n  {expression}"
    line = lines[int(place[1]) - 1]
    return f"{message}\n  {line}\n  {' ' * min(int(place[2]) - 1, len(line))}^"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
