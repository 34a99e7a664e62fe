"""What `replay` says is what a dry run of `run` decided live on the same scrapes; and what a closed loop adds to that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from actuator.decision import Decision, Journal
from actuator.promql.labels import make
from actuator.replay.recording import Recorder, Recording, Scrape
from actuator.replay.run import Story, cpus_of, replay
from actuator.rules import config, policy
from actuator.rules.rule import State
from actuator.rules.ruleset import RuleSet
from tests.scenarios.model import Guest, Host, Run

RULES = """
groups:
  - name: host
    rules:
      - record: host:ratio
        expr: kvm_memory_available_bytes / kvm_memory_total_bytes
  - name: slow
    interval: 15s
    rules:
      - tune: lend
        because: "The host is short."
        when: kvm_domain_balloon_usable_bytes > 0 and on (instance) host:ratio < 0.2
        for: 10s
        every: 10s
        keep_firing_for: 20s
        set:
          balloon.target: kvm_domain_balloon_actual_bytes - 0.3 * kvm_domain_balloon_usable_bytes
      - tune: often
        because: "It is called for too often."
        when: avg_over_time(host:ratio[30s]) < 0.3
        limits: {writes_per_minute: 1}
        set: {ksm.run: 1, ksm.pages_to_scan: kvm_ksm_pages_to_scan * 2}
      - tune: impossible
        because: "It is no value of this knob."
        when: host:ratio < 0.2
        set: {ksm.run: kvm_ksm_run + 7}
      - tune: blind
        because: "Nobody has such a metric."
        when: kvm_nobody > 0
        set: {ksm.run: 0}
"""


class Recorded(Run):
    """A live dry run; its scrapes are recorded as `record` does it, and its news are those of the log."""

    def __init__(self, host: Host, path: Path, rules: RuleSet) -> None:
        super().__init__(host, apply=False, rules=rules)
        self.recorder = Recorder(path)
        self.journal = Journal()
        self.news: list[Decision] = []

    def tick(self, times: int = 1, seconds: float = 5.0) -> list[Decision]:
        found: list[Decision] = []
        for _ in range(times):
            found += super().tick(1, seconds)
            self.recorder.add(self._store, self.now)
        return found

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        super().evaluated(rule, state, faults)
        if not state:
            self.journal.forget(rule)

    def decided(self, decision: Decision) -> None:
        super().decided(decision)
        if self.journal.is_news(decision):
            self.news.append(decision)


def happen(host: Host, number: int) -> None:
    """Memory gets short and comes back, guests come and go, someone turns a knob, the exporter fails."""
    host.available = 2000 if 20 <= number < 120 else 9000
    host.is_up = number not in range(60, 64)
    host.guests["a"].used = 256 + 2 * number
    if number == 80:
        host.guests["new"] = Guest(used=100)
    if number == 90:
        del host.guests["b"]
    if number == 100:
        host.ksm("pages_to_scan", 150)


def test_a_replay_decides_what_a_dry_run_decided(tmp_path: Path) -> None:
    rules = config.loads(RULES)
    host = Host(tmp_path / "host", guests={"a": Guest(), "b": Guest(used=600), "c": Guest(used=500)})
    with Recorded(host, tmp_path / "a.om.gz", rules) as live, closing(live.recorder):
        for number in range(180):
            happen(host, number)
            live.tick()
        live.recorder.end()
    with closing(Recording(tmp_path / "a.om.gz", pytest.fail)) as recording:
        *_, story = replay(rules, policy.load(), recording.scrapes())
    assert story.decisions == live.news
    for name, rule in story.rules.items():
        assert rule.outcomes == Counter(one.outcome for one in live.decisions if one.rule == name)
    assert set(story.rules["blind"].undecided) == {"waits for data of kvm_nobody"} == set(live.faults["blind"])
    assert story.gaps == [(305.0, 325.0)]
    # The scenario is worth something: each rule but the blind one has decided, and not just the same all the time.
    assert {name for name, rule in story.rules.items() if rule.outcomes} == {"lend", "often", "impossible"}
    assert {one.outcome for one in story.decisions} >= {"would write", "overruled", "budget", "refused"}
    assert {dict(one.target).get("domain") for one in story.decisions if one.rule == "lend"} == {"a", "b", "c", "new"}


STEP = """
groups:
  - name: g
    rules:
      - tune: faster
        because: "b"
        when: kvm_memory_available_bytes < 1000
        for: 10s
        set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan * 1.5}
        on_clear: restore
