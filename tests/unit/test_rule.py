"""The life of a rule as timelines: what `when` and `until` say at each second, and when it may act."""

from collections.abc import Sequence

import pytest

from actuator import promql
from actuator.promql.types import Sample
from actuator.rules.rule import FORGET_SECONDS, UNKNOWN, Evidence, State, acted, agree, step
from actuator.rules.ruleset import Set, Tune

HOST = (("instance", "h"),)
FALSE = Evidence(known=True)
TRUE = Evidence(known=True, samples=(Sample((("__name__", "x"), *HOST), 0.1),))


def rule(*, held: float = 0, every: float = 0, until: bool = False, kept: float = 0) -> Tune:
    when = promql.compile("x > 1")
    return Tune(
        "r", "b", when, (Set("ksm.run", "1"),), when if until else None, held, every, keep_firing_for_seconds=kept
    )


def timeline(tune: Tune, whens: str, untils: str = "", seconds: float = 1.0) -> str:
    """One letter a step: `A` it acted, `a` active, `p` pending, `.` nothing. Inputs: T holds, F fails, ? unknown."""
    meaning = {"T": TRUE, "F": FALSE, "?": UNKNOWN}
    state: State = {}
    told = ""
    for index, when in enumerate(whens):
        now = 1000 + index * seconds
        until = meaning[untils[index]] if untils else None
        state, due = step(tune, state, meaning[when], until, now)
        state = acted(state, due, now)
        instance = state.get(HOST)
        told += "A" if due else "." if instance is None else "a" if instance.active else "p"
    return told


@pytest.mark.parametrize(
    ("tune", "whens", "untils", "told"),
    [
        (rule(), "FTTF", "", ".AA."),
        (rule(held=2), "TTTT", "", "ppAA"),
        (rule(held=2), "TTFTTT", "", "pp.ppA"),
        (rule(every=3), "TTTTTTT", "", "AaaAaaA"),
        (rule(held=1, every=2), "TTTTT", "", "pAaAa"),
        # Between `when` and `until` it goes on: that is the hysteresis.
        (rule(until=True), "TFFFT", "FFFTF", "AAA.A"),
        (rule(held=2, until=True), "TTFTTT", "FFFFFF", "pp.ppA"),
        # What ends it must last: a short gap does not end it.
        (rule(kept=2), "TFFTFFFT", "", "AAAAAA.A"),
        (rule(kept=2, every=2), "TFFF", "", "AaA."),
        (rule(held=2, kept=2), "TFTTTF", "", "p.ppAA"),
        (rule(kept=2), "TF??FF", "", "AAaaA."),
        (rule(until=True, kept=2), "TFFFFF", "FTTFTT", "AAAAAA"),
        (rule(until=True, kept=2), "TFFFF", "FTTTT", "AAA.."),
        # Both at once: the end wins.
        (rule(until=True), "TT", "FT", "A."),
        # Unknown data changes nothing, and its time does not count for `for`.
        (rule(), "T??T", "", "AaaA"),
        (rule(held=2), "TT??T", "", "ppppA"),
        (rule(held=2), "T????T", "", "pppppp"),
        (rule(until=True), "TTT", "F?F", "AaA"),
        (rule(), "??F", "", "..."),
    ],
)
def test_timelines(tune: Tune, whens: str, untils: str, told: str) -> None:
    assert timeline(tune, whens, untils) == told


def test_an_active_rule_whose_guest_is_gone_is_forgotten() -> None:
    steps = int(FORGET_SECONDS / 600)
    told = timeline(rule(until=True), "T" + "F" * (steps + 1), "F" * (steps + 2), seconds=600)
    assert told == "A" * steps + ".."


def samples(*domains: str) -> Evidence:
    return Evidence(known=True, samples=tuple(Sample((("domain", name),), 1.0) for name in domains))


def names(labels: Sequence[tuple[str, str]]) -> str:
    return dict(labels)["domain"]


def test_each_label_set_has_its_own_life() -> None:
    tune = rule(held=1)
    state, due = step(tune, {}, samples("a"), None, 0)
    assert due == ()
    state, due = step(tune, state, samples("a", "b"), None, 1)
    assert [names(instance.labels) for instance in due] == ["a"]
    state, due = step(tune, state, samples("b"), None, 2)
    assert [names(instance.labels) for instance in due] == ["b"]
    assert [names(labels) for labels in state] == ["b"]


def test_until_ends_the_label_sets_that_it_agrees_with() -> None:
    tune = rule(until=True)
    state, _ = step(tune, {}, samples("a", "b"), FALSE, 0)
    state, _ = step(tune, state, FALSE, samples("a"), 1)
    assert [names(labels) for labels in state] == ["b"]
    for_all = Evidence(known=True, samples=(Sample((), 1.0),))
    assert step(tune, state, FALSE, for_all, 2)[0] == {}


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ((), (("a", "1"),), True),
        ((("a", "1"),), (("a", "1"), ("b", "2")), True),
        ((("a", "1"),), (("a", "2"),), False),
        ((("a", "1"),), (("b", "1"),), True),
    ],
)
def test_agreement_is_on_the_labels_that_both_have(
    left: tuple[tuple[str, str], ...], right: tuple[tuple[str, str], ...], same: bool
) -> None:
    assert agree(left, right) == agree(right, left) == same
