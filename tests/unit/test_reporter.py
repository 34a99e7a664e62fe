"""What the operator reads: the line of a decision, and which of many are told."""

import logging
import re
from dataclasses import replace

import pytest

from actuator.data.scrape import ScrapeResult
from actuator.decision import Decision
from actuator.knobs import HOST, Target
from actuator.metrics import Metrics
from actuator.plans.view import NO_SCRAPE
from actuator.reporter import Reporter
from actuator.rules.rule import Instance

GUEST: Target = (("domain", "web-1"),)
VCPU: Target = (*GUEST, ("vcpu", "0"))
WRITTEN = Decision(
    time=0, rule="r", knob="ksm.pages_to_scan", target=HOST, outcome="written", before=100, after=150, because="Why.", value=0.123456
)  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "line"),
    [
        (WRITTEN, "written     r: host ksm.pages_to_scan 100 -> 150 | Why. (when = 0.1235)"),
        (
            replace(WRITTEN, outcome="would write", detail="not above 150, the upper limit"),
            "would write r: host ksm.pages_to_scan 100 -> 150 | Why. (when = 0.1235; not above 150, the upper limit)",
        ),
        (
            Decision(time=0, rule="r", knob="balloon.target", target=GUEST, outcome="refused", before=2**28, detail="paused"),
            "refused     r: web-1 balloon.target 256 MiB | (paused)",
        ),
        (
            Decision(time=0, rule="r", knob="vcpu.affinity", target=VCPU, outcome="written", before="0-1", after="1"),
            "written     r: web-1/vcpu 0 vcpu.affinity 0-1 -> 1",
        ),
        (replace(WRITTEN, knob="ksm.sleep_millisecs", value=None), "written     r: host ksm.sleep_millisecs 100ms -> 150ms | Why."),
    ],
)  # fmt: skip
def test_the_line_of_a_decision(decision: Decision, line: str) -> None:
    clock, told = decision.line.split(" ", 1)
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock)
    assert told == line


class Told:
    """A reporter, and the lines it wrote."""

    def __init__(self, *, verbose: bool = False) -> None:
        self.lines: list[str] = []
        self.metrics = Metrics("0", dry_run=True)
        self.reporter = Reporter(self.metrics, self.lines.append, verbose=verbose)

    def decide(self, *decisions: Decision) -> int:
        before = len(self.lines)
        for decision in decisions:
            self.reporter.decided(decision)
        return len(self.lines) - before

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"kvmtune_actuator_{name}", labels)


def test_a_decision_is_told_when_it_changes_and_counted_always() -> None:
    told = Told()
    would = replace(WRITTEN, outcome="would write")
    assert told.decide(would, would, would) == 1
    assert told.decide(replace(would, after=160)) == 1
    assert told.decide(would) == 1
    assert told.value("decisions_total", rule="r", knob="ksm.pages_to_scan", outcome="would write") == 5


def test_every_write_is_told() -> None:
    assert Told().decide(WRITTEN, WRITTEN) == 2


@pytest.mark.parametrize(("verbose", "lines"), [(False, 0), (True, 1)])
def test_what_changed_nothing_is_told_on_request(verbose: bool, lines: int) -> None:
    assert Told(verbose=verbose).decide(replace(WRITTEN, outcome="deadband", after=None)) == lines


def test_a_fault_is_logged_when_it_lasts_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    with caplog.at_level(logging.INFO):
        for faults in ((), ("no data",), (), ("no data",), ("no data",), ("no data",), (), ()):
            told.reporter.evaluated("r", {}, faults)
    logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert logged == [("WARNING", "rule r: no data"), ("INFO", "rule r: works again")]
    assert told.value("rule_faulty", rule="r") == 0


def test_a_fault_is_not_over_because_there_are_no_data(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    with caplog.at_level(logging.INFO):
        for faults in (("no x",), ("no x",), (NO_SCRAPE,), (NO_SCRAPE,), ("no x",)):
            told.reporter.evaluated("r", {}, faults)
    assert [record.getMessage() for record in caplog.records] == ["rule r: no x"]


def test_a_fault_that_is_told_in_other_words_each_time_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    with caplog.at_level(logging.INFO):
        for age in range(31, 36):
            told.reporter.evaluated("r", {}, (f"no answer for {age} s",))
        told.reporter.evaluated("r", {}, ())
    assert [record.getMessage() for record in caplog.records] == ["rule r: no answer for 32 s", "rule r: works again"]


def test_other_tuners_are_named_when_they_come_and_when_they_go(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    with caplog.at_level(logging.INFO):
        for tuners in ((), ("ksmtuned",), ("ksmtuned",), ("ksmtuned", "tuned"), ()):
            told.reporter.rivals(frozenset(tuners))
    names = [record.getMessage().split(" runs ") for record in caplog.records]
    assert [name for name, rest in names if rest.startswith("on this host")] == ["ksmtuned", "tuned"]
    assert [name for name, rest in names if rest == "no more"] == ["ksmtuned", "tuned"]


def test_the_state_of_rules_and_scrapes_is_counted() -> None:
    told = Told()
    pending = Instance(labels=(), pending_since=0, seen=0, value=1)
    state = {(("domain", str(number)),): replace(pending, active=number < 2) for number in range(3)}
    told.reporter.evaluated("r", state, ())
    told.reporter.scraped(ScrapeResult(ok=False, samples=0, duration_seconds=0, error="gone"), 0)
    assert told.value("rule_instances", rule="r", state="active") == 2
    assert told.value("rule_instances", rule="r", state="pending") == 1
    assert told.value("scrape_success") == 0
