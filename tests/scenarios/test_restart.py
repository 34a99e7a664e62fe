"""What a restart does not end: trials, quarantines, hands-off after drift, values kept for the next boot.

An actuator that is left without a stop is one that kill -9 has ended.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actuator.decision import Decision
from actuator.knobs import HOST
from actuator.ledger import release
from actuator.ledger.ledger import Ledger
from actuator.ledger.records import Held, Intent, Outcome
from actuator.rules.ruleset import RuleSet
from tests.scenarios.model import Guest, Host, Run
from tests.scenarios.test_language import FASTER, SHORT, SPARE, VERIFIED, having, rules, told

PAGES = ("ksm.pages_to_scan", HOST)
STATE = "state"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, available=SHORT)


def lasting(host: Host, ticks: int, *, by: RuleSet, now: float = 0.0) -> list[tuple[float, str, str, object, object]]:
    """What an actuator does in so many ticks, which then is killed."""
    with Run(host, rules=by, now=now) as run:
        return told(run.tick(ticks))


def outcomes(decisions: list[Decision]) -> set[str]:
    return {decision.outcome for decision in decisions}


# A write on trial.


def test_a_trial_goes_on_by_its_own_time_and_fails_after_a_restart(host: Host) -> None:
    """Written at 5, it has 12 s: judged at 20, when the other half of the time went by without an actuator."""
    assert lasting(host, 1, by=rules(VERIFIED)) == [(5, "faster", "written", 100, 200)]
    with Run(host, rules=rules(VERIFIED), now=10) as run:
        assert told(run.tick()) == [(15, "faster", "waiting", 200, None)]
        assert (20, "faster", "written", 200, 100) in told(run.tick())
        assert run.engine.aftermath.quarantined_targets == 1


def test_a_trial_whose_time_is_over_is_judged_at_once(host: Host) -> None:
    lasting(host, 1, by=rules(VERIFIED))
    with Run(host, rules=rules(VERIFIED), now=3600) as run:
        run.tick()
        assert host.ksm("pages_to_scan") == 100


def test_a_trial_is_passed_after_a_restart(host: Host) -> None:
    helps = rules(
        VERIFIED.replace("kvm_memory_available_bytes > 4 * 1024 * 1024 * 1024", "kvm_ksm_pages_to_scan > 150")
    )
    lasting(host, 1, by=helps)
    assert lasting(host, 1, by=helps, now=10) == [(15, "faster", "written", 200, 400)]


def test_a_trial_is_not_judged_without_data(host: Host) -> None:
    lasting(host, 1, by=rules(VERIFIED))
    host.is_up = False
    lasting(host, 100, by=rules(VERIFIED), now=10)
    assert host.ksm("pages_to_scan") == 200
    host.is_up = True
    lasting(host, 2, by=rules(VERIFIED), now=600)
    assert host.ksm("pages_to_scan") == 100


def test_a_clock_that_was_set_back_begins_the_trial_anew(host: Host) -> None:
    lasting(host, 1, by=rules(VERIFIED), now=1_000_000)
    with Run(host, rules=rules(VERIFIED), now=500) as run:
        run.tick(2)
        assert host.ksm("pages_to_scan") == 200
        run.tick(2)
        assert host.ksm("pages_to_scan") == 100


@pytest.mark.parametrize("value", [777, 100])
def test_what_is_not_there_any_more_is_not_judged(host: Host, value: int) -> None:
    """Someone else has set it since, or it is as it was: a write that was never made, or a boot."""
    lasting(host, 1, by=rules(VERIFIED))
    host.ksm("pages_to_scan", value)
    with Run(host, rules=rules(VERIFIED), now=600) as run:
        run.tick()
        assert run.engine.aftermath.quarantined_targets == 0
        assert host.ksm("pages_to_scan") == value


def test_a_write_that_was_never_made_is_not_judged_but_made(host: Host) -> None:
    """Killed between intent and write."""
    (tune,) = rules(VERIFIED).tunes
    ledger = Ledger(host.root / STATE)
    ledger.append(
        Intent(id=1, time=5, knob=PAGES[0], target=HOST, identity="", before=100, after=200, rule="faster", because="b", trial=tune.digest)
    )  # fmt: skip
    ledger.close()
    with Run(host, rules=rules(VERIFIED), now=600) as run:
        assert told(run.tick()) == [
            (605, "faster", "fell short", 100, 100),
            (605, "faster", "written", 100, 200),
        ]
        run.restore()
        assert host.ksm("pages_to_scan") == 100


def test_a_write_without_its_outcome_is_taken_on(host: Host) -> None:
    """Killed between write and outcome, it counts as done, with its trial."""
    lasting(host, 1, by=rules(VERIFIED))
    ledger = host.root / STATE / "ledger.jsonl"
    ledger.write_text("".join(line for line in ledger.read_text().splitlines(keepends=True) if "outcome" not in line))
    with Run(host, rules=rules(VERIFIED), now=5) as run:
        run.tick()
        assert run.ledger.owned[PAGES].written == (200,)
        run.tick(2)
        assert host.ksm("pages_to_scan") == 100


# A quarantine.


def quarantined(host: Host) -> None:
    """The rule has failed on this host, at 20, and its write was taken back."""
    lasting(host, 6, by=rules(VERIFIED))
    assert host.ksm("pages_to_scan") == 100


def test_a_quarantine_lasts(host: Host) -> None:
    quarantined(host)
    with Run(host, rules=rules(VERIFIED), now=1000) as run:
        assert outcomes(run.tick(20)) == {"quarantined"}
        (fault,) = run.faults["faster"]
        assert fault.startswith("ksm.pages_to_scan of host is in quarantine: verify did not hold within 12s")


def test_a_quarantine_lasts_also_over_compaction(host: Host) -> None:
    quarantined(host)
    Ledger(host.root / STATE, long_bytes=1).close()
    with Run(host, rules=rules(VERIFIED), now=1000) as run:
        assert outcomes(run.tick(3)) == {"quarantined"}


def test_a_rule_that_was_changed_meanwhile_is_tried_again(host: Host) -> None:
    quarantined(host)
    assert lasting(host, 1, by=rules(VERIFIED.replace("12s", "20s")), now=1000) == [
        (1005, "faster", "written", 100, 200)
    ]


def test_one_that_was_moved_or_has_other_comments_is_not(host: Host) -> None:
    quarantined(host)
    same = FASTER.replace("tune: faster", "tune: first").replace("< 0.2", "< 0"), f"# moved\n{VERIFIED}"
    with Run(host, rules=rules(*same), now=1000) as run:
        assert outcomes(run.tick(3)) == {"quarantined"}


def test_a_rule_that_was_away_for_a_while_is_still_in_quarantine(host: Host) -> None:
    quarantined(host)
    lasting(host, 3, by=rules(FASTER.replace("tune: faster", "tune: other").replace("< 0.2", "< 0")), now=1000)
    with Run(host, rules=rules(VERIFIED), now=2000) as run:
        assert outcomes(run.tick(3)) == {"quarantined"}


def test_a_revert_that_was_not_made_yet_is_made_after_a_restart(host: Host) -> None:
    lasting(host, 1, by=rules(VERIFIED))
    ledger = Ledger(host.root / STATE)
    held = ledger.held["faster", PAGES]
    ledger.append(replace(held, verdict="it did not help"))
    ledger.close()
    with Run(host, rules=rules(VERIFIED), now=1000) as run:
        assert (1005, "faster", "written", 200, 100) in told(run.tick())


def test_a_new_guest_of_an_old_name_is_not_in_quarantine(host: Host) -> None:
    lend = """
      - tune: lend
        because: b
        when: kvm_domain_balloon_actual_bytes > 0
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 64 * 1024 * 1024}
        verify: {expr: kvm_memory_available_bytes < 0, within: 5s}
    """
    host.guests = {"a": Guest()}
    (tune,) = rules(lend).tunes
    ledger = Ledger(host.root / STATE)
    ledger.append(
        Held(time=5, rule="lend", digest=tune.digest, knob="balloon.target", target=(("domain", "a"),), identity="u-other", before=1, verdict="v")
    )  # fmt: skip
    ledger.close()
    with Run(host, rules=rules(lend), now=100) as run:
        run.tick()
        assert host.guests["a"].actual == 960


# An operator's word.


def release_all(host: Host, now: float) -> None:
    ledger = Ledger(host.root / STATE)
    release.ask(host.root / STATE, [record for record, _ in release.held_back(ledger._standing, now)], now)
    ledger.close()


def test_what_is_released_is_tried_again(host: Host) -> None:
    quarantined(host)
    release_all(host, 900)
    with Run(host, rules=rules(VERIFIED), now=1000) as run:
        assert told(run.tick()) == [(1005, "faster", "written", 100, 200)]
        assert list((host.root / STATE).glob("release-*")) == []


def test_what_failed_after_it_was_asked_for_is_not_meant(host: Host) -> None:
    quarantined(host)
    release_all(host, 900)
    ledger = Ledger(host.root / STATE)
    held = ledger.held["faster", PAGES]
    ledger.append(replace(held, time=950))
    ledger.close()
    with Run(host, rules=rules(VERIFIED), now=1000) as run:
        assert outcomes(run.tick()) == {"quarantined"}


# Drift.


def drifted(host: Host, now: float = 0.0) -> None:
    """Someone else has set it, which was seen 10 s after `now`."""
    with Run(host, rules=rules(FASTER), now=now) as run:
        run.tick()
        host.ksm("pages_to_scan", 777)
        assert outcomes(run.tick()) == {"drifted"}


def test_hands_off_lasts(host: Host) -> None:
    drifted(host)
    with Run(host, rules=rules(FASTER), now=600) as run:
        assert outcomes(run.tick()) == {"drifted"}  # 605: until 610
        assert told(run.tick()) == [(610, "faster", "written", 777, 1554)]
        run.restore()
        assert host.ksm("pages_to_scan") == 777


def test_a_clock_that_was_set_back_does_not_prolong_it_beyond_the_back_off(host: Host) -> None:
    drifted(host, now=1_000_000)
    with Run(host, rules=rules(FASTER), now=0) as run:
        assert outcomes(run.tick(120)) == {"drifted"}  # until 605
        assert host.ksm("pages_to_scan") == 777
        run.tick()
        assert host.ksm("pages_to_scan") == 1554


def test_hands_off_can_be_released(host: Host) -> None:
    drifted(host)
    release_all(host, 15)
    assert lasting(host, 1, by=rules(FASTER), now=20) == [(25, "faster", "written", 777, 1554)]


# What is kept for the next boot.

SWAP = """
      - tune: swap_less
        because: "Guests must not be swapped."
        when: kvm_memory_available_bytes / kvm_memory_total_bytes < 0.2
        set: {sysctl.vm.swappiness: 10}
        persist: true