"""
PAGES, AVAILABLE, UP = (
    make({"__name__": name}) for name in ("kvm_ksm_pages_to_scan", "kvm_memory_available_bytes", "up")
)


def scrapes_of(available: list[float | None]) -> Iterator[Scrape]:
    """One each 5 s from 0 on; None is one that failed."""
    for number, value in enumerate(available):
        failed = Scrape(5.0 * number, {UP: 0.0}, "down")
        yield failed if value is None else Scrape(5.0 * number, {UP: 1.0, AVAILABLE: value, PAGES: 100.0})


def told(story: Story) -> list[tuple[float, str, object, object]]:
    return [(one.time, one.outcome, one.before, one.after) for one in story.decisions]


def run(scrapes: Iterable[Scrape], **options: bool) -> Story:
    *_, story = replay(config.loads(STEP), policy.load(), scrapes, **options)
    return story


def test_an_open_loop_decides_the_same_again_and_a_closed_loop_goes_on_from_it() -> None:
    available = [2000.0] + 5 * [500.0] + 3 * [2000.0]
    assert told(run(scrapes_of(available))) == [(15.0, "would write", 100, 150)]
    assert told(run(scrapes_of(available), closed_loop=True)) == [
        (15.0, "written", 100, 150),
        (20.0, "written", 150, 225),
        (25.0, "written", 225, 337),
        (30.0, "written", 337, 100),
    ]


def test_time_without_data_counts_for_nothing() -> None:
    short = 500.0
    assert told(run(scrapes_of([short, short, None, None, short, short]))) == [(20.0, "would write", 100, 150)]


def test_where_nothing_was_recorded_for_long_nothing_is_known() -> None:
    early, late = (
        list(scrapes_of([500.0, 500.0])),
        [replace(one, time=one.time + 1000) for one in scrapes_of(4 * [500.0])],
    )
    story = run([*early, *late])
    assert told(story) == [(1005.0, "would write", 100, 150)]
    assert (story.scrapes, story.gaps) == (6, [(5.001, 1000.0)])


def test_how_long_a_rule_is_active_and_how_long_it_cannot_decide() -> None:
    """Pending from 5 s, active from 15 s until 30 s; at 35, 45 and 55 s the metric is gone."""
    scrapes = [*scrapes_of([2000.0] + 5 * [500.0] + [2000.0])]
    scrapes += [Scrape(35.0 + 10 * number, {UP: 1.0, PAGES: 100.0}) for number in range(3)]
    rule = run(scrapes).rules["faster"]
    assert rule.active_seconds == 15.0
    assert rule.undecided == {"waits for data of kvm_memory_available_bytes": 20.0}


def test_tracks() -> None:
    story = run(scrapes_of([500.0] * 4), keep_tracks=True, closed_loop=True)
    (track,) = story.tracks.values()
    assert track.recorded == [(0.0, 100), (5.0, 100), (10.0, 100), (15.0, 100)]
    assert track.simulated == [(0.0, 100), (5.0, 100), (10.0, 150), (15.0, 225)]
    assert track.setpoints == [(10.0, 150, "faster"), (15.0, 225, "faster")]


def test_cpus_are_those_that_the_nodes_have() -> None:
    nodes = {make({"__name__": "kvm_cpu_node_online", "node": node}): size for node, size in (("10", 1.0), ("2", 2.0))}
    cpus = cpus_of(nodes)
    assert cpus is not None and cpus.nodes == {2: frozenset({0, 1}), 10: frozenset({2})}
    assert cpus_of({UP: 1.0}) is None
