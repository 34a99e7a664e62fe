"""What the benchmarks make of their measurements: percentiles, medians, goals, the report."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import report
from benchmarks.meter import Cpu, Cycle, Footprint, Meter, Slot, cpu_seconds, footprint, slots, tree
from benchmarks.results import FLOOR, SUBJECT, Round, Scrapes, Summary, goals, percentile, summary

MIB = 2**20


def one_round(
    *, program: str = SUBJECT, guests: int = 150, ms: float = 10.0, qemu_ms: float = 0.0, qemu_ran: float = 0.05,
    slow_ms: float = 120.0, rss_mib: float = 50.0
) -> Round:  # fmt: skip
    """A round in which every scrape took `ms`, of wall time as of the program's CPU time."""
    scrapes = Scrapes(
        seconds=(ms / 1000,) * 20,
        cpu=Cpu(program=ms / 1000, qemu=qemu_ms / 1000),
        qemu_ran_ratio=qemu_ran,
        page_bytes=2048,
    )
    slow = Cycle(seconds=5.0, cpu=Cpu(qemu=slow_ms / 1000))
    return Round(
        program=program,
        guests=guests,
        plain=scrapes,
        gzip=replace(scrapes, page_bytes=512),
        samples=900,
        qemu_ran_idle_ratio=0.05,
        slow=slow,
        background=slow,
        footprint=Footprint(processes=2, rss_bytes=int(rss_mib * MIB), pss_bytes=MIB, descriptors=10, threads=5),
        others_cores=0.1,
        others_guests=0,
    )


def measured(**what: Any) -> Summary:
    return summary([one_round(**what)])


def floor(guests: int = 150, slow_ms: float = 100.0) -> Summary:
    return summary([replace(one_round(program=FLOOR, guests=guests, slow_ms=slow_ms), gzip=None, samples=None)])


@pytest.mark.parametrize(
    ("count", "percent", "is_the"),
    [
        (1, 50, 1),
        (1, 99, 1),
        (2, 50, 1),
        (4, 50, 2),
        (100, 50, 50),
        (100, 95, 95),
        (100, 99, 99),
        (101, 95, 96),
        (20, 95, 19),
        (20, 99, 20),
    ],
)
def test_a_percentile_is_one_of_the_values_by_its_rank(count: int, percent: float, is_the: int) -> None:
    assert percentile(range(count, 0, -1), percent) == is_the


def test_latencies_are_of_all_rounds_together_and_show_how_rounds_differ() -> None:
    latency = summary([one_round(ms=ms) for ms in (10, 30, 20)]).plain
    assert (latency.p50, latency.p95, latency.low, latency.high) == (0.020, 0.030, 0.010, 0.030)


def test_a_disturbed_round_does_not_count_in_a_median() -> None:
    one = summary([one_round(ms=ms, slow_ms=slow) for ms, slow in ((10, 120), (900, 2000), (11, 121))])
    assert one.cpu == Cpu(program=0.011)
    assert one.slow == Cycle(seconds=5.0, cpu=Cpu(qemu=0.121))


def test_memory_is_that_of_the_worst_round() -> None:
    assert summary([one_round(rss_mib=mib) for mib in (50, 70, 60)]).footprint.rss_bytes == 70 * MIB


@pytest.mark.parametrize(
    ("what", "goal", "measured_as", "met"),
    [
        ({"ms": 20}, "p95 at most 20 ms at 150", "20.0 ms, 20.0 ms with gzip", True),
        ({"ms": 21}, "p95 at most 20 ms at 150", "21.0 ms, 21.0 ms with gzip", False),
        ({"guests": 300, "ms": 40}, "p95 at most 40 ms at 300", "40.0 ms, 40.0 ms with gzip", True),
        ({"guests": 10}, "p95 at most 40 ms at 300", "not measured", None),
        ({}, "no QEMU CPU caused", "0.00 ms; QEMU ran in 5% of scrapes, 5% of equal times without", True),
        ({"qemu_ms": 5}, "no QEMU CPU caused", "5.00 ms; QEMU ran in 5% of scrapes, 5% of equal times without", True),
        (
            {"qemu_ms": 5, "qemu_ran": 1},
            "no QEMU CPU caused",
            "5.00 ms; QEMU ran in 100% of scrapes, 5% of equal times without",
            False,
        ),
        ({"slow_ms": 130}, "slow-tier round at most", "1.30 x (130 ms to 100 ms)", True),
        ({"slow_ms": 132}, "slow-tier round at most", "1.32 x (132 ms to 100 ms)", False),
        ({"guests": 10}, "slow-tier round at most", "not measured", None),
        ({"rss_mib": 80}, "RSS of all processes", "80.0 MiB in 2 processes", True),
        ({"rss_mib": 80.1}, "RSS of all processes", "80.1 MiB in 2 processes", False),
    ],
)
def test_goals(what: dict[str, float], goal: str, measured_as: str, met: bool | None) -> None:
    (found,) = (one for one in goals([measured(**what), floor()]) if goal in one.text)
    assert (found.measured, found.met) == (measured_as, met)


