"""`make bench-promql`: what the actuator's rules cost, next to a real Prometheus that answers them over HTTP."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from actuator import promql
from actuator.data.exposition import Parser
from actuator.data.frame import Frame
from actuator.data.query import LocalQuery
from actuator.data.store import Series, Store
from actuator.promql.labels import Labels
from benchmarks import circumstances, promql_server
from benchmarks import promql_data as data
from benchmarks.arguments import count, counts
from benchmarks.circumstances import say
from benchmarks.promql_server import Server
from benchmarks.report import ms, table
from tests.lab.errors import LabError
from tests.lab.lab import REPOSITORY

PAGE = REPOSITORY / "docs/benchmarks/promql.md"
_RELATIVE_ERROR = 1e-9

_DESCRIPTION = """\
Loads the same samples into the actuator's store and into a real Prometheus
(Debian's package, fetched and not installed), checks that both give the same
answers, and then asks both in turns. Needs no root.
"""
_EPILOG = """\
Results go to standard output, progress to standard error.

Examples:
  make bench-promql BENCH="--series 100,1000 --rounds 5"
  make bench-promql BENCH=--write

Exit status: 0 measured, whatever became of the goal; 1 answers differ or
Prometheus failed; 2 bad input.
"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Medians of one case, in seconds. ``over_http`` includes the transfer of the answer, ``engine`` does not."""

    series: int
    case: str
    elements: int
    over_http: float
    engine: float
    ours: float


def main() -> int:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))  # so that Prometheus ends, too
    started = time.time()
    results: list[Result] = []
    scrapes: list[tuple[int, float, float]] = []
    try:
        for count in options.series:
            found, scrape = _at(count, options.rounds)
            results += found
            scrapes.append(scrape)
        facts = _facts(started, options.rounds)
    except LabError as error:
        print(f"bench-promql: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    page = _markdown(facts, results, scrapes)
    print(page)
    if options.write:
        PAGE.write_text(page)
        say(f"written to {PAGE.relative_to(REPOSITORY)}")
    return 0


def _at(count: int, rounds: int) -> tuple[list[Result], tuple[int, float, float]]:
    """All cases with `count` series of each metric, and lines, seconds and bytes a sample of a warm scrape."""
    say(f"{count} series: loading")
    store, scrape_seconds = _store(count)
    cases = {name: (text,) for name, text in data.SINGLE.items()} | {f"group of {len(data.GROUP)} rules": data.GROUP}
    with (
        tempfile.TemporaryDirectory() as directory,
        promql_server.serving(data.pages(count), Path(directory)) as server,
    ):
        say(f"{count} series: comparing answers, then {rounds} rounds")
        local = LocalQuery(store)
        results = [_case(count, name, texts, local, server, rounds) for name, texts in cases.items()]
    lines = 3 * count
    return results, (lines, scrape_seconds, store.nbytes / (lines * data.SCRAPES))


def _store(count: int) -> tuple[Store, float]:
    """The samples as scrapes have brought them; the median of the seconds from a page's text to the store."""
    store = Store(window_seconds=data.SCRAPES * data.INTERVAL_SECONDS)
    frame = Frame()
    parser: Parser[Series] = Parser(lambda labels: store.series(labels, frame))
    seconds = []
    for at, lines in data.pages(count):
        page = "\n".join(lines) + "\n"
        start = time.perf_counter()
        store.append_row(frame, parser.parse(page), at)
        store.expire(at)
        seconds.append(time.perf_counter() - start)
    return store, median(seconds[1:])


def _case(count: int, name: str, texts: Sequence[str], local: LocalQuery, server: Server, rounds: int) -> Result:
    exprs = [promql.compile(text) for text in texts]
    elements = sum(_compare(expr, local, server) for expr in exprs)

    taken: list[tuple[float, float, float]] = []
    for number in range(rounds + 1):
        # Never the same time twice, so that nobody can answer out of a cache of results.
        at = data.QUERY_TIME + number / 1000
        asked = [server.seconds(text, at) for text in texts]
        start = time.perf_counter()
        for expr in exprs:
            local.instant(expr, at)
        ours = time.perf_counter() - start
        taken.append((sum(one for one, _ in asked), sum(one for _, one in asked), ours))
    over_http, engine, ours = map(median, zip(*taken[1:], strict=True))
    return Result(series=count, case=name, elements=elements, over_http=over_http, engine=engine, ours=ours)


def _compare(expr: promql.Expr, local: LocalQuery, server: Server) -> int:
    """Number of elements of the result, which is the same from both; raises LabError if it is not."""
    ours = {sample.labels: sample.value for sample in local.instant(expr, data.QUERY_TIME)}
    theirs = server.values(expr.text, data.QUERY_TIME)
    different = ours.keys() ^ theirs.keys() or {labels for labels in ours if not _equal(ours[labels], theirs[labels])}
    if different:
        one: Labels = min(different)
        raise LabError(f"{expr.text}: {one} is {ours.get(one)} here and {theirs.get(one)} in Prometheus")
    return len(ours)


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_RELATIVE_ERROR) or (one != one and other != other)


