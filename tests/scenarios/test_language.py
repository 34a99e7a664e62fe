"""What the keys of a rule do on a model host: state in, time, state out."""

from pathlib import Path

import pytest

from actuator.decision import Decision
from actuator.knobs import HOST
from actuator.ledger.ledger import Ledger
from actuator.ledger.records import Intent
from actuator.rules import config
from actuator.rules.ruleset import RuleSet
from kvmhost.domains import DeclaredPolicy
from tests.scenarios.model import MIB, Guest, Host, Run

SHORT, SPARE = 2048, 8192
"""MiB available of 16 GiB."""

FASTER = """
      - tune: faster
        because: b
        when: kvm_memory_available_bytes / kvm_memory_total_bytes < 0.2
        set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan * 2}
"""


def rules(*texts: str) -> RuleSet:
    return config.loads("groups:\n  - name: g\n    rules:\n" + "".join(texts))


def having(keys: str, rule: str = FASTER) -> str:
    """The rule with more keys."""
    return rule.rstrip() + "".join(f"\n        {key}" for key in keys.strip().splitlines()) + "\n"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, available=SHORT)


def told(decisions: list[Decision]) -> list[tuple[float, str, str, object, object]]:
    return [
        (decision.time, decision.rule, decision.outcome, decision.before, decision.after)
        for decision in decisions
        if decision.outcome != "settled"
    ]


COUNTING = """
      - record: seen
        expr: (last_over_time(seen[10m]) or 0 * kvm_memory_total_bytes) + 1
      - tune: third_time
        because: b
        when: seen >= 3
        set: {ksm.pages_to_scan: 100 * seen}
"""


def test_a_record_that_reads_itself_remembers_also_over_a_scrape_that_failed(host: Host) -> None:
    with Run(host, rules=rules(COUNTING)) as run:
        run.tick(2)
        assert run.decisions == []
        host.is_up = False
        run.tick(3)
        host.is_up = True
        assert [decision.after for decision in run.tick(2)] == [300, 400]


def test_a_record_that_was_wrong_and_is_gone_is_at_fault_no_more(host: Host) -> None:
    wrong = "      - {record: both, expr: kvm_memory_total_bytes + on () kvm_domain_balloon_actual_bytes}\n"
    host.guests = {"a": Guest(), "b": Guest()}
    with Run(host, rules=rules(wrong, FASTER)) as run:
        run.tick()
        assert run.faults["both"] != ()
        run.engine.reload(rules(FASTER), run.engine.policy)
        assert run.faults["both"] == ()


def test_the_knobs_of_a_set_are_written_in_their_order(host: Host) -> None:
    several = FASTER.replace("{ksm.pages", "{ksm.sleep_millisecs: 50, ksm.run: 1, ksm.pages")
    with Run(host, rules=rules(several)) as run:
        written = [decision.knob for decision in run.tick() if decision.outcome == "written"]
        assert written == ["ksm.sleep_millisecs", "ksm.run", "ksm.pages_to_scan"]


# on_clear


def test_on_clear_keep_leaves_what_was_set(host: Host) -> None:
    with Run(host, rules=rules(having("every: 1h"))) as run:
        run.tick()
        host.available = SPARE
        assert run.tick(3) == []
        assert host.ksm("pages_to_scan") == 200


def test_on_clear_restore_puts_back_what_the_rule_found_and_lets_go_of_it(host: Host) -> None:
    with Run(host, rules=rules(having("on_clear: restore"))) as run:
        run.tick(3)
        assert host.ksm("pages_to_scan") == 800
        host.available = SPARE
        assert told(run.tick(2)) == [(20, "faster", "written", 800, 100)]
        # It is not ours any more: a stop has nothing to put back.
        host.ksm("pages_to_scan", 300)
        run.restore()
        assert host.ksm("pages_to_scan") == 300


def test_on_clear_restore_waits_while_it_is_not_known_whether_the_rule_holds(host: Host) -> None:
    with Run(host, rules=rules(having("on_clear: restore\nevery: 1h"))) as run:
        run.tick()
        host.is_up = False
        run.tick(3)
        assert host.ksm("pages_to_scan") == 200


