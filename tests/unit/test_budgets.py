"""Whose memory is divided from which budget: labels, bounds, and who is left out with what reason."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from actuator.knobs import Live, Target
from actuator.plans.budgets import Asked, share_out
from actuator.promql.labels import Labels, make
from actuator.promql.types import Sample
from actuator.rules.limits import Limits
from actuator.rules.rule import Agreeing, Instance

MIB = 2**20


def samples(*pairs: tuple[str, float]) -> list[Sample]:
    """Of `domain=a node=0` and such, in MiB."""
    return [Sample(labels(text), value * MIB) for text, value in pairs]


def labels(text: str) -> Labels:
    return make(dict(pair.split("=") for pair in text.split()))


def target(name: str) -> Target:
    return (("domain", name),)


def live(size: int, *, low: int = 100, high: int = 1000, refusal: str | None = None) -> Live:
    return Live(value=size * MIB, low=low * MIB, high=high * MIB, refusal=refusal)


TWO = {target("a"): live(800), target("b"): live(800)}
NEEDS = samples(("domain=a node=0 __name__=need", 300), ("domain=b node=1 __name__=need", 300))
HOST = ["job=kvmtune"]


def divided(
    free: Sequence[Sample],
    needs: Sequence[Sample] = NEEDS,
    instances: Sequence[str] = HOST,
    given: Mapping[str, Sequence[Sample]] | None = None,
    guests: Mapping[Target, Live] = TWO,
    limits: Sequence[Limits] = (),
    unresponsive: Mapping[Target, str] | None = None,
) -> tuple[dict[str, int], list[str]]:
    wanted = share_out(
        Asked(
            budgets=free,
            needs=needs,
            given={name: Agreeing(values, "domain") for name, values in (given or {}).items()},
            by="range",
        ),
        [Instance(labels=labels(text), pending_since=0, seen=0, value=1) for text in instances],
        ("domain",),
        guests,
        limits,
        unresponsive or {},
    )
    sizes = {dict(to)["domain"]: int(size) // MIB for _, values in wanted for to, size in values.values.items()}
    return sizes, [fault for _, values in wanted for fault in values.faults]


@pytest.mark.parametrize(
    ("free", "asked", "sizes"),
    [
        (samples(("", 200)), {}, {"a": 700, "b": 700}),
        # A budget for each node, and one for a node alone.
        (samples(("node=0", 100), ("node=1", 300)), {}, {"a": 700, "b": 500}),
        (samples(("node=0", 100)), {}, {"a": 700}),
        # Instances that name guests choose who takes part.
        (samples(("", 200)), {"instances": ["domain=a"]}, {"a": 600}),
        (samples(("", 200)), {"instances": ["domain=a", "domain=b"]}, {"a": 700, "b": 700}),
        # The tightest of all bounds counts.
        (samples(("", 800)), {"given": {"min": samples(("domain=a", 750), ("domain=b", 50))}}, {"a": 750, "b": 100}),
        (samples(("", 2000)), {"given": {"min": samples(("", 400))}}, {"a": 400, "b": 400}),
        (samples(("", 2000)), {"limits": [Limits(min=200 * MIB), Limits(min=300 * MIB)]}, {"a": 300, "b": 300}),
        (samples(("", -400)), {"given": {"max": samples(("domain=a", 900), ("domain=b", 850))}}, {"a": 900, "b": 850}),
        # A guest that must not be touched is told to stay, for the guard to report why.
        (samples(("", 200)), {"guests": {**TWO, target("b"): live(800, refusal="it is paused")}}, {"a": 600, "b": 800}),
        # One that must not shrink just now, and soon may again: nobody else gives in its place.
        (samples(("", 200)), {"guests": {**TWO, target("b"): replace(live(800, low=800), low_soon=100 * MIB)}}, {"a": 700, "b": 700}),
        # One that uses nearly all it can have.
        (samples(("", -400)), {"guests": {target("a"): live(950, low=1045)}}, {"a": 1000}),
    ],
)  # fmt: skip
def test_who_shares_which_budget(free: list[Sample], asked: dict[str, object], sizes: dict[str, int]) -> None:
    assert divided(free, **asked) == (sizes, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("free", "asked", "sizes", "fault"),
    [
        ([], {}, {}, "'free' has no value"),
        (samples(("", math.nan)), {}, {}, "'free' is nan"),
        (samples(("", 200)), {"needs": []}, {}, "no guest here has a 'need' that agrees with 'free' and with the rule's labels"),
        (samples(("node=7", 200)), {}, {}, "no guest here has a 'need' that agrees with 'free' and with the rule's labels"),
        (samples(("", 200)), {"needs": samples(("domain=a", math.inf), ("domain=b", 300))}, {"b": 600}, "a is left out: its 'need' is inf"),
        (samples(("", 200)), {"needs": [*NEEDS, *samples(("domain=a", 1))]}, {"b": 600}, "a has more than one need or budget"),
        (samples(("", 200), ("node=0", 100)), {}, {"b": 600}, "a has more than one need or budget"),
        (samples(("", 200)), {"given": {"shares": samples(("domain=b", 1))}}, {"b": 600}, "a is left out: it has no 'shares'"),
        (samples(("", 200)), {"given": {"min": samples(("domain=b", 1), ("", 2), ("domain=a", 2))}}, {"a": 600}, "b is left out: it has more than one 'min'"),
        (samples(("", 200)), {"given": {"max": samples(("domain=a", 50), ("domain=b", 900))}}, {"b": 600}, "a is left out: it must not go below what it uses, its guarantee or 'min', and not above its maximum or 'max'"),
        (samples(("", 200)), {"given": {"shares": samples(("domain=a", -1), ("domain=b", 1))}}, {"b": 600}, "a is left out: -1.04858e+06 shares: write 0, or from 1e-06 to 1e+15"),
        (samples(("", 200)), {"unresponsive": {target("a"): "it hangs"}}, {"b": 600}, "a is left out: it hangs"),
    ],
)  # fmt: skip
def test_who_is_left_out_and_why(
    free: list[Sample], asked: dict[str, object], sizes: dict[str, int], fault: str
) -> None:
    assert divided(free, **asked) == (sizes, [fault])  # type: ignore[arg-type]


def test_those_of_one_budget_were_planned_together() -> None:
    wanted = share_out(
        Asked(budgets=samples(("node=0", 1), ("node=1", 1)), needs=NEEDS, given={}, by="shares"),
        [Instance(labels=(), pending_since=0, seen=0, value=1)],
        ("domain",),
        TWO,
        (),
        {},
    )
    assert [values.together for _, values in wanted if values.values] == [{target("a")}, {target("b")}]
