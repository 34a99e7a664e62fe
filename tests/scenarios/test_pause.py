"""Pause and history on a model host: state in, time, state out. Engine, reporter, board and files are the real ones."""

from pathlib import Path

import pytest

from actuator.console import pause, status
from actuator.console.board import Board
from actuator.console.history import Entry, Event, Faults, History, read
from actuator.console.pause import Pause
from actuator.console.status import Tick
from actuator.data.scrape import ScrapeResult
from actuator.decision import Decision
from actuator.metrics import Metrics
from actuator.reporter import Reporter
from actuator.rules import config
from actuator.rules.rule import State
from actuator.rules.ruleset import RuleSet
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


class Watched(Run):
    """A run that is reported, has a board, and looks for a pause before each tick, as the daemon does."""

    def __enter__(self) -> "Watched":
        super().__enter__()
        self.directory = self.host.root / "state"
        self.history = History(self.directory, dry_run=self._ledger is None)
        self.reporter = Reporter(Metrics("0", dry_run=False), lambda _: None, verbose=False, note=self.history.note)
        self.board = Board(
            self.directory, self.engine, self.reporter, self._ledger, self.history,
            version="0", interval_seconds=5, rules_from=(), started=self.now,
        )  # fmt: skip
        return self

    def tick(self, times: int = 1, seconds: float = 5.0) -> list[Decision]:
        found = []
        for _ in range(times):
            self.board.look_for_pause(self.now, self.now)
            found += super().tick(1, seconds)
            self.board.post(Tick(time=self.now, monotonic=self.now, seconds=0, lag_seconds=0))
        return found

    def pause(self, until: float | None = None, because: str = "") -> None:
        pause.begin(self.directory, Pause(since=self.now, until=until, because=because))

    @property
    def entries(self) -> list[Entry]:
        return [noted.entry for noted in read(self.directory)]

    def scraped(self, result: ScrapeResult, now: float) -> None:
        self.reporter.scraped(result, now)

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        self.reporter.evaluated(rule, state, faults)

    def decided(self, decision: Decision) -> None:
        super().decided(decision)
        self.reporter.decided(decision)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, available=SHORT)


def told(decisions: list[Decision]) -> list[tuple[str, object, object]]:
    return [(decision.outcome, decision.before, decision.after) for decision in decisions]


def test_while_paused_it_tells_what_it_would_do_and_writes_nothing(host: Host) -> None:
    with Watched(host, rules=rules(FASTER)) as run:
        assert told(run.tick()) == [("written", 100, 200)]
        run.pause(because="upgrade")
        paused = run.tick(3)
        assert told(paused) == [("paused", 200, 400)] * 3
        assert paused[0].detail == "paused until `kvmtune-actuator resume`: upgrade"
        assert host.ksm("pages_to_scan") == 200
        pause.end(run.directory)
        assert told(run.tick()) == [("written", 200, 400)]


def test_a_pause_ends_by_itself_and_outlasts_a_restart(host: Host) -> None:
    with Watched(host, rules=rules(FASTER)) as run:
        run.pause(until=12)
        assert told(run.tick()) == [("paused", 100, 200)]
    with Watched(host, rules=rules(FASTER)) as run:
        run.now = 5
        assert told(run.tick(2)) == [("paused", 100, 200)] * 2
        assert told(run.tick()) == [("written", 100, 200)]


def test_a_stop_restores_also_while_paused(host: Host) -> None:
    with Watched(host, rules=rules(FASTER)) as run:
        run.tick()
        run.pause()
        run.tick()
        run.restore()
        assert host.ksm("pages_to_scan") == 100


def test_what_failed_its_trial_is_taken_back_after_the_pause(host: Host) -> None:
    verify = FASTER.rstrip() + "\n        verify: {expr: kvm_ksm_run == 1, within: 5s, else: revert}\n"
    with Watched(host, rules=rules(verify)) as run:
        run.tick()
        run.pause()
        assert ("paused", 200, 100) in told(run.tick(3))
        assert host.ksm("pages_to_scan") == 200
        pause.end(run.directory)
        assert ("written", 200, 100) in told(run.tick())


def test_what_on_clear_puts_back_waits_for_the_end_of_the_pause(host: Host) -> None:
    with Watched(host, rules=rules(FASTER.rstrip() + "\n        on_clear: restore\n")) as run:
        run.tick()
        run.pause()
        host.available = SPARE
        assert told(run.tick(2)) == [("paused", 200, 100)] * 2
        pause.end(run.directory)
        assert told(run.tick()) == [("written", 200, 100)]