def test_on_clear_restore_leaves_alone_what_someone_else_has_set_since(host: Host) -> None:
    with Run(host, rules=rules(having("on_clear: restore\nevery: 1h"))) as run:
        run.tick()
        host.ksm("pages_to_scan", 777)
        host.available = SPARE
        assert [decision.outcome for decision in run.tick()] == ["drifted"]
        run.tick(3)
        assert host.ksm("pages_to_scan") == 777


OTHER = """
      - tune: other
        because: b
        when: kvm_memory_available_bytes / kvm_memory_total_bytes < 0.1
        set: {ksm.pages_to_scan: 1000}
        limits: {step: 1000%}
        priority: 1
        on_clear: restore
"""


def test_on_clear_restore_takes_back_its_own_doing_and_not_that_of_another_rule(host: Host) -> None:
    with Run(host, rules=rules(having("every: 1h"), OTHER)) as run:
        run.tick()
        assert host.ksm("pages_to_scan") == 200
        host.available = 1024
        run.tick(6)
        assert host.ksm("pages_to_scan") == 1000
        host.available = SHORT
        run.tick(2)
        assert host.ksm("pages_to_scan") == 200
        run.restore()
        assert host.ksm("pages_to_scan") == 100


def test_on_clear_restore_is_done_for_each_guest_on_its_own(host: Host) -> None:
    shrink = """
      - tune: shrink
        because: b
        when: kvm_domain_balloon_usable_bytes > 600 * 1024 * 1024
        every: 1h
        on_clear: restore
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 256 * 1024 * 1024}
    """
    # 768 MiB are usable in each, and 512 after it: the rule ends by its own doing.
    host.guests = {"a": Guest(), "b": Guest(maximum=2048, actual=2048)}
    with Run(host, rules=rules(shrink)) as run:
        run.tick()
        assert [host.guests[name].actual for name in "ab"] == [768, 1792]
        run.tick()
        assert [host.guests[name].actual for name in "ab"] == [1024, 1792]


def test_on_clear_restore_is_made_up_for_after_a_crash(host: Host) -> None:
    intent = Intent(id=1, time=1, knob="ksm.pages_to_scan", target=HOST, identity="", before=100, after=200, rule="faster", because="b")  # fmt: skip
    ledger = Ledger(host.root / "state")
    ledger.append(intent)
    ledger.close()
    host.ksm("pages_to_scan", 200)
    host.available = SPARE
    with Run(host, rules=rules(having("on_clear: restore"))) as run:
        assert told(run.tick()) == [(5, "faster", "written", 200, 100)]


# verify


VERIFIED = having("verify: {expr: kvm_memory_available_bytes > 4 * 1024 * 1024 * 1024, within: 12s, else: revert}")


def test_a_write_that_helps_in_time_stays_and_is_followed_by_the_next(host: Host) -> None:
    helps = VERIFIED.replace("kvm_memory_available_bytes > 4 * 1024 * 1024 * 1024", "kvm_ksm_pages_to_scan > 150")
    with Run(host, rules=rules(helps)) as run:
        # The answer must be younger than the write: it passes at the next tick, in which the rule acts again.
        assert told(run.tick(3)) == [
            (5, "faster", "written", 100, 200),
            (10, "faster", "written", 200, 400),
            (15, "faster", "written", 400, 800),
        ]


def test_a_write_that_does_not_help_is_taken_back_and_its_target_put_into_quarantine(host: Host) -> None:
    with Run(host, rules=rules(VERIFIED)) as run:
        assert told(run.tick(3)) == [
            (5, "faster", "written", 100, 200),
            (10, "faster", "waiting", 200, None),
            (15, "faster", "waiting", 200, None),
        ]
        assert [line for line in told(run.tick()) if line[2] == "written"] == [(20, "faster", "written", 200, 100)]
        (fault,) = run.faults["faster"]
        assert fault.startswith("ksm.pages_to_scan of host is in quarantine: verify did not hold within 12s")
        assert {decision.outcome for decision in run.tick(20)} <= {"quarantined", "overruled"}
        assert host.ksm("pages_to_scan") == 100
        assert run.engine.aftermath.quarantined_targets == 1


