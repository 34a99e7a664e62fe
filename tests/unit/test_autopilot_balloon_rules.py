"""The tests of the autopilot's balloon rules pass, every rule has some, and they notice when a rule becomes another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actuator.__main__ import main
from actuator.rules import policy
from actuator.rules.ruleset import Tune
from actuator.ruletest import load, run
from tests.unit.test_shipped_rule_tests import mutants, with_rule

TESTS = Path(__file__).parents[2] / "rules/autopilot/balloon.test.yml"
FILE = load(TESTS, policy.load())
MUTANTS = [
    pytest.param(tune.name, mutant, id=f"{tune.name}: {' '.join(what.split())}")
    for tune in FILE.rules.tunes
    for what, mutant in mutants(tune)
]


def test_they_pass_and_every_rule_has_some(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["test", "--require-tests", str(TESTS)])
    assert status == 0, capsys.readouterr().out


def test_nothing_is_suspicious_about_them(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["check", "--strict", str(TESTS.with_name("balloon.yml"))])
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_they_notice_a_rule_that_is_another(name: str, mutant: Tune) -> None:
    assert name == mutant.name
    changed = replace(FILE, rules=with_rule(FILE.rules, mutant))
    assert any(run(changed, case).failures for case in changed.cases)