"""
DROP_IN = "etc/sysctl.d/90-kvmtune.conf"


def swappiness(host: Host, value: int | None = None) -> int:
    path = host.root / "proc/sys/vm/swappiness"
    if value is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return int(path.read_text())


def boot(host: Host) -> None:
    """The kernel's own value, and what the drop-in makes of it."""
    path = host.root / DROP_IN
    swappiness(host, 60)
    for line in path.read_text().splitlines() if path.exists() else ():
        if not line.startswith("#") and line:
            name, _, value = line.partition(" = ")
            assert name == "vm.swappiness"
            swappiness(host, int(value))


@pytest.fixture
def swapping(host: Host) -> Host:
    swappiness(host, 60)
    return host


def test_a_value_is_there_after_a_boot_and_restored_after_that(swapping: Host) -> None:
    lasting(swapping, 2, by=rules(SWAP))
    boot(swapping)
    assert swappiness(swapping) == 10
    with Run(swapping, rules=rules(SWAP), now=1000) as run:
        assert run.tick(3) == []
        run.restore()
    assert swappiness(swapping) == 60
    boot(swapping)
    assert swappiness(swapping) == 60


def test_the_file_says_who_why_and_how_to_undo_it(swapping: Host) -> None:
    lasting(swapping, 1, by=rules(SWAP))
    assert (swapping.root / DROP_IN).read_text() == (
        "# Written by kvmtune-actuator, and written anew with each change: do not edit.\n"
        "# It sets at each boot what rules with `persist: true` have set. `kvmtune-actuator restore`\n"
        "# puts back what was there before and removes this file.\n"
        "\n"
        "# swap_less: Guests must not be swapped. It was 60.\n"
        "vm.swappiness = 10\n"
    )


