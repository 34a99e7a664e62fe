"""What the benchmark of balloons on real guests counts, its page, and the rules that it runs with."""

from __future__ import annotations

from pathlib import Path

import pytest

from actuator.rules import config
from benchmarks.policies import balloon_guests, balloon_guests_page
from benchmarks.policies.balloon_guests_page import Seen
from benchmarks.policies.balloon_policies import AUTOPILOT, RULES

CONSTANT, CHANGING = True, False


@pytest.mark.parametrize(
    ("sizes", "turns", "reversals"),
    [
        ([(768, CHANGING), (768, CONSTANT), (768, CONSTANT)], 0, 0),
        ([(768, CONSTANT), (600, CONSTANT), (500, CONSTANT)], 0, 0),
        ([(768, CONSTANT), (600, CONSTANT), (700, CONSTANT)], 1, 1),
        ([(768, CONSTANT), (600, CONSTANT), (700, CONSTANT), (600, CONSTANT)], 2, 2),
        ([(768, CHANGING), (600, CHANGING), (700, CHANGING)], 1, 0),
        ([(768, CHANGING), (600, CHANGING), (700, CONSTANT)], 1, 0),
        ([(768, CONSTANT), (600, CONSTANT), (700, CHANGING), (600, CONSTANT)], 2, 0),
        ([(768, CONSTANT), (600, CONSTANT), (604, CONSTANT), (596, CONSTANT)], 0, 0),
        ([(768, CONSTANT), (764, CONSTANT), (759, CONSTANT), (768, CONSTANT)], 1, 1),
    ],
    ids=[
        "rests", "goes one way", "turns at constant demand", "and again", "turns as demand changes",
        "turns after a move at other demand", "demand changed in between", "what is less than a move",
        "a creep is a move in the end",
    ],
)  # fmt: skip
def test_a_turn_is_a_move_against_the_last_one(sizes: list[tuple[float, bool]], turns: int, reversals: int) -> None:
    seen = Seen()
    for size, is_constant in sizes:
        seen.look({"a": (0.0, size), "b": (0.0, 768.0)}, 0.0, is_constant=is_constant)
    assert (seen.turns, seen.reversals) == (turns, reversals)


def test_what_guests_lack_counts_as_free_only_as_far_as_the_host_has_it() -> None:
    seen = Seen()
    seen.look({"a": (100.0, 300.0), "b": (50.0, 300.0)}, 1000.0, is_constant=CHANGING)
    seen.look({"a": (100.0, 300.0), "b": (0.0, 300.0)}, 30.0, is_constant=CONSTANT)
    seen.look({"a": (100.0, 300.0), "b": (0.0, 300.0)}, -10.0, is_constant=CONSTANT)
    assert (seen.short, seen.short_free, seen.constant_short_free) == (350.0, 180.0, 30.0)
    assert (seen.below, seen.seconds) == (1, 3)


def test_a_guest_that_is_gone_does_not_turn() -> None:
    seen = Seen()
    for size in (400.0, None, 768.0):
        seen.look({"a": (0.0 if size else 500.0, size)}, 0.0, is_constant=CONSTANT)
    assert (seen.turns, seen.short) == (0, 500.0)


def seen(short: float, waits: list[float], reversals: int = 0) -> Seen:
    return Seen(seconds=10, short=short, short_free=short, waits=waits, reversals=reversals)


def test_the_goals_compare_medians_with_the_best_peer_of_each_number() -> None:
    found = {
        AUTOPILOT: [seen(1024, [4.0, 5.0]), seen(9999, [30.0]), seen(1024, [5.0])],
        "MOM": [seen(2048, [5.0])],
        "qmemman": [seen(512, [9.0], reversals=3)],
    }
    reversals, constant, worse = balloon_guests_page.goals(found)
    assert (reversals.met, constant.met, worse.met) == (True, True, False)
    assert worse.measured == (
        "short while free, GiB s: 1.00 for qmemman's 0.50; short, GiB s: 1.00 for qmemman's 0.50; "
        "worst s: 30.0 for MOM's 5.0"
    )
    page = balloon_guests_page.markdown(
        {"machine": "m"},
        found,
        command="again",
        reserve=0.05,
        method={"seconds": 1, "phase": 2, "warm": 3, "left": 9, "faster": 4, "smaller": 5, "stands": 6},
    )
    assert "```sh\nagain\n```" in page
    assert "| qmemman | 1 | 3 | 0.50 | 0.50 | 0.0% | 9.0 | 9.0 | 0 | 0 | 0 |" in page


def test_without_peers_nothing_is_compared() -> None:
    *_, worse = balloon_guests_page.goals({AUTOPILOT: [seen(1.0, [])]})
    assert worse.met is None


@pytest.mark.parametrize("name", RULES)
def test_rules_of_a_fast_and_small_host_still_load(name: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(balloon_guests.rules(name))
    fast, slow = config.load([tmp_path / "rules.yml"]), config.loads(RULES[name].rules)
    assert [tune.name for tune in fast.tunes] == [tune.name for tune in slow.tunes]


@pytest.mark.parametrize(
    ("name", "has", "not_any_more"),
    [
        (AUTOPILOT, "predict_linear(kvm_memory_available_bytes[12s], 6)", "[1m], 30)"),
        (AUTOPILOT, "> 16777216", "4194304"),
        ("MOM", "interval: 3s", "interval: 15s"),
        ("MOM", "/ (kvm_memory_total_bytes - kvm_memory_hugetlb_bytes)", "/ kvm_memory_total_bytes"),
        ("Proxmox", "-26214400", "104857600"),
        ("squeezed", "+ 16777216 + 268435456", "1073741824"),
        ("squeezed", "> 1048576", "262144"),
        ("squeezed", "time() - 120", "time() - 600"),
        ("squeezed", "time() - squeezed:progress > 5 ", "progress > 1 "),
    ],
)
def test_times_of_rules_are_divided_but_for_drivers_and_sizes_of_peers_are(
    name: str, has: str, not_any_more: str
) -> None:
    text = balloon_guests.rules(name)
    assert has in text
    assert not_any_more not in text