def test_the_slower_of_plain_and_gzip_is_what_counts() -> None:
    one = one_round(ms=10)
    assert one.gzip
    slow_gzip = replace(one, gzip=replace(one.gzip, seconds=(0.03,)))
    (found,) = (goal for goal in goals([summary([slow_gzip])]) if "at 150 guests" in goal.text and "p95" in goal.text)
    assert (found.measured, found.met) == ("10.0 ms, 30.0 ms with gzip", False)


@pytest.mark.parametrize(
    ("points", "measured_as", "met"),
    [
        ({10: 5, 50: 9, 150: 19}, "10 to 50 guests: x 1.80; 50 to 150 guests: x 2.11", True),
        ({150: 10, 300: 21}, "150 to 300 guests: x 2.10", True),
        ({150: 10, 300: 23}, "150 to 300 guests: x 2.30", False),
        ({150: 10}, "not measured", None),
    ],
)
def test_linear_is_a_cost_that_grows_no_faster_than_guests(
    points: dict[int, float], measured_as: str, met: bool | None
) -> None:
    summaries = [measured(guests=guests, ms=ms) for guests, ms in points.items()]
    (found,) = (goal for goal in goals(summaries) if goal.text.startswith("scrape p50 grows"))
    assert (found.measured, found.met) == (measured_as, met)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0.00"), (-0.000001, "0.00"), (-0.0012, "-1.20"), (0.00123, "1.23"), (0.01234, "12.3"), (0.1234, "123")],
)
def test_milliseconds(seconds: float, shown: str) -> None:
    assert report.ms(seconds) == shown


def test_a_table_sets_to_the_right_what_its_head_says() -> None:
    assert report.table(("guests:", "program"), [("10", "one"), ("50", "other")]) == (
        "| guests | program |\n| ---: | --- |\n| 10 | one |\n| 50 | other |\n"
    )


def test_the_report_has_facts_goals_rows_and_ratios() -> None:
    summaries = [measured(ms=12), summary([one_round(program="peer", ms=24)]), floor()]
    page = report.markdown({"kernel": "6.18"}, summaries, goals(summaries), command="make it")
    rows = page.splitlines()
    assert "make it" in rows
    for row in (
        "| kernel | 6.18 |",
        "| scrape p95 at most 20 ms at 150 guests | 12.0 ms, 12.0 ms with gzip | met |",
        f"| 150 | {SUBJECT} | 12.0 (12.0–12.0) | 12.0 | 12.0 | 12.0 (12.0–12.0) | 12.0 | 12.0 |",
        f"| 150 | {SUBJECT} | 12.0 | 12.0 | 0.00 | 0.00 | 900 | 2.0 | 0.5 |",
        f"| 150 | {SUBJECT} | 5.00 s | 0.00 | 0.00 | 120 | 120 | 1.20 |",
        "| 150 | bare bulk call | 5.00 s | 0.00 | 0.00 | 100 | 100 | 1.00 |",
        "| 150 | peer | 2 | 50.0 | 1.0 | 10 | 5 |",
        "| 150 | peer | 0.50 | 0.50 | 0.50 | 1.00 | 1.00 |",
    ):
        assert row in rows


def test_the_cpu_clock_of_a_process_is_exact() -> None:
    before = time.process_time()
    assert before <= cpu_seconds(os.getpid()) <= time.process_time()


def test_a_process_that_is_gone_has_no_clock() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds(pid)


def test_what_runs_in_one_kind_of_slot_is_told_from_the_other() -> None:
    def spin() -> float:
        end = time.process_time() + 0.005
        while time.process_time() < end:
            pass
        return 0.005

    me = Meter(program=(os.getpid(),), libvirtd=os.getpid(), qemu=())
    found = slots({"spin": spin, "idle": lambda: 0.0}, each=3, slot_seconds=0.0, meter=me)
    assert [slot.seconds for slot in found["spin"]] == [0.005] * 3
    assert min(map(program_cpu, found["spin"])) >= 0.005 > max(map(program_cpu, found["idle"]))


def program_cpu(slot: Slot) -> float:
    return slot.cpu.program


def test_the_footprint_of_this_very_process() -> None:
    held = footprint([os.getpid()])
    assert held.processes == 1
    assert held.rss_bytes >= held.pss_bytes > 0
    assert held.descriptors > 2
    assert held.threads >= 1
    assert tree(os.getpid())[0] == os.getpid()
