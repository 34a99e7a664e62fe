"""The parts of KSM's benchmark that need no kernel: mixes, quick rules, and what traces come to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from actuator.rules import config
from benchmarks.policies import ksm_results, quick
from benchmarks.policies.ksm_load import MIB
from benchmarks.policies.ksm_mixes import MIXES, Arrive, Leave, Rewrite, schedule
from benchmarks.policies.ksm_policies import AUTOPILOT, FULL, SCALE
from benchmarks.policies.ksm_run import Look, Trace
from tests.peers.ksmpeers import Files

STEP = 0.1
COUNT = 101


def trace(saved_mib: Callable[[float], float], cpu: float, size_mib: Callable[[float], float] = lambda _: 100) -> Trace:
    """Ten seconds; `cpu` is that of ksmd all the time. Its files change at 4.0 s."""
    times = [STEP * number for number in range(COUNT)]
    return [
        Look(now, int(size_mib(now) * MIB), int(saved_mib(now) * MIB), cpu * now, Files(run=int(now >= 4)))
        for now in times
    ]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_is_a_story_that_its_seed_tells_again(mix: str, seed: int) -> None:
    events = schedule(mix, seed)
    assert events == schedule(mix, seed)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert all(0 <= event.at <= 1 for event in events)
    there: set[str] = set()
    for event in events:
        if isinstance(event, Arrive):
            assert event.name not in there
            assert all(part.mib > 0 for part in event.parts)
            there.add(event.name)
        elif isinstance(event, Rewrite):
            assert event.name in there
        elif isinstance(event, Leave):
            there.remove(event.name)


def test_different_seeds_differ() -> None:
    assert schedule("mixed", 1) != schedule("mixed", 2)


def test_quick_rules_are_the_rules_with_shorter_times(tmp_path: Path) -> None:
    text = quick.rules(quick.RULES.read_text(), SCALE, "ksm")
    assert "[15s]" in text
    assert "[10m]" not in text
    (tmp_path / "quick.yml").write_text(text)
    fast, slow = config.load([tmp_path / "quick.yml"]), config.load([quick.RULES])
    assert [tune.name for tune in fast.tunes] == [tune.name for tune in slow.tunes if tune.name.startswith("ksm_")]


def test_a_rule_is_as_much_faster_in_all_its_times() -> None:
    text = """
    groups:
      - name: memory
        rules: [{record: a, expr: "rate(b[1m])"}]
      - name: other
        rules: [{tune: d, because: "[1m]", for: 15s, place: {load: "rate(b[30s])"}}]
      - name: third
        rules: [{tune: e}]
    """
    assert yaml.safe_load(quick.rules(text, 10, "other"))["groups"] == [
        {"name": "memory", "rules": [{"record": "a", "expr": "rate(b[6s])"}]},
        {
            "name": "other",
            "rules": [{"tune": "d", "because": "[1m]", "for": "1s500ms", "place": {"load": "rate(b[3s])"}}],
        },
    ]


def score(own: Trace, full: Trace, mix: str = "clones") -> ksm_results.Score:
    return ksm_results.scores({(mix, FULL): [full], (mix, AUTOPILOT): [own]})[1]


def test_area_is_what_is_saved_over_time() -> None:
    assert ksm_results.area(trace(lambda _: 5, 1)) == pytest.approx(50)
    assert ksm_results.area(trace(lambda now: now, 1)) == pytest.approx(50)


def test_a_score_is_relative_to_full_speed() -> None:
    found = score(trace(lambda now: 8 if now >= 5 else 0, 0.1), trace(lambda _: 8, 1))
    assert found.area_of_full == pytest.approx(0.5, abs=0.01)
    assert found.cpu_of_full == pytest.approx(0.1)
    assert found.reached_seconds == pytest.approx(5)
    assert found.area_per_cpu == pytest.approx(40, rel=0.02)
    assert found.tail_ratio == pytest.approx(0.1)


def test_who_does_not_merge_nine_tenths_never_reached_it() -> None:
    assert score(trace(lambda _: 7, 1), trace(lambda _: 8, 1)).reached_seconds is None


def test_a_reaction_is_counted_from_the_step() -> None:
    own = trace(lambda now: 8 if now >= 6 else 0, 0.1, lambda now: 200 if now >= 3 else 100)
    found = score(own, trace(lambda _: 8, 1, lambda now: 200 if now >= 3 else 100), "step")
    assert found.write_seconds == pytest.approx(1)
    assert found.recovery_seconds == pytest.approx(3)


def test_goals_are_held_to_the_best_and_the_cheapest_peer() -> None:
    full, own = trace(lambda _: 8, 1), trace(lambda _: 7.9, 0.1)
    runs = {
        ("clones", FULL): [full],
        ("clones", AUTOPILOT): [own],
        ("clones", "KubeVirt"): [trace(lambda _: 7.5, 0.04)],
        ("clones", "MOM"): [trace(lambda _: 1, 0)],
    }
    found = {goal.text: goal.met for goal in ksm_results.goals(ksm_results.scores(runs))}
    assert list(found.values()) == [True, True, False, False]  # KubeVirt's area is cheaper, and so is its end
