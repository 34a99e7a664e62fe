"""The policy file: its limits, and what it promises to guests."""

import pytest

from actuator.knobs import HOST, Live
from actuator.rules import policy
from actuator.rules.limits import Amount
from kvmhost.domains import DeclaredPolicy
from kvmhost.yamltree import InvalidConfig

MIB = 2**20
WEB = (("domain", "web-1"),)


def test_the_shipped_policy_loads() -> None:
    shipped = policy.load()
    assert shipped.limits["ksm.pages_to_scan"].max == 20000
    assert shipped.limits["ksm.sleep_millisecs"].min == 10
    assert shipped.limits["balloon.target"].step == Amount(ratio=0.3)
    assert shipped.narrow("balloon.target", WEB, Live(value=MIB)).low == 128 * MIB


def said(**declared: object) -> Live:
    """A guest whose metadata say something."""
    return Live(value=MIB, declared=DeclaredPolicy(**declared))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("guests", "live", "low", "refusal"),
    [
        ("{match: 'web-*', min_guarantee: 64MiB}", Live(value=MIB), 64 * MIB, None),
        ("{match: 'web-*', min_guarantee: 64MiB}", Live(value=MIB, low=80 * MIB), 80 * MIB, None),
        ("{match: 'db-*', min_guarantee: 64MiB}", Live(value=MIB), None, None),
        ("{match: 1-2, min_guarantee: 64MiB}", Live(value=MIB, identity="1-2"), 64 * MIB, None),
        ("{match: web-1}, {match: '*', min_guarantee: 1MiB}", Live(value=MIB), None, None),
        ("{match: 'a1b2-*', min_guarantee: 64MiB}", Live(value=MIB, identity="a1b2-7"), 64 * MIB, None),
        ("{match: '*', opt_out: true}", Live(value=MIB), None, "the policy opts this guest out"),
        # Of the two floors, the larger holds; either opts out.
        ("{match: '*', min_guarantee: 64MiB}", said(min_guarantee_bytes=96 * MIB), 96 * MIB, None),
        ("{match: '*', min_guarantee: 64MiB}", said(min_guarantee_bytes=32 * MIB), 64 * MIB, None),
        ("", said(min_guarantee_bytes=96 * MIB), 96 * MIB, None),
        ("", said(opt_out=True), None, "the guest's own metadata opt it out"),
        ("{match: '*', opt_out: true}", said(opt_out=False), None, "the policy opts this guest out"),
        ("", said(faults=("pin: no",)), None, "the policy in the guest's metadata is malformed: pin: no"),
    ],
)
def test_promises_to_guests(guests: str, live: Live, low: int | None, refusal: str | None) -> None:
    narrowed = policy.loads(f"guests: [{guests}]").narrow("balloon.target", WEB, live)
    assert (narrowed.low, narrowed.refusal) == (low, refusal)


@pytest.mark.parametrize(
    ("guests", "pin"),
    [
        ("{match: 'web-*', pin: isolated}", "isolated"),
        ("{match: 1-2, pin: exclusive}", "exclusive"),
        ("{match: web-1}, {match: '*', pin: exclusive}", "shared"),
        ("{match: 'db-*', pin: exclusive}", "shared"),
    ],
)
def test_pin_classes(guests: str, pin: str) -> None:
    assert policy.loads(f"guests: [{guests}]").pin(WEB, Live(value="0-3", identity="1-2")) == pin


def test_the_host_and_other_knobs_have_no_guarantee() -> None:
    strict = policy.loads("guests: [{match: '*', min_guarantee: 1GiB}]")
    assert strict.narrow("ksm.run", HOST, Live(value=1)) == Live(value=1)
    assert strict.narrow("vcpu.affinity", (*WEB, ("vcpu", "0")), Live(value="0")) == Live(value="0")


