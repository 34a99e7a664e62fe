"""The host that the tour is shown on: both programs, questions to their metrics, and steps that are told as they happen."""

from __future__ import annotations

import io
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from actuator import promql
from actuator.data.query import LocalQuery
from actuator.data.scrape import Scraper
from actuator.data.store import Store
from actuator.promql import Sample
from actuator.promql.labels import get
from tests.lab.errors import LabError
from tests.lab.lab import REPOSITORY
from tests.lab.programs import Program, Programs
from tests.programs import BIN

from .story import Row, Step, Unit, Value, Watch

RULES = Path(__file__).with_name("rules")
POLICY = RULES / "policy.yml"
RATE_SECONDS = 4.0
RATE_WINDOW = "6s"
"""How long a step looks for a rate, and the window for it: a little more, so that `rate` has both of them."""

_COLUMNS = 100
_WINDOW_SECONDS = 60.0
_PATIENCE_SECONDS = 60.0

# Ctrl-C at the terminal is for the tour, which ends its programs in their order.
_APART = ("/usr/bin/setsid",)

Say = Callable[[str], None]


@contextmanager
def quietly_running(directory: Path, uri: str) -> Iterator[Programs]:
    """Programs that end with the block; what they said is in `directory`, and not printed."""
    programs = Programs(directory, uri)
    try:
        yield programs
    finally:
        with redirect_stdout(io.StringIO()):
            programs.stop()


def exporter(programs: Programs, *flags: str | Path) -> Program:
    """One that is ready."""
    return programs.exporter(*flags, prefix=_APART)


class Eye:
    """An exporter's metrics, looked at by PromQL, as `kvmtune-actuator query` does. What it has seen before counts, too."""

    def __init__(self, exporter: Program) -> None:
        store = Store(_WINDOW_SECONDS)
        self._query = LocalQuery(store)
        self._scraper = Scraper(exporter.metrics_url, store)

    def scrape(self) -> float:
        """Look now; the time of it (unix seconds)."""
        now = time.time()
        result = self._scraper.scrape(now)
        if not result.ok:
            raise LabError(f"the exporter cannot be scraped: {result.error}")
        return now

    def evaluate(self, expr: str, now: float) -> tuple[Sample, ...]:
        """What an expression gave then."""
        return self._query.instant(promql.compile(expr), now)

    def value(self, watch: Watch, now: float) -> Value:
        """What was to be watched, as it was then."""
        samples = self.evaluate(watch.expr, now)
        if watch.unit is Unit.WORD:
            return ", ".join(sorted({get(sample.labels, watch.label) for sample in samples})) or None
        if len(samples) > 1:
            raise LabError(f"{watch.expr} gives {len(samples)} numbers, not one")
        return float(samples[0].value) if samples else None


@dataclass
class Doing:
    """A step that is under way."""

    rule: str = ""
    shown: str = ""
    remarks: list[str] = field(default_factory=list)


