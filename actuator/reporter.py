"""Tells the operator what happens: a line for each decision, a line when a fault comes or goes, and the metrics."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from actuator.console.history import Entry, Faults
from actuator.data.scrape import ScrapeResult
from actuator.decision import QUIET, Decision, Journal
from actuator.metrics import Metrics
from actuator.plans.view import NO_SCRAPE
from actuator.rules.rule import State

log = logging.getLogger("kvmtune-actuator")

_LAST_DECISIONS = 10
_RULE = "rule "


class Reporter:
    """An `engine.Observer`. `write_line` gets the decisions; `verbose` adds those that changed nothing.

    `source`: what the data come from. `note` gets for the history what is news, also of what changed nothing.
    """

    def __init__(
        self,
        metrics: Metrics,
        write_line: Callable[[str], None],
        *,
        verbose: bool,
        source: str = "the exporter",
        note: Callable[[Entry], None] = lambda _: None,
    ) -> None:
        self._metrics = metrics
        self._write_line = write_line
        self._verbose = verbose
        self._source = source
        self._note = note
        self._journal = Journal()
        self._now = 0.0
        self._has_scraped = False
        self._rivals: frozenset[str] = frozenset()
        self._faults: dict[str, tuple[str, ...]] = {}
        self._told: dict[str, tuple[str, ...]] = {}
        self.instances: dict[str, tuple[int, int]] = {}
        """Of each tuning rule: how many are active, and how many pending."""
        self.scrape_error = ""
        self.last_decisions: deque[Decision] = deque(maxlen=_LAST_DECISIONS)

    def scraped(self, result: ScrapeResult, now: float) -> None:
        """Log when the exporter or server is lost and when it is back."""
        self._now = now
        self.scrape_error = result.error or ""
        self._metrics.scrape_success.set(result.ok)
        if result.ok and not self._has_scraped:
            self._has_scraped = True
            samples = f", {result.samples} samples" if result.samples else ""
            self._write_line(f"{self._source} answers{samples}; each decision is told here")
        self._fault("scrape", () if result.ok else (f"{result.error} (nothing is decided until it is back)",))

    def waits_for(self) -> str | None:
        """What keeps all rules from deciding since the start, None once there was an answer."""
        return None if self._has_scraped else f"{self._source} has not answered yet"

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        """Count instances; log what keeps a rule from deciding when that changes."""
        if not state:
            self._journal.forget(rule)
        if state is not None:
            active = sum(instance.active for instance in state.values())
            self._metrics.instances.labels(rule, "active").set(active)
            self._metrics.instances.labels(rule, "pending").set(len(state) - active)
            self.instances[rule] = (active, len(state) - active)
        self._metrics.faulty.labels(rule).set(bool(faults))
        self._fault(_of_rule(rule), faults)

    def rivals(self, tuners: frozenset[str]) -> None:
        """Warn of each other tuner when it comes; tell when it is gone."""
        for tuner in sorted(tuners - self._rivals):
            log.warning(
                "%s runs on this host, too: where it turns the knobs of a rule, stop it or change the rule", tuner
            )
        for tuner in sorted(self._rivals - tuners):
            log.info("%s runs no more", tuner)
        self._rivals = tuners

    def decided(self, decision: Decision) -> None:
        """Count it, and print and keep it when it is news."""
        self._metrics.decisions.labels(decision.rule, decision.knob, decision.outcome).inc()
        if decision.reason:
            self._metrics.refusals.labels(decision.rule, decision.knob, decision.reason).inc()
        if not self._journal.is_news(decision):
            return
        self._note(decision)
        if decision.outcome not in QUIET:
            self.last_decisions.append(decision)
        if self._verbose or decision.outcome not in QUIET:
            self._write_line(decision.line)

    def faults(self, rule: str) -> tuple[str, ...]:
        """What keeps a rule from deciding since its last evaluation, for all targets or some."""
        return self._faults.get(_of_rule(rule), ())

    def _fault(self, where: str, faults: tuple[str, ...]) -> None:
        if NO_SCRAPE in faults:
            return  # told once, by `scraped`; whether what was told before is over is not known
        told = self._told.get(where, ())
        # Only what lasts: at the first tick a rate has no data yet, and single scrapes fail.
        before = self._faults.get(where, ())
        lasting = tuple(fault for fault in faults if fault in before)
        if before and not lasting and not told:
            lasting = faults  # the same trouble, in other words each time
        self._faults[where] = faults
        for fault in lasting:
            if fault not in told:
                log.warning("%s: %s", where, fault)
        if told and not faults:
            log.info("%s: works again", where)
        standing = (lasting or told) if faults else ()
        if standing != told:
            self._note(Faults(time=self._now, rule=where.removeprefix(_RULE), faults=standing))
        self._told[where] = standing


def _of_rule(rule: str) -> str:
    return _RULE + rule
