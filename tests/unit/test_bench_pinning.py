"""The page of the pinning benchmark, and the rules that it runs with."""

from pathlib import Path

import pytest

from actuator.rules import config, policy
from benchmarks.policies import pinning, pinning_page
from benchmarks.policies.pinning_page import KERNEL, RULES, WRONG, Arm, Run


def run(arm: Arm, settled: tuple[int, int], waited: float = 0.0, scenario: str = "two") -> Run:
    """30 s, with this work in the last 20."""
    states = [
        (0.0, (0, 0), 5.0, 1.0),
        (10.0, (100, 100), 6.0, 1.1),
        (30.0, (100 + settled[0], 100 + settled[1]), 6.0 + waited, 1.3),
    ]
    return pinning_page.run(scenario, arm, states, moves=1)


def test_rates_are_of_the_time_after_the_state_in_between() -> None:
    one = run(RULES, (1000, 3000), waited=10.0)
    assert (one.settled_rate, one.delay_ratio, one.least_share) == (200.0, 0.5, 0.5)
    assert one.rate == pytest.approx(140.0)
    assert one.programs_ratio == pytest.approx(0.01)


def test_goals_are_medians_of_ratios_of_the_same_round() -> None:
    runs = [run(arm, (work, work)) for arm, work in ((RULES, 990), (KERNEL, 1000), (WRONG, 500))]
    runs += [run(arm, (work, work)) for arm, work in ((KERNEL, 100), (RULES, 97), (WRONG, 50))]
    runs += [run(arm, (work, work)) for arm, work in ((KERNEL, 10), (WRONG, 12), (RULES, 11))]
    at_least, more = pinning_page.goals(runs)
    assert (at_least.measured, at_least.met) == ("0.990 (0.970 to 1.100)", True)
    assert (more.measured, more.met) == ("1.940 (0.917 to 1.980)", True)


def test_where_no_pin_was_wrong_there_is_one_goal() -> None:
    (goal,) = pinning_page.goals([run(RULES, (97, 97)), run(KERNEL, (100, 100))])
    assert goal.met is False


def test_the_page_has_a_row_for_each_arm_and_says_how_to_repeat_it() -> None:
    runs = [run(arm, (1000, 1000)) for arm in (WRONG, KERNEL, RULES)]
    page = pinning_page.markdown({"machine": "m"}, {"two": "two guests"}, runs, command="again", seconds=30, faster=10)
    assert page.count("| two | ") == 3
    assert "```sh\nagain\n```" in page


def test_the_rules_are_the_shipped_ones_ten_times_as_fast(tmp_path: Path) -> None:
    file = pinning.rules_in(tmp_path)
    rules = config.load([file])
    spread = next(tune for tune in rules.tunes if tune.name == "vcpu_spread_contended")
    assert (spread.for_seconds, spread.every_seconds) == (1.5, 3.0)
    assert "[1m]" not in file.read_text()
    assert policy.load(tmp_path / "policy.yml").limits["vcpu.affinity"].writes_per_minute == 40
