"""Gathers what `top` shows: the exporter's or server's metrics, and the actuator's files. What is missing is told."""

from __future__ import annotations

import time as clock
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from actuator import promql
from actuator.console import history
from actuator.console.status import Status, look
from actuator.data.query import Query, QueryError
from actuator.decision import Decision
from actuator.engine import Source
from actuator.promql.labels import get
from actuator.promql.types import Sample
from actuator.top.scene import Guest, Host, Scene, knob_rows

WINDOW_SECONDS = 300.0
"""How far back sparklines reach."""

POINTS = 30
_HISTORY_BYTES = 2**17

_HOST = {
    "available": promql.compile("kvm_memory_available_bytes"),
    "total": promql.compile("kvm_memory_total_bytes"),
    "swapped": promql.compile("kvm_memory_swap_total_bytes - kvm_memory_swap_free_bytes"),
    "saved": promql.compile("kvm_ksm_saved_bytes"),
}
_PRESSURE = promql.compile("irate(kvm_pressure_some_seconds_total[2m])")
_GUESTS = {
    "actual": promql.compile("kvm_domain_balloon_actual_bytes"),
    "used": promql.compile("kvm_domain_memory_used_bytes"),
    "maximum": promql.compile("kvm_domain_balloon_maximum_bytes"),
    "shared": promql.compile("kvm_domain_ksm_merging_pages * scalar(kvm_memory_page_size_bytes)"),
    "cpu": promql.compile("sum by (domain) (irate(kvm_domain_vcpu_cpu_seconds_total[2m]))"),
    "delay": promql.compile("sum by (domain) (irate(kvm_domain_vcpu_delay_seconds_total[2m]))"),
}
_ALL_GUESTS = promql.compile("kvm_domain_info or kvm_domain_memory_rss_bytes")
_KSM = promql.compile("kvm_domain_ksm_status == 1")


@dataclass
class Feed:
    """`name`: of the data source, for a person."""

    source: Source
    query: Query
    directory: Path
    name: str
    _course: deque[tuple[float, float, float]] = field(default_factory=deque)

    def look(self, now: float) -> Scene:
        """What is so at `now` (unix seconds)."""
        scrape = self.source.scrape(now)
        status, why_idle = look(self.directory)
        tick_age = clock.monotonic() - status.tick.monotonic if status and status.tick else 0.0
        changed = status.changed if status else ()
        decisions = self._decisions()
        return Scene(
            time=now,
            source=self.name,
            status=status,
            tick_age_seconds=tick_age,
            why_idle=why_idle,
            no_data=scrape.error or "",
            host=self._host(now) if scrape.ok else Host(),
            knobs=knob_rows(decisions, changed, now - WINDOW_SECONDS, now, POINTS),
            guests=self._guests(now, status) if scrape.ok else (),
            decisions=[decision for decision in decisions if decision.outcome not in ("unchanged", "settled")],
        )

    def _decisions(self) -> list[Decision]:
        try:
            entries = [noted.entry for noted in history.read(self.directory, _HISTORY_BYTES)]
        except OSError:
            return []  # why is said of the status, which is in the same directory
        return [entry for entry in entries if isinstance(entry, Decision)]

    def _host(self, now: float) -> Host:
        values = {name: next(iter(self._samples(expr, now)), None) for name, expr in _HOST.items()}
        found = {name: sample.value for name, sample in values.items() if sample}
        pressure = {get(sample.labels, "resource"): sample.value for sample in self._samples(_PRESSURE, now)}
        if found.get("total") and "available" in found:
            self._course.append((now, found["available"] / found["total"], pressure.get("memory", 0.0)))
        while self._course and self._course[0][0] < now - WINDOW_SECONDS:
            self._course.popleft()
        _, available, memory = zip(*self._course, strict=True) if self._course else ((), (), ())
        return Host(pressure=pressure, available_before=available, memory_before=memory, **found)

    def _guests(self, now: float, status: Status | None) -> list[Guest]:
        names = {get(sample.labels, "domain") for sample in self._samples(_ALL_GUESTS, now)}
        values = {name: self._by_guest(expr, now) for name, expr in _GUESTS.items()}
        values["target"] = {
            dict(one.target)["domain"]: float(one.now)
            for one in (status.changed if status else ())
            if one.knob == "balloon.target"
        }
        ksm = {get(sample.labels, "domain"): get(sample.labels, "status") for sample in self._samples(_KSM, now)}
        guests = [
            Guest(name, ksm=ksm.get(name, ""), **{key: of_guest.get(name) for key, of_guest in values.items()})
            for name in names
        ]
        return sorted(guests, key=lambda guest: (-round(guest.delay or 0.0, 2), -(guest.actual or 0.0), guest.name))

    def _by_guest(self, expr: promql.Expr, now: float) -> Mapping[str, float]:
        return {get(sample.labels, "domain"): sample.value for sample in self._samples(expr, now)}

    def _samples(self, expr: promql.Expr, now: float) -> tuple[Sample, ...]:
        try:
            return self.query.instant(expr, now)
        except QueryError:
            return ()  # shown as absent; that the exporter does not answer is told by the scrape
