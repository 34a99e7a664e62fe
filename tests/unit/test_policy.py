"""The policy file: its limits, and what it promises to guests."""

import pytest

from actuator import policy
from actuator.knobs import HOST, Live
from actuator.limits import Amount
from actuator.yamltree import InvalidConfig

MIB = 2**20
WEB = (("domain", "web-1"),)


def test_the_shipped_policy_loads() -> None:
    shipped = policy.load()
    assert shipped.limits["ksm.pages_to_scan"].max == 20000
    assert shipped.limits["ksm.sleep_millisecs"].min == 10
    assert shipped.limits["balloon.target"].step == Amount(ratio=0.3)
    assert shipped.narrow("balloon.target", WEB, Live(value=MIB)).low == 128 * MIB


@pytest.mark.parametrize(
    ("guests", "live", "low", "refusal"),
    [
        ("{match: 'web-*', min_guarantee: 64MiB}", Live(value=MIB), 64 * MIB, None),
        ("{match: 'web-*', min_guarantee: 64MiB}", Live(value=MIB, low=80 * MIB), 80 * MIB, None),
        ("{match: 'db-*', min_guarantee: 64MiB}", Live(value=MIB), None, None),
        ("{match: 1-2, min_guarantee: 64MiB}", Live(value=MIB, identity="1-2"), 64 * MIB, None),
        ("{match: web-1}, {match: '*', min_guarantee: 1MiB}", Live(value=MIB), None, None),
        ("{match: '*', opt_out: true}", Live(value=MIB), None, "the policy opts this guest out"),
    ],
)
def test_promises_to_guests(guests: str, live: Live, low: int | None, refusal: str | None) -> None:
    narrowed = policy.loads(f"guests: [{guests}]").narrow("balloon.target", WEB, live)
    assert (narrowed.low, narrowed.refusal) == (low, refusal)


def test_the_host_and_other_knobs_have_no_guarantee() -> None:
    strict = policy.loads("guests: [{match: '*', min_guarantee: 1GiB}]")
    assert strict.narrow("ksm.run", HOST, Live(value=1)) == Live(value=1)
    assert strict.narrow("vcpu.affinity", (*WEB, ("vcpu", "0")), Live(value="0")) == Live(value="0")


def test_mistakes_are_named_with_their_place() -> None:
    text = "limits:\n  ksm.rum: {max: 1}\n  ksm.run: {writes_per_minute: 0}\nguests:\n  - {opt_out: maybe}\n"
    with pytest.raises(InvalidConfig) as caught:
        policy.loads(text)
    assert [str(problem) for problem in caught.value.problems] == [
        "policy.yml:2:3: unknown knob 'ksm.rum' (did you mean 'ksm.run'?)",
        "policy.yml:3:32: 'writes_per_minute': '0' must be at least 1",
        "policy.yml:5:5: a guest's policy has no 'match'",
        "policy.yml:5:15: 'opt_out': 'maybe' is neither true nor false",
    ]
