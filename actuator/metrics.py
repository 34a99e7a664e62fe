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
        self.failed_ticks = self._counter("failed_ticks_total", "Ticks that ended with an error; the log says which.")
        self.last_tick = self._gauge(
            "last_tick_timestamp_seconds", "When the last tick ended, in unix seconds; it should be seconds ago."
        )
        self.tick_seconds = self._gauge("tick_duration_seconds", "How long the last tick took.")
        self.tick_lag = self._gauge("tick_lag_seconds", "How long after it was due the last tick began.")
        self.missed_ticks = self._counter(
            "missed_ticks_total", "Ticks that were left out because the one before was not done when they were due."
        )
        self.data_age = self._gauge(
            "data_age_seconds", "Age of the oldest data that a rule has last decided on; it grows while there are none."
        )
        self.scrape_success = self._gauge(
            "scrape_success",
            "1 if the exporter, or with --query.url the server, answered last; while it is 0, nothing is decided.",
        )
        self.decisions = self._counter(
            "decisions_total",
            "Setpoints by rule, knob and what became of them: written, would write (dry run), or why not.",
            "rule",
            "knob",
            "outcome",
        )
        self.refusals = self._counter(
            "refusals_total", "Setpoints that were refused, by rule, knob and reason.", "rule", "knob", "reason"
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
        self.quarantined = self._gauge(
            "quarantined_targets", "Targets that a rule leaves alone since its verify failed there; the log says why."
        )
        self.drifted = self._gauge(
            "drifted_targets", "Targets that all rules leave alone for a while since someone else has set them."
        )
        self.ledger_bytes = self._gauge(
            "ledger_bytes", "Size of the ledger; it is written anew, shorter, when it is long (1 MiB)."
        )
        self.paused = self._gauge(
            "paused", "1 while `kvmtune-actuator pause` is in force: rules decide, nothing is written."
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
