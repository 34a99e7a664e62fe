"""Actuator: what it decides, what it refuses, and whether it is well."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import dashboard
from grafana.panels import GOOD_BAD, PLAIN, Column, above, graph, grid, number

NO_ACTUATOR = "No actuator is scraped for these hosts: add its port (9753) to Prometheus' scrape configuration."
QUIET = "Nothing was decided in this time: no rule holds."
DECIDED = "increase(kvmtune_actuator_decisions_total[$__rate_interval])"
REFUSED = "increase(kvmtune_actuator_refusals_total[$__rate_interval])"
MODE = {0: ("acts", "green"), 1: ("dry run", "blue"), 2: ("paused", "orange")}


def made() -> Dashboard:
    return dashboard(
        "actuator",
        "Actuator",
        "What the actuators decide, what they refuse, and whether they are well. Marks: writes (blue), what a dry run "
        "would write (purple), and what went wrong (red). kvmtune-actuator explain has the reason of each.",
        {
            "Is it well": [
                number(
                    "Mode",
                    "max(kvmtune_actuator_paused * 2 > 0 or kvmtune_actuator_dry_run)",
                    says="Paused or dry run if any of the actuators chosen is: it says what it would do. To act: "
                    "kvmtune-actuator resume, or --apply.",
                    empty=NO_ACTUATOR,
                    words=MODE,
                ),
                number(
                    "Gets data",
                    "min(kvmtune_actuator_scrape_success)",
                    says="No: the exporter, or the server with --query.url, does not answer, and nothing is decided. "
                    "Start it, or look at the address.",
                    empty=NO_ACTUATOR,
                    words=GOOD_BAD,
                ),
                number(
                    "Last tick",
                    "max(time() - kvmtune_actuator_last_tick_timestamp_seconds)",
                    says="How long ago the last tick of the slowest actuator ended. More than a few intervals: it "
                    "hangs; see its log, restart it, and run kvmtune-actuator restore if it was killed.",
                    empty=NO_ACTUATOR,
                    unit="s",
                    steps=above(15, 60),
                ),
                number(
                    "Age of the data",
                    "max(kvmtune_actuator_data_age_seconds)",
                    says="Of the oldest data that a rule decided on. Grows while there are none: then rules do "
                    "nothing. See the exporter, or the lag of the server.",
                    empty="No rule has decided yet.",
                    unit="s",
                    steps=above(15, 60),
                ),
                number(
                    "Rules that cannot decide",
                    "sum(kvmtune_actuator_rule_faulty)",
                    says="Their data are missing or old, or their expression fails; the log says which. Try it with "
                    "kvmtune-actuator query.",
                    empty="No rule was evaluated yet.",
                    steps=above(1),
                ),
                number(
                    "Rules on disk in force",
                    "min(kvmtune_actuator_config_last_reload_successful)",
                    says="No: the rule files are refused, and older rules stay in force. kvmtune-actuator check says "
                    "why, with line and column.",
                    empty=NO_ACTUATOR,
                    words=GOOD_BAD,
                ),
            ],
            "What it decides": [
                graph(
                    "Decisions by outcome",
                    {"{{outcome}}": f"round(sum by (outcome) ({DECIDED})) > 0"},
                    says="failed and fell short: the log says what the kernel or libvirt said. drifted: someone else "
                    "sets the same knob. budget and limit for long: the policy is tighter than the rules.",
                    empty=QUIET,
                    stacked=True,
                ),
                graph(
                    "Decisions by rule",
                    {"{{instance}} {{rule}}: {{outcome}}": f"round(sum by (instance, rule, outcome) ({DECIDED})) > 0"},
                    says="A rule that writes all the time works against another one, or its limits are too narrow: "
                    "give it an `until`, a deadband, or a longer `every`.",
                    empty=QUIET,
                ),
                graph(
                    "Refusals by reason",
                    {"{{reason}} {{knob}}": f"round(sum by (reason, knob) ({REFUSED})) > 0"},
                    says="untouchable: the target's state or the policy forbids it; unreadable and unavailable: see "
                    "docs/knobs.md for what the knob takes; blast radius: narrow the rule, or widen the policy.",
                    empty="Nothing was refused in this time.",
                    steps=above(1),
                ),
                graph(
                    "Left alone",
                    {
                        "{{instance}} quarantined": "kvmtune_actuator_quarantined_targets",
                        "{{instance}} drifted": "kvmtune_actuator_drifted_targets",
                    },
                    says="Quarantined: a rule's verify failed there. Drifted: someone else has set the value; find "
                    "the other tuner (see Fleet), and stop one of the two.",
                    empty=NO_ACTUATOR,
                    steps=above(1),
                ),
                grid(
                    "Rules",
                    {"instance": "Host", "rule": "Rule"},
                    {
                        "Active": Column('sum by (instance, rule) (kvmtune_actuator_rule_instances{state="active"})'),
                        "Pending": Column('sum by (instance, rule) (kvmtune_actuator_rule_instances{state="pending"})'),
                        "Cannot decide": Column(
                            "max by (instance, rule) (kvmtune_actuator_rule_faulty)", steps=above(1)
                        ),
                        "Writes": _decided("written"),
                        "Would write": _decided("would write|paused"),
                        "Refused": _decided("refused", 1),
                        "Failed": _decided("failed|fell short", 1),
                        "Quarantined": _decided("quarantined", 1),
                    },
                    says="Label sets for which each rule holds now, and its decisions within the time shown. "
                    "Quarantined: its verify failed there; see the log, mend the rule, and reload.",
                    empty=NO_ACTUATOR,
                    sort="Active",
                ),
            ],
            "What it has changed": [
                graph(
                    "Values that it would put back",
                    {"{{instance}}": "kvmtune_actuator_changed_targets"},
                    says="Values that differ from what they were before. A stop puts them back; after a crash, "
                    "kvmtune-actuator restore does.",
                    empty=NO_ACTUATOR,
                ),
                graph(
                    "Ledger",
                    {"{{instance}}": "kvmtune_actuator_ledger_bytes"},
                    says="The file that restore needs. It is written anew at 1 MiB; far above: the disk is full or "
                    "read-only, see the log.",
                    empty=NO_ACTUATOR,
                    unit="bytes",
                    steps=above(2 * 2**20, 8 * 2**20),
                ),
            ],
            "How it runs": [
                graph(
                    "Age of the data of each",
                    {"{{instance}}": "kvmtune_actuator_data_age_seconds"},
                    says="Of the oldest data that a rule decided on. Saw teeth of one scrape interval are normal; "
                    "rising: the exporter or the server is behind.",
                    empty="No rule has decided yet.",
                    unit="s",
                    steps=above(15, 60),
                    width=8,
                ),
                graph(
                    "Ticks",
                    {
                        "{{instance}} took": "kvmtune_actuator_tick_duration_seconds",
                        "{{instance}} began late": "kvmtune_actuator_tick_lag_seconds",
                    },
                    says="How long the last tick took, and how late it began. Near the interval: use a longer "
                    "--interval, or fewer series in the rules.",
                    empty=NO_ACTUATOR,
                    unit="s",
                    steps=above(1, 5),
                    width=8,
                ),
                graph(
                    "Missed ticks",
                    {"{{instance}}": "increase(kvmtune_actuator_missed_ticks_total[$__rate_interval])"},
                    says="Ticks that were left out since the one before was not done. More than a few: the machine is "
                    "overloaded, or a write waits for a guest.",
                    empty=NO_ACTUATOR,
                    steps=above(1),
                    width=8,
                ),
            ],
        },
    )


def _decided(outcomes: str, *limits: float) -> Column:
    """How many of each rule's decisions had such an outcome in the time shown; 0 for a rule that decided otherwise."""
    count = f'increase(kvmtune_actuator_decisions_total{{outcome=~"{outcomes}"}}[$__range])'
    nothing = "kvmtune_actuator_rule_faulty * 0"
    steps = above(*limits) if limits else PLAIN
    return Column(f"round(sum by (instance, rule) ({count}) or sum by (instance, rule) ({nothing}))", "short", steps)