@pytest.mark.parametrize("keys", ["on_clear: restore", "verify: {expr: kvm_memory_available_bytes < 0, within: 6s}"])
def test_what_a_rule_puts_back_is_not_kept(swapping: Host, keys: str) -> None:
    with Run(swapping, rules=rules(having(keys, SWAP))) as run:
        run.tick()
        assert (swapping.root / DROP_IN).exists()
        if "on_clear" in keys:
            swapping.available = SPARE
        run.tick(5)
    assert swappiness(swapping) == 60
    assert not (swapping.root / DROP_IN).exists()


def test_a_rule_that_persists_from_now_on_or_no_more(swapping: Host) -> None:
    plain = SWAP.replace("        persist: true\n", "")
    with Run(swapping, rules=rules(plain)) as run:
        for text, is_kept in ((plain, False), (SWAP, True), (plain, False)):
            run.engine.reload(rules(text), run.engine.policy)
            run.tick(3)
            assert (swapping.root / DROP_IN).exists() == is_kept
        size = run.ledger.size_bytes
        run.tick(3)
        assert run.ledger.size_bytes == size
        run.restore()
    assert swappiness(swapping) == 60


def test_while_it_is_paused_nothing_is_kept_from_now_on(swapping: Host) -> None:
    with Run(swapping, rules=rules(SWAP.replace("        persist: true\n", ""))) as run:
        run.tick()
        run.engine.executor.paused = "paused"
        run.engine.reload(rules(SWAP), run.engine.policy)
        size = run.ledger.size_bytes
        run.tick(3)
        assert run.ledger.size_bytes == size
        assert not (swapping.root / DROP_IN).exists()
        run.engine.executor.paused = None
        run.tick()
        assert (swapping.root / DROP_IN).exists()


