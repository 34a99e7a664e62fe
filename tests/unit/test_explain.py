"""What is said of a rule, a knob or a guest."""

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actuator.__main__ import main
from actuator.console.explain import Facts, explain, names
from actuator.console.history import Entry, Event, Faults, History, Noted
from actuator.console.status import RuleStatus
from actuator.decision import Decision
from actuator.knobs import HOST
from actuator.ledger.ledger import Ledger
from actuator.ledger.records import Cleared, Intent, Outcome
from actuator.ledger.standing import owned
from actuator.rules import config
from tests.unit.test_status import STATUS

GUEST = (("domain", "web-1"),)
BALLOON = Decision(
    time=100, rule="shrink", knob="balloon.target", target=GUEST, outcome="written", before=2**30, after=2**29, because="Why.", value=0.25
)  # fmt: skip
REFUSED = replace(BALLOON, time=200, outcome="refused", after=None, detail="it migrates")
KSM = replace(BALLOON, time=150, rule="scan", knob="ksm.run", target=HOST, before=0, after=1)
RULES = """
groups:
  - name: g
    rules:
      - tune: shrink
        because: "The host is short."
        when: >
          kvm_memory_available_bytes
          < 1e9
        until: kvm_memory_available_bytes > 2e9
        for: 15s
        set: {balloon.target: kvm_domain_balloon_actual_bytes * 0.9}
        verify: {expr: kvm_ksm_run == 1, within: 1m, else: revert}
        on_clear: restore
        mode: dry-run
      - tune: share_out
        because: "b"
        when: kvm_memory_available_bytes < 1e9
        allocate: {knob: balloon.target, free: kvm_memory_available_bytes, need: kvm_domain_memory_used_bytes, by: idle}
      - tune: place
        because: "b"
        when: kvm_memory_available_bytes < 1e9
        place: {knob: vcpu.affinity, strategy: spread}
"""
CHANGED = owned(
    [
        Intent(
            id=1, time=100, knob="balloon.target", target=GUEST, identity="u", before=2**30, after=2**29, rule="shrink", because="b"
        ),
        Outcome(id=1, time=100, result="ok", value=2**29),
    ]
)  # fmt: skip


def facts(*entries: Entry, **others: object) -> Facts:
    return Facts([Noted(entry, dry_run=False) for entry in entries], **others)  # type: ignore[arg-type]


def lines(found: Facts, name: str, last: int = 20, since: float | None = None) -> list[str]:
    """With times as seconds since 1970, whatever the time zone."""
    clock = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
    return [
        clock.sub(lambda match: f"{time.mktime(time.strptime(match[0], '%Y-%m-%d %H:%M:%S')):.0f}", line)
        for line in explain(found, name, last=last, since=since)
    ]


def test_what_can_be_asked_for() -> None:
    known = names(facts(BALLOON, Faults(time=1, rule="torn", faults=()), owned=CHANGED))
    assert {name: known[name] for name in ("shrink", "web-1", "balloon.target", "ksm.run", "torn")} == {
        "shrink": "rule", "web-1": "guest", "balloon.target": "knob", "ksm.run": "knob", "torn": "rule",
    }  # fmt: skip


def test_of_a_guest_all_that_is_about_it_and_what_befell_all() -> None:
    told = facts(
        Event(time=10, what="started"),
        BALLOON,
        KSM,
        Event(time=160, what="paused", detail="until 5"),
        REFUSED,
        owned=CHANGED,
    )
    assert lines(told, "web-1") == [
        "guest web-1",
        "changed now",
        "  web-1 balloon.target 1 GiB -> 512 MiB, by shrink at 100",
        "decisions, newest last",
        "  100 written     shrink: web-1 balloon.target 1 GiB -> 512 MiB | Why. (when = 0.25)",
        "  160 actuator paused: until 5",
        "  200 refused     shrink: web-1 balloon.target 1 GiB | Why. (when = 0.25; it migrates)",
    ]


def test_of_a_knob() -> None:
    assert lines(facts(BALLOON, KSM, owned=CHANGED), "ksm.run") == [
        "knob ksm.run",
        "  Whether ksmd scans: 0 stops and keeps merged pages, 1 scans, 2 stops and undoes all merging.",
        "changed now",
        "  nothing",
        "decisions, newest last",
        "  150 written     scan: host ksm.run 0 -> 1 | Why. (when = 0.25)",
    ]


def test_of_a_rule_its_text_and_state_too() -> None:
    held = Cleared(time=1, rule="shrink", knob="balloon.target", target=GUEST, reason="")
    status = replace(
        STATUS,
        rules=(RuleStatus(name="shrink", mode="apply", active=2, pending=1, faults=("no data of x",)),),
    )
    tunes = {tune.name: tune for tune in config.loads(RULES).tunes}
    told = facts(
        Faults(time=90, rule="shrink", faults=("no data of x",)),
        REFUSED,
        status=status,
        tunes=tunes,
        left_alone=[(held, "shrink leaves balloon.target of web-1 alone: verify did not hold")],
    )
    assert lines(told, "shrink") == [
        "rule shrink",
        "  because: The host is short.",
        "  when: kvm_memory_available_bytes < 1e9",
        "  until: kvm_memory_available_bytes > 2e9",
        "  for: 15s",
        "  set balloon.target: kvm_domain_balloon_actual_bytes * 0.9",
        "  verify: kvm_ksm_run == 1, within 1m, else revert",
        "  on_clear: restore",
        "  mode: dry-run",
        "now",
        "  holds for 2, waits for its `for` with 1",
        "  cannot decide: no data of x",
        "changed now",
        "  nothing",
        "left alone, until `kvmtune-actuator release shrink` or the time is over",
        "  shrink leaves balloon.target of web-1 alone: verify did not hold",
        "decisions, newest last",
        "  90 shrink: cannot decide: no data of x",
        "  200 refused     shrink: web-1 balloon.target 1 GiB | Why. (when = 0.25; it migrates)",
    ]
    assert (
        "  allocate balloon.target by idle: free kvm_memory_available_bytes, need kvm_domain_memory_used_bytes"
        in lines(told, "share_out")
    )
    assert "  place vcpu.affinity: strategy spread, at most 16 at a time" in lines(told, "place")


