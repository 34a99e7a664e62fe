"""One thing that goes wrong costs itself: the other rules, targets and ticks go on."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from actuator.knobs import KNOBS, Knob, Live, Target, Value
from actuator.rules import config, policy
from actuator.rules.ruleset import RuleSet
from tests.scenarios.model import Guest, Host, Run

RULES = config.loads("""
groups:
  - name: g
    rules:
      - tune: broken
        because: b
        when: kvm_memory_total_bytes > 0
        priority: 10
        set: {ksm.sleep_millisecs: 50}
      - tune: healthy
        because: b
        when: kvm_memory_total_bytes > 0
        set: {ksm.pages_to_scan: 500}
""")


class Broken(Knob):
    """A knob with a defect of its own, in reading or in writing."""

    name, unit, summary = "ksm.sleep_millisecs", KNOBS["ksm.sleep_millisecs"].unit, "broken"

    def __init__(self, whole: Knob, defect: str) -> None:
        self._whole = whole
        self._defect = defect

    def live(self) -> Mapping[Target, Live]:
        if self._defect == "read":
            raise RuntimeError("a defect")
        return self._whole.live()

    def write(self, target: Target, value: Value) -> None:
        raise RuntimeError("a defect")


@pytest.mark.parametrize(("defect", "outcome"), [("read", None), ("write", "failed")])
def test_a_defect_in_one_rule_costs_that_rule(
    tmp_path: Path, defect: str, outcome: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(tmp_path)
    with Run(host, rules=RULES) as run:
        run.knobs["ksm.sleep_millisecs"] = Broken(run.knobs["ksm.sleep_millisecs"], defect)
        decisions = run.tick(3)
        assert host.ksm("pages_to_scan") == 500
        assert host.ksm("sleep_millisecs") == 20
        told = {decision.outcome for decision in decisions if decision.rule == "broken"}
        assert told == ({outcome} if outcome else set())
        if defect == "read":
            assert run.faults["broken"] == ("RuntimeError: a defect (a defect of kvmtune: please report it)",)
            assert [record.message for record in caplog.records] == ["rule broken failed"]  # once, with its traceback
        run.restore()
        assert host.ksm("pages_to_scan") == 100


def test_a_defect_that_comes_back_is_logged_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run(Host(tmp_path), rules=RULES) as run:
        whole = run.knobs["ksm.sleep_millisecs"]
        for knob in (Broken(whole, "read"), whole, Broken(whole, "read")):
            run.knobs["ksm.sleep_millisecs"] = knob
            run.tick(2)
        assert [record.message for record in caplog.records] == ["rule broken failed"] * 2


SHRINK = config.loads("""
groups:
  - name: g
    rules:
      - tune: shrink
        because: b
        when: kvm_domain_balloon_usable_bytes > 0
        set: {balloon.target: kvm_domain_balloon_actual_bytes * 0.9}
""")
HALF = policy.loads("blast_radius: {share: 50%, at_least: 1}")


def test_a_rule_that_would_touch_every_guest_is_stopped_before_its_first_write(tmp_path: Path) -> None:
    host = Host(tmp_path, guests={name: Guest() for name in "abcd"})
    with Run(host, rules=SHRINK, promises=HALF) as run:
        decisions = run.tick(3)
        assert {decision.outcome for decision in decisions} == {"refused"}
        assert {decision.reason for decision in decisions} == {"blast radius"}
        assert [guest.actual for guest in host.guests.values()] == [1024] * 4


def test_what_must_not_be_touched_anyway_does_not_count(tmp_path: Path) -> None:
    host = Host(tmp_path, guests={name: Guest(refusal=None if name in "ab" else "paused") for name in "abcd"})
    with Run(host, rules=SHRINK, promises=HALF) as run:
        run.tick()
        assert [guest.actual < 1024 for guest in host.guests.values()] == [True, True, False, False]


def test_a_plan_goes_on_tick_by_tick(tmp_path: Path) -> None:
    plan = config.loads("""