class Stage:
    """An exporter, and one actuator at a time, each with one rule of the tour.

    flags: of the actuator, beside the usual ones.
    """

    def __init__(self, programs: Programs, exporter: Program, say: Say, *flags: str | Path) -> None:
        self.programs = programs
        self.exporter = exporter
        self.steps: list[Step] = []
        self._say = say
        self._flags = flags
        self._eye = Eye(exporter)
        self._actuator: Program | None = None
        self._doing = Doing()

    def ask(self, expr: str) -> tuple[Sample, ...]:
        """What a PromQL expression gives now."""
        return self._eye.evaluate(expr, self._eye.scrape())

    def number(self, expr: str) -> float:
        """The one number that an expression gives now; 0 if it gives none."""
        value = self._eye.value(Watch(what=expr, expr=expr, unit=Unit.COUNT), self._eye.scrape())
        return value if isinstance(value, float) else 0.0

    def look_through(self, exporter: Program) -> None:
        """Look at the metrics of another exporter from now on."""
        self.exporter = exporter
        self._eye = Eye(exporter)

    def wait_for(self, expr: str, what: str, timeout_seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until an expression has a result; LabError, saying `what`, if it has none in time."""
        deadline = time.monotonic() + timeout_seconds
        while not self.ask(expr):
            if time.monotonic() > deadline:
                log = self._actuator.output if self._actuator else ""
                raise LabError(f"not within {timeout_seconds:g} s: {what} ({expr})\n{log}".rstrip())
            time.sleep(0.2)

    def wait_until_still(self, expr: str, seconds: float, timeout_seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until a number stays within 1 % of itself for so long, or until the time is over."""
        deadline = time.monotonic() + timeout_seconds
        last = self.number(expr)
        while time.monotonic() < deadline:
            time.sleep(seconds)
            now = self.number(expr)
            if abs(now - last) <= 0.01 * abs(last):
                return
            last = now

    @contextmanager
    def step(
        self, name: str, why: str, *by_hand: str, watch: Sequence[Watch] = (), over_seconds: float = 0.0
    ) -> Iterator[Doing]:
        """Tell what is done and why, look before and after the block, and tell what came of it.

        over_seconds: how long to look, for rates.
        """
        self._say(f"\n  {name}")
        self._say(textwrap.fill(why, _COLUMNS, initial_indent="    ", subsequent_indent="    "))
        for command in by_hand:
            self._say(f"    by hand: {command}")
        doing = self._doing = Doing()
        before = self._look(watch, over_seconds)
        yield doing
        after = self._look(watch, over_seconds)
        rows = tuple(Row(watch=one, before=was, after=now) for one, was, now in zip(watch, before, after, strict=True))
        for row in rows:
            self._say(f"    {row.watch.what}: {row.texts[0]} -> {row.texts[1]}")
        for remark in doing.remarks:
            self._say(f"    {remark}")
        self.steps.append(
            Step(
                name=name, why=why, by_hand=by_hand, rule=doing.rule, rows=rows, shown=doing.shown,
                remarks=tuple(doing.remarks),
            )
        )  # fmt: skip

    def show(self, output: str) -> None:
        """Something that a program has printed."""
        self._doing.shown = f"{self._doing.shown}\n\n{output}".strip()
        for line in output.splitlines():
            self._say(f"    | {line}".rstrip())

    def rule(self, file: str, *flags: str | Path) -> None:
        """Have an actuator act by this rule, in place of the one before."""
        self.stop()
        self._say(f"    rule: {(RULES / file).relative_to(REPOSITORY)}")
        self._doing.rule = file
        self._actuator = self.programs.actuator(
            self.exporter,
            RULES / file,
            "--apply",
            "--policy",
            POLICY,
            *self._flags,
            *flags,
            interval="500ms",
            prefix=_APART,
        )

    def stop(self) -> None:
        """End the actuator, if one runs: it puts back what it has changed, unless it was told to keep it."""
        if self._actuator:
            actuator, self._actuator = self._actuator, None
            status = actuator.end(signal.SIGTERM)
            if status != 0:
                raise LabError(f"kvmtune-actuator ended with status {status}:\n{actuator.output}")

    def restore(self, *flags: str | Path) -> None:
        """What an actuator has kept is put back by `kvmtune-actuator restore`."""
        done = self.run("restore", *self.programs.host_flags, *flags)
        if done.returncode != 0:
            raise LabError(f"kvmtune-actuator restore: {done.stdout}{done.stderr}")

    def query(self, expr: str) -> str:
        """What `kvmtune-actuator query` prints."""
        done = self.run("query", expr, "--scrape.url", self.exporter.metrics_url)
        return (done.stdout + done.stderr).rstrip()

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Another command of kvmtune-actuator, to its end."""
        command = (BIN / "kvmtune-actuator", *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS)

    def _look(self, watch: Sequence[Watch], over_seconds: float) -> list[Value]:
        eye = Eye(self.exporter) if over_seconds else self._eye  # a rate is one of this time only
        now = eye.scrape()
        if over_seconds:
            time.sleep(over_seconds)
            now = eye.scrape()
        return [eye.value(one, now) for one in watch]