def _markdown(facts: dict[str, str], results: Sequence[Result], scrapes: Sequence[tuple[int, float, float]]) -> str:
    rows = (
        (
            str(one.series), one.case, str(one.elements), ms(one.over_http), ms(one.engine), ms(one.ours),
            f"{one.ours / one.over_http:.2f}", f"{one.ours / one.engine:.2f}",
        )
        for one in results
    )  # fmt: skip
    missed = [f"{one.case} at {one.series}" for one in results if one.ours > one.over_http]
    head = (
        "series:", "case", "elements:", "Prometheus over HTTP:", "its engine:", "kvmtune:", "ratio:", "to engine:",
    )  # fmt: skip
    stored = ((str(lines), ms(seconds), f"{size:.1f}") for lines, seconds, size in scrapes)
    return "\n".join(
        (
            _INTRODUCTION.format(command=circumstances.command("bench-promql")),
            table(("", ""), facts.items()),
            "## Queries\n\nMedians in milliseconds. The goal is a ratio of at most 1 "
            f"to Prometheus over HTTP: {'missed by ' + ', '.join(missed) if missed else 'met by all'}.\n",
            table(head, rows),
            "## A warm scrape, from its text to the store\n",
            table(("lines:", "milliseconds:", "bytes a sample:"), stored),
            _METHOD,
        )
    )


_INTRODUCTION = """\
# What rules cost

The same samples in the actuator's store and in a real Prometheus, the same queries to both, in turns. Both must give
the same label sets and values (to 1e-9) before anything is measured. This page is written by

```sh
{command}
```
"""
_METHOD = f"""\
## How it is measured

- **Data**: each metric has as many series as the first column says, with a sample every {data.INTERVAL_SECONDS} s for
  {data.SCRAPES * data.INTERVAL_SECONDS} s. Prometheus has them in a block that promtool made, the actuator by its own
  parser and store.
- **Prometheus over HTTP** is from the request to the last byte of the answer, over a connection that stays open; the
  answer is not parsed. **Its engine** is what its statistics say of the same requests (`evalTotalTime`), without HTTP
  and JSON.
- **kvmtune** is `LocalQuery.instant`, what a rule calls.
- The time that is asked for is another one in each round, so that nobody can repeat an answer.
- The queries are those of `benchmarks/promql_data.py`:

```promql
{chr(10).join(data.SINGLE.values())}
```
"""


def _facts(started: float, rounds: int) -> dict[str, str]:
    return {
        **circumstances.machine(),
        "Prometheus": promql_server.version(),
        "run": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, "
        f"{(time.time() - started) / 60:.0f} minutes, {rounds} rounds",
        "load average": circumstances.load(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-promql",
        usage='make bench-promql [BENCH="OPTIONS"]',
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--series", type=counts, default=(100, 1_000, 10_000), metavar="N,...",
        help="series of each metric (default: 100,1000,10000)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=count, default=15, metavar="N", help="how often each case is asked of both (default: 15)"
    )
    parser.add_argument(
        "--write", action="store_true", help=f"write the results to {PAGE.relative_to(REPOSITORY)}, too"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