def test_a_pause_uses_up_no_budget(host: Host) -> None:
    with Watched(host, rules=rules(FASTER.rstrip() + "\n        limits: {writes_per_minute: 1}\n")) as run:
        run.pause()
        run.tick(3)
        pause.end(run.directory)
        assert told(run.tick()) == [("written", 100, 200)]


def test_a_balloon_that_is_on_its_way_settles_while_paused(host: Host) -> None:
    host.guests["web"] = Guest(balloon_rate=30)
    shrink = """
      - tune: shrink
        because: b
        when: kvm_domain_balloon_actual_bytes > 500e6
        every: 1h
        set: {balloon.target: 700000000}
        limits: {step: 100%}
"""
    with Watched(host, rules=rules(shrink)) as run:
        run.tick()
        run.pause()
        run.tick(2)
        assert run.decisions[-1].outcome in ("settled", "fell short")
        assert host.guests["web"].actual < 1024
        assert isinstance(run.decisions[-1].after, int)
        assert run.decisions[-1].after < 1024 * MIB


def test_a_dry_run_can_be_paused_too_and_says_what_it_is(host: Host) -> None:
    with Watched(host, rules=rules(FASTER), apply=False) as run:
        run.tick()
        run.pause()
        run.tick()
        assert [decision.outcome for decision in run.decisions] == ["would write", "paused"]
        assert all(noted.dry_run for noted in read(run.directory))


def test_the_history_has_what_is_news_and_no_more(host: Host) -> None:
    broken = FASTER.replace("faster", "broken").replace("kvm_memory_total", "kvm_memory_tutal")
    with Watched(host, rules=rules(FASTER.rstrip() + "\n        every: 15s\n", broken)) as run:
        run.tick(4)
        host.is_up = False
        run.tick(3)
        host.is_up = True
        run.pause(because="upgrade")
        run.tick(2)
        pause.end(run.directory)
        host.available = SPARE
        run.tick()
        assert [_short(entry) for entry in run.entries] == [
            (0, "started", "version 0, apply"),
            (5, "faster", "written", 200),
            (10, "broken", ("waits for data of kvm_memory_tutal_bytes",)),
            (20, "faster", "written", 400),
            (30, "scrape", 1),
            (35, "paused", "until `kvmtune-actuator resume`: upgrade"),
            (40, "scrape", 0),
            (40, "faster", "paused", 800),
            (45, "resumed", ""),
        ]


def _short(entry: Entry) -> tuple[object, ...]:
    match entry:
        case Event(time=time, what=what, detail=detail):
            return time, what, detail
        case Faults(time=time, rule="scrape", faults=faults):
            return time, "scrape", len(faults)
        case Faults(time=time, rule=rule, faults=faults):
            return time, rule, faults
        case Decision() as decision:
            return decision.time, decision.rule, decision.outcome, decision.after


def test_the_status_says_what_is_so(host: Host) -> None:
    verify = FASTER.rstrip() + "\n        verify: {expr: kvm_ksm_run == 1, within: 5s, else: revert}\n"
    with Watched(host, rules=rules(verify)) as run:
        run.tick()
        now = status.read(run.directory)
        assert now is not None
        assert [(rule.name, rule.active, rule.faults) for rule in now.rules] == [("faster", 1, ())]
        assert [(one.knob, one.original, one.now, one.rule) for one in now.changed] == [
            ("ksm.pages_to_scan", 100, 200, "faster")
        ]
        assert [decision.after for decision in now.decisions] == [200]
        assert (now.mode, now.data_age_seconds, now.paused) == ("apply", 0, None)
        host.is_up = False
        run.pause()
        run.tick(2)
        now = status.read(run.directory)
        assert now is not None
        assert (now.data_age_seconds, now.paused) == (10, Pause(since=5))
        assert "500" in now.data_error
        host.is_up = True
        run.tick(4)
        now = status.read(run.directory)
        assert now is not None
        assert [(held.rule, held.knob) for held in now.quarantined] == [("faster", "ksm.pages_to_scan")]


def test_a_dry_run_leaves_the_status_to_the_one_that_acts(host: Host) -> None:
    with Watched(host, rules=rules(FASTER)) as acting:
        acting.tick()
        with Watched(host, rules=rules(FASTER), apply=False) as dry:
            dry.tick()
            now = status.read(acting.directory)
            assert now is not None
            assert now.mode == "apply"
            acting.board.stopped(acting.now)
            dry.tick()
            now = status.read(acting.directory)
            assert now is not None
            assert now.mode == "dry run"