@pytest.mark.parametrize(
    ("guests", "live", "pin", "shares"),
    [
        ("", Live(value=1), "shared", None),
        ("{match: web-1, pin: exclusive, shares: 20}", Live(value=1), "exclusive", 20),
        ("{match: web-1, pin: exclusive, shares: 20}", said(pin="isolated"), "isolated", 20),
        ("{match: web-1, pin: exclusive, shares: 20}", said(shares=5), "exclusive", 5),
    ],
)
def test_the_metadata_of_a_guest_know_it_better_than_a_pattern(
    guests: str, live: Live, pin: str, shares: int | None
) -> None:
    known = policy.loads(f"guests: [{guests}]")
    assert (known.pin(WEB, live), known.shares(WEB, live)) == (pin, shares)


def test_mistakes_are_named_with_their_place() -> None:
    text = "limits:\n  ksm.rum: {max: 1}\n  ksm.run: {writes_per_minute: 0}\nguests:\n  - {opt_out: maybe, pin: exclusiv, shares: 0}\n"
    with pytest.raises(InvalidConfig) as caught:
        policy.loads(text)
    assert [str(problem) for problem in caught.value.problems] == [
        "policy.yml:2:3: unknown knob 'ksm.rum' (did you mean 'ksm.run'?)",
        "policy.yml:3:32: 'writes_per_minute': '0' must be at least 1",
        "policy.yml:5:5: a guest's policy has no 'match'",
        "policy.yml:5:15: 'opt_out': 'maybe' is neither true nor false",
        "policy.yml:5:27: 'pin': unknown 'exclusiv' (did you mean 'exclusive'?)",
        "policy.yml:5:45: 'shares': '0' is not a whole number of shares, from 1 to 999999999",
    ]


@pytest.mark.parametrize(("soon", "narrowed"), [(32, 64), (96, 96), (None, None)])
def test_a_guarantee_holds_for_what_plans_go_by_too(soon: int | None, narrowed: int | None) -> None:
    held = policy.loads("guests: [{match: '*', min_guarantee: 64MiB}]")
    live = Live(value=800 * MIB, low=800 * MIB, low_soon=None if soon is None else soon * MIB)
    found = held.narrow("balloon.target", WEB, live)
    assert (found.low, found.low_soon) == (800 * MIB, None if narrowed is None else narrowed * MIB)


@pytest.mark.parametrize(
    ("first", "second", "is_moot"),
    [
        ("*", "db", True),
        ("**", "db-*", True),
        ("db", "db", True),
        ("web-*", "web-1", True),
        ("web-*", "web-1?", True),
        ("web-?", "web-1", True),
        ("web-[12]", "web-1", True),
        ("web-[12]", "web-[12]", True),
        ("db", "*", False),
        ("web-*", "web*", False),
        ("web-*", "db-1", False),
        ("web-[12]", "web-3", False),
        # What a wildcard fits is more than its own character.
        ("web-?", "web-*", False),
        ("*a*", "[ab]", False),
        ("[*]", "*", False),
    ],
)
def test_an_entry_that_never_holds_is_refused(first: str, second: str, is_moot: bool) -> None:
    text = f"guests:\n  - {{match: '{first}', min_guarantee: 1MiB}}\n  - {{match: '{second}', opt_out: true}}\n"
    if not is_moot:
        assert len(policy.loads(text).guests) == 2
        return
    with pytest.raises(InvalidConfig) as caught:
        policy.loads(text)
    assert [str(problem) for problem in caught.value.problems] == [
        f"policy.yml:3:5: never holds: {first!r} at policy.yml:2 comes first, and fits every guest that {second!r} fits: "
        "put this entry before that one, or remove it"
    ]


@pytest.mark.parametrize(("match", "is_pattern"), [("[", False), ("web-[12", False), ("a[]", False), ("[[]", True), ("[]a]", True), ("[!1]x", True)])  # fmt: skip
def test_a_pattern_that_is_none_is_refused(match: str, is_pattern: bool) -> None:
    text = f"guests: [{{match: '{match}'}}]"
    if is_pattern:
        assert policy.loads(text).guests[0].match == match
        return
    with pytest.raises(InvalidConfig, match="has a '\\[' without its '\\]': write \\[\\[\\] for the character itself"):
        policy.loads(text)
