"""The shipped rules on a model host: state in, time, state out."""

import logging
from pathlib import Path

import pytest

from actuator import config
from actuator.decision import Decision
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


def test_shortage_starts_ksm_after_15_seconds_and_raises_its_rate_every_10(host: Host) -> None:
    host.available = SHORT
    with Run(host) as run:
        assert told(run.tick(3)) == []
        assert told(run.tick()) == [
            (20, "ksm_scan_faster", "written", 0, 1),
            (20, "ksm_scan_faster", "written", 100, 150),
        ]
        assert told(run.tick(4)) == [
            (30, "ksm_scan_faster", "written", 150, 225),
            (40, "ksm_scan_faster", "written", 225, 337),
        ]
        run.tick(60)
        assert host.ksm("pages_to_scan") == 20000
        assert host.ksm("run") == 1


def test_the_rate_decays_to_the_configured_floor_and_what_is_merged_is_kept(host: Host) -> None:
    host.ksm("run", 1)
    host.ksm("pages_to_scan", 20000)
    host.available = SPARE
    with Run(host) as run:
        assert told(run.tick(6)) == []
        assert told(run.tick()) == [(35, "ksm_scan_slower", "written", 20000, 14000)]
        run.tick(100)
        assert host.ksm("pages_to_scan") == 100
        assert host.ksm("run") == 1


def test_between_the_thresholds_it_goes_on_until_there_is_some_to_spare(host: Host) -> None:
    host.available = SHORT
    with Run(host) as run:
        run.tick(5)
        host.available = int(host.total * 0.22)
        assert [decision.rule for decision in run.tick(4)] == ["ksm_scan_faster"] * 2
        host.available = int(host.total * 0.26)
        assert run.tick(4) == []


def test_an_idle_guest_lends_half_of_what_it_can_spare_and_not_below_its_floor(host: Host) -> None:
    host.available = SHORT
    host.guests = {"idle": Guest(actual=1024, used=128), "busy": Guest(actual=1024, used=900)}
    with Run(host) as run:
        shrinks = [decision for decision in run.tick(24) if decision.knob == "balloon.target"]
        assert {decision.target for decision in shrinks} == {(("domain", "idle"),)}
        # 30 % a step is the policy's limit; then half of the rest, while 30 % of it is usable.
        sizes = [int(decision.after or 0) >> 20 for decision in shrinks if decision.outcome == "written"]
        assert sizes == [717, 502, 352, 247, 188, 158]
        assert host.guests["busy"].actual == 1024


def test_a_guest_that_needs_memory_gets_it_back_also_in_a_shortage(host: Host) -> None:
    host.available = SHORT
    host.guests = {"web": Guest(actual=400, used=380)}
    with Run(host) as run:
        first = [decision for decision in run.tick() if decision.knob == "balloon.target"]
        assert told(first) == [(5, "balloon_return_needed", "written", 400 << 20, 520 << 20)]
        run.tick(10)
        # It stops when 15 % of it is usable, and the shrinking rule has nothing to take either.
        assert host.guests["web"].actual == 520


def test_with_memory_to_spare_guests_get_back_what_they_lent(host: Host) -> None:
    host.available = SPARE
    host.guests = {"web": Guest(actual=512, used=128)}
    with Run(host) as run:
        run.tick(12)
        assert host.guests["web"].actual == 512
        run.tick(100)
        assert host.guests["web"].actual == 1024


def test_a_guest_that_may_not_be_touched_is_named_and_left(host: Host) -> None:
    host.available = SHORT
    host.guests = {"mute": Guest(used=128, refusal="the balloon driver in the guest does not answer")}
    with Run(host) as run:
        (decision,) = [decision for decision in run.tick(4) if decision.knob == "balloon.target"]
        assert (decision.outcome, decision.detail) == ("refused", "the balloon driver in the guest does not answer")
        assert host.guests["mute"].actual == 1024


def test_two_busy_guests_on_one_cpu_end_up_apart(host: Host) -> None:
    host.guests = {name: Guest(actual=512, maximum=512, pins="0", busy=1.0) for name in ("a", "b")}
    host.guests["idle"] = Guest(actual=512, maximum=512, pins="0")
    with Run(host) as run:
        run.tick(30)
        assert {name: guest.pins for name, guest in host.guests.items()} == {"a": "1", "b": "0", "idle": "0"}
        moves = [decision for decision in run.decisions if decision.outcome == "written"]
        assert len(moves) == 1


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
        assert run.faults["ksm_scan_faster"] == ("the exporter could not be scraped",)
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
    interval: 30s
    rules:
      - tune: slow
        because: b
        when: kvm_memory_available_bytes > 0
        set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan + 1}
  - name: same
    interval: 10s
    rules:
      - tune: fast
        because: b
        when: kvm_memory_available_bytes > 0
        set: {ksm.sleep_millisecs: 1000 + kvm_ksm_pages_to_scan}
"""


def test_each_group_keeps_its_own_interval(host: Host) -> None:
    with Run(host, rules=config.loads(SLOW)) as run:
        run.tick(13)
        ticks = {"slow": [], "fast": []}
        for decision in run.decisions:
            ticks[decision.rule].append(decision.time)
        assert ticks == {"slow": [5, 35, 65], "fast": [5, 15, 25, 35, 45, 55, 65]}


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


def test_a_query_that_fails_costs_its_own_rule(host: Host) -> None:
    host.guests = {"a": Guest(), "b": Guest()}
    with Run(host, rules=config.loads(BROKEN_QUERY)) as run:
        run.tick()
        assert "many" in run.faults["cannot_be_evaluated"][0]
        assert (host.ksm("run"), host.ksm("pages_to_scan")) == (1, 100)
