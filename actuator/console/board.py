"""Keeps `status.json` up to date for those who look at a running actuator, and looks itself whether it is paused."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from actuator.console import pause, status
from actuator.console.history import Event, History
from actuator.console.pause import Pause
from actuator.console.status import Changed, Quarantined, RuleStatus, Status, Tick
from actuator.engine import Engine
from actuator.ledger.ledger import Ledger
from actuator.reporter import Reporter
from actuator.rules.ruleset import Tune
from actuator.statefile import Tolerant

log = logging.getLogger("kvmtune-actuator")


class Board:
    """One actuator's. `ledger` None: a dry run, which leaves the file to an actuator that acts, if there is one."""

    def __init__(
        self,
        directory: Path,
        engine: Engine,
        reporter: Reporter,
        ledger: Ledger | None,
        history: History,
        *,
        version: str,
        interval_seconds: float,
        rules_from: tuple[str, ...],
        started: float,
    ) -> None:
        self._directory = directory
        self._engine = engine
        self._reporter = reporter
        self._ledger = ledger
        self._history = history
        self._tolerant = Tolerant(directory / status.NAME)
        self._pause: Pause | None = None
        mode: Literal["apply", "dry run"] = "apply" if ledger else "dry run"
        self._status = Status(
            version=version,
            mode=mode,
            pid=os.getpid(),
            process_started=status.process_started(os.getpid()) or 0,
            started=started,
            interval_seconds=interval_seconds,
            rules_from=rules_from,
            ended=time.monotonic(),
            tick=None,
            data_age_seconds=None,
            data_error="",
            paused=None,
            rules=(),
            changed=(),
            quarantined=(),
            decisions=(),
        )
        history.note(Event(time=started, what="started", detail=f"version {version}, {mode}"))

    def look_for_pause(self, now: float, wall: float) -> bool:
        """Have the engine paused or not, as the operator wants it at `wall`, the wall clock's unix seconds."""
        self._pause = pause.read(self._directory, wall)
        text = self._pause.text if self._pause else None
        if text != self._engine.executor.paused:
            log.info("%s", text or "the pause is over: what the rules decide is carried out again")
            detail = (text or "").removeprefix("paused ")
            self._history.note(Event(time=now, what="paused" if text else "resumed", detail=detail))
        self._engine.executor.paused = text
        return text is not None

    def post(self, tick: Tick) -> None:
        """Tell of the tick that has just ended."""
        decided = self._engine.decided_as_of
        self._status = replace(
            self._status,
            tick=tick,
            ended=self._status.ended if tick.error else tick.monotonic,
            data_age_seconds=None if decided is None else tick.time - decided,
            data_error=self._reporter.scrape_error,
            paused=self._pause,
            rules=tuple(self._rules()),
            changed=tuple(self._changed()),
            quarantined=tuple(self._quarantined()),
            decisions=tuple(self._reporter.last_decisions),
        )
        self._write()

    def stopped(self, now: float) -> None:
        """Tell that it has stopped as it was asked to, and what is still changed."""
        self._history.note(Event(time=now, what="stopped"))
        self._status = replace(self._status, stopped=now, changed=tuple(self._changed()))
        self._write()

    def _write(self) -> None:
        if self._ledger is None and self._is_anothers():
            return
        with self._tolerant.attempt():
            status.write(self._directory, self._status)

    def _is_anothers(self) -> bool:
        try:
            there = status.read(self._directory)
        except (OSError, ValueError):
            return False
        return there is not None and there.mode == "apply" and status.is_alive(there)

    def _rules(self) -> Iterator[RuleStatus]:
        for rule in (rule for group in self._engine.rules.groups for rule in group.rules):
            active, pending = self._reporter.instances.get(rule.name, (0, 0))
            mode = rule.mode if isinstance(rule, Tune) else "record"
            yield RuleStatus(
                name=rule.name, mode=mode, active=active, pending=pending, faults=self._reporter.faults(rule.name)
            )

    def _changed(self) -> Iterator[Changed]:
        for owned in self._ledger.owned.values() if self._ledger else ():
            yield Changed(
                knob=owned.knob,
                target=owned.target,
                original=owned.original,
                now=owned.written[0] if len(owned.written) == 1 else owned.last.after,
                rule=owned.last.rule,
                since=owned.last.time,
            )

    def _quarantined(self) -> Iterator[Quarantined]:
        for tune in self._engine.rules.tunes:
            for (knob, target), reason in self._engine.aftermath.quarantined(tune.name).items():
                yield Quarantined(rule=tune.name, knob=knob, target=target, reason=reason)
