"""What the actuator's benchmark measures with, and what it says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actuator.lint import Subject, lint
from actuator.rules import config, policy
from benchmarks import actuator_page, actuator_programs, actuator_rules
from benchmarks.actuator import goals, markdown
from benchmarks.actuator_programs import Use
from benchmarks.actuator_tick import Ticks
from benchmarks.meter import Footprint

MIB = 2**20
TICKS = Ticks(rules=100, guests=120, series=10_000, cpu=[0.08] * 19 + [0.3], scrape_cpu=[0.01] * 20, decisions=7)
USE = Use(
    rules="the shipped rules",
    of="a page",
    guests=50,
    series=2_000,
    seconds=60.0,
    cpu=0.3,
    footprint=Footprint(processes=1, rss_bytes=60 * MIB, pss_bytes=40 * MIB, descriptors=9, threads=3),
)


def test_there_are_a_hundred_rules_that_can_work() -> None:
    rules = config.loads(actuator_rules.text())
    assert sum(len(group.rules) for group in rules.groups) == 100
    assert [finding for finding in lint(Subject(rules, policy.load(), 5.0)) if finding.is_error] == []


@pytest.mark.parametrize("text", [actuator_programs.REACTION_RULES, actuator_programs.BUSY_RULES])
def test_the_rules_of_the_programs_can_work(text: str) -> None:
    assert [finding for finding in lint(Subject(config.loads(text), policy.load(), 1.0)) if finding.is_error] == []


def test_the_page_has_as_many_series_as_are_asked_for() -> None:
    lines = actuator_page.lines(actuator_page.guests_of(1_000))
    assert 1_000 <= len({line.rpartition(" ")[0] for line in lines}) == len(lines) < 1_100


@pytest.mark.parametrize(
    ("ticks", "reactions", "use", "met"),
    [
        (TICKS, [0.5, 2.0], USE, [True, True, True, True]),
        (replace(TICKS, cpu=[0.08] * 18 + [0.3] * 2), [0.5], USE, [False, True, True, True]),
        (TICKS, [0.5, 2.1], USE, [True, False, True, True]),
        (TICKS, [0.5], replace(USE, cpu=0.7), [True, True, False, True]),
        (TICKS, [0.5], replace(USE, footprint=replace(USE.footprint, rss_bytes=101 * MIB)), [True, True, True, False]),
    ],
)
def test_goals(ticks: Ticks, reactions: list[float], use: Use, met: list[bool]) -> None:
    assert [goal.met for goal in goals(ticks, reactions, [use])] == met


def test_the_report() -> None:
    rows = markdown({"kernel": "6.18"}, TICKS, [0.25, 0.75], [USE]).splitlines()
    for row in (
        "| kernel | 6.18 |",
        "| a tick with 100 rules on 10000 series takes at most 100 ms of CPU | 80.0 ms, p95 80.0 ms | met |",
        "| from a step in memory to the first write at most 2 ticks of 1 s | 0.50 ticks, at most 0.75 | met |",
        "| at most 1% of a core with 50 guests at ticks of 5 s: the shipped rules | 0.50% | met |",
        "| at most 100 MiB with 50 guests: the shipped rules | 60.0 MiB in 1 process, PSS 40.0 MiB | met |",
        "| the whole tick | 80.0 | 80.0 | 300 |",
    ):
        assert row in rows