def test_a_revert_takes_back_the_last_write_only(host: Host) -> None:
    once = VERIFIED.replace("kvm_memory_available_bytes > 4 * 1024 * 1024 * 1024", "kvm_ksm_pages_to_scan < 300")
    with Run(host, rules=rules(once)) as run:
        run.tick(8)
        assert host.ksm("pages_to_scan") == 200
        run.restore()
        assert host.ksm("pages_to_scan") == 100


def test_no_data_is_no_failure(host: Host) -> None:
    with Run(host, rules=rules(VERIFIED)) as run:
        run.tick()
        host.is_up = False
        run.tick(10)
        assert host.ksm("pages_to_scan") == 200
        host.is_up = True
        run.tick(3)
        assert host.ksm("pages_to_scan") == 100


def test_what_someone_else_has_set_meanwhile_is_not_reverted(host: Host) -> None:
    with Run(host, rules=rules(VERIFIED)) as run:
        run.tick()
        host.ksm("pages_to_scan", 777)
        run.tick(6)
        assert host.ksm("pages_to_scan") == 777
        assert run.engine.aftermath.quarantined_targets == 0


def test_a_changed_rule_is_tried_again_and_an_unchanged_one_is_not(host: Host) -> None:
    with Run(host, rules=rules(VERIFIED)) as run:
        run.tick(6)
        run.engine.reload(rules(VERIFIED), run.engine.policy)
        assert run.engine.aftermath.quarantined_targets == 1
        run.engine.reload(rules(VERIFIED.replace("12s", "20s")), run.engine.policy)
        assert [line[2] for line in told(run.tick())] == ["written"]


def test_one_guest_in_quarantine_costs_no_other(host: Host) -> None:
    lend = """
      - tune: lend
        because: b
        when: kvm_domain_balloon_actual_bytes > 0
        every: 10s
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 64 * 1024 * 1024}
        verify: {expr: kvm_domain_balloon_usable_bytes > 128 * 1024 * 1024, within: 5s}
    """
    host.guests = {"roomy": Guest(used=128), "full": Guest(used=850)}
    with Run(host, rules=rules(lend)) as run:
        run.tick(6)
        assert host.guests["full"].actual == 1024
        assert host.guests["roomy"].actual < 900
        (fault,) = run.faults["lend"]
        assert fault.startswith("balloon.target of full is in quarantine")


def test_a_rule_in_quarantine_is_in_nobodys_way(host: Host) -> None:
    other = FASTER.replace("faster", "other").replace("kvm_ksm_pages_to_scan * 2", "300")
    with Run(host, rules=rules(having("priority: 1", VERIFIED), other)) as run:
        run.tick(4)
        assert host.ksm("pages_to_scan") == 100
        run.tick(2)
        assert host.ksm("pages_to_scan") == 300


def test_a_write_that_failed_is_not_on_trial(host: Host) -> None:
    lend = """
      - tune: lend
        because: b
        when: kvm_domain_balloon_actual_bytes > 0
        set: {balloon.target: 512 * 1024 * 1024}
        verify: {expr: kvm_domain_balloon_actual_bytes < 800 * 1024 * 1024, within: 5s}
    """
    host.guests = {"web": Guest(breaks="libvirt is busy with another job of it")}
    with Run(host, rules=rules(lend)) as run:
        run.tick(4)
        assert run.engine.aftermath.quarantined_targets == 0
        host.guests["web"].breaks = ""
        run.tick(4)
        assert host.guests["web"].actual == 512


def test_a_dry_run_has_nothing_to_verify(host: Host) -> None:
    with Run(host, apply=False, rules=rules(VERIFIED)) as run:
        assert {decision.outcome for decision in run.tick(6)} == {"would write"}


# keep_firing_for


