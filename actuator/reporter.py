"""Tells the operator what happens: a line for each decision, a line when a fault comes or goes, and the metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable

from actuator.decision import QUIET, Decision, Journal
from actuator.metrics import Metrics
from actuator.rule import State
from actuator.scrape import ScrapeResult
from actuator.view import NO_SCRAPE

log = logging.getLogger("kvmtune-actuator")


class Reporter:
    """An `engine.Observer`. `write_line` gets the decisions; `verbose` adds those that changed nothing."""

    def __init__(self, metrics: Metrics, write_line: Callable[[str], None], *, verbose: bool) -> None:
        self._metrics = metrics
        self._write_line = write_line
        self._verbose = verbose
        self._journal = Journal()
        self._has_scraped = False
        self._faults: dict[str, tuple[str, ...]] = {}
        self._told: dict[str, tuple[str, ...]] = {}

    def scraped(self, result: ScrapeResult, now: float) -> None:
        """Log when the exporter is lost and when it is back."""
        self._metrics.scrape_success.set(result.ok)
        if result.ok and not self._has_scraped:
            self._has_scraped = True
            self._write_line(f"the exporter answers, {result.samples} samples; each decision is told here")
        self._fault("scrape", () if result.ok else (f"{result.error} (nothing is decided until it is back)",))

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        """Count instances; log what keeps a rule from deciding when that changes."""
        if not state:
            self._journal.forget(rule)
        if state is not None:
            active = sum(instance.active for instance in state.values())
            self._metrics.instances.labels(rule, "active").set(active)
            self._metrics.instances.labels(rule, "pending").set(len(state) - active)
        self._metrics.faulty.labels(rule).set(bool(faults))
        self._fault(f"rule {rule}", faults)

    def decided(self, decision: Decision) -> None:
        """Count it, and print it when it is news."""
        self._metrics.decisions.labels(decision.rule, decision.knob, decision.outcome).inc()
        if self._journal.is_news(decision) and (self._verbose or decision.outcome not in QUIET):
            self._write_line(decision.line)

    def _fault(self, where: str, faults: tuple[str, ...]) -> None:
        faults = tuple(fault for fault in faults if fault != NO_SCRAPE)  # told once, by `scraped`
        told = self._told.get(where, ())
        # Only what lasts: at the first tick a rate has no data yet, and single scrapes fail.
        lasting = tuple(fault for fault in faults if fault in self._faults.get(where, ()))
        self._faults[where] = faults
        for fault in lasting:
            if fault not in told:
                log.info("%s: %s", where, fault)
        if told and not faults:
            log.info("%s: works again", where)
        self._told[where] = lasting if faults else ()