def test_what_someone_else_has_set_since_is_not_kept(swapping: Host) -> None:
    with Run(swapping, rules=rules(SWAP)) as run:
        run.tick()
        swappiness(swapping, 33)
        run.tick()
    assert not (swapping.root / DROP_IN).exists()


def test_after_a_boot_a_value_below_that_of_another_rule_is_ours(swapping: Host) -> None:
    other = SWAP.replace("swap_less", "other").replace(": 10", ": 20").replace("persist: true", "priority: 1")
    other = other.replace("< 0.2", "< 0.1")
    with Run(swapping, rules=rules(SWAP, other)) as run:
        run.tick()
        swapping.available = 1024
        run.tick()
    assert swappiness(swapping) == 20
    boot(swapping)
    assert swappiness(swapping) == 10
    with Run(swapping, rules=rules(SWAP, other), now=1000) as run:
        assert outcomes(run.tick()) == {"written", "overruled"}
        run.restore()
    assert swappiness(swapping) == 60


@pytest.mark.parametrize("has_drop_in", [False, True])
@pytest.mark.parametrize("lines", [1, 2, 3, 4])
def test_a_kill_and_a_boot_at_any_record_lose_nothing(swapping: Host, lines: int, has_drop_in: bool) -> None:
    """The ledger as it was after so many records, with the drop-in as it was just before or after."""
    with Run(swapping, rules=rules(SWAP)) as run:
        run.tick()
        kept = (swapping.root / DROP_IN).read_text()
        run.restore()
    ledger = swapping.root / STATE / "ledger.jsonl"
    records = ledger.read_text().splitlines(keepends=True)
    assert [line.split('"')[3] for line in records] == ["intent", "outcome", "intent", "released"]
    if has_drop_in and lines == len(records):
        return  # it goes before the last record
    ledger.write_text("".join(records[:lines]))
    if has_drop_in:
        (swapping.root / DROP_IN).write_text(kept)
    boot(swapping)
    with Run(swapping, rules=rules(SWAP), now=1000) as run:
        run.restore()
    assert swappiness(swapping) == 60
    assert not (swapping.root / DROP_IN).exists()


def test_one_that_is_not_ours_is_left_alone(swapping: Host, caplog: pytest.LogCaptureFixture) -> None:
    path = swapping.root / DROP_IN
    path.parent.mkdir(parents=True)
    path.write_text("vm.swappiness = 1\n")
    with Run(swapping, rules=rules(SWAP)) as run:
        run.tick()
        assert swappiness(swapping) == 10
        assert f"{path} is not ours, so nothing is kept for the next boot: rename it" in caplog.messages
        run.restore()
    assert path.read_text() == "vm.swappiness = 1\n"


def test_a_write_whose_outcome_was_lost_is_kept(swapping: Host) -> None:
    lasting(swapping, 1, by=rules(SWAP))
    ledger = swapping.root / STATE / "ledger.jsonl"
    ledger.write_text("".join(line for line in ledger.read_text().splitlines(keepends=True) if "outcome" not in line))
    (swapping.root / DROP_IN).unlink()
    lasting(swapping, 1, by=rules(SWAP), now=100)
    assert (swapping.root / DROP_IN).exists()


def test_a_ledger_that_ends_with_an_outcome_is_a_value_that_is_settled(swapping: Host) -> None:
    ledger = Ledger(swapping.root / STATE)
    intent = Intent(id=1, time=1, knob="sysctl.vm.swappiness", target=HOST, identity="", before=60, after=10, rule="r", because="b")  # fmt: skip
    ledger.append(intent)
    ledger.append(Outcome(id=1, time=1, result="ok", value=10))
    ledger.close()
    swappiness(swapping, 10)
    with Run(swapping, rules=rules(SWAP), now=100) as run:
        assert run.tick() == []
