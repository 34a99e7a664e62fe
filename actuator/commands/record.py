"""`kvmtune-actuator record`: what an exporter shows over time, into a file."""

from __future__ import annotations

import argparse
import re
from contextlib import closing
from datetime import datetime
from pathlib import Path

from actuator import daemon
from actuator.commands.data import scraper
from actuator.commands.flags import BAD_INPUT, FAILED, OK, Subparsers, add_scrape, positive_seconds
from actuator.commands.progress import Progress
from actuator.data.scrape import ScrapeResult
from actuator.data.store import Store
from actuator.replay.recording import Recorder, RecordingError, ThereAlreadyError
from kvmhost.units import duration_seconds, format_bytes
from kvmweb.arguments import checked

_DESCRIPTION = """\
Scrapes an exporter and writes down what it shows, so that rules can be tried
on it later (`replay`), as often as needed:

  kvmtune-actuator record --for 1h -o monday.om.gz
  kvmtune-actuator replay --rules rules monday.om.gz

The file is OpenMetrics text with timestamps, compressed if its name ends in
.gz; `promtool tsdb create-blocks-from openmetrics` reads it, too. A scrape that
fails is a gap in it. Ctrl-C ends it well, and after a kill it can be used as
far as it goes.
"""


def add(subparsers: Subparsers) -> None:
    """`record`."""
    parser = subparsers.add_parser(
        "record",
        help="write what an exporter shows over time into a file, for `replay`",
        description=_DESCRIPTION,
        epilog="Exit status: 0 recorded, 1 the exporter does not answer at the start or the file cannot be "
        "written, 2 it is there already or a flag is wrong.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("recording.om.gz"), metavar="FILE",
        help="where to write; gzip if it ends in .gz (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite the file if it is there already")
    parser.add_argument(
        "--for", dest="for_seconds", type=checked(duration_seconds), default=float("inf"), metavar="DURATION",
        help="how long (default: until Ctrl-C)",
    )  # fmt: skip
    parser.add_argument(
        "--interval", type=checked(positive_seconds), default=5.0, metavar="DURATION",
        help="time between two scrapes (default: 5s)",
    )  # fmt: skip
    parser.add_argument(
        "--match", type=checked(_pattern), default=re.compile(".*"), metavar="REGEX",
        help="record only metrics with such names, as in 'kvm_(ksm|memory)_.*'; rules can use no others (default: all)",
    )  # fmt: skip
    add_scrape(parser)
    parser.set_defaults(command=record)


def record(options: argparse.Namespace) -> int:
    """Scrape and write until the time is over or a signal says stop; returns the exit status."""
    progress = Progress(every_seconds=60.0)
    signals, clock = daemon.Signals(), daemon.Clock()
    store = Store(2 * options.interval)
    exporter = scraper(options, store)
    started = now = clock()
    result = exporter.scrape(now)
    if not result.ok:
        progress.tell(f"{result.error} (nothing is recorded)")
        return FAILED
    try:
        recorder = Recorder(options.output, overwrite=options.force, keeps=options.match.fullmatch)
    except RecordingError as error:
        progress.tell(str(error))
        return BAD_INPUT if isinstance(error, ThereAlreadyError) else FAILED
    taken = _Taken(progress)
    with closing(recorder):
        try:
            number = 0
            while True:
                written = recorder.add(store, now)
                if not (written or number):
                    progress.tell(f"no metric has a name like --match {options.match.pattern!r}: only `up` is recorded")
                taken.add(result, written, now)
                progress.show(f"{taken}, {format_bytes(recorder.size_bytes)}; Ctrl-C ends it")
                # A scrape that took long leaves out others: they do not catch up.
                number = max(number + 1, int((clock() - started) / options.interval))
                if number * options.interval > options.for_seconds + 1e-6:
                    break
                signals.wait(started + number * options.interval - clock())
                if signals.stop:
                    break
                now = clock()
                result = exporter.scrape(now)
            recorder.end()
        except RecordingError as error:
            progress.tell(str(error))
            return FAILED
        progress.tell(f"{options.output}: {taken}, {format_bytes(recorder.size_bytes)}")
    return OK


class _Taken:
    """What was scraped so far; tells when scrapes begin to fail and when they work again."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._samples = self._scrapes = self._failed = 0
        self._is_ok = True

    def add(self, result: ScrapeResult, written: int, now: float) -> None:
        """Another scrape, at `now` (unix seconds), of which so many samples were written."""
        self._scrapes += 1
        self._failed += not result.ok
        self._samples = written or self._samples
        if result.ok is not self._is_ok:
            what = f"a gap begins: {result.error}" if result.error else "the exporter answers again"
            self._progress.tell(f"{datetime.fromtimestamp(now):%H:%M:%S} {what}")
            self._is_ok = result.ok

    def __str__(self) -> str:
        gaps = f", {self._failed} of them failed" if self._failed else ""
        return f"{self._scrapes} scrapes of {self._samples} samples{gaps}"


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
