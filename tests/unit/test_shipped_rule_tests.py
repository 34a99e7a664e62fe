"""The tests of the shipped rules pass, every rule has some, and they notice when a rule becomes another one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from actuator import promql
from actuator.__main__ import main
from actuator.rules import config, policy
from actuator.rules.ruleset import Place, RuleSet, Set, Tune
from actuator.ruletest import TestFile, load, run

TOP = Path(__file__).parents[2]
RULES = [TOP / "rules", TOP / "rules/simple"]
FILES = [load(path, policy.load()) for rules in RULES for path in sorted(rules.glob("*.test.yml"))]
THRESHOLD = re.compile(r"(?<=[<>] )\d+\.\d+")
FACTOR = re.compile(r"(?<=\* )\d+\.\d+|\d+\.\d+(?= \*)")


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.name)
def test_they_pass_and_every_rule_has_some(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["test", "--require-tests", str(rules)])
    assert status == 0, capsys.readouterr().out


def scaled(expr: promql.Expr, numbers: re.Pattern[str], *factors: float) -> Iterator[promql.Expr]:
    """The expression with one of its numbers a little smaller or larger."""
    for found in numbers.finditer(expr.text):
        for factor in factors:
            number = f"{float(found[0]) * factor:.4f}"
            yield promql.compile(expr.text[: found.start()] + number + expr.text[found.end() :])


def mutants(tune: Tune) -> Iterator[tuple[str, Tune]]:
    """Rules that differ from `tune` in one thing that an operator may change."""
    for key in ("for_seconds", "every_seconds"):
        seconds = getattr(tune, key)
        if seconds:
            little = max(5, 0.1 * seconds)  # a tick of the test
            if seconds > little:
                yield f"{key} less", replace(tune, **{key: seconds - little})
            yield f"{key} more", replace(tune, **{key: seconds + little})
    yield from ((f"when {expr.text}", replace(tune, when=expr)) for expr in scaled(tune.when, THRESHOLD, 0.9, 1.1))
    if tune.until:
        yield "no until", replace(tune, until=None)
        yield from (
            (f"until {expr.text}", replace(tune, until=expr)) for expr in scaled(tune.until, THRESHOLD, 0.9, 1.1)
        )
    for index, action in enumerate(tune.actions):
        rest = (tune.actions[:index], tune.actions[index + 1 :])
        if len(tune.actions) > 1:
            yield f"no {action.knob}", replace(tune, actions=(*rest[0], *rest[1]))
        if isinstance(action, Set) and isinstance(action.value, promql.Expr):
            for expr in scaled(action.value, FACTOR, 0.9):  # the policy's step may hide a larger one
                changed = replace(action, value=expr)
                yield f"{action.knob} {expr.text}", replace(tune, actions=(*rest[0], changed, *rest[1]))
        elif isinstance(action, Place):
            yield "packed", replace(tune, actions=(replace(action, strategy="pack"),))


def with_rule(rules: RuleSet, tune: Tune) -> RuleSet:
    """The rule's own group, and `memory`, which all use."""
    own = next(group for group in rules.groups if tune.name in {rule.name for rule in group.rules})
    changed = tuple(tune if rule.name == tune.name else rule for rule in own.rules)
    shared = (group for group in rules.groups if group.name == "memory")
    return RuleSet((*shared, replace(own, rules=changed)))


MUTANTS = [
    (f"{tune.name}: {' '.join(what.split())}", mutant)
    for rules in RULES
    for tune in config.load([rules]).tunes
    for what, mutant in mutants(tune)
]


def test_they_notice_a_rule_that_is_another() -> None:
    """In a process for each CPU, since there are many of them."""
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        noticed = pool.map(_is_noticed, range(len(MUTANTS)))
        survivors = [MUTANTS[number][0] for number, is_noticed in enumerate(noticed) if not is_noticed]
    assert survivors == []


def _is_noticed(number: int) -> bool:
    _, mutant = MUTANTS[number]
    changed = (replace(file, rules=with_rule(file.rules, mutant)) for file in FILES if _has(file, mutant.name))
    return any(run(file, case).failures for file in changed for case in file.cases)


def _has(file: TestFile, name: str) -> bool:
    """Whether it has the rule, and its name that of the rule's group: `autopilot-ksm.test.yml` of `ksm`, and so on."""
    return any(
        name == rule.name and group.name in file.path.name for group in file.rules.groups for rule in group.rules
    )