def test_the_last_ones_or_those_since() -> None:
    told = facts(*(replace(BALLOON, time=float(number)) for number in range(100, 150)))
    assert [line.split()[0] for line in lines(told, "web-1", last=2)[-2:]] == ["148", "149"]
    assert len(lines(told, "web-1", last=1000, since=147)) == 4 + 3


def test_a_dry_run_is_marked() -> None:
    told = Facts([Noted(replace(BALLOON, outcome="would write"), dry_run=True)])
    assert "  100 dry run: would write shrink: web-1" in lines(told, "web-1")[-1]


@pytest.mark.parametrize(
    ("why_idle", "told"),
    [
        ("it was stopped", "  none since 500: no actuator is at work, it was stopped"),
        ("", "  nothing new since 500: what stays the same is not told again"),
    ],
)
def test_nothing_is_told_with_the_next_step(why_idle: str, told: str) -> None:
    assert lines(facts(BALLOON, why_idle=why_idle), "web-1", since=500)[-1] == told


def test_a_rule_that_no_actuator_has() -> None:
    told = facts(BALLOON, why_idle="it was stopped")
    assert "  no actuator has this rule in force" in lines(told, "shrink")


# The command


def ask(state: Path, *arguments: str) -> int:
    return main(["explain", *arguments, "--state-dir", str(state), "--rules", str(state / "rules.yml")])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "rules.yml").write_text(RULES)
    return tmp_path


def test_the_command_reads_the_ledger_that_another_holds(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    History(state, dry_run=False).note(BALLOON)
    ledger = Ledger(state)
    ledger.append(
        Intent(id=1, time=1, knob="ksm.run", target=HOST, identity="", before=0, after=1, rule="r", because="")
    )
    assert ask(state, "ksm.run") == 0
    assert "  host ksm.run 0 -> 0 or 1, by r at" in capsys.readouterr().out
    ledger.close()


def test_what_stays_the_same_is_not_told_again() -> None:
    assert (
        lines(facts(BALLOON), "shrink", since=150)[-1]
        == "  nothing new since 150: what stays the same is not told again"
    )
    assert lines(facts(BALLOON), "ksm.run", since=150)[-1].startswith(
        "  none since 150: the rules have asked for nothing"
    )


def test_a_rule_that_is_off_is_not_said_to_hold_for_nothing() -> None:
    off = replace(STATUS, rules=(RuleStatus(name="shrink", mode="off", active=0, pending=0, faults=()),))
    assert "  mode off: it is not evaluated" in lines(facts(status=off), "shrink")


def test_the_host_is_a_name_as_in_release() -> None:
    told = lines(facts(BALLOON, KSM), "host")
    assert told[0] == "target host"
    assert [line for line in told if "Why." in line] == [
        "  150 written     scan: host ksm.run 0 -> 1 | Why. (when = 0.25)"
    ]


def test_an_unknown_name_is_answered_with_similar_ones(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    History(state, dry_run=False).note(BALLOON)
    assert ask(state, "web-2") == 2
    assert capsys.readouterr().err == "no rule, knob or guest 'web-2' is known here (did you mean web-1?)\n"


def test_nothing_known_yet(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(state, "web-1") == 2
    assert "nothing has been decided yet: none has run with the state directory" in capsys.readouterr().err
    assert ask(state, "shrink") == 0
    out = capsys.readouterr().out
    assert "  because: The host is short.\n" in out
    assert "  none: no actuator is at work, none has run with the state directory" in out


def test_what_cannot_be_read_is_told(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    History(state, dry_run=False).note(BALLOON)
    (state / "ledger.jsonl").mkdir()
    (state / "rules.yml").unlink()
    assert ask(state, "web-1") == 0
    err = capsys.readouterr().err
    assert "what is changed or left alone now is not known: cannot read" in err
    assert "the texts of the rules are not shown (--rules says where they are):" in err
    assert main(["explain", "web-1", "--state-dir", str(state / "decisions.jsonl")]) == 1
    assert "give another --state-dir" in capsys.readouterr().err


def test_a_name_cannot_speak_to_the_terminal(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "web\x1b[2J"
    History(state, dry_run=False).note(replace(BALLOON, target=(("domain", name),)))
    assert ask(state, name) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--last", "0"], ["--last", "x"], ["--since", "0s"], ["--last", "1", "--since", "1h"]]
)
def test_bad_flags(state: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        ask(state, "web-1", *arguments)
