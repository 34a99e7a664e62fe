"""The real engine at work on a host that is not there: its knobs show what the data say, and follow what is written.

Store, evaluator, rules, limits, writer and ledger are those of `kvmtune-actuator run`. Time is a parameter. Nothing of
this machine is read or written but a ledger in a temporary directory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from actuator.apply import Writer
from actuator.data.frame import Frame
from actuator.data.query import LocalQuery
from actuator.data.scrape import ScrapeResult
from actuator.data.store import Store
from actuator.decision import Decision
from actuator.engine import Engine
from actuator.ledger.ledger import Ledger
from actuator.promql import Expr
from actuator.promql.labels import Labels
from actuator.rules.policy import Policy
from actuator.rules.rule import State
from actuator.rules.ruleset import RuleSet, Set
from actuator.simulated.simulatedhost import NOTHING, Fixture, SimulatedHost


class Simulation:
    """Rules over data that are fed to it. Use it as a context manager; all times are unix seconds and only grow.

    `apply` False is a dry run, in which no knob moves. `follows`: the metric of a knob shows what was written to it, so
    that a rule which goes by it goes on from there; else the data stay as they are fed.
    """

    def __init__(
        self,
        rules: RuleSet,
        policy: Policy,
        fixture: Fixture = NOTHING,
        *,
        apply: bool = True,
        follows: bool = True,
        drift_backoff_seconds: float = 600.0,
    ) -> None:
        self.states: dict[str, State] = {}
        """The label sets for which each tuning rule holds or waits to."""
        self.faults: dict[str, tuple[str, ...]] = {}
        """By rule, for whom it could not decide in the last tick, and why."""
        self._rules = rules
        self._policy = policy
        self._apply = apply
        self._drift_backoff_seconds = drift_backoff_seconds
        self._store = Store(rules.window_seconds)
        self._frame = Frame()
        self._query = _FedQuery(self._store)
        self.host = SimulatedHost(fixture, self._query, _words(rules), follows=follows)
        self._scrape = ScrapeResult(ok=False, samples=0, duration_seconds=0.0, error="nothing was scraped")
        self._decisions: list[Decision] = []
        self._exit = ExitStack()

    def __enter__(self) -> Simulation:
        writer = None
        if self._apply:
            directory = self._exit.enter_context(TemporaryDirectory(prefix="kvmtune-simulation-"))
            ledger = self._exit.enter_context(closing(Ledger(Path(directory))))
            writer = Writer(self.host.knobs, ledger, self._drift_backoff_seconds)
        self._engine = Engine(
            self._rules,
            self._policy,
            source=self,
            store=self._store,
            query=self._query,
            knobs=self.host.knobs,
            writer=writer,
            observer=self,
        )
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._exit.close()

    def feed(self, time: float, samples: Iterable[tuple[Labels, float]], error: str | None = None) -> None:
        """One scrape: label sets with the metric's name as `__name__`, and values. Series that it lacks end.

        Without any sample, or with an `error`, it is one that failed. Rules look at the last one until the next.
        """
        row = self.host.scraped(samples)
        self._store.append_row(
            self._frame, {self._store.series(series, self._frame): row[series] for series in row}, time
        )
        self._store.expire(time)
        self._query.fed = time
        if not row and error is None:
            error = "nothing was scraped"
        self._scrape = ScrapeResult(ok=error is None, samples=len(row), duration_seconds=0.0, error=error)

    def tick(self, time: float) -> tuple[Decision, ...]:
        """Let the rules decide; returns all that was decided."""
        self._decisions = []
        self.host.now = time
        self._engine.tick(time)
        return tuple(self._decisions)

    def scrape(self, now: float) -> ScrapeResult:
        """As `engine.Source`."""
        return self._scrape

    def scraped(self, result: ScrapeResult, now: float) -> None:
        """As `engine.Observer`."""

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        """As `engine.Observer`."""
        self.faults[rule] = faults
        if state is not None:
            self.states[rule] = state

    def rivals(self, tuners: frozenset[str]) -> None:
        """As `engine.Observer`."""

    def decided(self, decision: Decision) -> None:
        """As `engine.Observer`."""
        self._decisions.append(decision)


class _FedQuery(LocalQuery):
    """Data are as old as the scrape that they are from: rules may be evaluated more often than it is scraped."""

    fed = -math.inf

    def as_of(self, expr: Expr, time: float) -> float:
        return min(time, self.fed)


def _words(rules: RuleSet) -> Mapping[str, tuple[str, ...]]:
    """What rules set knobs to as it stands."""
    found: dict[str, tuple[str, ...]] = {}
    for action in (action for tune in rules.tunes for action in tune.actions):
        if isinstance(action, Set) and isinstance(action.value, str):
            found[action.knob] = (*found.get(action.knob, ()), action.value)
    return found
