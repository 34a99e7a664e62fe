"""The shipped rules in the loop with a model host, beyond what their own tests say (rules/*.test.yml)."""

import logging
from pathlib import Path

import pytest

from actuator.decision import Decision
from actuator.rules import config
from actuator.rules.ruleset import RuleSet
from tests.scenarios.model import Guest, Host, Run

SHORT, SPARE = 2048, 8192
"""MiB available of 16 GiB: 12.5 % and 50 %."""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def told(decisions: list[Decision]) -> list[tuple[float, str, str, object, object]]:
    return [
        (decision.time, decision.rule, decision.outcome, decision.before, decision.after)
        for decision in decisions
        if decision.outcome != "settled"
    ]


def test_dry_run_decides_the_same_and_writes_nothing(host: Host) -> None:
    host.available = SHORT
    host.guests = {"idle": Guest(used=128)}
    with Run(host, apply=False) as run:
        decisions = run.tick(10)
        assert {decision.outcome for decision in decisions} == {"would write"}
        assert {decision.rule for decision in decisions} == {"ksm_scan_faster", "balloon_shrink_idle"}
        assert (host.ksm("run"), host.ksm("pages_to_scan"), host.guests["idle"].actual) == (0, 100, 1024)
    assert not (host.root / "state").exists()


def test_stopping_restores_every_knob(host: Host) -> None:
    host.available = SHORT
    host.guests = {"idle": Guest(used=128, pins="0", busy=1.0), "other": Guest(used=900, pins="0", busy=1.0)}
    with Run(host) as run:
        run.tick(30)
        assert host.ksm("run") == 1
        assert host.guests["idle"].actual < 1024
        run.restore()
        assert (host.ksm("run"), host.ksm("pages_to_scan"), host.guests["idle"].actual) == (0, 100, 1024)
        assert {guest.pins for guest in host.guests.values()} == {"0"}