groups:
  - name: g
    rules:
      - tune: plan
        because: b
        when: kvm_memory_total_bytes > 0
        allocate: {knob: balloon.target, free: 1024 * 1024 * 1024 - 0 * kvm_memory_total_bytes, need: kvm_domain_memory_used_bytes, by: idle}
""")
    host = Host(tmp_path, guests={name: Guest() for name in "abcd"})
    with Run(host, rules=plan, promises=HALF) as run:
        run.tick()
        assert sum(guest.actual < 1024 for guest in host.guests.values()) == 2
        run.tick()
        assert sum(guest.actual < 1024 for guest in host.guests.values()) >= 3


class Meddler(Knob):
    """Whoever writes to it has someone set `ksm.pages_to_scan` to 777."""

    name, unit, summary = "ksm.sleep_millisecs", KNOBS["ksm.sleep_millisecs"].unit, "someone else"

    def __init__(self, whole: Knob, host: Host) -> None:
        self._whole = whole
        self._host = host

    def live(self) -> Mapping[Target, Live]:
        return self._whole.live()

    def write(self, target: Target, value: Value) -> None:
        self._whole.write(target, value)
        self._host.ksm("pages_to_scan", 777)


@pytest.mark.parametrize("ticks_before", [0, 1])
def test_what_someone_changes_in_the_middle_of_a_tick_is_left_alone(tmp_path: Path, ticks_before: int) -> None:
    """Rules read it before the meddler comes, and would write after it."""
    host = Host(tmp_path)
    growing = config.loads("""
groups:
  - name: g
    rules:
      - {tune: broken, because: b, when: kvm_memory_total_bytes > 0, priority: 10, set: {ksm.sleep_millisecs: 50}}
      - {tune: growing, because: b, when: kvm_memory_total_bytes > 0, set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan * 2}}
""")
    with Run(host, rules=growing) as run:
        quiet = run.knobs["ksm.sleep_millisecs"]
        host.ksm("sleep_millisecs", 50)  # nothing to write there at first
        run.tick(ticks_before)
        host.ksm("sleep_millisecs", 20)
        run.knobs["ksm.sleep_millisecs"] = Meddler(quiet, host)
        told = {decision.knob: decision.outcome for decision in run.tick()}
        assert told == {"ksm.sleep_millisecs": "written", "ksm.pages_to_scan": "drifted"}
        assert host.ksm("pages_to_scan") == 777
        run.restore()
        assert (host.ksm("sleep_millisecs"), host.ksm("pages_to_scan")) == (20, 777)


def test_what_is_not_a_number_is_no_answer(tmp_path: Path) -> None:
    """`when` is an empty result for NaN as for a number that does not fulfil it; only the second ends the rule."""
    rules = config.loads("""
groups:
  - name: g
    rules:
      - {tune: a, because: b, when: kvm_memory_available_bytes < 5e9, on_clear: restore, set: {ksm.pages_to_scan: 500}}
""")
    host = Host(tmp_path, available=1024)
    with Run(host, rules=rules) as run:
        run.tick()
        host.available = math.nan  # type: ignore[assignment]
        run.tick(3)
        assert run.faults["a"] == ("waits for data of kvm_memory_available_bytes",)
        assert host.ksm("pages_to_scan") == 500
        host.available = 8192
        run.tick()
        assert host.ksm("pages_to_scan") == 100


def test_records_of_one_name_in_groups_of_one_name_are_both_there(tmp_path: Path) -> None:
    """Two files may each have a group `g`, and it may record the same metric with other labels."""
    files = [
        "groups: [{name: g, rules: [{record: a:b, expr: kvm_memory_total_bytes, labels: {which: one}}]}]",
        "groups: [{name: g, interval: 10m, rules: [{record: a:b, expr: kvm_memory_total_bytes, labels: {which: two}}]}]",
        """
groups:
  - name: other
    rules:
      - {tune: both, because: b, when: count(a:b) == 2, set: {ksm.pages_to_scan: 150}}
""",
    ]
    host = Host(tmp_path)
    with Run(host, rules=RuleSet(tuple(group for text in files for group in config.loads(text).groups))) as run:
        for _ in range(5):
            run.tick()
            assert run.faults["both"] == ()
        assert host.ksm("pages_to_scan") == 150
