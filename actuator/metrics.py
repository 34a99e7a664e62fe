"""The actuator's own metrics, `kvmtune_actuator_*`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

PREFIX = "kvmtune_actuator"


class Metrics:
    """One attribute a metric family, all in one registry."""

    def __init__(self, version: str, *, dry_run: bool) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.ticks = self._counter("ticks_total", "Ticks that ran to their end.")
        self.last_tick = self._gauge(
            "last_tick_timestamp_seconds", "When the last tick ended, in unix seconds; it should be seconds ago."
        )
        self.tick_seconds = self._gauge("tick_duration_seconds", "How long the last tick took.")
        self.scrape_success = self._gauge(
            "scrape_success", "1 if the last scrape of the exporter succeeded; while it is 0, nothing is decided."
        )
        self.decisions = self._counter(
            "decisions_total",
            "Setpoints by rule, knob and what became of them: written, would write (dry run), or why not.",
            "rule",
            "knob",
            "outcome",
        )
        self.instances = self._gauge(
            "rule_instances", "Label sets for which a rule holds, by state: pending or active.", "rule", "state"
        )
        self.faulty = self._gauge(
            "rule_faulty", "1 if the rule could not decide at its last evaluation; the log says why.", "rule"
        )
        self.changed = self._gauge(
            "changed_targets", "Values that differ from what they were before kvmtune and that it would put back."
        )
        self.reload_success = self._gauge(
            "config_last_reload_successful", "0 while the rule files on disk are refused and older rules stay in force."
        )
        self.reload_success.set(1)
        self._gauge("dry_run", "1 if nothing is written.").set(dry_run)
        self._gauge("build_info", "Always 1; the labels say what runs.", "version").labels(version).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)