def test_a_gap_shorter_than_keep_firing_for_does_not_end_it(host: Host) -> None:
    with Run(host, rules=rules(having("keep_firing_for: 10s\non_clear: restore\nevery: 1h"))) as run:
        run.tick()
        for available, pages in ((SPARE, 200), (SHORT, 200), (SPARE, 200), (SPARE, 200), (SPARE, 100)):
            host.available = available
            run.tick()
            assert host.ksm("pages_to_scan") == pages


# require_fresh


SHRINK = """
      - tune: shrink
        because: b
        when: kvm_memory_available_bytes < 4 * 1024 * 1024 * 1024
        require_fresh: {kvm_domain_balloon_stats_age_seconds: 30s}
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 64 * 1024 * 1024}
"""


def test_a_guest_whose_data_are_old_is_refused_and_the_others_are_not(host: Host) -> None:
    host.guests = {"fresh": Guest(), "old": Guest(stats_age=31), "ahead": Guest(stats_age=-3600)}
    with Run(host, rules=rules(SHRINK)) as run:
        decisions = run.tick()
        assert {name: guest.actual for name, guest in host.guests.items()} == {"fresh": 960, "old": 1024, "ahead": 1024}
        refusals = {
            dict(decision.target)["domain"]: decision.detail for decision in decisions if decision.outcome == "refused"
        }
        assert refusals == {
            "old": "kvm_domain_balloon_stats_age_seconds of old says 31 s, not within 30s",
            "ahead": "kvm_domain_balloon_stats_age_seconds of ahead says -3600 s, not within 30s",
        }


def test_a_target_without_an_age_is_refused(host: Host) -> None:
    host.guests = {"a": Guest()}
    with Run(host, rules=rules(SHRINK.replace("stats_age", "data_age"))) as run:
        (decision,) = run.tick()
        assert (decision.outcome, decision.detail) == (
            "refused",
            "there is no kvm_domain_balloon_data_age_seconds of a",
        )


# mode


def test_a_rule_in_dry_run_says_what_it_would_do_and_is_in_nobodys_way(host: Host) -> None:
    dry = having("mode: dry-run\npriority: 9").replace("tune: faster", "tune: dry").replace("* 2", "* 1.5")
    with Run(host, rules=rules(FASTER, dry)) as run:
        assert sorted(told(run.tick())) == [
            (5, "dry", "would write", 100, 150),
            (5, "faster", "written", 100, 200),
        ]
        assert host.ksm("pages_to_scan") == 200


def test_a_rule_that_is_off_does_nothing_and_ends(host: Host) -> None:
    with Run(host, rules=rules(having("on_clear: restore"))) as run:
        run.tick()
        assert host.ksm("pages_to_scan") == 200
        run.engine.reload(rules(having("on_clear: restore\nmode: off")), run.engine.policy)
        run.tick(3)
        assert host.ksm("pages_to_scan") == 100


def test_without_apply_no_mode_writes(host: Host) -> None:
    with Run(host, apply=False, rules=rules(having("mode: apply"))) as run:
        run.tick(3)
        assert host.ksm("pages_to_scan") == 100


# the guests' own policy


def test_a_guests_own_metadata_are_a_floor_and_can_opt_it_out(host: Host) -> None:
    host.guests = {
        "guaranteed": Guest(declared=DeclaredPolicy(min_guarantee_bytes=1000 * MIB)),
        "out": Guest(declared=DeclaredPolicy(opt_out=True)),
        "damaged": Guest(declared=DeclaredPolicy(faults=("opt_out: 'yes' is neither true nor false",))),
    }
    with Run(host, rules=rules(SHRINK)) as run:
        decisions = {dict(decision.target)["domain"]: decision.detail for decision in run.tick(2)}
        assert {name: guest.actual for name, guest in host.guests.items()} == {
            "guaranteed": 1000,
            "out": 1024,
            "damaged": 1024,
        }
        assert decisions["out"] == "the guest's own metadata opt it out"
        assert decisions["damaged"].startswith("the policy in the guest's metadata is malformed: opt_out")