def test_nothing_happens_on_silence(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.available = SHORT
    with Run(host) as run, caplog.at_level(logging.CRITICAL):
        run.tick(2)
        host.is_up = False
        assert run.tick(20) == []
        assert run.faults["ksm_scan_faster"] == ("the data of this tick are missing",)
        host.is_up = True
        # The silence did not count for the rule's `for: 15s`.
        assert run.tick() == []
        assert told(run.tick(2)) != []


def test_metrics_that_vanish_are_no_evidence_of_anything(host: Host) -> None:
    host.available = SHORT
    host.guests = {"idle": Guest(used=128)}
    with Run(host) as run:
        run.tick(10)
        shrunk = host.guests["idle"].actual
        host.guests = {}
        run.tick(2)
        assert "waits for data of" in run.faults["balloon_shrink_idle"][0]
        assert "waits for data of" in run.faults["vcpu_spread_contended"][0]
        assert shrunk < 1024


def test_a_reload_keeps_what_rules_have_seen(host: Host) -> None:
    host.available = SHORT
    with Run(host) as run:
        run.tick(3)
        run.engine.reload(run.engine.rules, run.engine.policy)
        assert told(run.tick()) != []


SLOW = """
groups:
  - name: same
    interval: 60s
    rules:
      - tune: slow
        because: b
        when: kvm_memory_available_bytes > 0
        set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan + 1}
"""
FAST = """
groups:
  - name: same
    interval: 10s
    rules:
      - tune: fast
        because: b
        when: kvm_memory_available_bytes > 0
        set: {ksm.sleep_millisecs: 1000 + kvm_ksm_pages_to_scan}
"""


def test_each_group_keeps_its_own_interval(host: Host) -> None:
    """Also if another file has one of the same name."""
    both = RuleSet(config.loads(SLOW).groups + config.loads(FAST).groups)
    with Run(host, rules=both) as run:
        run.tick(13)
        ticks = {"slow": [], "fast": []}
        for decision in run.decisions:
            ticks[decision.rule].append(decision.time)
        assert ticks == {"slow": [5, 65], "fast": [5, 15, 25, 35, 45, 55, 65]}


CONFLICT = """
groups:
  - name: g
    rules:
      - tune: modest
        because: b
        when: kvm_memory_available_bytes > 0
        set: {ksm.pages_to_scan: 150}
      - tune: urgent
        because: b
        when: kvm_memory_available_bytes > 0
        priority: 1
        set: {ksm.pages_to_scan: 199}
"""


def test_of_two_rules_on_one_knob_the_more_important_one_wins(host: Host) -> None:
    with Run(host, rules=config.loads(CONFLICT)) as run:
        assert [(rule, outcome) for _, rule, outcome, *_ in told(run.tick())] == [
            ("modest", "overruled"),
            ("urgent", "written"),
        ]
        assert host.ksm("pages_to_scan") == 199


LABELS = """
groups:
  - name: g
    rules:
      - {record: both, labels: {kind: a}, expr: kvm_ksm_run + 1}
      - {record: both, labels: {kind: b}, expr: kvm_ksm_run + 2}
      - tune: uses_both
        because: b
        when: sum(both) == 3
        set: {ksm.run: 1}
"""


def test_two_records_of_one_name_live_side_by_side(host: Host) -> None:
    with Run(host, rules=config.loads(LABELS)) as run:
        run.tick()
        assert host.ksm("run") == 1


INTERVALS = """
groups:
  - name: slow
    interval: 30s
    rules:
      - {record: both, labels: {kind: a}, expr: kvm_ksm_run + 1}
  - name: fast
    rules:
      - {record: both, labels: {kind: b}, expr: kvm_ksm_run + 2}
      - tune: uses_both
        because: b
        when: count(both) == 2
        set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan + 1}
"""


def test_two_records_of_one_name_keep_the_intervals_of_their_groups(host: Host) -> None:
    with Run(host, rules=config.loads(INTERVALS)) as run:
        run.tick(4)
        assert host.ksm("pages_to_scan") == 104


VETO = """
groups:
  - name: g
    rules:
      - tune: vetoed
        because: b
        when: kvm_ksm_run == 0 unless on () kvm_veto == 1
        set: {ksm.run: 1}
      - tune: not_a_number
        because: b
        when: (kvm_ksm_run - kvm_ksm_run) / (kvm_ksm_run - kvm_ksm_run) != 1
        set: {ksm.run: 1}
"""


def test_what_is_missing_or_not_a_number_is_no_reason_to_act(host: Host) -> None:
    with Run(host, rules=config.loads(VETO)) as run:
        assert run.tick(3) == []
        assert run.faults["vetoed"] == ("waits for data of kvm_veto",)
        assert "not a number" in run.faults["not_a_number"][0]


HALF = """
groups:
  - name: g
    rules:
      - tune: half
        because: b
        when: kvm_memory_available_bytes > 0
        every: 30s
        set: {balloon.target: kvm_domain_balloon_actual_bytes / 2 / (kvm_domain_balloon_usable_bytes > bool 0)}
"""


def test_a_setpoint_that_fails_costs_its_own_guest_and_stays_a_fault_until_the_next_act(host: Host) -> None:
    host.guests = {"fine": Guest(used=128), "full": Guest(actual=1024, used=1024)}
    with Run(host, rules=config.loads(HALF)) as run:
        run.tick(2)
        assert host.guests["fine"].actual == 717
        assert host.guests["full"].actual == 1024
        assert run.faults["half"] == ("the setpoint for full is inf",)


def test_a_reload_forgets_what_a_rule_saw_under_another_condition(host: Host) -> None:
    host.available = SHORT
    with Run(host, rules=config.loads(VETO.replace("kvm_veto", "kvm_ksm_pages_to_scan"))) as run:
        run.tick()
        assert host.ksm("run") == 1
        run.engine.reload(config.loads(VETO.replace("kvm_veto", "kvm_ksm_run")), run.engine.policy)
        host.ksm("run", 0)
        assert [decision.rule for decision in run.tick(2) if decision.outcome == "written"] == []


BROKEN_QUERY = """
groups:
  - name: g
    rules:
      - tune: cannot_be_evaluated
        because: b
        when: kvm_domain_balloon_actual_bytes * on () kvm_domain_balloon_usable_bytes > 0
        set: {ksm.pages_to_scan: 150}
      - tune: fine
        because: b
        when: kvm_ksm_run == 0
        set: {ksm.run: 1}
"""


ODD_NAME = """
groups:
  - name: g
    rules:
      - tune: odd
        because: b
        when: '{"%s"} > 0'
        set: {ksm.pages_to_scan: 150}
      - tune: fine
        because: b
        when: kvm_ksm_run == 0
        set: {ksm.run: 1}
"""


@pytest.mark.parametrize("name", ["no such metric", "größe", "sum", "inf"])
def test_a_missing_metric_of_any_name_costs_its_own_rule(host: Host, name: str) -> None:
    with Run(host, rules=config.loads(ODD_NAME % name)) as run:
        run.tick()
        assert run.faults["odd"] == (f"waits for data of {name}",)
        assert host.ksm("run") == 1


def test_a_query_that_fails_costs_its_own_rule(host: Host) -> None:
    host.guests = {"a": Guest(), "b": Guest()}
    with Run(host, rules=config.loads(BROKEN_QUERY)) as run:
        run.tick()
        assert "many" in run.faults["cannot_be_evaluated"][0]
        assert (host.ksm("run"), host.ksm("pages_to_scan")) == (1, 100)
